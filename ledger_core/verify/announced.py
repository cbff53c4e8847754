"""The proofs of an archive beside what the audit chain announced: one proof for each range, in both places. Pure.

Guarantees: an event counts only when its hash is its own, a registered key signed it that counts, its actor is whom
such an event belongs to, and no operator set it aside later (of the first UNDO_MAX); no other record says anything
here. Of the first `ranges_max` ranges a proof that is not the announced one, two announcements of one range, a range
that was never announced, and one that is missing in front of later ones are found and named; ranges beyond are counted
as not compared. Memory is 33 bytes a range.
Does not: check the chain itself (`ledger_core.verify.audit`), or what the archive holds (`ledger_core.verify.archive`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from ledger_core.audit.event_types import SET_ASIDE
from ledger_core.audit.events import AuditEvent, fault_of
from ledger_core.audit.set_aside import Place, set_aside_by
from ledger_core.findings import Collector, Finding, Report
from ledger_core.proof_ids import of_range, range_no_of
from ledger_core.signing.registry import SignerRegistry

RANGES_MAX: Final = 2_000_000  # of all shards: 66 MB
HASH_BYTES: Final = 32
# What names a range and its proof. Reading a record costs a hundred times as much as searching it for these.
EVENT_TYPES: Final = ("journal.posted", "journal.adopted", "proof.published")
_MARKS: Final = tuple(f'"event_type":"{name}"'.encode() for name in (*EVENT_TYPES, SET_ASIDE))
UNDO_MAX: Final = 10_000  # announcements that may still be set aside by what comes later

# What is known of a range.
NOTHING: Final = 0
ARCHIVED: Final = 1  # and sound
UNSOUND: Final = 2  # it stands in the archive, and what is wrong there is a finding already
AGREED: Final = 3  # archived, and announced so
AHEAD: Final = 4  # announced, and not archived
CONTRADICTED: Final = 5  # a finding was made of it


@dataclass(slots=True)
class _Shard:
    """Its ranges from 1 on: a state and a hash each."""

    newest: int = 0  # in the archive
    states: bytearray = field(default_factory=bytearray)
    hashes: bytearray = field(default_factory=bytearray)

    def state(self, range_no: int) -> int:
        return self.states[range_no - 1] if range_no <= len(self.states) else NOTHING

    def hash(self, range_no: int) -> bytes:
        return bytes(self.hashes[(range_no - 1) * HASH_BYTES : range_no * HASH_BYTES])

    def put(self, range_no: int, state: int, digest: bytes | None = None) -> None:
        missing = range_no - len(self.states)
        if missing > 0:
            self.states += bytes(missing)
            self.hashes += bytes(missing * HASH_BYTES)
        self.states[range_no - 1] = state
        if digest is not None:
            self.hashes[(range_no - 1) * HASH_BYTES : range_no * HASH_BYTES] = digest

    def runs(self, wanted: int) -> Iterator[tuple[int, int]]:
        """First and last range of each run in one state."""
        for state, group in groupby(enumerate(self.states, 1), lambda item: item[1]):
            if state == wanted:
                numbers = [number for number, _ in group]
                yield numbers[0], numbers[-1]


class ArchivedProofs:
    """The ranges of an archive, as a walk meets them. `shards`: only these, None: all."""

    def __init__(self, shards: Iterable[int] | None = None, ranges_max: int = RANGES_MAX) -> None:
        self._only = None if shards is None else frozenset(shards)
        self._left = ranges_max
        self.unchecked = 0
        self.shards: dict[int, _Shard] = {}

    def add(self, shard: int, range_no: int, proof_hash: str | None) -> None:
        """A range stands in the archive; `proof_hash` is lower-case hex, None unless it was found sound."""
        of_shard = self.room(shard, range_no)
        if of_shard is None:
            self.unchecked += proof_hash is not None and (self._only is None or shard in self._only)
            return
        of_shard.newest = max(of_shard.newest, range_no)
        if proof_hash is not None:
            of_shard.put(range_no, ARCHIVED, bytes.fromhex(proof_hash))
        elif of_shard.state(range_no) == NOTHING:
            of_shard.put(range_no, UNSOUND)

    def room(self, shard: int, range_no: int) -> _Shard | None:
        """The shard, with room for that range. None: it is not asked for, or beyond the limit."""
        if self._only is not None and shard not in self._only:
            return None
        of_shard = self.shards.setdefault(shard, _Shard())
        more = max(0, range_no - len(of_shard.states))
        if more > self._left:
            return None
        self._left -= more
        return of_shard


@dataclass(slots=True)
class _Doubtful:
    """What may still be set aside: announcements ahead of the archive, and contradictions, findings in the end."""

    ahead: dict[Place, tuple[_Shard, int]] = field(default_factory=dict)
    contradictions: dict[Place, tuple[_Shard, int, int, Finding]] = field(default_factory=dict)

    def announced(self, place: Place, of_shard: _Shard, range_no: int) -> None:
        if len(self.ahead) < UNDO_MAX:
            self.ahead[place] = (of_shard, range_no)

    def contradicted(self, place: Place, of_shard: _Shard, range_no: int, finding: Finding, found: Collector) -> None:
        if len(self.contradictions) < UNDO_MAX:
            self.contradictions[place] = (of_shard, range_no, of_shard.state(range_no), finding)
        else:
            found.take(Report((finding,), {}))

    def set_aside(self, place: Place) -> None:
        """As if that event had never been read."""
        if place in self.contradictions:
            of_shard, range_no, state, _ = self.contradictions.pop(place)
            of_shard.put(range_no, state)
        elif place in self.ahead:
            of_shard, range_no = self.ahead.pop(place)
            if of_shard.state(range_no) == AHEAD:
                of_shard.put(range_no, NOTHING)

    def finish(self, found: Collector) -> None:
        for _, _, _, finding in self.contradictions.values():
            found.take(Report((finding,), {}))


@dataclass(frozen=True, slots=True)
class AnnouncedCheck:
    """What came of it. `waiting`: shard, first and last range that are announced and not archived yet."""

    report: Report
    waiting: tuple[tuple[int, int, int], ...]


def check_announced(
    archived: ArchivedProofs, lines: Iterable[bytes], registry: SignerRegistry, env: str, *, topic: str
) -> AnnouncedCheck:
    """Compare with the audit chain, given as JSON lines from its first event on (the values of the audit topic). A
    chain whose beginning is lost cannot say what was never announced: that is counted (`ranges_not_compared`).

    Read the archive first: what leaves later has been announced by then. Raises what the iterable raises.
    """
    found = Collector()
    whole, doubtful = False, _Doubtful()
    for number, line in enumerate(lines):
        if number and not any(mark in line for mark in _MARKS):
            continue
        try:
            event = AuditEvent.from_json(line)
        except ValueError:
            continue
        whole |= event.seq == 1
        aside, told = set_aside_by(event), _announced(event, env)
        if told is None and aside is None:
            continue
        if fault_of(event, registry) is not None:
            found.count("announcements_that_do_not_count")
        elif aside is not None:
            doubtful.set_aside(aside)
        elif told is not None:
            found.count("announcements")
            _take(archived, *told, event, env, found, doubtful)
    doubtful.finish(found)
    return _finished(archived, whole, found, env, topic)


def _announced(event: AuditEvent, env: str) -> tuple[int, int, str] | None:
    """Shard, number and proof of the range that an event names; None when it names none."""
    payload = event.payload
    # Only the payload is signed: what stands beside it counts as far as it is repeated there.
    if event.event_type not in EVENT_TYPES or payload.get("event_type") != event.event_type:
        return None
    if event.event_type == "proof.published":
        return _of_proof(payload, env)
    shard, range_no, proof_hash = (payload.get(name) for name in ("shard", "range_no", "proof_hash"))
    if type(shard) is not int or not _is_number(range_no) or not _is_hash(proof_hash):
        return None
    return shard, int(str(range_no)), str(proof_hash)


def _of_proof(payload: dict[str, object], env: str) -> tuple[int, int, str] | None:
    """The same of a published proof; one that an operator asked for is of no range."""
    shards = payload.get("shards")
    shard = shards[0].get("shard") if isinstance(shards, list) and len(shards) == 1 else None
    if type(shard) is not int or not _is_hash(payload.get("proof_hash")):
        return None
    number = range_no_of(str(payload.get("proof_id")), env, shard)
    return None if number is None else (shard, number, str(payload["proof_hash"]))


def _is_number(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20 and value[0] != "0"


def _is_hash(value: object) -> bool:
    try:
        return isinstance(value, str) and len(bytes.fromhex(value)) == HASH_BYTES
    except ValueError:
        return False


def _take(
    archived: ArchivedProofs,
    shard: int,
    range_no: int,
    proof_hash: str,
    event: AuditEvent,
    env: str,
    found: Collector,
    doubtful: _Doubtful,
) -> None:
    place = (event.seq, event.hash)
    of_shard = archived.room(shard, range_no)
    if of_shard is None:
        return
    state, digest = of_shard.state(range_no), bytes.fromhex(proof_hash)
    if state == NOTHING:
        of_shard.put(range_no, AHEAD, digest)
        doubtful.announced(place, of_shard, range_no)
    elif state in (ARCHIVED, AGREED, AHEAD) and of_shard.hash(range_no) != digest:
        where = "announced before" if state == AHEAD else "in the archive"
        finding = Finding(
            "archive.announced",
            f"{of_range(env, shard, range_no)} is two proofs: {of_shard.hash(range_no).hex()} is {where}, and audit "
            f"event seq {event.seq} ({event.event_type}) names {proof_hash}",
            shard=shard,
            field="proof_hash",
            place=event.id,
        )
        doubtful.contradicted(place, of_shard, range_no, finding, found)
        of_shard.put(range_no, CONTRADICTED)
    elif state == ARCHIVED:
        of_shard.put(range_no, AGREED)
        found.count("ranges_as_announced")


def _finished(archived: ArchivedProofs, whole: bool, found: Collector, env: str, topic: str) -> AnnouncedCheck:
    waiting = []
    for shard, of_shard in sorted(archived.shards.items()):
        for first, last in of_shard.runs(AHEAD):
            if first < of_shard.newest:
                found.add(
                    "archive.missing",
                    f"{_named(env, shard, first, last)} announced on {topic}, and later ones are in the archive",
                    shard=shard,
                    field="range_no",
                )
            else:
                waiting.append((shard, first, last))
                found.count("ranges_not_archived_yet", last - first + 1)
        for first, last in of_shard.runs(ARCHIVED):
            if whole:
                message = f"{_named(env, shard, first, last)} in the archive, and never announced on {topic}"
                found.add("archive.unannounced", message, shard=shard, field="proof_hash")
            else:
                found.count("ranges_not_compared", last - first + 1)
    if archived.unchecked:
        found.count("ranges_not_compared", archived.unchecked)
    return AnnouncedCheck(found.report(), tuple(waiting))


def _named(env: str, shard: int, first: int, last: int) -> str:
    one = of_range(env, shard, first)
    return f"{one} is" if first == last else f"{one} to {of_range(env, shard, last)} are"
