"""`finance movement publish` on the real route: what it takes back is compared with what the ledger has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger_core.books.movements.examples import EXAMPLES
from schemas.wire.movement_json import encode_movement_json
from tests.support.read_side import assert_sound, await_posted
from tests.support.route import Ledger

pytestmark = pytest.mark.services

AT = "2025-11-02T12:00:00Z"


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path, {})
    found.environ["FINANCE_OPERATOR"] = "alice"
    yield found
    found.end()


def publish(ledger: Ledger, folder: Path, *movements: bytes, code: int = 0, dry_run: bool = False) -> Any:
    file = folder / "movements.jsonl"
    file.write_bytes(b"\n".join(movements))
    done = ledger.command("movement", "publish", "--file", str(file), "--json", *(["--dry-run"] if dry_run else []))
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def refund(reverses: str, part: str, **more: Any) -> bytes:
    said = {"movement": "settlement.refunded", "settlement_id": "st_1", "order_id": "or_1", "occurred_at": AT}
    return json.dumps(said | {"reverses": reverses, "part": part} | more).encode()


def test_every_kind_is_booked_once_and_nothing_is_taken_back_beyond_what_the_ledger_has(
    ledger: Ledger, tmp_path: Path
) -> None:
    ledger.start("poster")
    ledger.start("projector").wait_said("service.started")
    lines = [encode_movement_json(it) for it in EXAMPLES]
    dry = publish(ledger, tmp_path, *lines, dry_run=True)
    assert (dry["published"], len(dry["events"])) == (0, len(EXAMPLES))
    assert publish(ledger, tmp_path, *lines)["published"] == len(EXAMPLES)
    await_posted(ledger, len(EXAMPLES))
    assert_sound(ledger)  # waits until the read side has all of it
    assert publish(ledger, tmp_path, *lines)["published"] == len(EXAMPLES)  # and nothing is posted twice: see below
    sale = next(it["event_id"] for it in dry["events"] if it["event_type"] == "settlement.captured")

    told = publish(ledger, tmp_path, refund(sale, "rest"), dry_run=True)
    left = sum(it["amount_minor"] for it in told["events"][0]["lines"] if it["side"] == "credit")
    assert 0 < left < 10_000
    told = publish(ledger, tmp_path, refund(sale, "a", amount_minor=left + 1), code=1)
    assert told["published"] == 0
    assert "line 1: amount_minor" in told["fault"]
    two = (refund(sale, "b", amount_minor=left - 1), b"", refund(sale, "c", amount_minor=2))
    told = publish(ledger, tmp_path, *two, code=1)
    assert (told["published"], told["fault"][:20]) == (1, "line 3: amount_minor")
    await_posted(ledger, len(EXAMPLES) + 1)
    assert_sound(ledger)
    assert publish(ledger, tmp_path, two[0])["published"] == 1  # asked again: the same event
    assert publish(ledger, tmp_path, refund(sale, "d"))["published"] == 1  # the unit that is left
    await_posted(ledger, len(EXAMPLES) + 2)
    assert_sound(ledger)
    assert publish(ledger, tmp_path, refund(sale, "e"), code=1)["published"] == 0
    shown = ledger.command("settlement", "show", "st_1", "--json")
    assert json.loads(shown.stdout)["findings"] == []
    assert ledger.ask("SELECT sum(rejected) FROM shards") == (0,)
