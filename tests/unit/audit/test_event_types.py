"""The closed list of event types: all that the code leaves is on it, and what is not of its form means nothing."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any, Final

import pytest

from ledger_core.audit.admission import ESCAPED, admission_fault, checked_words, respelled
from ledger_core.audit.event_types import EVENT_TYPES, actor_of, meaning_fault
from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent

ROOT: Final = Path(__file__).parents[3]
FLOORS: Final = ("ledger_core", "consumers", "finance")
HASH: Final = "ab" * 32
BY_TRIGGER: Final = {  # migrations 0022, 0026, 0055 and 0086
    *("payout.requested", "payout.approved", "payout.rejected", "payout.released"),
    *("payee.held", "payee.let_go", "approver.changed", "approval_limit.changed"),
    *("archive.lock_decided", "shard.times_accepted", "personal.erased"),
    *("personal.erasure_approved", "personal.disclosed"),
    *("ledger.halted", "ledger.resumed"),
    *("ledger.shard_halted", "ledger.shard_resumed", "ledger.offsets_set_aside"),
}


def left_by_code() -> dict[str, set[str]]:
    """Event type -> the files that leave it: the first argument of every `AuditIntent` and of a desk's `tell`."""
    found: dict[str, set[str]] = {}
    for path in (path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")):
        place = path.relative_to(ROOT)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            made = isinstance(node.func, ast.Name) and node.func.id == "AuditIntent"
            told = isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "desk.tell"
            if made or told:
                name = _named(node.args[0], place)
                if name is not None:
                    found.setdefault(name, set()).add(str(place))
    return found


def _named(node: ast.expr, place: Path) -> str | None:
    if isinstance(node, ast.Constant):
        return str(node.value)
    module = importlib.import_module(".".join(place.with_suffix("").parts))
    return getattr(module, ast.unparse(node), None)  # None: handed through, from a place that names it


def test_every_event_that_the_code_leaves_is_on_the_list_and_the_list_holds_no_other() -> None:
    assert set(left_by_code()) | BY_TRIGGER == set(EVENT_TYPES)


@pytest.mark.parametrize(
    ("actor_id", "kind"),
    [
        ("service:prover", "prover"),
        ("operator:ada", "operator"),
        ("operator:service:prover", "operator"),
        ("service:operator", ""),
        ("service:api", ""),
        ("operator:", ""),
        ("operator", ""),
        ("", ""),
    ],
)
def test_the_kind_of_an_actor_has_one_reading(actor_id: str, kind: str) -> None:
    assert actor_of(actor_id) == kind


ADOPTED: Final[dict[str, object]] = {"shard": 0, "range_no": "7", "proof_hash": HASH}


@pytest.mark.parametrize(
    ("event_type", "actor_id", "payload", "said"),
    [
        ("journal.adopted", "service:prover", ADOPTED, None),
        ("journal.adopted", "service:prover", {**ADOPTED, "id": "x", "seq": "1", "trace_id": "t"}, None),
        ("journal.adopted", "service:poster", ADOPTED, "is left by prover"),
        ("journal.adopted", "operator:a", ADOPTED, "is left by prover"),
        ("journal.adopted", "service:prover", {**ADOPTED, "more": 1}, "has no field more"),
        ("journal.adopted", "service:prover", {"shard": 0, "range_no": "7"}, "lacks the field proof_hash"),
        ("journal.adopted", "service:prover", {**ADOPTED, "shard": True}, "another form: shard"),
        ("journal.adopted", "service:prover", {**ADOPTED, "shard": -1}, "another form: shard"),
        ("journal.adopted", "service:prover", {**ADOPTED, "range_no": 7}, "another form: range_no"),
        ("journal.adopted", "service:prover", {**ADOPTED, "range_no": "07"}, "another form: range_no"),
        ("journal.adopted", "service:prover", {**ADOPTED, "proof_hash": "zz"}, "another form: proof_hash"),
        ("ledger.halted", "operator:a", {"reason": "r"}, None),
        ("ledger.halted", "operator:a", {"reason": "r", "shard": "0"}, "another form: shard"),
        ("settlement.captured", "operator:a", {}, "knows no event of the type"),
    ],
)
def test_what_is_not_of_its_type_means_nothing(
    event_type: str, actor_id: str, payload: dict[str, Any], said: str | None
) -> None:
    fault = meaning_fault(event_type, actor_id, payload)
    assert fault is None if said is None else fault is not None and said in fault


@pytest.mark.parametrize("character", ESCAPED)
def test_three_characters_that_encoders_escape_are_kept_off_the_chain(character: str) -> None:
    words = f"debits {character} credits"
    assert "some readers" in str(admission_fault(AuditIntent("ledger.resumed", "operator:a", {"reason": words}, "t")))
    assert admission_fault(AuditIntent("ledger.resumed", "operator:a", {"reason": respelled(words)}, "t")) is None
    for said in (words, {"why": words}, ["plain", words]):
        with pytest.raises(Refused, match="the reason"):
            checked_words("reason", said)


@pytest.mark.parametrize("words", ["two\nlines", "e\u0301", "\U0001fae8", "nul\0", "plain"])
def test_respelled_words_can_always_be_chained(words: str) -> None:
    assert admission_fault(AuditIntent("ledger.resumed", "operator:a", {"reason": respelled(words)}, "t")) is None
