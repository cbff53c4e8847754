"""The worked examples of docs/FORMATS.md, made by the product's own code from one tiny shard and one derived test key.

`python -m tests.support.format_examples` prints them in the form they have in the page.
"""

from __future__ import annotations

import gzip
import hashlib
import json

from ledger_core.archive.names import export_key
from ledger_core.audit import events
from ledger_core.audit.export import seal_export
from ledger_core.books.entries import EntrySource, JournalEntry, encode_entry
from ledger_core.books.lines import Line
from ledger_core.chain import link
from ledger_core.ports import AuditIntent
from ledger_core.posting.verdicts import VerdictLine, encode_verdict
from ledger_core.proving.range_proof import assemble_proof
from ledger_core.proving.receipt import receipt_of
from ledger_core.proving.tiles import TreeName
from ledger_core.signing import notes
from ledger_core.signing.signatures import encode_signature
from ledger_core.signing.statements import Cosignature
from ledger_core.tree import CompactRange, inclusion_proof, leaf_hash
from tests.support.archive_factory import NOW, Key, MemoryStore, archive_of, closed_of, cut_of
from tests.support.control_records import control_value
from tests.support.journal_factory import TinyEntry, TinyShard, sha256_at
from tests.support.mac_key import MacSecret

KEY = Key("ed25519", "finance-example-v1")
MAC = MacSecret("finance-example-mac-v1", key_id="11111111-2222-3333-4444-555555555555")  # of VECTOR_SECRET
RECORDED_AT = "2025-11-01T09:30:00.250000Z"


def shard() -> TinyShard:
    """Two entries at offsets 0 and 2; offset 1 was a duplicate."""
    made = TinyShard()
    _post(made, "0b6f5b5e-7a1c-8d3f-9e00-5a7d3c1f0001", "st_1", "10000", "9710", "290")
    line = VerdictLine(
        content_hash="2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        event_id="0b6f5b5e-7a1c-8d3f-9e00-5a7d3c1f0001",
        key_sha256=hashlib.sha256(b"st_1").hexdigest(),
        offset="1",
        reason="already_posted",
        value_sha256=sha256_at(1),
        verdict="duplicate",
    )
    made.verdicts[1] = encode_verdict(line)
    made.next_offset = 2
    _post(made, "0b6f5b5e-7a1c-8d3f-9e00-5a7d3c1f0002", "st_2", "2500", "2427", "73")
    return made


def _post(made: TinyShard, event_id: str, settlement_id: str, gross: str, net: str, fee: str) -> None:
    seq = len(made.entries) + 1
    entry = JournalEntry(
        event_id=event_id,
        event_type="settlement.captured",
        lines=(
            Line(account="asset:psp:stripe", amount_minor=gross, currency="USD", side="debit"),
            Line(account="liability:payable:seller-42", amount_minor=net, currency="USD", side="credit"),
            Line(account="revenue:fees", amount_minor=fee, currency="USD", side="credit"),
        ),
        metadata={"channel": "web"},
        occurred_at="2025-11-01T09:29:59.000000Z",
        order_id=f"ord_{seq}",
        recorded_at=RECORDED_AT,
        seq=str(seq),
        settlement_id=settlement_id,
        shard=0,
        source=EntrySource(
            offset=str(made.next_offset), partition=0, topic=made.topic, value_sha256=sha256_at(made.next_offset)
        ),
        version=1,
    )
    body = encode_entry(entry)
    made.head = link(body, made.head)
    made.entries.append(TinyEntry(seq, body, made.head, made.next_offset, entry))
    made.next_offset += 1


def examples() -> dict[str, str]:
    """Name -> text, as it stands in the page."""
    made = shard()
    one, two = made.entries
    cut = cut_of(made, None, 2, 3)
    closed = closed_of(cut, made, KEY, 1, None)
    proof = assemble_proof(closed.payload, KEY.sign_digest(closed.hash))
    text = closed.checkpoint_text
    store = MemoryStore()
    (batch_name,) = archive_of(made, [(2, 3)], KEY, store)
    batch = gzip.decompress(store.get(batch_name))
    held: dict[str, object] = {"shard": 0, "range_no": "1", "proof_hash": closed.hash.hex()}
    intent = AuditIntent("journal.adopted", "service:prover", held, "ab" * 16)
    unsigned = events.next_event(None, intent, event_id="0196a3c0-0000-7000-8000-000000000001", created_at=NOW)
    event = unsigned.signed(KEY.sign_digest(unsigned.digest), KEY.registry.get(KEY.kid))
    tree = CompactRange().extend([leaf_hash(one.body), leaf_hash(two.body)])
    manifest_name = next(name for name in store.objects if "/manifests/" in name)
    return {
        "MAC key": json.dumps(json.loads(MAC.registry.to_json())["signers"][0], indent=2),
        "range proof with a MAC": _with_a_mac(made).decode(),
        "signers.json": KEY.registry.to_json().decode().rstrip("\n"),
        "entry": one.body.decode(),
        "entry 2": two.body.decode(),
        "chain": f"seq 1  {one.entry_hash.hex()}\nseq 2  {two.entry_hash.hex()}",
        "tree": "\n".join(
            [
                f"leaf 1  {leaf_hash(one.body).hex()}",
                f"leaf 2  {leaf_hash(two.body).hex()}",
                f"root 2  {tree.root().hex()}",
            ]
        ),
        "checkpoint": notes.assemble(text, KEY.kid, KEY.public, KEY.sign_text(text)).decode().rstrip("\n"),
        "receipt": _receipt(text, "entries", 1, [one.body, two.body]),
        "receipt of a verdict": _receipt(text, "verdicts", 0, [made.verdicts[1]]),
        "verdict": made.verdicts[1].decode(),
        "control record": control_value(key=KEY, ts=RECORDED_AT, reason="BGN, for late refunds").decode(),
        "range proof": proof.decode(),
        "batch": "\n".join(
            line if len(line) < 400 or "first_seq" in line[:60] else f"{line[:60]}..."
            for line in batch.decode().rstrip("\n").split("\n")
        ),
        "batch name": batch_name,
        "manifest name": manifest_name,
        "manifest": store.get(manifest_name).decode(),
        "audit event": event.to_json().decode(),
        "audit export name": export_key("test", event.seq, event.seq),
        "audit export": gzip.decompress(seal_export([event]).data).decode().removesuffix("\n"),
    }


def _receipt(text: bytes, tree: TreeName, index: int, leaves: list[bytes]) -> str:
    note = notes.assemble(text, KEY.kid, KEY.public, KEY.sign_text(text))
    path = inclusion_proof([leaf_hash(leaf) for leaf in leaves], index, len(leaves))
    return receipt_of(note, KEY.registry, tree, index, leaves[index], path).to_bytes().decode()


def _with_a_mac(made: TinyShard) -> bytes:
    """The same range, by a MAC key, cosigned by the key of the other examples."""
    closed = closed_of(cut_of(made, None, 2, 3), made, MAC, 1, None)
    signature = encode_signature(KEY.sign_digest(closed.hash))
    beside = Cosignature(signer_kid=KEY.kid, alg=KEY.algorithm, signature=signature)
    return assemble_proof(closed.payload, MAC.sign_digest(closed.hash), (beside,))


if __name__ == "__main__":
    for name, text in examples().items():
        print(f"<!-- example: {name} -->\n```\n{text}\n```\n")
