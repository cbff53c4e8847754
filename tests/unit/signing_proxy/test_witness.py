"""A witness signs no history that shrank or forked, whatever it is told, and forgets nothing that it signed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finance.door.problem import Problem
from finance.signing_proxy.witness import Head, LogName, WitnessState, judge, read_checkpoint
from ledger_core.errors import Refused
from ledger_core.proving.checkpoint import note_text
from ledger_core.tree import consistency_proof, leaf_hash, root_of

LEAVES = [leaf_hash(str(number).encode()) for number in range(64)]
FORKED = [*LEAVES[:3], leaf_hash(b"another entry"), *LEAVES[4:]]


def head(size: int, leaves: list[bytes] = LEAVES) -> Head:
    return Head(size, root_of(leaves[:size]))


def log(origin: str, kid: str = "key", caller: str = "prover") -> LogName:
    return LogName(kid, origin, caller)


def code_of(last: Head | None, new: Head, old_size: int | None, proof: tuple[bytes, ...] = ()) -> str:
    with pytest.raises(Problem) as caught:
        judge(last, new, old_size, proof)
    assert caught.value.status in (409, 422)
    return caught.value.code


@given(st.integers(1, 64), st.integers(1, 64))
@settings(deadline=None)
def test_a_log_that_grew_is_signed_and_one_that_shrank_is_not(old: int, new: int) -> None:
    if new < old:
        assert code_of(head(old), head(new), old) == "LOG_SHRANK"
        assert code_of(head(old), head(new), None, consistency_proof(LEAVES, new, old)) == "LOG_SHRANK"
    else:
        assert judge(head(old), head(new), old, consistency_proof(LEAVES, old, new)) == head(new)


@given(st.integers(1, 63), st.integers(2, 64))
@settings(deadline=None)
def test_a_smaller_tree_is_signed_when_the_last_one_continues_it_and_the_last_one_stays(new: int, old: int) -> None:
    if new < old:
        assert judge(head(old), head(new), old, consistency_proof(LEAVES, new, old)) == head(old)
        wrong = consistency_proof(FORKED, new, old)
        if old > 3:
            assert code_of(head(old), head(new, FORKED), old, wrong) == "LOG_INCONSISTENT"


@given(st.integers(4, 64), st.integers(4, 64))
@settings(deadline=None)
def test_a_fork_is_never_signed(old: int, new: int) -> None:
    forked = head(new, FORKED)
    smaller, larger = min(old, new), max(old, new)
    for proof in (consistency_proof(FORKED, smaller, larger), consistency_proof(LEAVES, smaller, larger), ()):
        assert code_of(head(old), forked, old, proof) in ("LOG_SHRANK", "LOG_FORKED", "LOG_INCONSISTENT")


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=8))
@settings(deadline=None)
def test_no_proof_made_up_of_hashes_is_believed(hashes: list[bytes]) -> None:
    assert code_of(head(5), Head(9, hashlib.sha256(b"x").digest()), 5, tuple(hashes)) == "LOG_INCONSISTENT"


def test_the_first_and_the_same_again_need_no_proof() -> None:
    judge(None, head(7), None, ())
    judge(None, head(7), 0, ())
    judge(head(7), head(7), None, ())
    judge(head(7), head(7), 3, ())
    assert code_of(None, head(7), 5) == "OLD_SIZE"
    assert code_of(None, head(7), 0, (bytes(32),)) == "OLD_SIZE"


def test_an_old_size_that_is_not_the_last_is_told_which_it_is() -> None:
    for old_size in (None, 0, 4, 6, 9):
        with pytest.raises(Problem) as caught:
            judge(head(5), head(9), old_size, consistency_proof(LEAVES, 5, 9))
        assert (caught.value.code, caught.value.extra) == ("OLD_SIZE", {"known_size": "5"})


def test_what_a_witness_could_not_keep_in_mind_is_no_checkpoint() -> None:
    """An origin that the log would spell in another way could never be held against the state again."""
    root = bytes(32)
    for origin, size in (("exämple.com/log", 1), ("x" * 513, 1), ("example.com/log", 2**63)):
        with pytest.raises(Problem, match="NO_CHECKPOINT"):
            read_checkpoint(note_text(origin, size, root))
    assert read_checkpoint(note_text("example.com/log", 2**63 - 1, root)) == ("example.com/log", Head(2**63 - 1, root))


def test_a_witness_remembers_so_many_logs_and_forgets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finance.signing_proxy.witness.LOGS_MAX", 2)
    state = WitnessState(tmp_path / "witness.json")
    for name in ("one", "two"):
        assert state.last(log(name), ()) is None
        state.save(log(name), head(5))
    with pytest.raises(Problem, match="TOO_MANY_LOGS"):
        state.last(log("three"), ())
    assert state.last(log("one"), ()) == head(5)
    assert state.last(log("three", caller="other"), ()) is None, "another's share is its own"


def test_the_first_checkpoint_of_a_new_key_continues_what_its_caller_signed_before(tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "witness.json")
    state.save(log("log/0", "old"), head(5))
    state.save(log("log/0", "older"), head(3))
    again = WitnessState(tmp_path / "witness.json")
    for witness in (state, again):
        assert witness.last(log("log/0", "new"), ()) == head(5), "the same caller, with a key of its own"
        assert witness.last(log("log/0", "new", "prover-b"), ("new", "old")) == head(5), "it may use the old one, too"
        assert witness.last(log("log/0", "new", "stranger"), ("new",)) is None, "nobody disturbs the logs of another"
        assert witness.last(log("log/1", "new"), ("new", "old")) is None, "another log"
    assert code_of(again.last(log("log/0", "new"), ()), head(9, FORKED), None) == "OLD_SIZE"


def test_a_state_of_before_callers_were_kept_is_continued_by_whoever_comes(tmp_path: Path) -> None:
    root = head(5).root.hex()
    (tmp_path / "witness.json").write_text(f'{{"version":1,"logs":{{"old log/0":{{"size":5,"root":"{root}"}}}}}}')
    state = WitnessState(tmp_path / "witness.json")
    assert state.last(log("log/0", "new"), ()) == head(5)


def test_the_state_survives_and_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "witness.json"
    state = WitnessState(path)
    state.save(log("log/0", "key"), head(5))
    state.save(log("log/1", "key"), head(6))
    (tmp_path / "witness.json.new").write_bytes(b"half a fi")  # a crash before the rename
    again = WitnessState(path)
    assert (again.last(log("log/0", "key"), ()), again.last(log("log/1", "key"), ())) == (head(5), head(6))
    assert again.last(log("log/0", "other", "stranger"), ()) is None
    again.check_not_behind([("key log/0", head(4)), ("key log/0", head(5))])


def test_a_state_that_was_put_back_or_deleted_is_refused(tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "witness.json")
    with pytest.raises(Refused, match="behind the request log"):
        state.check_not_behind([("key log/0", head(5))])
    state.save(log("log/0", "key"), head(4))
    with pytest.raises(Refused, match="behind the request log"):
        state.check_not_behind([("key log/0", head(5))])


def test_a_state_that_cannot_be_saved_is_not_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    state = WitnessState(folder / "witness.json")
    folder.rmdir()
    with pytest.raises(OSError, match="witness"):
        state.save(log("log/0", "key"), head(5))
    assert state.last(log("log/0", "key"), ()) is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version":2,"logs":{}}', '{"version":1,"logs":{"a":{"size":1,"root":"00"}}}', '{"logs":{}}']
)
def test_a_state_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "witness.json").write_text(text)
    with pytest.raises(Refused, match="cannot be read"):
        WitnessState(tmp_path / "witness.json")
