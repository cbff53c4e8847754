"""One line of pii/openings.jsonl: what of an event's personal data is shown, under the digest in its entry. Pure.

    {"event_id":"...","pairs":[{"commitment":"<hex>","opened":{"name":"buyer","salt":"<hex>","value":"Zoe"}},
     {"commitment":"<hex>","opened":null}],"seq":"41","shard":0}

Guarantees: a pair that is opened has the commitment of its name, value and salt; whoever reads a line holds its digest
against the entry's, and so knows that no pair was added, dropped or changed. A pair that is not opened says nothing.
Does not: know an entry: `ledger_core.verify.bundles.openings` compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import msgspec

from ledger_core.books.event_rules import METADATA_PAIRS_MAX, check_text, is_metadata_key
from ledger_core.books.personal import commitment_of, digest_of
from ledger_core.errors import Rejected
from ledger_core.signing.statements import (
    Decimal,
    Hash,
    Name,
    ShardNo,
    StatementPart,
    decode_statement,
    encode_statement,
)

LINE_BYTES_MAX: Final = 128 * 1024  # 32 pairs of 512 characters, escaped


class OpenedPair(StatementPart, frozen=True, kw_only=True):
    """What is shown of one pair."""

    name: Name  # of the pair
    salt: Hash  # of this pair alone, made of the event's
    value: str  # the personal data


class CommittedPair(StatementPart, frozen=True, kw_only=True):
    """One pair. Raises ValueError where its commitment is not that of what is opened."""

    commitment: Hash  # of name, value and salt
    opened: OpenedPair | None  # None: it is not shown

    def __post_init__(self) -> None:
        if self.opened is None:
            return
        name, value = self.opened.name, self.opened.value
        if not is_metadata_key(name):
            raise ValueError("the name of a pair is not a lower-case word")
        try:
            check_text("value", value)
        except Rejected as error:
            raise ValueError(str(error)) from error
        if commitment_of(name, value, bytes.fromhex(self.opened.salt)).hex() != self.commitment:
            raise ValueError(f"the commitment of {name} is not that of its value and salt")


class Opening(StatementPart, frozen=True, kw_only=True):
    """The personal data of one event, or some of them. Raises ValueError where nothing is opened, or names go back."""

    event_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]  # of the entry
    pairs: Annotated[
        tuple[CommittedPair, ...], msgspec.Meta(min_length=1, max_length=METADATA_PAIRS_MAX)
    ]  # in order of name
    seq: Decimal  # of the entry
    shard: ShardNo  # of the entry

    def __post_init__(self) -> None:
        names = [pair.opened.name for pair in self.pairs if pair.opened is not None]
        if not names:
            raise ValueError("no pair is opened")
        if names != sorted(set(names)):
            raise ValueError("the pairs do not stand in order of their names, each once")

    @property
    def digest(self) -> str:
        """The digest that these pairs have together, hex: that of the entry."""
        return digest_of([bytes.fromhex(pair.commitment) for pair in self.pairs]).hex()


class ShownPair(NamedTuple):
    """One pair as the keeper's table gives it."""

    commitment: bytes  # 32 bytes
    name: str | None  # None: it is not to be shown, and so are value and salt
    value: str | None  # the personal data
    salt: bytes | None  # of this pair alone, 32 bytes


_decoder = msgspec.json.Decoder(Opening)


def parse_opening(data: bytes) -> Opening:
    """Canonical JSON. Raises ValueError."""
    if len(data) > LINE_BYTES_MAX:
        raise ValueError(f"it has more than {LINE_BYTES_MAX:,} bytes")
    return decode_statement(data, _decoder)


def opening_line(shard: int, seq: str, event_id: str, pairs: Sequence[ShownPair]) -> bytes:
    """Canonical JSON and LF. Raises ValueError where no pair is shown."""
    made = tuple(
        CommittedPair(
            commitment=pair.commitment.hex(),
            opened=None
            if pair.name is None or pair.value is None or pair.salt is None
            else OpenedPair(name=pair.name, salt=pair.salt.hex(), value=pair.value),
        )
        for pair in pairs
    )
    return encode_statement(Opening(event_id=event_id, pairs=made, seq=seq, shard=shard)) + b"\n"
