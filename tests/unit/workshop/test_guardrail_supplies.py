"""What the service is built from: lock file in step, licences accepted, holes known or said to be unknown."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from finance.workshop.guardrails.__main__ import CHECKS, exit_code
from finance.workshop.guardrails.bill import (
    BILL,
    Component,
    Exemption,
    Policy,
    accepts,
    check_bill,
    check_licences,
    judge,
)
from finance.workshop.guardrails.lock_file import Installed, Pin, check_lock, compare, pins_of
from finance.workshop.guardrails.outcome import RepositoryFault, ScanOutcome
from finance.workshop.guardrails.vulnerabilities import check_vulnerabilities

ROOT = Path(__file__).parents[3]
HASH = "--hash=sha256:" + "0" * 64
PINS = {"a": Pin("1.5", 1), "b": Pin("2.0", 1)}
WORLD = {"a": Installed("1.5", ("b>=2; extra == 'fast'", "c; sys_platform == 'no-such'")), "b": Installed("2.0", ())}


def test_the_lock_file_is_in_step_with_pyproject_and_environment() -> None:
    outcome = check_lock(ROOT)
    assert [str(fault) for fault in outcome.faults] == []
    assert len(pins_of((ROOT / "requirements.lock").read_text())) > 100


def test_extras_and_markers_decide_what_is_needed() -> None:
    assert compare(["a[fast]>=1"], PINS, WORLD.get) == []
    assert [fault.message for fault in compare(["a>=1"], PINS, WORLD.get)] == ["b is pinned, and nothing needs it"]


@pytest.mark.parametrize(
    ("wanted", "pins", "world", "said"),
    [
        (["a[fast]", "z"], PINS, WORLD, "needs z, which is not pinned"),
        (["a[fast]>=1.6"], PINS, WORLD, "needs a>=1.6, pinned is 1.5"),
        (["a[fast]"], {**PINS, "b": Pin("1.9", 1)}, WORLD, "a needs b>=2, pinned is 1.9"),
        (["a[fast]"], {**PINS, "b": Pin("2.1", 1)}, WORLD, "b 2.1 is pinned, installed is 2.0"),
        (["a[fast]"], {"a": Pin("1.5", 1)}, WORLD, "a needs b, which is not pinned"),
        (["a[fast]"], {**PINS, "q": Pin("1", 1)}, WORLD, "q is pinned, and nothing needs it"),
        (["a[fast]"], {**PINS, "a": Pin("1.5", 0)}, WORLD, "a is pinned without a SHA-256"),
        (["a[fast]"], PINS, {"a": WORLD["a"]}, "b 2.0 is pinned and not installed"),
    ],
    ids=range(8),
)
def test_a_lock_file_out_of_step_is_a_fault(
    wanted: list[str], pins: dict[str, Pin], world: dict[str, Installed], said: str
) -> None:
    assert said in " / ".join(fault.message for fault in compare(wanted, pins, world.get))


def test_pins_are_read_with_their_hashes() -> None:
    text = f"A_b==1.0 \\\n    {HASH} \\\n    {HASH}\nshort==2 --hash=sha256:00\nnone==3\n"
    assert pins_of(text) == {"a-b": Pin("1.0", 2), "short": Pin("2", 0), "none": Pin("3", 0)}


def test_the_bill_is_the_same_each_time_and_its_licences_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/licences.toml").write_bytes((ROOT / ".ci/licences.toml").read_bytes())
    check_bill(tmp_path)
    first = (tmp_path / "dist" / BILL).read_bytes()
    check_bill(tmp_path)
    assert (tmp_path / "dist" / BILL).read_bytes() == first
    assert json.loads(first)["bomFormat"] == "CycloneDX"
    assert str(ROOT) not in first.decode()
    assert [str(fault) for fault in check_licences(tmp_path).faults] == []
    assert "psycopg\t" in (tmp_path / "dist/licences.tsv").read_text()


POLICY = Policy(("MIT", "Apache-2.0"), {"License :: MIT": "MIT"}, (Exemption("p", "GPL-3.0-only", "not shipped"),))


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("MIT", True),
        ("License :: MIT", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR (MIT AND Apache-2.0)", True),
        ("(MIT AND GPL-3.0-only) OR GPL-3.0-only", False),
        ("MIT WITH some-exception", False),
        ("MIT OR", True),
        ("(MIT", False),
        ("MIT)", False),
        ("", False),
    ],
)
def test_licence_expressions_are_read_as_spdx_says(text: str, accepted: bool) -> None:
    assert accepts(POLICY, text) is accepted


def component(name: str, *licences: str) -> Component:
    known = {"name": name, "version": "1", "licenses": [{"license": {"id": text}} for text in licences]}
    return msgspec.convert(known, Component)


def test_a_refused_licence_none_at_all_and_a_needless_exemption_are_faults() -> None:
    told = [
        str(fault) for fault in judge([component("a", "AGPL-3.0-only"), component("b"), component("c", "MIT")], POLICY)
    ]
    assert len(told) == 3
    assert "a 1: declares AGPL-3.0-only" in told[0]
    assert "no licence at all" in told[1]
    assert "exemption of p" in told[2]
    assert judge([component("p", "GPL-3.0-only")], POLICY) == []
    beside = [str(fault) for fault in judge([component("d", "MIT", "GPL-3.0-only")], POLICY)]
    assert beside[0].startswith("d 1: declares GPL-3.0-only."), "a licence that is accepted is no excuse for another"


class _Osv(http.server.BaseHTTPRequestHandler):
    """The one question of OSV's API that pip-audit asks: holed 1.0 has a known hole, mended in 1.1."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        hole = {"id": "GHSA-test", "aliases": ["CVE-2025-1"], "summary": "x", "affected": [
            {"package": {"name": "holed", "ecosystem": "PyPI"}, "ranges": [
                {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}]}]}  # fmt: skip
        answer = json.dumps({"vulns": [hole]} if asked["package"]["name"] == "holed" else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet."""


@pytest.fixture
def osv() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Osv)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("pinned", "word"), [("holed", "found"), ("whole", "sound")])
def test_a_known_hole_is_found_when_the_service_answers(tmp_path: Path, osv: str, pinned: str, word: str) -> None:
    (tmp_path / "requirements.lock").write_text(f"{pinned}==1.0 {HASH}\n")
    outcome = check_vulnerabilities(tmp_path, url=osv)
    assert outcome.word == word, outcome
    if word == "found":
        assert "CVE-2025-1" in str(outcome.faults[0])
        assert "move to 1.1" in str(outcome.faults[0])


def test_a_service_that_does_not_answer_is_not_taken_for_a_clean_result(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text(f"whole==1.0 {HASH}\n")
    outcome = check_vulnerabilities(tmp_path, url="http://127.0.0.1:9/v1/query")
    assert (outcome.word, outcome.faults) == ("not checked", ())
    assert exit_code([outcome], frozenset()) == 4
    assert exit_code([outcome], frozenset({"vulnerabilities"})) == 0


def test_a_fault_outweighs_what_was_not_checked() -> None:
    outcomes = [
        ScanOutcome("keys", "x", (RepositoryFault("a", "b", "c"),)),
        ScanOutcome("vulnerabilities", "x", unchecked="away"),
    ]
    assert exit_code(outcomes, frozenset({"vulnerabilities"})) == 1


def test_every_check_is_named_in_the_runbook() -> None:
    section = (ROOT / "docs" / "runbook" / "11-guardrails.md").read_text("utf-8")
    assert [name for name in CHECKS if f"`{name}`" not in section] == []
