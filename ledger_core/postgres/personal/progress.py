"""How far the keeper has come: with the side topic, with the data that wait, and with what was erased.

Guarantees: a call reads one consistent snapshot, and no more than COUNTED_MAX rows that wait or were refused: who may
publish can send any number. Read-only; needs the role finance_api.
Does not: know how much waits in Kafka, or which data wait. Data whose event was never posted give no work: nobody knows
whether it comes. Behind COUNTED_MAX rows that wait, it does not see one whose event has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger_core.postgres.session import Session

COUNTED_MAX: Final = 100_000

CURSORS: Final = "SELECT source_partition, next_offset FROM personal_cursors"
PROGRESS: Final = f"""
WITH waiting AS MATERIALIZED (SELECT event_id FROM personal_data WHERE NOT kept LIMIT {COUNTED_MAX})
SELECT (SELECT count(*) FROM waiting),
       (SELECT count(*) FROM (SELECT FROM personal_refused LIMIT {COUNTED_MAX}) AS refused),
       EXISTS (SELECT FROM waiting JOIN entries USING (event_id)),
       (SELECT count(*) FROM personal_data JOIN (SELECT event_id FROM personal_erasures
                                                  UNION SELECT event_id FROM personal_forgotten) e USING (event_id)),
       NOT EXISTS (SELECT FROM chained_erasures((SELECT coalesce(max(seq), 0) FROM personal_forgotten), 1))"""


@dataclass(frozen=True, slots=True)
class PersonalProgress:
    """Personal data beside the ledger. Counts of rows end at COUNTED_MAX."""

    cursors: Mapping[int, int]  # partition of the side topic -> the offset to read next
    waiting: int  # rows whose event is not posted, or not compared with it yet
    refused: int  # records that were not kept, of the last `personal_waiting_days`
    to_compare: bool  # whether the event of a row that waits is posted by now
    to_forget: int  # rows of events that were erased
    chain_read: bool  # whether every erasure of the audit chain is known here

    @property
    def finished(self) -> bool:
        """Whatever was read is kept, refused, or waits for an event that is not there; what was erased is gone."""
        return self.to_forget == 0 and self.chain_read and not self.to_compare


def personal_progress(connection: Session) -> PersonalProgress:
    """As of now."""
    cursors: dict[int, int] = dict(connection.execute(CURSORS).fetchall())
    row = connection.execute(PROGRESS.encode()).fetchone()
    assert row is not None  # noqa: S101  # a SELECT of scalars has one row
    return PersonalProgress(cursors, *row)
