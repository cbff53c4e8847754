"""Running the command line as a user does: a subprocess, its exit code, its words or its JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parents[2]


class Finance:
    """`finance ...` with the settings of this test."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = {**environ, "FINANCE_OPERATOR": "alice", "FINANCE_LOG_FORMAT": "json"}

    def __call__(self, *arguments: str, code: int = 0, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "finance", *arguments],
            env={**self.environ, **environ},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code in (0, 1) or "--json" in arguments else done.stderr

    def json(self, *arguments: str, code: int = 0, **environ: str) -> Any:
        return json.loads(self(*arguments, "--json", code=code, **environ))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "finance", *arguments],
            env=self.environ,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def quick_topology(path: str, folder: Path) -> str:
    """A copy in which ranges close a second after the last entry, so that nobody waits for five."""
    copy = folder / "topology.yaml"
    copy.write_text(Path(path).read_text("utf-8").replace("range_idle_seconds: 5", "range_idle_seconds: 1"), "utf-8")
    return str(copy)


def audit_types(database_url: str) -> list[str]:
    """The event types of the intents that wait for the notary, in order."""
    with psycopg.connect(database_url) as connection:
        outbox = connection.execute("SELECT event_type FROM audit_outbox ORDER BY outbox_id").fetchall()
        return [row[0] for row in outbox]
