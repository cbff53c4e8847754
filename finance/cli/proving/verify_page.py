"""`finance verify page`: writes verify.html, the verifier that needs a browser and nothing of ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from finance.cli.common import emit, json_option
from finance.verifier_page.assemble import page_bytes
from ledger_core.errors import Refused


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
@json_option
def page(out: Path, as_json: bool) -> None:
    """Write verify.html: one file that checks batches, proofs, receipts, checkpoints and audit exports in a browser.

    It needs no network and no installation, and is written apart from this program, from docs/FORMATS.md. A file that
    exists is kept.

    \b
    Example:
      finance verify page --out verify.html
    """
    data = page_bytes()
    try:
        with out.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise Refused(f"{out} exists", remedy="name another file, or remove it first") from None
    except OSError as error:
        raise Refused(f"{out} cannot be written: {error.strerror}", remedy="name a file in a folder of yours") from None
    digest = hashlib.sha256(data).hexdigest()
    emit(
        as_json,
        {"ok": True, "file": str(out), "sha256": digest, "size_bytes": len(data)},
        lambda console: console.print(f"wrote {out}: {len(data):,} bytes, SHA-256 {digest}"),
    )
