"""docs/SIGNING_PROXY.md does what it says: its example is run as it stands, on the stack's own KMS."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from finance.door import gate, tokens, who
from finance.signing_proxy import requests, service, witness
from finance.workshop.devstack import Stack

pytestmark = pytest.mark.services
PAGE = (Path(__file__).parents[3] / "docs" / "SIGNING_PROXY.md").read_text("utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_example_runs_as_it_stands(stack: Stack, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    _, setup, use, check, _ = (block.replace("8443", port) for block in BLOCKS)
    setup = setup.replace("finance signing-proxy &", "finance signing-proxy >/dev/null 2>proxy.err & echo $! > pid")
    script = f"set -eo pipefail\n{setup}\n{use}\n{check}"
    topology = str(Path(__file__).parents[3] / "topology.yaml")
    environ = {
        **os.environ,
        **stack.env,
        "FINANCE_TOPOLOGY": topology,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=300
        )
    finally:
        if (tmp_path / "pid").exists():
            with contextlib.suppress(ProcessLookupError):  # it may have refused: then its words are below
                os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    said = done.stdout + done.stderr + (tmp_path / "proxy.err").read_text()
    assert done.returncode == 0, said
    assert "Signature Verified Successfully" in said
    assert '"code":"NO_CREDENTIAL"' in done.stdout
    assert 'finance_signing_proxy_requests_total{verdict="signed"} 1.0' in done.stdout
    report = orjson.loads(done.stdout[done.stdout.rindex('{\n  "ok"') :])
    assert report["ok"] is True
    assert report["events"] == {"started": 1, "asked": 1, "signed": 1}


def test_every_code_that_is_answered_is_on_the_page() -> None:
    """Codes are published text; those of tokens stand there as `TOKEN_…`."""
    sources = [Path(module.__file__ or "") for module in (gate, tokens, who, requests, service, witness)]
    sources += [sources[0].with_name(name) for name in ("connection.py", "server.py")]
    code = re.compile(r'"([A-Z]+(?:_[A-Z]+)+|UNAUTHENTICATED|REPLAYED|BUSY|FAULT|REFUSED|UNAVAILABLE|UNHEALTHY)"')
    of_the_log = {"KEY_UNAVAILABLE", "KEY_REFUSED"}
    of_connections = {"TOO_MANY_CONNECTIONS"}
    answered = {found for source in sources for found in code.findall(source.read_text("utf-8"))}
    on_page = set(re.findall(r"`([A-Z][A-Z_]+)`", PAGE))
    assert {found for found in answered - of_the_log - of_connections if not found.startswith("TOKEN")} <= on_page


def test_every_default_limit_on_the_page_is_the_default() -> None:
    from schemas.authority.door import DoorLimits

    limits = DoorLimits()
    named = re.findall(r"`(\w+_max)` ([0-9]+|a quarter)", PAGE)
    assert {name for name, _ in named} == set(DoorLimits.__struct_fields__)
    assert dict(named).pop("caller_connections_max") == "a quarter"
    assert limits.connections_of_a_caller * 4 == limits.connections_max
    given = {name: getattr(limits, name) for name in DoorLimits.__struct_fields__}
    assert {name: float(value) for name, value in named if value != "a quarter"} == {
        name: float(value) for name, value in given.items() if value is not None
    }
