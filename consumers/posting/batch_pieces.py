"""What was read becomes batches of bounded weight: one transaction must end in time, whatever stands in the records.

A transaction that computes for longer than Postgres lets it sit idle (2 s for a poster) is ended by the server, and the
same records, read again, would end it again, for ever. A record's weight is the rows that it writes: up to
`event_rules.LINES_MAX` lines, and one verdict for each offset without a record before it.

Guarantees: records come in their order, each once; a batch writes at most `ROWS_MAX` rows, or holds one record alone.
Records are decided as they are taken, so that memory is that of one batch. Where batches are cut changes no verdict
(`ledger_core.posting.sequencing`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from ledger_core.posting.plans import Decided, Draft

ROWS_MAX: Final = 100_000
# Rejections nearer than this share a piece: so many records cost other shards about as long as one transaction more.
APART_RECORDS: Final = 200


def pieces(decided: Iterable[Decided], next_offset: int) -> Iterator[list[Decided]]:
    """Cut what is in order of offset, from `next_offset` on, into batches."""
    batch: list[Decided] = []
    rows = 0
    for item in decided:
        outcome, offset = item.outcome, item.record.offset
        adds = offset + 1 - next_offset + (len(outcome.lines) if isinstance(outcome, Draft) else 0)
        if batch and rows + adds > ROWS_MAX:
            yield batch
            batch, rows = [], 0
        batch.append(item)
        rows += adds
        next_offset = offset + 1
    if batch:
        yield batch


def around(batch: Sequence[Decided], offsets: Collection[int]) -> list[tuple[Sequence[Decided], bool]]:
    """The batch in order, cut around the records at `offsets`: (piece, whether it holds some of them). Those that
    stand near each other share a piece with what is between."""
    numbers = [number for number, item in enumerate(batch) if item.record.offset in offsets]
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and number - spans[-1][1] < APART_RECORDS:
            spans[-1] = spans[-1][0], number + 1
        else:
            spans.append((number, number + 1))
    cut: list[tuple[Sequence[Decided], bool]] = []
    done = 0
    for start, end in spans:
        cut += [(batch[done:start], False), (batch[start:end], True)]
        done = end
    return [(piece, holds) for piece, holds in [*cut, (batch[done:], False)] if piece]
