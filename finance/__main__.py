"""The `finance` command, also as `python -m finance`.

Guarantees: where the packages of the command line are not installed (the bare library, or the publisher alone), it
says what to install and exits with 3, as every refusal does.
"""

from __future__ import annotations

import json
import sys

from finance.settings.extras import missing_extra

EXIT_REFUSED = 3


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from finance.cli.main import main as run
    except ModuleNotFoundError as error:
        refusal = missing_extra(error)
        if refusal is None:
            raise
        if "--json" in sys.argv:
            told = {"kind": "refused", "message": refusal.message, "remedy": refusal.remedy, "exit_code": EXIT_REFUSED}
            sys.stdout.write(json.dumps({"ok": False, "error": told}) + "\n")
        else:
            sys.stderr.write(f"finance: refused: {refusal.message}. Remedy: {refusal.remedy}\n")
        sys.exit(EXIT_REFUSED)
    run()


if __name__ == "__main__":
    main()
