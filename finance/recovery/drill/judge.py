"""Judging a restored ledger: the oracle, every published proof made again from its entries, the live ledger beside it.

Guarantees: of each published range that the restored ledger covers, the whole payload is computed anew from restored
entries and verdicts, and its hash must be the published one; heads and roots are expectations for the oracle. What
differs is named by shard, sequence and field. Writes nothing.
Does not: compare a copy with what was published after it: how far it is behind is reported, and is not a finding.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from finance.recovery.drill.live import APPLICATION, Live, recorded_of
from finance.recovery.drill.report import AuditResult, DrillShardResult, Sums
from finance.wiring.oracle import watched
from finance.wiring.stores import open_ledger_reader
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.sources import along
from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.findings import Collector, Report
from ledger_core.postgres.schema.guard import check_schema
from ledger_core.postgres.session import session
from ledger_core.posting.verdicts import verdicts_hash
from ledger_core.proving.range_proof import ProofPayload, RangeProof, TimeRange, Totals
from ledger_core.recovery.compare_ledgers import compare_ledgers
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.ledger_rows import LedgerReader, RangeRow, ShardRow
from ledger_core.verify.oracle import AuditHead, LedgerHead, verify_audit, verify_ledger
from ledger_core.verify.range_tally import Position, RangeTally
from ledger_core.verify.statements import check_proof

BLOCK_ENTRIES = 2_000
NAME = "the live ledger"


def judge_ledger(
    restored: str, live: str, registry: SignerRegistry, found: Collector, advance: Callable[[int], None]
) -> dict[int, LedgerHead]:
    """Everything about the ledger at `restored`; the newest proved head of each shard. Raises Unavailable, Refused."""
    with session(restored, application_name=APPLICATION, read_only=True) as connection:
        found.take(check_schema(connection))
    newest: dict[int, LedgerHead] = {}
    with open_ledger_reader(restored) as ours, open_ledger_reader(live) as theirs:
        found.take(compare_ledgers(ours, theirs, name=NAME))
        heads: list[LedgerHead] = []
        for row in ours.shards():
            for head in _reproduced(ours, row, theirs.ranges(row.shard), registry, found):
                heads.append(head)
                newest[row.shard] = head
        found.take(verify_ledger(watched(ours, advance), registry, expected=heads))
    return newest


def judge_audit(
    restored: str, live: str, registry: SignerRegistry, found: Collector, must_reach: int, published: int
) -> AuditResult:
    """The restored audit chain: sound, the same events as the live one, and as long as its copy must be."""
    own = Collector()
    seq = 0
    with open_ledger_reader(restored) as ours, open_ledger_reader(live) as theirs:

        def counted() -> Iterator[AuditEvent]:
            nonlocal seq
            for event in along(ours.audit_events(), theirs.audit_events(), "live", own, must_reach=False):
                seq = event.seq
                yield event

        report = verify_audit(counted(), registry, expected=[AuditHead(must_reach)], found=own)
    found.count("audit_events", seq)
    found.take(Report(report.findings, {}, report.findings_beyond_max))
    return AuditResult(seq=str(seq), live_seq=str(published))


def measure(
    restored: str, live: Live, proved: dict[int, LedgerHead]
) -> tuple[tuple[DrillShardResult, ...], tuple[Sums, ...]]:
    """How far each shard came, how far it is behind the live ledger as the drill began (RPO), and its trial balance."""
    sums: dict[str, list[int]] = {}
    results = []
    with open_ledger_reader(restored) as reader:
        rows = {row.shard: row for row in reader.shards()}
        recorded = recorded_of(reader, list(rows.values()))
        for shard, wanted in sorted(live.heads.items()):
            results.append(_shard(shard, rows.get(shard), wanted, live, recorded, proved.get(shard)))
            if shard in rows:
                _add(sums, reader.sums(shard))
    balances = (Sums(currency=name, debits=str(one), credits=str(two)) for name, (one, two) in sorted(sums.items()))
    return tuple(results), tuple(balances)


def _reproduced(
    ours: LedgerReader, row: ShardRow, published: Iterator[RangeRow], registry: SignerRegistry, found: Collector
) -> Iterator[LedgerHead]:
    """The published proofs that come out again from restored rows, as heads to expect; others are findings."""
    position = Position(row.shard, topic=row.topic, next_offset=row.first_offset, prev_proof_hash="", rules=FIRST_RULES)
    for known in published:
        if known.proof is None:
            found.count("ranges_not_signed_yet")
            return
        if known.next_offset > row.next_offset:
            found.count("published_proofs_beyond")
            continue
        own = Collector(shard=row.shard)
        proof = check_proof(known.proof, registry, own, seq=known.last_seq)
        if proof is not None:
            made = _make_again(ours, position, known, proof, own)
            if made != proof.hash:
                message = f"made again from restored rows it is {made}, published as {proof.hash}"
                own.add("drill.proof_hash", message, seq=known.last_seq, field="hash", place=proof.proof_id)
            part = proof.shards[0]
            position.follow(proof.hash, part)
            head, root = bytes.fromhex(part.head_hash or ""), bytes.fromhex(part.root)
            yield LedgerHead(row.shard, int(part.last_seq), head, root, f"published proof {proof.proof_id}")
        else:
            position.jump(known.last_seq, known.head_hash.hex() if known.head_hash else None)
        found.count("proof_hashes_reproduced", int(not len(own)))
        found.take(Report(own.report().findings, {}))


def _make_again(
    ours: LedgerReader, position: Position, known: RangeRow, proof: RangeProof, found: Collector
) -> str | None:
    """The hash of the payload with everything in it that entries and verdicts say computed from them."""
    part, tally = proof.shards[0], RangeTally(position, found)
    prev, first = position.head, position.seq + 1
    for low in range(known.first_seq, known.last_seq + 1, BLOCK_ENTRIES):
        tally.add_entries([e.body for e in ours.entries(part.shard, low, min(low + BLOCK_ENTRIES - 1, known.last_seq))])
    verdicts: Sequence[bytes] = [row.line for row in ours.verdicts(part.shard, known.first_offset, known.next_offset)]
    tally.add_verdicts(verdicts)
    tally.compare(proof, part)
    kinds = [verdict.verdict for verdict in tally.verdicts]
    rows = str(position.seq - first + 1)
    tree = position.tree.root().hex() if position.tree is not None else None
    try:
        source = msgspec.structs.replace(
            part.source,
            posted=rows,
            duplicates=str(kinds.count("duplicate")),
            rejected=str(kinds.count("rejected")),
            verdicts_hash=verdicts_hash(verdicts).hex(),
        )
        shard = msgspec.structs.replace(
            part,
            first_seq=str(first),
            last_seq=str(position.seq),
            prev_hash=None if prev is None else prev.hex() or None,
            head_hash=None if position.head is None else position.head.hex() or None,
            tree_size=str(position.seq),
            root=tree,
            source=source,
        )
        fields = {name: getattr(proof, name) for name in ProofPayload.__struct_fields__}
        fields |= {
            "range": TimeRange(from_ts=tally.from_ts, to_ts=tally.to_ts),
            "num_rows": rows,
            "shards": (shard,),
            "totals": {c: Totals(debits=str(total), credits=str(total)) for c, total in tally.totals.items()},
            "prev_proof_hash": position.prev_proof_hash or None,
        }
        return ProofPayload(**fields).digest().hex()
    except (ValueError, TypeError):  # what was restored does not even make a payload; `compare` has reported why
        return None


def _shard(
    shard: int,
    row: ShardRow | None,
    wanted: ShardRow,
    live: Live,
    recorded: dict[int, dt.datetime],
    proved: LedgerHead | None,
) -> DrillShardResult:
    seq, next_offset = (row.seq, row.next_offset) if row is not None else (0, wanted.first_offset)
    behind = None
    if seq >= wanted.seq:
        behind = 0
    elif shard in recorded and shard in live.recorded:
        behind = max(0, int((live.recorded[shard] - recorded[shard]).total_seconds() * 1000))
    head = row.head_hash if row is not None else None
    return DrillShardResult(
        shard=shard,
        seq=str(seq),
        next_offset=str(next_offset),
        head_hash=None if head is None else head.hex(),
        root=None if proved is None or proved.root is None else proved.root.hex(),
        root_size=str(0 if proved is None else proved.seq),
        live_seq=str(wanted.seq),
        live_next_offset=str(wanted.next_offset),
        behind_entries=str(max(0, wanted.seq - seq)),
        behind_offsets=str(max(0, wanted.next_offset - next_offset)),
        behind_milliseconds=None if behind is None else str(behind),
    )


def _add(sums: dict[str, list[int]], of_shard: Mapping[str, list[int]]) -> None:
    """`sums` by currency, from the sums by currency and account type."""
    for name, (debits, credits_) in of_shard.items():
        total = sums.setdefault(name.partition(" ")[0], [0, 0])
        total[0] += debits
        total[1] += credits_
