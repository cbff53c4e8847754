"""The signed lists of stored WAL: which file, by its digest, is each segment and history. Pure.

    list 1: files 1..256      list 2: files 257..512     ...     newest: what came since
    link n = SHA256(key of file n || link n-1 as 32 raw bytes), at the first file nothing is appended

Guarantees: a list is signed by the ledger's own key and begins at the link where the one before it ended, so that no
file can be exchanged, and no list taken away from among others, unseen; a backup's manifest holds the count and the
link of its time, so that lists cannot be cut back behind a backup either. Of a key that was revoked those lists count
that another key's list goes on from, and none that a thief put at the end.
Does not: say anything about the newest files, stored since the last signature, or about the unfinished segment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

import msgspec

from finance.recovery.backup.place.keys import newest_list_key, wal_file, wal_list_key, wal_list_no
from finance.recovery.backup.place.statement import JUST_MADE, PlaceOf, ReadSigned
from ledger_core.errors import Refused
from ledger_core.signing.counting import BackupPlace
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.statements import (
    Decimal,
    Hash,
    Name,
    Payload,
    Timestamp,
    check_signed,
    decode_statement,
    statement_hash,
)
from ledger_core.times import parse_time

FILES_MAX: Final = 256
Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9./-]{0,250}\Z")]


class WalListPayload(Payload, frozen=True, kw_only=True):
    """Everything that is signed. `files_before`: how many files the lists before it hold, `link_before`: their link.
    Raises ValueError when the links contradict the count, or a file is not WAL of the cluster.
    """

    said_as: ClassVar[Purpose] = "backup"

    version: Literal[1]  # of this format
    service: Literal["finance"]  # always ours
    statement: Literal["backup-wal"]  # so that no signature of another statement can be taken for this one's
    env: Name  # environment, such as prod
    system_identifier: Decimal  # of the Postgres cluster, set by initdb
    list_no: Decimal  # place among the lists, from 1
    files_before: Decimal  # files in the lists before it; 0 at the first
    link_before: Hash | None  # link at the last of those; None exactly at 0
    # keys, in the order of their storing
    files: Annotated[tuple[Key, ...], msgspec.Meta(min_length=1, max_length=FILES_MAX)]
    signed_at: Timestamp  # by the backup host's clock, UTC; the newest list is signed again as it grows

    dated_by: ClassVar[str] = "signed_at"

    def __post_init__(self) -> None:
        parse_time(self.signed_at)
        if (self.files_before == "0") != (self.link_before is None):
            raise ValueError("the first list of all, and no other, has no link before it")
        for key in self.files:
            if wal_file(key) is None or not key.startswith(f"{self.system_identifier}/"):
                raise ValueError(f"{key} is not a WAL file of this cluster")

    @property
    def count_at_end(self) -> int:
        """How many files this list and those before it hold."""
        return int(self.files_before) + len(self.files)

    def links(self) -> list[str]:
        """The link at each of its files."""
        link, found = self.link_before, []
        for key in self.files:
            link = statement_hash(key.encode(), link).hex()
            found.append(link)
        return found


class WalList(WalListPayload, frozen=True, kw_only=True):
    """A payload with its hash and signature."""

    hash: Hash  # of the payload; recomputed when parsed
    signature: str  # base64, by signer_kid over the 32 bytes of hash

    def __post_init__(self) -> None:
        WalListPayload.__post_init__(self)
        check_signed(self)


_decoder = msgspec.json.Decoder(WalList)


def parse_wal_list(data: bytes) -> WalList:
    """Canonical bytes -> struct. Raises ValueError on another spelling or a wrong hash."""
    return decode_statement(data, _decoder)


@dataclass(frozen=True, slots=True)
class Listed:
    """What all lists of a place say together. `faults`: why they do not form one chain, in words."""

    keys: Mapping[str, str]  # name of a segment or history -> the key that was signed for
    links: Mapping[int, str]  # count of files -> link at the last of them
    lists: tuple[WalList, ...]  # those that verify, by number
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

    def latest(self, count: int) -> dt.datetime | None:
        """The latest time of the lists that end by their file number `count`; None when there is none."""
        return max((one.stated_at for one in self.lists if one.count_at_end <= count), default=None)


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


def read_listed(system_identifier: str, keys: Collection[str], read: ReadSigned) -> Listed:
    """What the lists of WAL say together; what is wrong with them is in its `faults`."""
    newest = newest_list_key(system_identifier)
    full = sorted(number for key in keys if (number := wal_list_no(key, system_identifier)) is not None)
    faults: list[str] = []
    lists: list[tuple[str, WalList]] = []  # with their keys, oldest first
    last: WalList | None = None
    if newest in keys:
        try:
            last = read(newest, parse_wal_list, _at(JUST_MADE))
        except Refused as error:
            faults.append(error.message)
    before_last = int(last.list_no) - 1 if last is not None else 0
    for number in range(full[0], max(full[-1], before_last) + 1) if full else ():
        key, place = wal_list_key(system_identifier, number), BackupPlace(_latest(lists), is_held=True)
        try:
            lists.append((key, read(key, parse_wal_list, _at(place))))
        except Refused as error:
            faults.append(error.message)
    if last is not None and (not full or before_last >= full[-1]):  # else it was made full, and is not replaced yet
        lists.append((newest, last))
    counting = _held(lists, read, faults)
    return join([one for one in counting if one.system_identifier == system_identifier], faults)


def _held(lists: Sequence[tuple[str, WalList]], read: ReadSigned, faults: list[str]) -> list[WalList]:
    """From the newest list back: one that the next list that counts does not go on from must count without it."""
    counting: list[WalList] = []
    for at, (key, one) in reversed(list(enumerate(lists))):
        start = (counting[-1].files_before, counting[-1].link_before) if counting else None
        if _end(one) != start:  # another copy may hold the list that was gone on from
            try:
                one = read(key, parse_wal_list, _before(start, _latest(lists[:at])))
            except Refused as error:
                faults.append(error.message)
                continue
        counting.append(one)
    return counting[::-1]


def _end(one: WalList) -> tuple[str, str | None]:
    return str(one.count_at_end), one.links()[-1]


def _before(start: tuple[str, str | None] | None, after: dt.datetime | None) -> PlaceOf[WalList]:
    """Of a list, before the one that starts there."""
    return lambda one: BackupPlace(after, is_held=_end(one) == start)


def _at(place: BackupPlace) -> PlaceOf[WalList]:
    return lambda _one: place


def _latest(lists: Iterable[tuple[str, WalList]]) -> dt.datetime | None:
    return max((one.stated_at for _, one in lists), default=None)
