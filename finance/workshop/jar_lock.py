"""Locking the jars of the dev stack anew, as Maven serves them now: `python -m finance.workshop.jar_lock`.

Does not: judge them. Read what changed before it is committed.
"""

from __future__ import annotations

import sys

from finance.workshop.devstack.jars import BINDING, KAFKA, LOCK, POSTGRES_BUILDS, digest_of, postgres_of, resolved


def main() -> int:
    wanted = (KAFKA, BINDING, *(postgres_of(build) for build in POSTGRES_BUILDS.values()))
    found = {jar.name: digest_of(jar) for coordinate in wanted for jar in resolved(coordinate)}
    LOCK.write_text("".join(f"{found[name]}  {name}\n" for name in sorted(found)))
    sys.stdout.write(f"{LOCK.name}: {len(found)} jars. Read what changed (git diff) before you commit it.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
