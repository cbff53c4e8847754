"""For which stretch of the record a key's signatures count: intervals of sequence numbers, never of clock times.

A time is what a statement says of itself, and whoever stole a key writes any time he likes; the place of a statement in
its chain is fixed by what stands before and after it. So a key that is revoked at sequence N of a shard (and event M of
the audit chain) proves nothing after them, and everything before.

An interval may pin its end: `head_hash` is the hash of the entry (of the audit event) at `to_seq`. So a thief's other
history below the end is found too, since it does not lead there.

Guarantees: a key without intervals counts everywhere; with them, only inside, and not at all in a shard that is not
listed. Bounds are inclusive; `to_seq` one below `from_seq` is an interval with nothing in it.
Does not: know what was signed (`ledger_core.verify.statements` asks), or read a registry
(`ledger_core.signing.registry` does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ledger_core.decimals import is_decimal
from ledger_core.hashes import is_hash

FIELD: Final = "validity"  # of a signer in signers.json; Kernel's tools pass it over


@dataclass(frozen=True, slots=True)
class Interval:
    """Sequences `from_seq`..`to_seq`, inclusive; `to_seq` None: open. `head_hash` (hex) is that of `to_seq`. Raises
    ValueError for what is not an interval.
    """

    from_seq: int = 1
    to_seq: int | None = None
    head_hash: str | None = None

    def __post_init__(self) -> None:
        if self.from_seq < 0 or (self.to_seq is not None and self.to_seq < self.from_seq - 1):
            raise ValueError(f"sequences {self.from_seq}..{self.to_seq} are not an interval")
        if self.head_hash is not None and (self.to_seq is None or not is_hash(self.head_hash)):
            raise ValueError(f"head_hash {self.head_hash!r} is not the hash of a to_seq")

    def fault(self, seq: int, head_hash: str | None = None, *, chained: bool = True) -> str | None:
        """Why a statement of `seq`, whose head is `head_hash` if that is known, does not count; None when it does. One
        that is not `chained` may speak of what is older than its key."""
        if (self.to_seq is not None and seq > self.to_seq) or (chained and seq not in self):
            return f"counts {self}"
        if seq == self.to_seq and None not in (head_hash, self.head_hash) and head_hash != self.head_hash:
            return f"counts for head {self.head_hash} at seq {seq}, not for {head_hash},"
        return None

    def pins(self, seq: int, head_hash: str | None) -> bool:
        """Whether it ends at this very head: what leads there was made before the end was written down."""
        return seq == self.to_seq and head_hash is not None and head_hash == self.head_hash

    def __contains__(self, seq: int) -> bool:
        return self.from_seq <= seq and (self.to_seq is None or seq <= self.to_seq)

    def __str__(self) -> str:
        if self.to_seq is None:
            return f"from seq {self.from_seq} on"
        return f"for seq {self.from_seq}..{self.to_seq}" if self.to_seq >= self.from_seq else "nowhere"


NOTHING: Final = Interval(1, 0)


@dataclass(frozen=True, slots=True)
class Validity:
    """`shards` None: every sequence of every shard; else only the listed ones. `audit` None: every audit event."""

    shards: Mapping[int, Interval] | None = field(default=None)
    audit: Interval | None = None

    def shard(self, shard: int) -> Interval:
        """Where in a shard the key counts."""
        return Interval() if self.shards is None else self.shards.get(shard, NOTHING)

    def to_json(self) -> dict[str, object]:
        """`{"shards": [{"shard": 0, "from_seq": "1", "to_seq": "90"}], "audit": {...}}`: as in signers.json."""
        told: dict[str, object] = {}
        if self.shards is not None:
            told["shards"] = [{"shard": shard, **_write(self.shards[shard])} for shard in sorted(self.shards)]
        if self.audit is not None:
            told["audit"] = _write(self.audit)
        return told


def parse_validity(value: object) -> Validity:
    """Read `to_json` back. Raises ValueError on another form: a bound not understood must not be passed over."""
    if not isinstance(value, dict) or not value.keys() <= {"shards", "audit"}:
        raise ValueError('validity is not {"shards": [...], "audit": {...}}')
    shards: dict[int, Interval] | None = None
    if "shards" in value:
        if not isinstance(value["shards"], list):
            raise ValueError("validity.shards is not a list")
        shards = {}
        for item in value["shards"]:
            number = item.get("shard") if isinstance(item, dict) else None
            if type(number) is not int or number < 0 or number in shards:
                raise ValueError("validity.shards: each names another shard, a number from 0")
            shards[number] = _read({name: text for name, text in item.items() if name != "shard"})
    return Validity(shards, _read(value["audit"]) if "audit" in value else None)


def _read(value: object) -> Interval:
    if not isinstance(value, dict) or not value.keys() <= {"from_seq", "to_seq", "head_hash"}:
        raise ValueError("validity: an interval has from_seq, to_seq and head_hash")
    bounds = {name: _seq(text) for name, text in value.items() if name != "head_hash"}
    if "head_hash" in value and not is_hash(value["head_hash"]):
        raise ValueError(f"validity: head_hash {value['head_hash']!r} is not a hash")
    return Interval(bounds.get("from_seq", 1), bounds.get("to_seq"), value.get("head_hash"))


def _seq(text: object) -> int:
    if not is_decimal(text):
        raise ValueError(f"validity: {text!r} is not a sequence as decimal text")
    return int(str(text))


def _write(interval: Interval) -> dict[str, str]:
    told = {"from_seq": str(interval.from_seq)}
    if interval.to_seq is not None:
        told["to_seq"] = str(interval.to_seq)
    if interval.head_hash is not None:
        told["head_hash"] = interval.head_hash
    return told
