"""`finance halt` and `finance resume`: what stops posting everywhere (G10)."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, operator
from finance.settings import clock
from ledger_core.postgres.posting import control


@click.command()
@click.option("--reason", required=True, help="Why: one line, for the audit chain and every poster's log.")
@json_option
def halt(reason: str, as_json: bool) -> None:
    """Stop all posting, within a second, everywhere. Consuming pauses; nothing is lost.

    The halt and its audit intent (ledger.halted) are one transaction, and wait for nobody's lock. Proofs, archive and
    audit chain go on with what is posted. Reads DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance halt --reason "debits differ from credits at the provider, incident 42"
    """
    settings = load_settings()
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    changed = control.halt(settings.database_url("api"), reason=reason, actor_id=actor_id, trace_id=trace_id)
    _tell(as_json, halted=True, changed=changed, actor_id=actor_id, trace_id=trace_id)


@click.command()
@click.option("--reason", default="resumed by the operator", show_default=True, help="Why it is safe to go on.")
@json_option
def resume(reason: str, as_json: bool) -> None:
    """Let posting go on from where it stopped: lift every halt on record, and none that comes meanwhile.

    The change and its audit intent (ledger.resumed) are one transaction. Reads DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance resume --reason "publisher mended, see incident 42"
    """
    settings = load_settings()
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    changed = control.resume(settings.database_url("api"), reason=reason, actor_id=actor_id, trace_id=trace_id)
    _tell(as_json, halted=False, changed=changed, actor_id=actor_id, trace_id=trace_id)


def _tell(as_json: bool, *, halted: bool, changed: bool, actor_id: str, trace_id: str) -> None:
    def words(console: Console) -> None:
        if not changed:
            console.print("this halt stands already: see `finance status`" if halted else "posting was not halted")
        else:
            console.print(f"posting is halted by {actor_id}" if halted else f"posting goes on, by {actor_id}")

    told = {"ok": True, "halted": halted, "changed": changed, "actor_id": actor_id, "trace_id": trace_id}
    emit(as_json, told, words)
