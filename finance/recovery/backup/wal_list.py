"""The signed lists of stored WAL: which file, by its digest, is each segment and history. Pure.

    list 1: files 1..256      list 2: files 257..512     ...     newest: what came since
    link n = SHA256(key of file n || link n-1 as 32 raw bytes), at the first file nothing is appended

Guarantees: a list is signed by the ledger's own key and begins at the link where the one before it ended, so that no
file can be exchanged, and no list taken away from among others, unseen; a backup's manifest holds the count and the
link of its time, so that lists cannot be cut back behind a backup either.
Does not: say anything about the newest files, stored since the last signature, or about the unfinished segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from finance.recovery.backup.keys import wal_file
from finance.recovery.backup.statement import check_signed, payload_digest
from ledger_core.ports import Algorithm
from ledger_core.signing.statements import Decimal, Hash, Name, Timestamp, decode_statement, statement_hash
from ledger_core.times import parse_time

FILES_MAX: Final = 256
Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9./-]{0,250}\Z")]


class WalListPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that is signed. `files_before`: how many files the lists before it hold, `link_before`: their link."""

    version: Literal[1]
    service: Literal["finance"]
    statement: Literal["backup-wal"]  # so that no signature of another statement can be taken for this one's
    env: Name
    system_identifier: Decimal
    list_no: Decimal
    files_before: Decimal
    link_before: Hash | None
    files: Annotated[tuple[Key, ...], msgspec.Meta(min_length=1, max_length=FILES_MAX)]
    signed_at: Timestamp
    signer_kid: Name
    alg: Algorithm

    def __post_init__(self) -> None:
        parse_time(self.signed_at)
        if (self.files_before == "0") != (self.link_before is None):
            raise ValueError("the first list of all, and no other, has no link before it")
        for key in self.files:
            if wal_file(key) is None or not key.startswith(f"{self.system_identifier}/"):
                raise ValueError(f"{key} is no file of WAL of this cluster")

    def digest(self) -> bytes:
        return payload_digest(self, WalListPayload)

    def links(self) -> list[str]:
        """The link at each of its files."""
        link, found = self.link_before, []
        for key in self.files:
            link = statement_hash(key.encode(), link).hex()
            found.append(link)
        return found


class WalList(WalListPayload, frozen=True, kw_only=True):
    """A payload with its hash and signature."""

    hash: Hash
    signature: str

    def __post_init__(self) -> None:
        WalListPayload.__post_init__(self)
        check_signed(self, self.digest())


_decoder = msgspec.json.Decoder(WalList)


def parse_wal_list(data: bytes) -> WalList:
    """Canonical bytes -> struct. Raises ValueError on another spelling or a wrong hash."""
    return decode_statement(data, _decoder)


@dataclass(frozen=True, slots=True)
class Listed:
    """What all lists of a place say together. `faults`: why they do not hold together, in words."""

    keys: Mapping[str, str]  # name of a segment or history -> the key that was signed for
    links: Mapping[int, str]  # count of files -> link at the last of them
    lists: tuple[WalList, ...]
    faults: tuple[str, ...]

    @property
    def count(self) -> int:
        return max(self.links, default=0)

    @property
    def last(self) -> WalList | None:
        return self.lists[-1] if self.lists else None

    @property
    def link(self) -> str | None:
        return self.links.get(self.count)


def join(lists: Sequence[WalList], faults: Iterable[str]) -> Listed:
    """Put lists together, oldest first; the first may have had others before it, which were pruned."""
    found = list(faults)
    keys: dict[str, str] = {}
    links: dict[int, str] = {}
    before: WalList | None = None
    for one in lists:
        ends = (str(int(before.list_no) + 1), str(max(links)), links[max(links)]) if before is not None else None
        if ends is not None and (one.list_no, one.files_before, one.link_before) != ends:
            found.append(f"WAL list {one.list_no} does not go on where list {before.list_no if before else 0} ended")
        links |= {int(one.files_before) + n: link for n, link in enumerate(one.links(), 1)}
        keys |= {file.name: file.key for key in one.files if (file := wal_file(key)) is not None}
        before = one
    return Listed(keys, links, tuple(lists), tuple(found))
