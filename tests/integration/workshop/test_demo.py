"""The demo, whole, on the smallest month of the sample: what a person sees with `make demo` holds, and ends cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finance.workshop.devstack import Stack
from tests.conftest import STATE_ROOT
from tests.support.waits import until

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[3]
CHEATS = 22
LEFT = {"proof.json", "batch.jsonl.gz", "manifest.json", "checkpoint.txt", "signers.json", "audit_events.jsonl", "keys"}
LEFT |= {"bundle.zip"}


@pytest.fixture
def name() -> Iterator[str]:
    """A stack of its own, gone afterwards."""
    own = f"test-{os.getpid()}-demo"
    yield own
    Stack(own, STATE_ROOT).remove()


def start(name: str, folder: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "finance", "demo", "--month", "2018-01", "--name", name, "--out", str(folder)]
    return subprocess.Popen(
        [*command, "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_the_demo_catches_every_cheat_and_leaves_files_that_a_stranger_can_check(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = start(name, folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out[-2000:] + err[-2000:]
    told = json.loads(out)
    assert told["ok"]
    assert told["failures"] == []
    assert len(told["cheats"]) == CHEATS
    assert all(cheat["caught"] for cheat in told["cheats"])
    assert [check["exit_code"] for check in told["checks"]] == [0] * 10
    assert [check["command"].split()[1] for check in told["checks"][:2]] == ["settlement", "account"]
    assert all(line["from_data"] == line["from_ledger"] > 0 for line in told["summary"]["comparisons"])
    assert {path.name for path in folder.iterdir()} == LEFT | {"CHECK.sh"}
    checked = subprocess.run(["bash", str(folder / "CHECK.sh")], capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stderr
    assert not any(server.healthy for server in Stack(name, STATE_ROOT).status())


def test_an_interrupted_demo_stops_its_servers(name: str, tmp_path: Path) -> None:
    process = start(name, tmp_path / "demo", start_new_session=True)
    started = STATE_ROOT / name / "logs" / "postgres.log"
    until("a server starts", lambda: started.exists() or process.poll() is not None)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert not any(server.healthy for server in Stack(name, STATE_ROOT).status())
