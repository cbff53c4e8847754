"""Entries with personal data beside them, what a decision to show some of these lets out of the keeper's table, and
what a forger does to the lines of a bundle that shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from finance.cli.proving.bundle_openings import Ask
from ledger_core.books.personal import commitment_of, pair_salt, sealed
from ledger_core.bundle.openings import ShownPair
from tests.support.archive_factory import Key, MemoryStore, archive_of
from tests.support.bundle_factory import HOUR
from tests.support.journal_factory import TinyShard

SALT = bytes(range(16))
ENTRIES_AN_HOUR = {0: 5, 1: 3}


def buyers(shard: int, seq: int) -> dict[str, str]:
    """The personal data of one entry."""
    return {"buyer": f"Zoe {shard}-{seq}", "country": "PT"}


def shards_with_buyers(hours: int = 6) -> list[TinyShard]:
    shards = []
    for number, entries in ENTRIES_AN_HOUR.items():
        shard = TinyShard(number)
        for hour in range(hours):
            for _ in range(entries):
                digest = sealed(buyers(number, len(shard.entries) + 1), SALT).digest.hex()
                shard.post(seconds=hour * HOUR, pii_digest=digest)
            shard.silence(1)
        shards.append(shard)
    return shards


def with_buyers(key: Key) -> MemoryStore:
    """An archive of two shards with a range an hour, each entry of which has a digest."""
    store = MemoryStore()
    for shard in shards_with_buyers():
        an_hour = ENTRIES_AN_HOUR[shard.shard]
        cuts = [(hour * an_hour, hour * (an_hour + 1)) for hour in range(1, 7)]
        archive_of(shard, cuts, key, store)
    return store


def shown_of(fields: Sequence[str] = (), erased: Sequence[int] = ()) -> Ask:
    """What the keeper's table answers: pairs of these names (none: all), but of entries whose sequence is erased."""
    held: dict[str, list[ShownPair]] = {}
    for shard in shards_with_buyers():
        for item in shard.entries:
            if item.seq not in erased:
                data = buyers(shard.shard, item.seq)
                held[item.entry.event_id] = [_shown(name, data[name], fields) for name in sorted(data)]

    def ask(event_ids: Sequence[str]) -> Mapping[str, Sequence[ShownPair]]:
        return {event_id: held[event_id] for event_id in event_ids if event_id in held}

    return ask


def _shown(name: str, value: str, fields: Sequence[str]) -> ShownPair:
    salt = pair_salt(name, SALT)
    commitment = commitment_of(name, value, salt)
    return (
        ShownPair(commitment, name, value, salt)
        if not fields or name in fields
        else ShownPair(commitment, None, None, None)
    )


def _json(change: Callable[[dict[str, object]], object]) -> Callable[[list[bytes]], list[bytes]]:
    def mutate(lines: list[bytes]) -> list[bytes]:
        told = json.loads(lines[1])
        change(told)
        return [lines[0], json.dumps(told, separators=(",", ":"), sort_keys=True).encode() + b"\n", *lines[2:]]

    return mutate


def _pair(**changes: object) -> Callable[[list[bytes]], list[bytes]]:
    def change(told: Mapping[str, list[dict[str, dict[str, object]]]]) -> None:
        told["pairs"][0]["opened"].update(changes)

    return _json(change)  # type: ignore[arg-type]


# What a forger with our key does to the lines -> the finding.
FORGED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "another value": (_pair(value="Eve"), "opening.form"),
    "another salt": (_pair(salt="ab" * 32), "opening.form"),
    "another name": (_pair(name="aa"), "opening.form"),
    "a value with a control character": (_pair(value="a\u0001"), "opening.form"),
    "a value that is not NFC": (_pair(value="e\u0301"), "opening.form"),
    "an empty line": (lambda lines: [*lines, b"\n"], "opening.form"),
    "no line feed at the end": (lambda lines: [*lines[:-1], lines[-1][:-1]], "opening.form"),
    "a pair dropped": (_json(lambda told: told["pairs"].pop()), "opening.digest"),  # type: ignore[attr-defined]
    "a pair doubled": (_json(lambda told: told["pairs"].append(told["pairs"][1])), "opening.form"),  # type: ignore
    "two lines swapped": (lambda lines: [lines[1], lines[0], *lines[2:]], "opening.order"),
    "a line doubled": (lambda lines: [lines[0], *lines], "opening.order"),
    "the event of another entry": (_json(lambda told: told.update(event_id="0" * 8 + "-0000" * 3 + "-" + "0" * 12)),
                                   "opening.entry"),
    "another entry's pairs": (
        lambda lines: _json(lambda told: told.update(pairs=json.loads(lines[4])["pairs"]))(lines), "opening.digest"),
    "an entry outside of the window": (_json(lambda told: told.update(seq="99")), "opening.entry"),
    "an entry of no shard": (lambda lines: [*lines[:-1], lines[-1].replace(b'"shard":1', b'"shard":9')],
                             "opening.entry"),
    "a shard as a text": (_json(lambda told: told.update(shard="0")), "opening.form"),
    "a field of nobody": (_json(lambda told: told.update(note="x")), "opening.form"),
    "nothing opened": (_json(lambda told: [pair.update(opened=None) for pair in told["pairs"]]),  # type: ignore
                       "opening.form"),
    "a blank": (lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]], "opening.form"),
    "not UTF-8": (lambda lines: [lines[0].replace(b"Zoe", b"Z\xffe"), *lines[1:]], "opening.form"),
    "packed": (lambda lines: [b"\x1f\x8b", *lines], "opening.form"),
}  # fmt: skip
