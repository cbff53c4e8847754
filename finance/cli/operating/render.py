"""`finance render`: ACLs, IAM policies and the KMS key policy, from topology.yaml."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of
from finance.wiring.render import KINDS, render


@click.command()
@click.argument("kind", type=click.Choice([*KINDS, "all"]))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write the files below this folder.")
@json_option
def command(kind: str, out: Path | None, as_json: bool) -> None:
    """Render who may do what, from topology.yaml: Kafka ACLs, IAM policies, the KMS key policy.

    Without --out the files are shown. ${NAMES} in them are the deployment's own: fill them in with envsubst. Reads
    FINANCE_TOPOLOGY and FINANCE_TOPIC_PREFIX; connects to nothing.

    \b
    Examples:
      finance render all --out deploy
      finance render iam
      finance render kms-policy --json
    """
    topology = load_topology_of(load_settings())
    files = {
        path: text for each in (KINDS if kind == "all" else (kind,)) for path, text in render(topology, each).items()
    }
    if out is not None:
        for path, text in files.items():
            target = out / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")

    def words(console: Console) -> None:
        for path, text in files.items():
            console.print(f"wrote {out / path}" if out is not None else f"# {path}\n{text}", markup=False)

    written = [str(out / path) for path in files] if out is not None else []
    emit(as_json, {"ok": True, "files": files, "written": written}, words)
