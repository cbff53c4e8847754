"""The `finance` command, also as `python -m finance`.

Guarantees: where the packages of the command line are not installed (the bare library, or the publisher alone), it
says what to install and exits with 3, as every refusal does. A process that is asked to stop while it starts (SIGTERM
or an interrupt, from the first line of `main` on) ends at once with 0, as one that is stopped later: nothing was begun.
Does not: change what a signal does before that, while Python itself starts (the kernel ends it: 143 in a shell), or to
any other command: that ends by the signal, since 0 would say that it was done.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

EXIT_SOUND, EXIT_REFUSED = 0, 3


def main() -> None:
    """Run the command line and exit with its code."""
    if is_process(sys.argv[1:]):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stopped)  # until the process takes them over, to finish the step at hand
    try:
        from finance.cli.main import main as run
    except ModuleNotFoundError as error:
        import json

        from finance.settings.extras import missing_extra

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


def is_process(arguments: Sequence[str]) -> bool:
    """Whether the command runs until it is asked to stop."""
    words = [it for it in arguments if not it.startswith("-")]
    return words[:1] == ["run"] or words[:2] == ["backup", "stream"] or words == ["signing-proxy"]


def _stopped(_number: int, _frame: object) -> None:
    sys.exit(EXIT_SOUND)


if __name__ == "__main__":
    main()
