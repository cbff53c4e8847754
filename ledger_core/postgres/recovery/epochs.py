"""The epochs of a database: how this ledger came to stand here, and at which heads.

Guarantees: an epoch and its audit intents are one transaction, so a ledger that was put back says so on the audit chain
too: `ledger.epoch_began` with a digest of where every shard stood, after `ledger.epoch_heads`, HEADS_MAX shards an
event, since an event has a limit. Epochs are gapless, append-only, and nothing ever follows a what-if but another one.
Does not: put anything back. Needs the owner to begin an epoch; every role may read them.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final, Literal

from ledger_core import canonical
from ledger_core.audit.admission import respelled
from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.session import Session

HEADS_MAX: Final = 200  # of one audit event: half of what its limit takes

EpochKind = Literal["genesis", "replay", "rebuild", "restore", "what-if"]

NEWEST = """
SELECT epoch_no, epoch_id, kind, began_at, actor_id, reason, heads FROM epochs ORDER BY epoch_no DESC LIMIT 1"""

BEGIN = """
INSERT INTO epochs (epoch_no, epoch_id, kind, actor_id, reason, heads)
SELECT (SELECT max(epoch_no) + 1 FROM epochs), %(epoch_id)s, %(kind)s, %(actor_id)s, %(reason)s,
       coalesce((SELECT jsonb_agg(jsonb_build_object('shard', shard, 'seq', seq::text, 'next_offset', next_offset::text,
                                                     'head_hash', encode(head_hash, 'hex')) ORDER BY shard)
                   FROM shards), '[]')"""


@dataclass(frozen=True, slots=True)
class EpochHead:
    """Where one shard stood when the epoch began. `head_hash` is lower-case hex, None at genesis."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    seq: int  # of the newest entry; 0 at genesis
    next_offset: int  # settlements offset to read next
    head_hash: str | None


@dataclass(frozen=True, slots=True)
class Epoch:
    """One period of the database. `epoch_no` counts from 1; `heads` in order of shard."""

    epoch_no: int
    epoch_id: str  # UUID, made by who began it
    kind: EpochKind  # why this epoch of the database began
    began_at: dt.datetime  # UTC; the database's clock
    actor_id: str  # who began it
    reason: str  # for people
    heads: tuple[EpochHead, ...]


def read_epoch(connection: Session) -> Epoch:
    """The newest epoch. Raises Refused on a database that is not migrated."""
    row = connection.execute(NEWEST).fetchone()
    if row is None:
        raise Refused("the table epochs has no row", remedy="run `finance migrate` on a database of this service")
    return Epoch(*(*row[:6], tuple(_head(item) for item in row[6])))


def begin_epoch(
    connection: Session, *, kind: EpochKind, epoch_id: str, actor_id: str, reason: str, trace_id: str
) -> Epoch:
    """Begin an epoch at the heads as they stand, with its audit intent, in one transaction (or in the caller's).

    `epoch_id` is a new uuid. Two that begin at once follow each other; whoever asks which epoch it is, in the
    transaction that writes, has committed before this one begins or sees it: the lock waits for readers too. Raises
    Refused on a what-if database, which never becomes anything else.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE epochs IN ACCESS EXCLUSIVE MODE")
        before = read_epoch(connection)
        if before.kind == "what-if" and kind != "what-if":
            raise not_the_ledger(before)
        cursor.execute(BEGIN, {"epoch_id": epoch_id, "kind": kind, "actor_id": actor_id, "reason": reason})
        began = read_epoch(connection)
        heads = [_told(head) for head in began.heads]
        named: dict[str, object] = {"epoch_no": str(began.epoch_no), "epoch_id": began.epoch_id}
        for at in range(0, len(heads), HEADS_MAX):
            payload = {**named, "heads": heads[at : at + HEADS_MAX]}
            append_intent(cursor, AuditIntent("ledger.epoch_heads", actor_id, payload, trace_id))
        payload = {
            **named,
            "kind": kind,
            "reason": respelled(reason),
            "shards": str(len(heads)),
            "heads_hash": heads_hash(heads),
        }
        append_intent(cursor, AuditIntent("ledger.epoch_began", actor_id, payload, trace_id))
    return began


def heads_hash(heads: list[object]) -> str:
    """SHA-256, lower-case hex, of the canonical JSON of `{"heads": [...]}`, every shard in order."""
    return canonical.sha256_hex(canonical.encode({"heads": heads}))


def not_the_ledger(epoch: Epoch) -> Refused:
    """What everybody says who is asked to work on a what-if database as if it were the ledger."""
    return Refused(
        f"this database is not the ledger: epoch {epoch.epoch_no} is a what-if ({epoch.reason})",
        remedy="use the address of the ledger's own database; drop this one once nobody needs it",
    )


def _head(item: dict[str, Any]) -> EpochHead:
    return EpochHead(item["shard"], int(item["seq"]), int(item["next_offset"]), item["head_hash"])


def _told(head: EpochHead) -> object:
    return {
        "shard": head.shard,
        "seq": str(head.seq),
        "next_offset": str(head.next_offset),
        "head_hash": head.head_hash,
    }
