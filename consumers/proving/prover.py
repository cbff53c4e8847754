"""The prover: journal entries become closed ranges, closed ranges become signed proofs and checkpoints.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. READ journal records of a shard     nothing changes; a crash reads again from the last closed range
  2. TAKE them (chain, sequence, balance) and cut: in memory; a crash forgets it
  3. CLOSE the range, INSERT ranges      a commit point: the bytes to sign are fixed (described in range_closer)
  4. SIGN what is announced, in order    nothing leaves before finance.audit holds its range; a crash signs it again
  5. PUBLISH, INSERT proofs, checkpoints a commit point: the proof is published

Guarantees: a range is written down before it is signed, so that every retry signs the same bytes; a signer that is away
stops proofs and nothing else; a restart goes on from the last closed range in Postgres, whatever it had read beyond.
Does not: post, archive, or read anything it could have remembered wrong. A gap, a broken link or an unbalanced entry
raises Corrupt and ends the process.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import structlog

from consumers.kafka.journal_records import journal_items
from consumers.kafka.source import OpenSource
from consumers.metrics import Metrics
from consumers.proving.adoption import AdoptingCloser
from consumers.proving.live_checkpoints import LiveCheckpoints, TileStore
from consumers.proving.note_lines import unsigned_checkpoint
from consumers.proving.prover_settings import ProverSettings, ProverStore
from consumers.proving.published_guard import NOTHING_PUBLISHED, ClosingGuard
from consumers.proving.range_closer import ProvedShard
from consumers.proving.tree_history import ReadJournal, ShardHistory
from consumers.signing.circuit import SignerAway
from consumers.signing.signer_set import SignerSet
from ledger_core.books.rule_versions import UnknownRules
from ledger_core.errors import AheadOfClocks, Corrupt, SignerFailure, SignerRefused
from ledger_core.ports import Record
from ledger_core.proving.closed_range import ClosedRange, Cut
from ledger_core.proving.intents import proof_intent
from ledger_core.proving.range_proof import assemble_proof, parse_payload
from ledger_core.times import parse_time

CLOCK_RETRY_SECONDS: Final = 15.0  # before records that are dated ahead are read again

log = structlog.get_logger("prover")


class Prover:
    """A `consumers.service.Service`. The clock gives UTC times, `monotonic` seconds, `new_trace_id` 32 hex digits.

    `read_journal` gives the records of a shard from an offset of the journal on: for a signer that is a witness.
    """

    name = "prover"

    def __init__(
        self,
        store: ProverStore,
        tiles: TileStore,
        open_source: OpenSource,
        signers: SignerSet,
        settings: ProverSettings,
        *,
        read_journal: ReadJournal,
        clock: Callable[[], dt.datetime],
        monotonic: Callable[[], float],
        new_trace_id: Callable[[], str],
        metrics: Metrics,
        guard: ClosingGuard = NOTHING_PUBLISHED,
    ) -> None:
        self._guard = guard
        self._closer = AdoptingCloser(
            store,
            signers,
            guard,
            env=settings.env,
            domain=settings.domain,
            limits=settings.limits,
            actor_id=settings.actor_id,
            clock=clock,
            new_trace_id=new_trace_id,
        )
        self._live = LiveCheckpoints(
            store,
            tiles,
            signers,
            guard,
            env=settings.env,
            domain=settings.domain,
            interval_seconds=settings.checkpoint_seconds,
            read_journal=read_journal,
            monotonic=monotonic,
            metrics=metrics,
        )
        self._store = store
        self._signers = signers
        self._read_journal = read_journal
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._metrics = metrics
        self._shards: dict[int, ProvedShard] = {}
        self._source = open_source(self._start_offset, self._forget)

    def step(self) -> bool:
        """Read once, close what is complete or idle, sign what waits. Raises Unavailable, Corrupt, Refused."""
        worked = False
        for partition in self._guard.due():
            self._read_anew(self._shards[partition])
        self._try_again()
        # 1. READ. Nothing changes: a crash, or the next owner, reads again from the last closed range in Postgres.
        polled = self._source.poll(self._settings.poll_records_max, self._settings.poll_seconds)
        for partition, records in polled:
            self._take(partition, records)
            worked = True
        for partition in sorted(self._source.owned & self._shards.keys()):
            self._tell_lag(self._shards[partition])
            worked |= self._may_close(partition) and self._close_idle(partition)
        # A live checkpoint has its own commit point, and nothing else waits for it (`live_checkpoints`).
        worked |= self._live.step({it: self._shards[it] for it in self._source.owned & self._shards.keys()})
        return self._sign_waiting() or worked

    def close(self) -> None:
        try:
            self._source.close()
        finally:
            self._signers.close()
            self._store.close()

    # --- reading ---------------------------------------------------------------------------------------------------

    def _start_offset(self, partition: int) -> int:
        """On assignment: go on after the last closed range, with a proof of it still to be made perhaps."""
        self._guard.look(partition)
        shard = self._shards[partition] = ProvedShard(partition, quiet_since=self._monotonic())
        growing = self._closer.load(shard)
        return 0 if growing is None else growing.journal_offset

    def _forget(self, partition: int) -> None:
        self._shards.pop(partition, None)
        self._live.forget(partition)
        self._guard.forget(partition)
        self._metrics.released(partition)

    def _take(self, partition: int, records: Sequence[Record]) -> None:
        if not self._may_close(partition):
            return  # read again once it may
        shard = self._shards[partition]
        growing = shard.growing or self._closer.load(shard)
        if growing is None:
            raise self._closer.unknown_shard(partition)
        items = [(record.offset, item.seq, item.body, item.entry_hash) for record, item in journal_items(records)]
        self._closer.await_poster(shard, max(seq for _, seq, _, _ in items))
        # 2. TAKE. In memory alone. A gap, a broken link, an unbalanced entry is Corrupt before anything is closed.
        try:
            if not self._close_all(shard, growing.take_block(items)):
                return
        except UnknownRules as unknown:
            self._stand(shard, unknown)
            return
        shard.quiet_since = self._monotonic()
        shard.newest = records[-1].offset, records[-1].timestamp_ms
        self._source.note_done(partition, records[-1].offset + 1)

    def _may_close(self, partition: int) -> bool:
        return self._guard.allows(partition) and self._shards[partition].waits_until is None

    def _wait_for_time(self, shard: ProvedShard, ahead: AheadOfClocks) -> None:
        """This shard alone waits, until the time of its records has come or is accepted."""
        log.error("prover.clock_ahead", shard=shard.number, detail=ahead.detail, retry_seconds=CLOCK_RETRY_SECONDS)
        self._metrics.unavailable(ahead.what)
        self._read_anew(shard)
        self._source.pause(shard.number)
        self._shards[shard.number].waits_until = self._monotonic() + CLOCK_RETRY_SECONDS

    def _try_again(self) -> None:
        """Read on in shards that waited for the time of their records."""
        for shard in self._shards.values():
            if shard.waits_until is not None and self._monotonic() >= shard.waits_until:
                shard.waits_until, shard.quiet_since = None, self._monotonic()
                self._source.resume(shard.number)

    def _stand(self, shard: ProvedShard, unknown: UnknownRules) -> None:
        """This shard alone waits for a version that knows its rules: what stands there was closed, or is read again."""
        log.error("prover.rules_unknown", shard=shard.number, reason=unknown.message, remedy=unknown.remedy)
        self._read_anew(shard)
        self._source.pause(shard.number)

    def _tell_lag(self, shard: ProvedShard) -> None:
        """At each step: that the end is reached may be known only after the last record was taken."""
        if shard.newest is None:
            return
        offset, timestamp_ms = shard.newest
        waiting = self._source.waiting(shard.number, offset + 1) or 0
        age_seconds = max(0.0, self._clock().timestamp() - timestamp_ms / 1000) if waiting else 0.0
        self._metrics.lag(shard.number, waiting, age_seconds)

    # --- closing ---------------------------------------------------------------------------------------------------

    def _close_idle(self, partition: int) -> bool:
        """Nothing came for a while: close what there is, and account for trailing offsets that posted nothing."""
        shard = self._shards[partition]
        now = self._monotonic()
        if now - shard.quiet_since < self._settings.idle_seconds:
            return False
        shard.quiet_since = now
        growing = shard.growing or self._closer.load(shard)
        position = self._store.position(partition)
        if growing is None or position is None:
            return False
        cuts = growing.idle(position)
        if cuts:
            self._close_all(shard, cuts)
        return bool(cuts)

    def _close_all(self, shard: ProvedShard, cuts: Iterable[Cut]) -> bool:
        """Write the cuts down, one transaction each. False: the shard was read anew from Postgres, or waits."""
        for cut in cuts:
            # 3. CLOSE. One transaction a cut. A crash before its COMMIT: the entries are read again; after: the range
            # is fixed and unsigned, and whoever owns the shard next signs those very bytes.
            try:
                if self._closer.close(shard, cut):
                    continue
            except AheadOfClocks as ahead:
                self._wait_for_time(shard, ahead)
                return False
            if self._guard.allows(shard.number):
                self._read_anew(shard)
            return False
        return True

    def _read_anew(self, shard: ProvedShard) -> None:
        offset = self._start_offset(shard.number)
        if shard.number in self._source.owned:
            self._source.seek(shard.number, offset)

    # --- signing ---------------------------------------------------------------------------------------------------

    def _sign_waiting(self) -> bool:
        """Sign ranges without a proof, in order, a bounded number in one step."""
        if not self._signers.ready:
            return False
        left = self._settings.sign_ranges_max
        for shard in [s for s in self._shards.values() if s.may_wait and self._guard.allows(s.number)]:
            waiting = self._store.unsigned(shard.number, left)
            # Signed only once its announcement is published: what leaves before that binds nobody after a restore.
            announced = itertools.takewhile(self._guard.binds, waiting)
            signed = sum(itertools.takewhile(bool, map(self._sign, announced)))
            left -= signed
            if not left:
                break
            shard.may_wait = signed < len(waiting)
        return left < self._settings.sign_ranges_max

    def _sign(self, closed: ClosedRange) -> bool:
        """One range's proof and checkpoint: signed, verified, stored. False: its signer is away, or refuses it."""
        payload = parse_payload(closed.payload)
        if payload.digest() != closed.hash:
            raise Corrupt(f"shard {closed.shard}, range {closed.range_no}: hash is not that of its payload")
        text = closed.checkpoint_text
        seen = partial(self._live.signed_size, closed.shard)
        history = ShardHistory(closed, self._store.range_below, self._read_journal, seen)
        # 4. SIGN. The bytes were written down before: a crash, or a signer that was away, signs the same ones again.
        try:
            with self._signers.attempt_written(payload.signer_kid, payload.ts) as signer:
                signature = signer.sign_digest(closed.hash)
                lines = [signer.note_line(text, history)] if signer.says("checkpoint") else []
            with self._signers.attempt_cosign(payload.signer_kid) as cosigners:
                cosignatures = tuple(it.cosign(closed.hash) for it in cosigners if it.says("proof"))
                lines += [it.note_line(text, history) for it in cosigners if it.says("checkpoint")]
            if not lines:
                raise unsigned_checkpoint(payload.signer_kid)
        except SignerAway:
            return False  # logged and counted; proofs wait; posting and closing go on
        except SignerRefused as error:
            if error.failure is not SignerFailure.WITNESS:
                raise
            self._guard.refuse(closed.shard, error.message)  # what was signed was published: this shard alone waits
            return False
        proof = assemble_proof(closed.payload, signature, cosignatures)
        note = b"\n".join([text, b"".join(lines)])
        # 5. PUBLISH. A crash before the COMMIT signs the same bytes again; after it, the proof is published.
        is_alone = signer.registered.is_mac and not cosignatures
        intent = proof_intent(payload, self._settings.actor_id, self._settings.mac_waiver if is_alone else None)
        published = self._store.publish_proof(closed, payload.proof_id, proof, note, intent)
        if published:
            self._metrics.proof((self._clock() - parse_time(payload.ts)).total_seconds())
            log.info("proof.published", proof_id=payload.proof_id, shard=closed.shard, trace_id=payload.trace_id)
        return True
