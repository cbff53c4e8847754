"""Reference pages that are written by the code they describe: docs/METRICS.md and docs/CONFIGURATION.md.

`python -m finance.workshop.reference` writes them; a test fails when they differ from what it would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from finance.settings.variables import VARIABLES
from finance.telemetry.metric_list import METRICS

GENERATED: Final = "Written by `python -m finance.workshop.reference` from {}; do not edit.\n"


def metrics_page() -> str:
    """docs/METRICS.md."""
    lines = [
        "# Metrics",
        "",
        GENERATED.format("`finance/telemetry/metric_list.py`"),
        "Each process serves `/metrics` (Prometheus text) and `/healthz` on `METRICS_HOST` and its own port",
        "(`POSTER_METRICS_PORT`, …; 0 takes a free one and logs it as `telemetry.listening`): in plaintext on",
        "loopback, or with TLS to callers whose role has the scope `metrics` (`DOOR_TLS_DIR`, `DOOR_CONFIG`). The",
        "runbook's dotted names (`finance.ledger_posts_total`) are these with underscores. The usual `process_*`",
        "metrics are there too.",
        "",
        "`/healthz` answers 200 while the process makes progress: a step ended without failure within",
        "`HEALTH_STALL_SECONDS`, and something was done or nothing waited, or posting is halted on purpose. Else 503.",
        "`state` in the body: `working`, `waiting for records`, `halted` (200); `stuck` (records wait, none gets",
        "done), `stalled`, `waiting for <kafka, postgres, s3, signer, clock>` (503). `signers` there: each key's",
        "circuit, `closed`, `half_open` or `open`; an open one stops signing and nothing else.",
        "",
        "| metric | kind | labels | meaning | reported by |",
        "|---|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} | {metric.told_by} |")
    lines += ["", "Histogram buckets, in seconds:", ""]
    lines += [f"- `{m.name}`: {', '.join(f'{b:g}' for b in m.buckets)}" for m in METRICS if m.buckets]
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    """docs/CONFIGURATION.md."""
    lines = [
        "# Configuration",
        "",
        GENERATED.format("`finance/settings/variables.py`"),
        "Everything that differs between deployments comes from environment variables; what does not is in",
        "`topology.yaml`. With `FINANCE_ENV=dev`, what is not set is read from the running dev stack",
        "(`finance dev up`). Outside dev every process needs the database address of its own role. Paths are relative",
        "to the working directory.",
        "",
        "A **secret** may come from a file: `<variable>_FILE` names it (`PKCS11_PIN_FILE=/run/secrets/pin`). Both at",
        "once are refused, and outside dev so is a file that everybody may read. Signers: docs/SIGNING.md.",
        "",
        "| variable | meaning | default | needed by |",
        "|---|---|---|---|",
    ]
    for variable in VARIABLES:
        default = f"`{variable.default}`" if variable.default else ""
        secret = " **Secret.**" if variable.secret else ""
        lines.append(f"| `{variable.name}` | {variable.meaning}.{secret} | {default} | {variable.needed_by} |")
    return "\n".join(lines) + "\n"


PAGES: Final = {"docs/METRICS.md": metrics_page, "docs/CONFIGURATION.md": configuration_page}


def main() -> None:
    """Write every page below the working directory."""
    for path, page in PAGES.items():
        Path(path).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
