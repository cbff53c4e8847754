"""Files for the two verifiers, sound ones by the product's code, and seeded mutations of them.

A `Case` is one file, its signers.json, and what the Python verifier says of them. The checkpoint is put together here
by its published form.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ledger_core.audit.events import next_event
from ledger_core.findings import Report
from ledger_core.ports import AuditIntent
from ledger_core.signing import notes
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import CompactRange, leaf_hash
from ledger_core.verify.oracle import verify_audit_lines, verify_batch, verify_proof, verify_receipt
from tests.support.archive_factory import NOW, Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyShard
from tests.support.receipt_factory import Office

ED, RSA = Key("ed25519", "page-ed-v1"), Key("rsa-sha256", "page-rsa-v1")


@dataclass(frozen=True)
class Case:
    """One file beside one registry."""

    name: str  # what it is, and what was done to it
    kind: str  # batch, proof, audit, checkpoint, receipt
    data: bytes
    signers: bytes

    def by_python(self) -> Report | None:
        """What the Python verifier finds; None where it refuses to read the file at all."""
        try:
            registry = SignerRegistry.from_json(self.signers)
        except ValueError:
            return None
        if self.kind == "batch":
            return verify_batch(self.data, registry, place=self.name)
        if self.kind == "proof":
            return verify_proof(self.data, registry, place=self.name)
        if self.kind == "receipt":
            return verify_receipt(self.data, registry, place=self.name).report
        return verify_audit_lines(self.data.splitlines(keepends=True), registry)


def shard() -> TinyShard:
    """Twelve entries in two currencies, duplicates and rejected records between them."""
    made = TinyShard().post(3).silence(2).post(2, seconds=0.5, currency="EUR")
    made.silence(1, reason="bad_field").post(4, seconds=2).silence(1, reason="no_record").post(3, seconds=3)
    return made


def checkpoint(key: Key) -> bytes:
    """A signed checkpoint of that shard, with the two lines of its record."""
    made = shard()
    entries = CompactRange().extend([leaf_hash(item.body) for item in made.entries])
    lines = [made.verdicts[offset] for offset in sorted(made.verdicts)]
    verdicts = CompactRange().extend([leaf_hash(line) for line in lines])
    roots = [base64.b64encode(tree.root()).decode() for tree in (entries, verdicts)]
    text = f"example.com/finance/test/ledger/0\n{entries.size}\n{roots[0]}\n"
    text += f"record 0 {made.next_offset}\nverdicts {verdicts.size} {roots[1]}\n"
    return notes.assemble(text.encode(), key.kid, key.public, key.sign_text(text.encode()))


def audit_lines(key: Key) -> bytes:
    """Three signed events."""
    events, before = [], None
    for number in range(1, 4):
        held: dict[str, object] = {"shard": 0, "range_no": str(number), "proof_hash": "ab" * 32}
        intent = AuditIntent("journal.adopted", "service:prover", held, "cd" * 16)
        unsigned = next_event(before, intent, event_id=f"0196a3c0-0000-7000-8000-00000000000{number}", created_at=NOW)
        before = unsigned.signed(key.sign_digest(unsigned.digest), key.registry.get(key.kid))
        events.append(before)
    return b"".join(event.to_json() + b"\n" for event in events)


def sound() -> list[Case]:
    """Files in which nobody finds anything, by each kind of key."""
    cases = []
    for key in (ED, RSA):
        signers, store = key.registry.to_json(), MemoryStore()
        for number, name in enumerate(archive_of(shard(), [(5, 7), (12, 16)], key, store), 1):
            data = gzip.decompress(store.get(name))
            cases.append(Case(f"batch {number} {key.algorithm}", "batch", data, signers))
            cases.append(Case(f"proof {number} {key.algorithm}", "proof", data.splitlines()[-1], signers))
        office = Office(shard(), (key,))
        for receipt in (office.receipt("entries", 6), office.receipt("verdicts", 2)):
            cases.append(Case(f"receipt {receipt.tree} {key.algorithm}", "receipt", receipt.to_bytes(), signers))
        cases.append(Case(f"audit {key.algorithm}", "audit", audit_lines(key), signers))
    return cases


Change = Callable[[random.Random, bytes], bytes]


def _lines(change: Callable[[random.Random, list[bytes]], object]) -> Change:
    def mutate(chance: random.Random, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        change(chance, lines)
        return b"".join(lines)

    return mutate


def _swap(chance: random.Random, lines: list[bytes]) -> None:
    one, other = (chance.randrange(len(lines)) for _ in range(2))
    lines[one], lines[other] = lines[other], lines[one]


def _flip(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _replaced(pattern: bytes, make: Callable[[random.Random, re.Match[bytes]], bytes]) -> Change:
    """One of the places that a pattern finds, made into something else."""

    def mutate(chance: random.Random, data: bytes) -> bytes:
        found = list(re.finditer(pattern, data))
        if not found:
            return data
        match = chance.choice(found)
        return data[: match.start()] + make(chance, match) + data[match.end() :]

    return mutate


CHANGES: dict[str, Change] = {
    "a bit flipped": _flip,
    "a line dropped": _lines(lambda chance, lines: lines.pop(chance.randrange(len(lines)))),
    "a line doubled": _lines(lambda chance, lines: lines.insert(chance.randrange(len(lines)), chance.choice(lines))),
    "two lines swapped": _lines(_swap),
    "cut off": lambda chance, data: data[: chance.randrange(len(data) - 1)],
    "a number edited": _replaced(rb'"[0-9]+"', lambda chance, match: b'"%d"' % chance.randrange(10**6)),
    "a leading zero": _replaced(rb'"([1-9][0-9]*)"', lambda chance, match: b'"0' + match[1] + b'"'),
    "a number as a number": _replaced(rb'"([1-9][0-9]{0,8})"', lambda chance, match: match[1]),
    "a float": _replaced(rb":([0-9]+)([,}])", lambda chance, match: b":" + match[1] + b".0" + match[2]),
    "a time edited": _replaced(rb"20[0-9]{2}-", lambda chance, match: b"%d-" % chance.randrange(1900, 2300)),
    "a short hash": _replaced(rb"[0-9a-f]{64}", lambda chance, match: match[0][:63]),
    "no hex": _replaced(rb"[0-9a-f]{64}", lambda chance, match: b"g" + match[0][1:]),
    "an upper-case hash": _replaced(rb"[0-9a-f]{64}", lambda chance, match: match[0].upper()),
    "an unknown field": _replaced(rb"\{", lambda chance, match: b'{"aa":1,'),
    "a field twice": _replaced(rb'"([a-z_]+)":("[^"]*")', lambda chance, match: match[0] + b"," + match[0]),
    "a blank": _replaced(rb'[,:]"', lambda chance, match: match[0][:1] + b' "'),
    "an escape": _replaced(rb"[a-z]", lambda chance, match: b"\\u00%02x" % match[0][0]),
    "nested deep": _replaced(rb'"[0-9]+"', lambda chance, match: b"[" * 5000 + b"]" * 5000),
    "a huge number": _replaced(rb'"[0-9]+"', lambda chance, match: b"9" * 400),
    "a bidi text": _replaced(rb'"[a-z_.]+"', lambda chance, match: '"\u202e<script>"'.encode()),
    "not NFC": _replaced(rb'"[a-z_.]+"', lambda chance, match: '"e\u0301"'.encode()),
    "not UTF-8": _replaced(rb'"[a-z_.]+"', lambda chance, match: b'"\xff"'),
    "null": _replaced(rb'"[^"]*"(?=[,}])', lambda chance, match: b"null"),
}


def _registry(case: Case, **changes: object) -> bytes:
    held = json.loads(case.signers)
    held["signers"][0].update(changes)
    return json.dumps(held).encode()


def registries(case: Case) -> Iterator[Case]:
    """The same file beside keys that are retired, revoked, foreign, or registered for something else."""
    end = {"shards": [], "audit": {"from_seq": "9"}}
    other = Key("ed25519", json.loads(case.signers)["signers"][0]["signer_kid"] + "x")
    changed: Sequence[tuple[str, bytes]] = (
        ("retired", _registry(case, retiredAt="2025-01-01T00:00:00.000000Z", validity=end)),
        ("of another place", _registry(case, validity=end)),
        ("for drills alone", _registry(case, signs=["drill"])),
        ("foreign", other.registry.to_json()),
        ("with a field of nobody", _registry(case, note="x")),
        ("of another algorithm", _registry(case, algorithm="rsa-sha256" if "ed25519" in case.name else "ed25519")),
    )
    for words, signers in changed:
        yield Case(f"{case.name}, a key {words}", case.kind, case.data, signers)


def is_older_chain(case: Case, data: bytes) -> bool:
    """Whether this is the same audit chain as it stood before: sound by itself, and both verifiers say so."""
    return case.kind == "audit" and data.endswith(b"\n") and case.data.startswith(data)


def mutations(seed: int, count: int) -> Iterator[Case]:
    """`count` changed files; each differs from the sound one that it was."""
    chance, cases = random.Random(seed), sound()
    while count:
        case, words = chance.choice(cases), chance.choice(list(CHANGES))
        data = CHANGES[words](chance, case.data)
        if data in (case.data, case.data + b"\n") or is_older_chain(case, data):
            continue
        yield Case(f"{case.name}, {words}", case.kind, data, case.signers)
        count -= 1
