"""`finance export auditor` and `finance verify bundle` over a real ledger on real servers."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

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
