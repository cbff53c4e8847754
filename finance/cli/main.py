"""`finance`: one command line for everything, with exit codes a script can trust.

Guarantees: 0 sound, 1 findings (also a record that contradicts itself), 2 usage, 3 refused by a guard, 4 something
outside does not answer, 130 interrupted, 70 a fault of this program (with its traceback). With `--json` there is one
JSON object on stdout, also for an error. A command's module is imported only when it is called.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
import orjson

from finance.cli.terminal import printable
from finance.settings.extras import missing_extra
from ledger_core.errors import Corrupt, FinanceError, LockHeld, Refused, Rejected, Unavailable

EXIT_FINDINGS, EXIT_USAGE, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_FAULT, EXIT_INTERRUPTED = 1, 2, 3, 4, 70, 130

HELP: Final = frozenset({"-h", "--help"})

# name -> (module, attribute, one line of help): the help of the group costs no imports.
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "dev": ("finance.workshop.commands.dev", "command", "Start, stop and show the development stack of real servers."),
    "demo": (
        "finance.workshop.commands.demo",
        "command",
        "Real sales on real servers, then attempts to cheat: the whole job in one go.",
    ),
    "migrate": ("finance.cli.operating.migrate", "command", "Bring the database to the schema of this version."),
    "topics": ("finance.cli.operating.topics", "command", "Create the topics and ACLs of the topology, or check them."),
    "render": (
        "finance.cli.operating.render",
        "command",
        "Render ACLs, IAM policies and the key policy from topology.yaml.",
    ),
    "run": ("finance.cli.operating.run", "command", "Run a process, or all of them: poster, prover, ..., projector."),
    "signing-proxy": (
        "finance.cli.signing.signing_proxy",
        "command",
        "Serve signatures to callers that have no key; check its log.",
    ),
    "publish": ("finance.cli.posting.publish", "command", "Publish settlement events from JSONL or sample data."),
    "movement": (
        "finance.cli.posting.movement",
        "command",
        "Book money that moved: refunds, disputes, fees, payouts, conversions.",
    ),
    "payout": ("finance.cli.payouts.payout", "command", "Pay sellers: request, approve, reject, release, list."),
    "hold": ("finance.cli.payouts.hold", "command", "Let payouts of a seller wait, and let them go."),
    "approvers": ("finance.cli.payouts.approvers", "command", "Who approves payouts, and from which amounts on."),
    "status": (
        "finance.cli.operating.status",
        "command",
        "Heads, lag, proofs, archive, audit chain, and the halt flag.",
    ),
    "balances": (
        "finance.cli.reading.balances",
        "command",
        "Balances by account, also as of a day, or the trial balance.",
    ),
    "entry": ("finance.cli.reading.entry", "command", "Show one journal entry."),
    "settlement": ("finance.cli.reading.settlement", "settlement", "The whole story of a settlement."),
    "order": ("finance.cli.reading.settlement", "order", "The whole story of an order."),
    "account": ("finance.cli.reading.account", "command", "The statement of an account, with a running balance."),
    "payables": ("finance.cli.reading.payables", "command", "What payees are owed, by age."),
    "report": ("finance.cli.reading.report", "command", "Revenue and fees by month."),
    "rules": ("finance.cli.posting.rules", "command", "Versions of the posting rules: list, put in force."),
    "dlq": ("finance.cli.posting.dlq", "command", "List, show and retry rejected events."),
    "pii": (
        "finance.cli.personal.personal",
        "command",
        "Two operators erase the personal data of one event, for ever.",
    ),
    "projection": (
        "finance.cli.reading.projection",
        "command",
        "The read side: how far it has come, built anew, compared with the ledger.",
    ),
    "receipt": (
        "finance.cli.proving.receipt",
        "command",
        "The receipt of an entry, or of a record that posted nothing.",
    ),
    "prove": ("finance.cli.proving.prove", "command", "Sign a range proof on demand, by time or by sequence."),
    "export": ("finance.cli.proving.export", "command", "One file for an auditor, to be checked without us."),
    "signers": (
        "finance.cli.signing.signers",
        "command",
        "Public keys: list, add, retire, revoke, publish, check.",
    ),
    "rotate": ("finance.cli.signing.rotate", "command", "Change the key that signs, step by step, and back."),
    "verify": (
        "finance.cli.proving.verify",
        "command",
        "Check a proof, batch, bundle, archive, ledger, audit chain, or the topic it all came from.",
    ),
    "archive": ("finance.cli.archive.archive", "command", "Lock an object whose own time is of a wrong clock."),
    "rebuild": (
        "finance.cli.recovery.rebuild",
        "command",
        "Put the ledger back from its archive and the public keys alone.",
    ),
    "replay": (
        "finance.cli.recovery.replay",
        "command",
        "Replay the settlements topic into another database, or compare it with the ledger.",
    ),
    "audit": ("finance.cli.audit.audit", "command", "The audit chain: verify, read again, export, bring back."),
    "backup": (
        "finance.cli.recovery.backup",
        "command",
        "Base backups, streamed WAL, restore to a moment; encrypted, pinned, pruned.",
    ),
    "drill": (
        "finance.cli.recovery.drill",
        "command",
        "Bring the ledger back beside itself, prove it again, sign a report.",
    ),
    "doctor": (
        "finance.cli.operating.doctor",
        "command",
        "Every guard of a start, and the promotion checklist, with evidence.",
    ),
    "guard": (
        "finance.cli.operating.guard",
        "command",
        "For pipelines: a protected branch needs a signing path that answers.",
    ),
    "halt": ("finance.cli.operating.control", "halt", "Stop all posting, within a second, with a reason."),
    "resume": ("finance.cli.operating.control", "resume", "Let posting go on, everywhere or of one shard."),
    "shards": ("finance.cli.operating.shards", "command", "One shard: set aside what no reader reads, accept times."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        loaded = getattr(importlib.import_module(found[0]), found[1])
        if not isinstance(loaded, click.Command):
            raise TypeError(f"{found[0]}.{found[1]} is not a click command")
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="finance-ledger", prog_name="finance")
def cli() -> None:
    """An event-driven double-entry ledger: settlement events in; balanced entries, signed proofs and locked audit
    batches out.

    Settings come from environment variables (docs/CONFIGURATION.md); in dev, from the running dev stack. Every command
    takes --json. Exit codes: 0 sound, 1 findings, 2 usage, 3 refused, 4 unavailable.

    \b
    Examples:
      finance dev up
      finance migrate && finance topics apply
      finance run all
      finance status --watch
      finance verify ledger --json
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code; errors are printed, not raised."""
    as_json = "--json" in arguments
    try:
        if arguments and arguments[0] in COMMANDS and HELP.isdisjoint(arguments):
            from finance.guards.commands import check_command  # here: --help and --version read no settings

            check_command(arguments[0], os.environ, Path.cwd())
        result = cli.main(args=arguments, prog_name="finance", standalone_mode=False)
    except click.UsageError as error:
        if error.ctx is not None and not as_json:
            click.echo(error.ctx.get_usage(), err=True)
        return _tell(
            as_json, EXIT_USAGE, "usage", error.format_message(), "see `finance --help`, or --help of the command"
        )
    except click.ClickException as error:
        return _tell(as_json, EXIT_USAGE, "usage", error.format_message())
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, which is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FinanceError as error:
        return _tell_failure(as_json, error)
    except ModuleNotFoundError as error:
        refusal = missing_extra(error)
        return _tell_failure(as_json, refusal) if refusal else _tell_fault(as_json, error)
    except Exception as error:
        return _tell_fault(as_json, error)
    return result if isinstance(result, int) else 0


def _tell_failure(as_json: bool, error: FinanceError) -> int:
    """The four kinds of failure, each with its exit code."""
    if isinstance(error, Refused):
        return _tell(as_json, EXIT_REFUSED, "refused", error.message, error.remedy)
    if isinstance(error, LockHeld):
        remedy = "wait for that session, or end it (RUNBOOK, section 14), then try again"
        return _tell(as_json, EXIT_UNAVAILABLE, "unavailable", str(error), remedy)
    if isinstance(error, Unavailable):
        return _tell(
            as_json, EXIT_UNAVAILABLE, "unavailable", str(error), f"see that {error.what} runs, then try again"
        )
    if isinstance(error, Rejected):
        return _tell(as_json, EXIT_USAGE, "rejected", str(error), "mend the event; a new event needs a new event id")
    if isinstance(error, Corrupt):
        return _tell(as_json, EXIT_FINDINGS, "corrupt", str(error), "halt posting and follow RUNBOOK.md, section 13 A")
    return _tell(as_json, EXIT_FAULT, "fault", str(error))


def _tell_fault(as_json: bool, error: Exception) -> int:
    if not as_json:
        traceback.print_exception(error)
    return _tell(as_json, EXIT_FAULT, "fault", f"{type(error).__name__}: {error}", "a fault of this program: report it")


def _tell(as_json: bool, code: int, kind: str, message: str, remedy: str = "") -> int:
    if as_json:
        told = {"ok": False, "error": {"kind": kind, "message": message, "remedy": remedy, "exit_code": code}}
        click.echo(orjson.dumps(told).decode())
    else:
        end = "\n" if "\n" in message else ". "  # a list of faults keeps its lines to itself
        click.echo(
            printable(f"finance: {kind}: {message.rstrip(chr(46))}" + (f"{end}Remedy: {remedy}" if remedy else "")),
            err=True,
        )
    return code
