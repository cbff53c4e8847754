"""Revocation lists and authorities that somebody gets wrong while the door runs: the revoked stay out, others come in.

The list that a door starts with, and how a list may be written, stand in test_door.py and test_door_reload.py.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.certificates import Pair, TestAuthority, write_whole
from tests.support.doors import TestDoor, door_yaml, open_test_door


@dataclass(frozen=True, slots=True)
class Place:
    """A door that trusts two authorities, each with a list: of the first, looker is revoked; of the other, other."""

    door: TestDoor
    second: TestAuthority
    revoked: tuple[Pair, Pair]
    known: tuple[Pair, Pair]

    @property
    def crl(self) -> Path:
        return self.door.folder / "tls" / "crl.pem"

    @property
    def first(self) -> TestAuthority:
        return self.door.authority

    def list_of(self, authority: TestAuthority, **how: dt.timedelta) -> bytes:
        path = self.door.folder / "list.pem"
        authority.write_crl(path, **how)
        return path.read_bytes()

    def stranger(self, name: str) -> bytes:
        return self.list_of(TestAuthority(self.door.folder / "stranger", name))

    def older(self) -> bytes:
        """A list of before anybody was revoked, still in time."""
        revoked, self.first.revoked[:] = list(self.first.revoked), []
        found = self.list_of(self.first, begun=dt.timedelta(hours=-3))
        self.first.revoked[:] = revoked
        return found

    def let_in(self) -> list[bool]:
        return [comes_in(self.door, pair) for pair in (*self.known, *self.revoked)]


def comes_in(door: TestDoor, pair: Pair) -> bool:
    try:
        return door.ask(pair=pair).status == 200
    except OSError:
        return False


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    door = open_test_door(tmp_path, door_yaml("required", "{requests_per_second_max: 5000}"))
    second = TestAuthority(tmp_path / "second", "second CA")
    write_whole(tmp_path / "tls" / "ca.crt", door.authority.path.read_bytes() + second.path.read_bytes())
    revoked = door.authority.issue("looker"), second.issue("looker")
    made = Place(door, second, revoked, (door.client, second.issue("prover")))
    for authority, pair in zip((door.authority, second), revoked, strict=True):
        authority.write_crl(tmp_path / "list.pem", pair)
    write_whole(made.crl, made.list_of(door.authority) + made.list_of(second))
    assert made.let_in() == [True, True, False, False]
    yield made
    door.door.close()


# What stands in crl.pem in the end: place, the sound list of the second authority -> bytes.
LISTS: Final[dict[str, Callable[[Place], bytes]]] = {
    "of a stranger": lambda place: place.stranger("a stranger"),
    "of a stranger beside ours": lambda place: place.stranger("a stranger") + place.crl.read_bytes(),
    "of a stranger by our name": lambda place: place.stranger("test CA") + place.list_of(place.second),
    "of a stranger by our name before ours": lambda place: place.stranger("test CA") + place.crl.read_bytes(),
    "of a stranger by our name behind ours": lambda place: place.crl.read_bytes() + place.stranger("test CA"),
    "of the second authority alone": lambda place: place.list_of(place.second),
    "older than the one that stands": lambda place: place.older() + place.list_of(place.second),
    "with a certificate": lambda place: place.crl.read_bytes() + place.first.path.read_bytes(),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_that_would_let_the_revoked_in_or_others_out_is_not_taken_up(place: Place, kind: str) -> None:
    write_whole(place.crl, LISTS[kind](place))
    assert place.let_in() == [True, True, False, False]
    assert place.door.metrics.failures["certificates"] == 1


def test_lists_that_hold_more_than_the_newest_are_taken_up(place: Place) -> None:
    write_whole(place.crl, place.older() + place.crl.read_bytes())
    assert place.let_in() == [True, True, False, False]
    assert not place.door.metrics.failures


@pytest.mark.parametrize("first", ["ca.crt", "crl.pem"])
def test_an_authority_goes_with_its_list_in_whichever_order(place: Place, first: str) -> None:
    authorities, lists = place.second.path.read_bytes(), place.list_of(place.second)
    files = {"ca.crt": authorities, "crl.pem": lists}
    for name in (first, *(files.keys() - {first})):
        assert place.let_in() == [True, True, False, False], "while half of it is done"
        write_whole(place.crl.with_name(name), files[name])
    assert place.let_in() == [False, True, False, False]


@pytest.mark.parametrize("name", ["tls.crt", "ca.crt"])
@pytest.mark.parametrize("hours", [(-3, -1), (1, 3)], ids=["expired", "not valid yet"])
def test_certificates_that_are_not_of_now_replace_no_others(place: Place, name: str, hours: tuple[int, int]) -> None:
    begins, ends = (dt.timedelta(hours=number) for number in hours)
    if name == "tls.crt":
        place.first.issue("server", server=True, begins=begins, ends=ends, into=place.crl.parent)
    else:
        late = TestAuthority(place.door.folder / "late", begins=begins, ends=ends)
        write_whole(place.crl.with_name("ca.crt"), late.path.read_bytes())
    assert place.let_in() == [True, True, False, False]
    assert place.door.metrics.failures["certificates"] >= 1
