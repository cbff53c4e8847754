"""Beside the prover's normal path: a database that lost ranges closes them again, as the audit topic announced them.

Guarantees: a range that is announced is closed with the announced terms, at the announced place, and only if its hash
comes out as announced; then payload, hash and checkpoint text are the published ones, byte by byte. Nothing is closed
beyond what the poster has posted again.
Does not: read the topic, or decide which shard waits (`consumers.proving.published_guard`). What nothing was announced
of is closed by `consumers.proving.range_closer`.
"""

from __future__ import annotations

from collections import deque

from consumers.proving.range_closer import ProvedShard, RangeCloser
from ledger_core.errors import Unavailable
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.proving.closed_range import Cut
from ledger_core.proving.intents import adopted_intent


class AdoptingCloser(RangeCloser):
    """A RangeCloser that closes the announced ranges first, as they were."""

    def close(self, shard: ProvedShard, cut: Cut) -> bool:
        """Write the cut down. False: the shard is to be read anew; or it contradicts what was announced, and the guard
        no longer allows the shard."""
        if not shard.announced:
            return super().close(shard, cut)
        announced = shard.announced[0]
        closed = self._closed(shard, cut, announced.terms(self._env))
        if closed.hash.hex() != announced.proof_hash:
            self._guard.refuse(
                shard.number,
                f"{_said(announced)} has proof {announced.proof_hash}, and the entries and verdicts of this database "
                f"give {closed.hash.hex()} (entries to seq {closed.last_seq}; announced: {announced.last_seq})",
            )
            return False
        if not self._write(shard, closed, adopted_intent(announced, self._actor_id), "range.adopted"):
            return False
        shard.announced.popleft()
        return bool(shard.announced)  # more may have been announced than the guard could return at once

    def _announced_ends(self, shard: ProvedShard, start: int, /) -> list[int]:
        # A rebuild may have put some of them back since the guard checked.
        announced = [it for it in self._guard.announced(shard.number) if int(it.range_no) > shard.range_no]
        if announced and int(announced[0].first_offset) != start:
            self._guard.refuse(
                shard.number, f"{_said(announced[0])} begins at offset {announced[0].first_offset}, here {start}"
            )
            announced = []
        shard.announced = deque(announced)
        return [int(it.next_offset) for it in announced]

    def await_poster(self, shard: ProvedShard, newest: int) -> None:
        """A database that was put back is behind its journal until the poster has posted the same again: the verdicts
        between the entries are not there yet, so nothing may be closed. Raises Unavailable."""
        if newest <= shard.posted_seq:
            return
        position = self._store.position(shard.number)
        shard.posted_seq = 0 if position is None else position.seq
        if newest > shard.posted_seq:
            raise Unavailable(
                "poster", f"shard {shard.number}: the journal ends at seq {newest}, Postgres {shard.posted_seq} so far"
            )

    def unknown_shard(self, shard: int) -> Unavailable:
        """What it means that the journal holds entries of a shard that Postgres does not know: it was put back to
        before them, by an operator or because its standby took over, in whatever epoch."""
        return Unavailable("poster", f"shard {shard}: the journal has entries, and Postgres does not have them yet")


def _said(announced: AnnouncedRange) -> str:
    return f"range {announced.range_no} of shard {announced.shard}, as the audit topic announced it,"
