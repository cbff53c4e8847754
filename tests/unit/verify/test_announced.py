"""An archive beside the audit chain: each range is the announced one, once; what differs is named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest

from ledger_core.archive.manifest import parse_manifest
from ledger_core.archive.names import manifests_folder
from ledger_core.audit.events import AuditEvent, UnsignedAuditEvent, next_event
from ledger_core.audit.set_aside import set_aside_intent
from ledger_core.ports import AuditIntent
from ledger_core.verify.oracle import AnnouncedCheck, ArchivedProofs, verify_announced, verify_archive
from tests.support.archive_factory import ENV, NOW, TRACE_ID, Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyShard

KEY = Key("ed25519")
THIEF = Key("ed25519", "nobody-knows-it")
CUTS = [(5, 6), (12, 14), (12, 16), (15, 20)]
OTHER_CUTS = [(5, 6), (11, 13), (12, 16), (15, 20)]
OTHER = "ab" * 32
TOPIC = "finance.audit"


def shard() -> TinyShard:
    return TinyShard().post(5).silence(2).post(7).silence(3, reason="malformed").post(3).silence(4)


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    archive_of(shard(), CUTS, KEY, made)
    archive_of(TinyShard(1).silence(3), [(0, 3)], KEY, made)
    return made


def proofs_in(store: MemoryStore) -> dict[tuple[int, int], str]:
    """The proof of each range, by shard and number."""
    manifests = [parse_manifest(store.get(stored.key)) for stored in store.versions(manifests_folder(ENV))]
    return {(it.shard, int(it.manifest_no)): it.object.range.proof_hash for it in manifests}


def posted(shard: int, range_no: int, proof_hash: str, event_type: str = "journal.posted") -> AuditIntent:
    told: dict[str, object] = {"shard": shard, "range_no": str(range_no), "proof_hash": proof_hash}
    return AuditIntent(event_type, "service:prover", told, TRACE_ID)


def published(shard: int, range_no: int, proof_hash: str) -> AuditIntent:
    told: dict[str, object] = {
        "proof_id": f"{ENV}-{shard}-{range_no}",
        "proof_hash": proof_hash,
        "signer_kid": KEY.kid,
        "num_rows": "1",
        "shards": [{"shard": shard}],
    }
    return AuditIntent("proof.published", "service:prover", told, TRACE_ID)


def chain(intents: Sequence[AuditIntent], key: Key = KEY, signer: Key = KEY) -> list[bytes]:
    """The values of the audit topic; `signer` signs in the name of `key`."""
    lines: list[bytes] = []
    head: UnsignedAuditEvent | None = None
    for number, intent in enumerate(intents, 1):
        at = NOW + dt.timedelta(seconds=number)
        event = next_event(head, intent, event_id=f"018c2f9e-7a52-7b11-9d3e-{number:012d}", created_at=at)
        head = event.signed(signer.sign_digest(event.digest), signer.registry.get(signer.kid))
        lines.append(head.to_json().replace(signer.kid.encode(), key.kid.encode()))
    return lines


def announced(store: MemoryStore) -> list[AuditIntent]:
    return [posted(shard, number, proof) for (shard, number), proof in sorted(proofs_in(store).items())]


def compare(store: MemoryStore, lines: Sequence[bytes], **options: int) -> AnnouncedCheck:
    archived = ArchivedProofs(**options)  # type: ignore[arg-type]
    verify_archive(store, ENV, KEY.registry, proofs=archived)
    return verify_announced(archived, lines, KEY.registry, ENV, topic=TOPIC)


def codes(compared: AnnouncedCheck) -> list[tuple[str, int | None]]:
    return [(finding.code, finding.shard) for finding in compared.report.findings]


def test_an_archive_that_was_announced_is_sound_and_counted(store: MemoryStore) -> None:
    intents = [*announced(store), *(published(*place, proof) for place, proof in proofs_in(store).items())]
    compared = compare(store, chain([*intents, posted(0, 4, proofs_in(store)[0, 4], "journal.adopted")]))
    assert compared.report.sound
    assert compared.report.counts == {"announcements": 11, "ranges_as_announced": 5}
    assert compared.waiting == ()


def test_a_second_proof_of_an_announced_range_is_found_though_the_archive_is_sound(store: MemoryStore) -> None:
    """Signed by the registered key, sound in every archive: only the announcement says that there were two."""
    intents, forged = announced(store), MemoryStore()
    archive_of(shard(), OTHER_CUTS, KEY, forged)
    archive_of(TinyShard(1).silence(3), [(0, 3)], KEY, forged)
    assert verify_archive(forged, ENV, KEY.registry).sound
    compared = compare(forged, chain(intents))
    assert codes(compared) == [("archive.announced", 0)] * 3
    first = compared.report.findings[0]
    assert f"{ENV}-0-2 is two proofs" in first.message
    assert proofs_in(store)[0, 2] in first.message
    assert proofs_in(forged)[0, 2] in first.message


@pytest.mark.parametrize("again", [posted(0, 2, OTHER), posted(0, 2, OTHER, "journal.adopted"), published(0, 2, OTHER)])
def test_one_range_announced_with_two_proofs_is_found_in_either_order(store: MemoryStore, again: AuditIntent) -> None:
    for intents in ([*announced(store), again], [again, *announced(store)]):
        assert codes(compare(store, chain(intents))) == [("archive.announced", 0)]
    ahead = [*announced(store), posted(0, 5, OTHER), posted(0, 5, "cd" * 32)]
    assert codes(compare(store, chain(ahead))) == [("archive.announced", 0)]


def test_a_range_that_was_never_announced_is_found(store: MemoryStore) -> None:
    intents = [it for it in announced(store) if it.payload["range_no"] not in ("2", "3")]
    compared = compare(store, chain(intents))
    assert codes(compared) == [("archive.unannounced", 0)]
    assert f"{ENV}-0-2 to {ENV}-0-3 are in the archive" in compared.report.findings[0].message


def test_what_is_announced_and_not_archived_yet_is_named_and_no_finding(store: MemoryStore) -> None:
    compared = compare(store, chain([*announced(store), posted(0, 5, OTHER), posted(0, 6, OTHER), posted(7, 1, OTHER)]))
    assert compared.report.sound
    assert compared.waiting == ((0, 5, 6), (7, 1, 1))
    assert compared.report.counts["ranges_not_archived_yet"] == 3


def test_an_announced_range_in_front_of_archived_ones_is_missing(store: MemoryStore) -> None:
    intents = announced(store)
    for stored in list(store.objects):
        if "shard-00000" in stored and ("0002.json" in stored or "offsets-0000000000000000006-" in stored):
            del store.objects[stored]
    compared = compare(store, chain(intents))
    assert ("archive.missing", 0) in codes(compared)
    assert f"{ENV}-0-2 is announced" in compared.report.findings[0].message
    assert compared.waiting == ()


def test_a_range_that_is_not_sound_is_one_finding_of_the_archive_alone(store: MemoryStore) -> None:
    intents = announced(store)
    batch = next(key for key in store.objects if "offsets-0000000000000000006-" in key)
    store.replace(batch, b"rubbish")
    assert codes(compare(store, chain(intents))) == []


@pytest.mark.parametrize(
    "lines",
    [
        chain([posted(0, 2, OTHER)], key=THIEF, signer=THIEF),
        chain([posted(0, 2, OTHER)], signer=THIEF),
        [chain([posted(0, 2, OTHER)])[0].replace(OTHER.encode(), b"cd" * 32)],
        [b"rubbish", b'{"event_type":"journal.posted"}'],
        chain([AuditIntent("journal.posted", "service:prover", {"shard": 0, "range_no": "x"}, TRACE_ID)]),
        chain([AuditIntent("proof.published", "service:api", {"proof_id": "an operator's", "proof_hash": OTHER}, "t")]),
    ],
    ids=["unknown key", "forged signature", "altered payload", "no event", "no range", "on demand"],
)
def test_what_does_not_count_says_nothing(store: MemoryStore, lines: list[bytes]) -> None:
    assert compare(store, [*chain(announced(store)), *lines]).report.sound


def test_a_chain_without_its_beginning_cannot_say_what_was_never_announced(store: MemoryStore) -> None:
    compared = compare(store, chain(announced(store))[2:])
    assert compared.report.sound
    assert compared.report.counts["ranges_not_compared"] == 2
    assert codes(compare(store, chain([*announced(store), posted(0, 4, OTHER)])[2:])) == [("archive.announced", 0)]


def test_memory_is_bounded_and_what_is_beyond_is_counted(store: MemoryStore) -> None:
    lines = chain([*announced(store), posted(0, 10**18, OTHER)])
    compared = compare(store, lines, ranges_max=3)
    assert compared.report.sound
    assert compared.report.counts["ranges_not_compared"] == 2
    assert compared.report.counts["ranges_as_announced"] == 3


def test_only_the_shards_that_are_asked_for_are_compared(store: MemoryStore) -> None:
    archived = ArchivedProofs([1])
    verify_archive(store, ENV, KEY.registry, shards=[1], proofs=archived)
    lines = chain([posted(0, 2, OTHER), *announced(store), posted(0, 9, OTHER)])
    compared = verify_announced(archived, lines, KEY.registry, ENV, topic=TOPIC)
    assert (compared.report.sound, compared.waiting) == (True, ())
    assert compared.report.counts["ranges_as_announced"] == 1


@pytest.mark.parametrize("number", [2, 9], ids=["an archived range", "one that is yet to come"])
def test_what_an_operator_set_aside_announces_nothing(store: MemoryStore, number: int) -> None:
    intents = announced(store)
    forged = [*intents, posted(0, number, OTHER)]
    place = AuditEvent.from_json(chain(forged)[-1])
    lines = chain([*forged, set_aside_intent(place, "forged", "operator:ada", TRACE_ID)])
    assert codes(compare(store, lines[:-1])) == ([("archive.announced", 0)] if number == 2 else [])
    compared = compare(store, lines)
    assert compared.report.sound
    assert compared.report.counts["ranges_as_announced"] == 5
    assert compared.waiting == ()
