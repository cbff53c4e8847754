"""Personal data in a bundle: each line opens the digest of an entry that was asked for, and a forged one is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ledger_core.archive.bundle_names import OPENINGS, STATEMENT
from ledger_core.bundle.statement import parse_bundle
from tests.support.archive_factory import Key
from tests.support.bundle_factory import asked, bundle_of, contents_of, forged, resigned, verified
from tests.support.opening_factory import FORGED, buyers, shown_of, with_buyers

KEY = Key("ed25519")


def made(path: Path, fields: Sequence[str] = (), erased: Sequence[int] = (), **filter_: Sequence[str]) -> Path:
    """A bundle of two hours with the personal data of its entries, but for those whose sequences are erased."""
    store = with_buyers(KEY)
    bundle_of(store, KEY, path, 1, 3, asked(**filter_), shown=shown_of(fields, erased))
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("openings") / "shown.zip")


def lines_of(path: Path) -> list[bytes]:
    return contents_of(path)[OPENINGS].splitlines(keepends=True)


def test_openings_are_sound_and_the_roots_are_those_of_the_bundle_without_them(path: Path, tmp_path: Path) -> None:
    report = verified(path, KEY.registry)
    assert report.findings == ()
    assert (report.counts["openings"], report.counts.get("digests_not_opened", 0)) == (16, 0)
    bundle_of(with_buyers(KEY), KEY, tmp_path / "closed.zip", 1, 3)
    closed, shown = contents_of(tmp_path / "closed.zip"), contents_of(path)
    assert {name: data for name, data in shown.items() if name.startswith("shards/")} == {
        name: data for name, data in closed.items() if name.startswith("shards/")
    }
    assert (parse_bundle(shown[STATEMENT]).pii_included, parse_bundle(closed[STATEMENT]).pii_included) == (True, False)
    assert verified(tmp_path / "closed.zip", KEY.registry).findings == ()
    assert b"Zoe" not in (tmp_path / "closed.zip").read_bytes()


def test_one_pair_is_shown_alone_and_the_others_stay_closed(tmp_path: Path) -> None:
    path = made(tmp_path / "country.zip", ["country"])
    report = verified(path, KEY.registry)
    assert (report.findings, report.counts["openings"]) == ((), 16)
    told = contents_of(path)[OPENINGS]
    assert b'"value":"PT"' in told
    assert b"Zoe" not in told
    assert b"buyer" not in told


def test_what_was_erased_is_not_in_a_later_bundle_and_the_earlier_one_verifies_still(
    path: Path, tmp_path: Path
) -> None:
    later = made(tmp_path / "later.zip", erased=[7])
    report = verified(later, KEY.registry)
    assert report.findings == ()
    assert (report.counts["openings"], report.counts["digests_not_opened"]) == (14, 2), "entry 7 of both shards"
    assert verified(path, KEY.registry).findings == ()
    batches = [{n: d for n, d in contents_of(it).items() if n.startswith("shards/")} for it in (path, later)]
    assert batches[0] == batches[1]


def test_a_filter_shows_the_personal_data_of_what_matches_and_of_nobody_else(tmp_path: Path) -> None:
    path = made(tmp_path / "one.zip", settlements=["st-0-8"])
    assert verified(path, KEY.registry).counts["openings"] == 1
    assert contents_of(path)[OPENINGS].count(b"Zoe") == 1


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_opening_is_found_though_our_key_signed_it(path: Path, tmp_path: Path, name: str) -> None:
    forge, code = FORGED[name]
    out = resigned(path, {OPENINGS: b"".join(forge(lines_of(path)))}, KEY, tmp_path / "forged.zip")
    found = verified(out, KEY.registry).findings
    assert {(it.code, it.place) for it in found} >= {(code, OPENINGS)}, found
    assert all(it.field and "line" in it.message for it in found), found


def test_the_statement_says_whether_personal_data_are_in_it(path: Path, tmp_path: Path) -> None:
    said = resigned(path, {}, KEY, tmp_path / "hidden.zip", pii_included=False)
    assert {(it.code, it.place) for it in verified(said, KEY.registry).findings} == {("bundle.member", OPENINGS)}
    gone = resigned(path, {OPENINGS: None}, KEY, tmp_path / "gone.zip")
    assert {(it.code, it.place) for it in verified(gone, KEY.registry).findings} == {("bundle.missing", OPENINGS)}
    changed = forged(path, {OPENINGS: b""}, tmp_path / "empty.zip")
    assert not verified(changed, KEY.registry).sound


def test_a_bundle_without_a_single_opening_says_so(tmp_path: Path) -> None:
    path = made(tmp_path / "none.zip", fields=["email"])
    report = verified(path, KEY.registry)
    assert (report.findings, report.counts.get("openings", 0)) == ((), 0)
    assert report.counts["digests_not_opened"] == 16
    assert buyers(0, 1)["country"] == "PT"
