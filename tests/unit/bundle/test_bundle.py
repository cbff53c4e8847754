"""A bundle is checked by the oracle: what is sound passes, and every forgery is found, with member and field."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ledger_core.archive import bundle_names
from ledger_core.bundle.statement import BundleShard, parse_bundle
from tests.support.archive_factory import Key
from tests.support.bundle_factory import asked, bundle_of, contents_of, forged, resigned, two_shards, verified

KEY = Key("ed25519")
THIEF = Key("ed25519", "thief-v1")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the hours 2 and 3 of six."""
    made = tmp_path_factory.mktemp("bundle") / "hours.zip"
    bundle_of(two_shards(KEY), KEY, made)
    return made


def test_a_sound_bundle_passes_and_says_what_was_checked(path: Path) -> None:
    report = verified(path, KEY.registry)
    assert report.findings == ()
    assert report.counts["entries"] == 4 * 5 + 4 * 3, "two hours, and one before and one behind them"
    assert report.counts["entries_in_window"] == 2 * 5 + 2 * 3
    assert report.counts["consistency_proofs"] == 4, "of entries and of verdict lines"
    assert "roots_unchecked" not in report.counts, "the tree is known from the first checkpoint on"
    assert "windows_open_at_the_end" not in report.counts


def test_the_same_archive_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    bundle_of(two_shards(KEY), KEY, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()


WINDOWS = {
    "from genesis": (-1, 2, 0),
    "everything": (-1, 100, 2),
    "to the end": (4, 100, 2),
    "before all": (-3, -1, 0),
    "behind all": (50, 60, 2),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_every_window_gives_a_bundle_that_is_sound(tmp_path: Path, name: str) -> None:
    first, end, open_ends = WINDOWS[name]
    bundle_of(two_shards(KEY), KEY, tmp_path / "bundle.zip", first, end)
    report = verified(tmp_path / "bundle.zip", KEY.registry)
    assert report.findings == ()
    assert report.counts.get("windows_open_at_the_end", 0) == open_ends


def changed(data: bytes) -> bytes:
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


def test_every_member_that_is_changed_is_found_and_named(path: Path, tmp_path: Path) -> None:
    for name, data in contents_of(path).items():
        report = verified(forged(path, {name: changed(data)}, tmp_path / "forged.zip"), KEY.registry)
        assert name in {finding.place for finding in report.findings}, name
        assert all(finding.field for finding in report.findings), name


def test_every_member_that_is_dropped_is_found_and_named(path: Path, tmp_path: Path) -> None:
    for name in contents_of(path):
        report = verified(forged(path, {name: None}, tmp_path / "forged.zip"), KEY.registry)
        assert name in {finding.place for finding in report.findings}, name


def test_every_dropped_or_changed_member_is_found_though_a_thief_signed_it_with_our_key(
    path: Path, tmp_path: Path
) -> None:
    """But for what says nothing of the ledger."""
    free = {
        bundle_names.README,
        bundle_names.VERIFY_SH,
        bundle_names.VERIFY_HTML,
        bundle_names.SUMS,
        bundle_names.STATEMENT,
        bundle_names.SIGNERS,
    }
    for name, data in contents_of(path).items():
        for change in (None, changed(data)):
            if name in free:
                continue
            out = resigned(path, {name: change}, KEY, tmp_path / "forged.zip")
            report = verified(out, KEY.registry)
            assert not report.sound, (name, change is None)
            assert name in {finding.place for finding in report.findings}, (name, report.findings)


def test_members_of_two_shards_that_are_swapped_are_found(path: Path, tmp_path: Path) -> None:
    contents = contents_of(path)
    for name in [it for it in contents if it.startswith("shards/00000/") and not it.endswith(".gz")]:
        other = name.replace("shards/00000/", "shards/00001/")
        swap = {name: contents[other], other: contents[name]}
        report = verified(resigned(path, swap, KEY, tmp_path / "forged.zip"), KEY.registry)
        assert {name, other} & {finding.place for finding in report.findings}, name


def test_a_batch_without_its_last_entry_is_found(path: Path, tmp_path: Path) -> None:
    name, data = next((it, data) for it, data in contents_of(path).items() if "/batches/" in it)
    lines = gzip.decompress(data).splitlines(keepends=True)
    cut = gzip.compress(b"".join([*lines[:5], *lines[6:]]), mtime=0)
    report = verified(resigned(path, {name: cut}, KEY, tmp_path / "forged.zip"), KEY.registry)
    assert name in {finding.place for finding in report.findings}


def entries_of(path: Path, shard: int) -> list[bytes]:
    """The entries of the batches of one shard."""
    lines: list[bytes] = []
    for name, data in contents_of(path).items():
        if name.startswith(f"shards/{shard:05d}/batches/"):
            lines += [line for line in gzip.decompress(data).splitlines(keepends=True) if b'"settlement_id"' in line]
    return lines


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, path: Path) -> Path:
    """A bundle of the same hours, for two settlements of shard 0: one in the window, one before it."""
    outside, inside = (json.loads(entries_of(path, 0)[at])["settlement_id"] for at in (0, 7))
    made = tmp_path_factory.mktemp("narrow") / "narrow.zip"
    bundle_of(two_shards(KEY), KEY, made, asked=asked(settlements=sorted([outside, inside])))
    return made


def test_the_entries_of_a_settlement_are_listed_and_those_outside_of_the_window_are_not(narrow: Path) -> None:
    report = verified(narrow, KEY.registry)
    assert report.findings == ()
    assert report.counts["entries_matching"] == 1
    contents = contents_of(narrow)
    assert contents[bundle_names.matching_member(0)] == entries_of(narrow, 0)[7]
    assert contents[bundle_names.matching_member(1)] == b""


def test_the_entries_of_an_account_are_those_with_a_line_of_it(path: Path, tmp_path: Path) -> None:
    account = json.loads(entries_of(path, 0)[0])["lines"][0]["account"]
    bundle_of(two_shards(KEY), KEY, tmp_path / "account.zip", asked=asked(accounts=[account]))
    report = verified(tmp_path / "account.zip", KEY.registry)
    assert report.findings == ()
    assert 0 < report.counts["entries_matching"] <= report.counts["entries_in_window"]


LISTED: dict[str, Callable[[bytes, bytes], bytes]] = {
    "left out": lambda _line, _other: b"",
    "doubled": lambda line, _other: line * 2,
    "another added": lambda line, other: line + other,
    "another instead": lambda _line, other: other,
    "without its LF": lambda line, _other: line[:-1],
    "changed": lambda line, _other: changed(line),
}


@pytest.mark.parametrize("name", LISTED)
def test_a_list_of_matches_that_is_not_that_of_the_batches_is_found(narrow: Path, tmp_path: Path, name: str) -> None:
    entries = entries_of(narrow, 0)
    member = bundle_names.matching_member(0)
    out = resigned(narrow, {member: LISTED[name](entries[7], entries[8])}, KEY, tmp_path / "forged.zip")
    report = verified(out, KEY.registry)
    assert ("bundle.matching", member) in {(it.code, it.place) for it in report.findings}


def test_one_shard_alone_is_asked_for_by_name(path: Path, tmp_path: Path) -> None:
    bundle_of(two_shards(KEY), KEY, tmp_path / "one.zip", asked=asked(shards=[1]))
    report = verified(tmp_path / "one.zip", KEY.registry)
    assert (report.findings, report.counts["entries_in_window"]) == ((), 2 * 3)


def test_a_bundle_that_lacks_a_whole_shard_is_found_though_our_key_signed_it(path: Path, tmp_path: Path) -> None:
    bundle = parse_bundle(contents_of(path)[bundle_names.STATEMENT])
    gone: dict[str, bytes | None] = {name: None for name in contents_of(path) if name.startswith("shards/00001/")}
    with pytest.raises(ValueError, match="shards that were asked for"):
        resigned(path, gone, KEY, tmp_path / "forged.zip", shards=bundle.shards[:1])
    report = verified(resigned(path, gone, KEY, tmp_path / "forged.zip"), KEY.registry)
    missing = {it.place for it in report.findings if it.code == "bundle.missing"}
    assert missing >= {name for name in gone if "/batches/" not in name}, "without a manifest no batch has a name"


SAID: dict[str, tuple[dict[str, object], str]] = {
    "another environment": ({"env": "prod"}, "env"),
    "a wider window": ({"from_ts": "2000-01-01T00:00:00.000000Z"}, "complete.before"),
    "a longer window": ({"to_ts": "2100-01-01T00:00:00.000000Z"}, "complete.after"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_statement_that_says_otherwise_is_found_though_it_is_signed(path: Path, tmp_path: Path, name: str) -> None:
    said, field = SAID[name]
    report = verified(resigned(path, {}, KEY, tmp_path / "forged.zip", **said), KEY.registry)
    assert field in {finding.field for finding in report.findings}


@pytest.mark.parametrize("field", ["first_seq", "last_seq", "num_in_window", "num_verdicts", "first_offset"])
def test_a_shard_that_is_said_to_be_otherwise_is_found(path: Path, tmp_path: Path, field: str) -> None:
    bundle = parse_bundle(contents_of(path)[bundle_names.STATEMENT])
    shards = msgspec.to_builtins(bundle.shards)
    moved = {"first_seq": ("num_entries", -1), "last_seq": ("num_entries", 1), "num_verdicts": ("num_entries", -1)}
    shards[0][field] = str(int(shards[0][field]) + 1)
    for other, step in [moved[field]] if field in moved else []:
        shards[0][other] = str(int(shards[0][other]) + step)
    shards[0]["next_offset"] = str(
        int(shards[0]["first_offset"]) + int(shards[0]["num_entries"]) + int(shards[0]["num_verdicts"])
    )
    if field == "num_verdicts":
        shards[0]["last_seq"] = str(int(shards[0]["last_seq"]) - 1)
    parts = msgspec.convert(shards, type=tuple[BundleShard, ...])
    report = verified(resigned(path, {}, KEY, tmp_path / "forged.zip", shards=parts), KEY.registry)
    assert not report.sound


def test_the_statement_of_a_foreign_key_is_found(path: Path, tmp_path: Path) -> None:
    report = verified(resigned(path, {}, THIEF, tmp_path / "forged.zip", signer_kid=THIEF.kid), KEY.registry)
    assert {(it.code, it.place, it.field) for it in report.findings} == {
        ("bundle.signer", bundle_names.STATEMENT, "signer_kid")
    }


def test_a_member_more_is_found(path: Path, tmp_path: Path) -> None:
    more = "shards/00000/proofs/0000000000000000099.json"
    report = verified(forged(path, {more: b"{}"}, tmp_path / "forged.zip"), KEY.registry)
    assert {("bundle.unlisted", more), ("bundle.member", more)} <= {(it.code, it.place) for it in report.findings}


def _flag(data: bytes) -> bytes:
    return data[:8] + b"\x08\x00" + data[10:]


def _local_name(data: bytes) -> bytes:
    return data.replace(b"README.html", b"../DME.html", 1)


def _every_name(data: bytes) -> bytes:
    return data.replace(b"README.html", b"../DME.html")


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _data: b"",
    "an end record alone": lambda _data: b"PK\x05\x06" + bytes(18),
    "cut off": lambda data: data[: len(data) // 2],
    "a byte less": lambda data: data[:-1],
    "a byte more": lambda data: data + b"\0",
    "a byte before": lambda data: b"\0" + data,
    "said to be deflated in the local header": _flag,
    "another local name": _local_name,
    "a name that leads elsewhere": _every_name,
    "members doubled": lambda data: data + data,
    "claims a great directory": lambda data: data[:-10] + b"\xff\xff\xff\x7f" + data[-6:],
    "no ZIP": lambda _data: b"hello" * 100,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_zip_is_refused_as_a_finding(path: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "hostile.zip"
    out.write_bytes(HOSTILE[name](path.read_bytes()))
    assert hashlib.sha256(out.read_bytes()).digest() != hashlib.sha256(path.read_bytes()).digest()
    report = verified(out, KEY.registry)
    assert [finding.code for finding in report.findings][:1] in (["bundle.zip"], ["bundle.missing"])
