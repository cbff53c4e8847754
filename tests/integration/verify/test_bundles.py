"""`finance export auditor` and `finance verify bundle` over a real ledger on real servers."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import msgspec

from finance.wiring.services import open_archive
from finance.workshop.demo import bundle
from finance.workshop.demo.leave import SIGNERS, Left
from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.devstack import Stack
from ledger_core.archive import bundle_names
from ledger_core.books.settlements import SettlementEvent
from schemas.wire.personal import encode_personal
from tests.simulator.faults import Faults
from tests.support.backups import finance
from tests.support.bundle_factory import contents_of, forged
from tests.support.command_line import Finance
from tests.support.personal import SALT, keep_until, kept, say
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


def test_personal_data_are_shown_by_a_decision_on_record_until_they_are_erased(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """All pairs, one pair alone, none; the same roots; what two operators erased is in no later bundle, and the earlier
    ones verify still."""
    events: list[SettlementEvent] = []

    def with_buyer(event: SettlementEvent) -> SettlementEvent:
        data = {"buyer": f"Zoe {len(events)}", "country": "PT"}
        events.append(msgspec.structs.replace(event, pii=data, pii_salt=SALT))
        return events[-1]

    faults = Faults()
    with injected(faults):
        ledger = SteppedLedger(environ, tmp_path, faults)
        ledger.publish(8, with_buyer)
        ledger.finish(LIMITS)
    url, window = environ["DATABASE_URL"], ("--from", "2020-01-01", "--to", "2100-01-01")
    say(environ, *((it.event_id.encode(), encode_personal(it.event_id, dict(it.pii or {}), SALT)) for it in events))
    keep_until(environ, lambda: len(kept(url)) == 8)

    def export(name: str, *words: str, code: int = 0) -> Path:
        finance(ledger.environ, "export", "auditor", *window, "--out", str(tmp_path / name), *words, code=code)
        return tmp_path / name

    why = ("--pii", "include", "--reason", "tax audit, case 7")
    export("no.zip", *why[:2], code=2)
    export("no.zip", *why, "--store", code=2)
    assert ledger.ask("SELECT count(*) FROM personal_disclosures") == 0
    every, one, closed = export("every.zip", *why), export("one.zip", *why, "--pii-field", "country"), export("c.zip")
    counts = [finance(ledger.environ, "verify", "bundle", str(it))["counts"] for it in (every, one, closed)]
    assert [it.get("openings", 0) for it in counts] == [8, 8, 0]
    told = [contents_of(it).get(bundle_names.OPENINGS, b"") for it in (every, one, closed)]
    assert [(it.count(b"Zoe"), it.count(b'"PT"')) for it in told] == [(8, 8), (0, 8), (0, 0)]
    assert len({contents_of(it)[bundle_names.last_note(0)] for it in (every, one, closed)}) == 1, "the same roots"
    types = (
        "SELECT string_agg(event_type, ' ' ORDER BY outbox_id) FROM audit_outbox WHERE payload::text LIKE '%fields%'"
    )
    assert ledger.ask(types) == "personal.disclosed personal.disclosed"
    assert ledger.ask("SELECT count(*) FROM audit_outbox WHERE payload ? 'disclosure_no' AND payload ? 'openings'") == 2

    gone, operators = events[0].event_id, Finance(ledger.environ)
    operators("pii", "approve", gone, "--reason", "case 8", FINANCE_OPERATOR="bob")
    operators("pii", "erase", gone, "--reason", "case 8", "--wait", "0", code=1)
    hidden = export("hidden.zip", *why)
    assert contents_of(hidden)[bundle_names.OPENINGS].count(b"Zoe") == 7, "before the keeper deletes the row"
    keep_until(environ, lambda: len(kept(url)) == 7)
    later = export("later.zip", *why)
    assert gone not in {json.loads(line)["event_id"] for line in contents_of(later)[bundle_names.OPENINGS].splitlines()}
    for path in (every, one, closed, hidden, later):
        finance(ledger.environ, "verify", "bundle", str(path))
    assert later.read_bytes() == hidden.read_bytes()
