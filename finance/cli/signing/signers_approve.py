"""`finance signers approve`: the second person of an emergency signer."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, reason_option
from finance.cli.signing.key_options import EMERGENCY_HOURS_MAX, changing_desk, dry_run_option


@click.command()
@click.argument("kid")
@click.option("--fingerprint", required=True, help="Of the key: 64 hex digits, as the one who asks was shown.")
@click.option("--hours", type=click.IntRange(1, EMERGENCY_HOURS_MAX), required=True, help="How long it may sign.")
@reason_option
@dry_run_option
@json_option
def approve(kid: str, fingerprint: str, hours: int, reason: str, dry_run: bool, as_json: bool) -> None:
    """Approve an emergency signer that another operator asks for. Compare the fingerprint with him by voice.

    The approval is an audit event in your own name, and counts for a day. In production the name is that of your
    certificate. Reads DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance signers approve finance-emergency-1 --hours 12 --reason "KMS of the region is down, incident 9"
        --fingerprint d2a84f4b8b650937ec8f73cd8be2c74add5a911ba64df27458ed8229da804a26
    """
    from finance.signing.approvals import approve as approve_signer

    with changing_desk(dry_run=dry_run) as desk:
        done = approve_signer(desk, kid, fingerprint, hours, reason)

    def words(console: Console) -> None:
        if dry_run:
            console.print("nothing was written (--dry-run)")
        elif done.told:
            console.print(f"{kid} is approved for {hours} hours by {desk.actor_id.partition(':')[2]}")
        else:
            console.print(f"you approved {kid} before; nothing was written")

    told = {"signer_kid": done.kid, "fingerprint": done.fingerprint, "hours": done.hours, "told": done.told}
    emit(as_json, {"ok": True, **told}, words)
