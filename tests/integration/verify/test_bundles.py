"""`finance export auditor` and `finance verify bundle` over a real ledger on real servers."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

from finance.wiring.services import open_archive
from finance.workshop.demo import bundle
from finance.workshop.demo.leave import SIGNERS, Left
from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.devstack import Stack
from ledger_core.archive import bundle_names
from tests.simulator.faults import Faults
from tests.support.backups import finance
from tests.support.bundle_factory import forged
from tests.support.stepped_ledger import SteppedLedger, injected

LIMITS = {"range_entries_max": 2, "range_idle_seconds": 10**6}


def test_a_bundle_of_a_real_ledger_is_checked_and_a_forged_one_is_caught(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """By the oracle and by verify.sh; the same window gives the same bytes, and each bundle is an intent on record."""
    faults = Faults()
    with injected(faults):
        ledger = SteppedLedger(environ, tmp_path, faults)
        ledger.publish(8)
        ledger.finish(LIMITS)
    paths = [tmp_path / "one.zip", tmp_path / "two.zip"]
    window = ("--from", "2020-01-01", "--to", "2100-01-01")
    told = [finance(ledger.environ, "export", "auditor", *window, "--out", str(path)) for path in paths]
    assert told[0]["entries_in_window"] == 8
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert ledger.ask("SELECT count(*) FROM audit_outbox WHERE event_type = 'auditor.exported'") == 2
    checked = finance(ledger.environ, "verify", "bundle", str(paths[0]))
    assert (checked["counts"]["entries"], checked["counts"]["entries_in_window"]) == (8, 8)

    with zipfile.ZipFile(paths[0]) as file:
        file.extractall(tmp_path / "out")
    words = ["sh", str(tmp_path / "out" / bundle_names.VERIFY_SH), ledger.environ["FINANCE_SIGNERS"]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, "8 entries in their chain" in done.stdout) == (0, True), done.stdout + done.stderr

    name = bundle_names.last_note(0)
    forged(paths[0], {name: b"forged"}, tmp_path / "forged.zip")
    found = finance(ledger.environ, "verify", "bundle", str(tmp_path / "forged.zip"), code=1)
    assert name in {finding["place"] for finding in found["findings"]}


def test_the_demos_bundle_is_sound_to_three_programs_and_its_forgery_to_none(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """The last step of `make demo`, in a real browser, over a ledger of a few entries."""
    faults = Faults()
    with injected(faults):
        ledger = SteppedLedger(environ, tmp_path, faults)
        ledger.publish(8)
        ledger.finish(LIMITS)
    stack = Stack("unused", tmp_path)
    demo = DemoLedger(stack, ledger.environ, ledger.settings, ledger.topology)
    left = Left(tmp_path, "", "")
    shutil.copy(ledger.environ["FINANCE_SIGNERS"], tmp_path / SIGNERS)
    made = bundle.make(demo, left)
    assert made.exit_code == 0, made
    checks = bundle.checks(demo, left)
    assert [check.exit_code for check in checks] == [0, 0, 0], checks
    assert all("8 entries" in check.looked_at for check in checks), checks
    cheats = list(bundle.cheats(demo, left))
    assert [(cheat.caught_by, cheat.caught) for cheat in cheats] == [
        ("finance verify bundle", True),
        ("verify.sh", True),
        ("verify.html", True),
    ], cheats


def test_a_stored_bundle_is_locked_and_stands_in_its_event(environ: dict[str, str], tmp_path: Path) -> None:
    faults = Faults()
    with injected(faults):
        ledger = SteppedLedger(environ, tmp_path, faults)
        ledger.publish(4)
        ledger.finish(LIMITS)
    words = ("export", "auditor", "--from", "2020-01-01", "--to", "2100-01-01", "--shard", "1", "--store")
    told = [finance(ledger.environ, *words, "--out", str(tmp_path / name)) for name in ("one.zip", "two.zip")]
    assert told[0]["version_id"] == told[1]["version_id"], "the same bytes are stored once"
    stored = open_archive(ledger.settings).versions(str(told[0]["object_key"]))
    assert [(it.sha256, it.mode) for it in stored] == [(told[0]["sha256"], "COMPLIANCE")]
    assert ledger.ask("SELECT payload ->> 'object_key' FROM audit_outbox WHERE event_type = 'auditor.exported' LIMIT 1")
    assert finance(ledger.environ, "verify", "bundle", str(tmp_path / "one.zip"))["counts"]["entries_in_window"] == 2
    finance(ledger.environ, *words, "--shard", "9", "--out", str(tmp_path / "no.zip"), code=3)
