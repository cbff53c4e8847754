"""`finance signers list`: what the registry says."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, table, utc


@click.command(name="list")
@json_option
def list_signers(as_json: bool) -> None:
    """Every signer: kid, algorithm, fingerprint, since when, until when, and for which sequences it counts.

    \b
    Example:
      finance signers list --json
    """
    from finance.wiring.registry_file import read_registry
    from ledger_core.signing.purposes import write_purposes
    from ledger_core.signing.registry import write_signer

    registry = read_registry(load_settings().signers_path)

    def words(console: Console) -> None:
        rows = []
        for it in registry.signers:
            spans = None if it.validity is None else it.validity.shards
            reach = [f"shard {shard} {interval}" for shard, interval in sorted((spans or {}).items())]
            reach += ["in no shard"] if spans is not None and not spans else []
            reach += [] if it.validity is None or it.validity.audit is None else [f"audit {it.validity.audit}"]
            moments = ["" if moment is None else utc(moment) for moment in (it.deployed_at, it.retired_at)]
            counts = "; ".join(reach) or "everywhere"
            counts += "" if it.signs is None else f"; as {', '.join(write_purposes(it.signs))}"
            rows.append((it.kid, it.algorithm, it.public_key.fingerprint[:16], *moments, counts, it.description))
        columns = ("kid", "algorithm", "fingerprint", "deployed", "retired", "counts", "description")
        console.print(table(columns, rows))

    told = [{**write_signer(it), "fingerprint": it.public_key.fingerprint} for it in registry.signers]
    emit(as_json, {"ok": True, "signers": told}, words)
