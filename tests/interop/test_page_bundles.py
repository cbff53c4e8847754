"""Two verifiers, one bundle: the page finds the same bundles sound and unsound as the Python verifier does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from finance.verifier_page.assemble import page_bytes
from finance.workshop.browser import Browser
from ledger_core.archive import bundle_names
from ledger_core.bundle.statement import BundleFilter, parse_bundle
from tests.support.archive_factory import Key
from tests.support.bundle_factory import bundle_of, contents_of, forged, resigned, two_shards, verified
from tests.support.bundle_mutations import mutations, sound_bundle
from tests.support.opening_factory import FORGED, shown_of, with_buyers

KEYS = {"ed25519": Key("ed25519"), "rsa-sha256": Key("rsa-sha256", "rsa-v1")}
KEY = KEYS["ed25519"]
SEED = 20251101


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    page = tmp_path_factory.mktemp("page") / "verify.html"
    page.write_bytes(page_bytes())
    opened = Browser(page)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the hours 2 and 3 of six, in which the entries of one settlement are listed."""
    made = tmp_path_factory.mktemp("bundle") / "hours.zip"
    asked = BundleFilter(accounts=("revenue:fees",), settlements=("st_8",), shards=())
    bundle_of(two_shards(KEY), KEY, made, asked=asked)
    return made


def by_page(browser: Browser, path: Path, key: Key = KEY) -> dict[str, Any]:
    return browser.verify({"signers.json": key.registry.to_json(), "bundle.zip": path.read_bytes()})


def places(answer: dict[str, Any]) -> set[str]:
    return {found["object"] for result in answer["results"] for found in result["findings"]}


def agree(browser: Browser, path: Path, words: object) -> set[str]:
    """Both find that it is unsound; the members that the page names."""
    answer = by_page(browser, path)
    assert not answer["sound"], words
    assert not verified(path, KEY.registry).sound, words
    found = [found for result in answer["results"] for found in result["findings"]]
    assert all(each["field"] or each["line"] for each in found), words
    return places(answer)


WINDOWS = {
    "inside": (2, 4),
    "from genesis": (-1, 2),
    "everything": (-1, 100),
    "to the end": (4, 100),
    "before": (-3, -1),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("algorithm", KEYS)
def test_both_find_nothing_in_a_sound_bundle(browser: Browser, tmp_path: Path, window: str, algorithm: str) -> None:
    key = KEYS[algorithm]
    bundle_of(two_shards(key), key, tmp_path / "bundle.zip", *WINDOWS[window])
    answer, report = by_page(browser, tmp_path / "bundle.zip", key), verified(tmp_path / "bundle.zip", key.registry)
    assert report.findings == ()
    assert answer["sound"], answer
    counts = answer["results"][1]["counts"]
    assert counts["entries"] == report.counts["entries"]
    assert counts.get("entries in the window", 0) == report.counts["entries_in_window"]


def test_both_find_nothing_in_a_bundle_with_a_list(browser: Browser, path: Path) -> None:
    answer, report = by_page(browser, path), verified(path, KEY.registry)
    assert (answer["sound"], report.findings) == (True, ()), answer
    assert answer["results"][1]["counts"]["entries that match"] == report.counts["entries_matching"] > 0


def changed(data: bytes) -> bytes:
    return data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]


def test_both_find_every_member_that_is_changed_or_dropped_whoever_signed_the_statement(
    browser: Browser, path: Path, tmp_path: Path
) -> None:
    names = contents_of(path)
    kinds = {name.rpartition("/")[0] if name.endswith((".gz", ".json")) else name: name for name in names}
    free = {bundle_names.README, bundle_names.VERIFY_SH, bundle_names.VERIFY_HTML}
    free |= {bundle_names.SUMS, bundle_names.STATEMENT, bundle_names.SIGNERS}
    for name in {*kinds.values(), bundle_names.STATEMENT, bundle_names.SIGNERS}:
        for change in (changed(names[name]), None):
            out = forged(path, {name: change}, tmp_path / "forged.zip")
            assert name in agree(browser, out, name) | {"bundle.zip"}, name
            if name not in free:
                agree(browser, resigned(path, {name: change}, KEY, tmp_path / "forged.zip"), (name, "signed"))


def test_both_find_a_list_that_leaves_an_entry_out(browser: Browser, path: Path, tmp_path: Path) -> None:
    name = bundle_names.matching_member(0)
    lines = contents_of(path)[name].splitlines(keepends=True)
    for words, member in {"first": lines[1:], "last": lines[:-1], "doubled": [lines[0], *lines]}.items():
        out = resigned(path, {name: b"".join(member)}, KEY, tmp_path / "forged.zip")
        assert name in agree(browser, out, words), words


SAID: dict[str, dict[str, object]] = {
    "another environment": {"env": "prod"},
    "a wider window": {"from_ts": "2000-01-01T00:00:00.000000Z"},
    "a longer window": {"to_ts": "2100-01-01T00:00:00.000000Z"},
    "no list asked for": {"filter": {"accounts": [], "settlements": [], "shards": []}},
}


@pytest.mark.parametrize("name", SAID)
def test_both_find_a_signed_statement_that_says_otherwise(
    browser: Browser, path: Path, tmp_path: Path, name: str
) -> None:
    agree(browser, resigned(path, {}, KEY, tmp_path / "forged.zip", **SAID[name]), name)


@pytest.mark.parametrize("field", ["first_seq", "last_seq", "num_in_window", "num_matching", "num_verdicts"])
def test_both_find_a_shard_that_is_said_to_be_otherwise(
    browser: Browser, path: Path, tmp_path: Path, field: str
) -> None:
    data = contents_of(path)[bundle_names.STATEMENT]
    shards = msgspec.to_builtins(parse_bundle(data).shards)
    wanted = f'"{field}":"{shards[0][field]}"'.encode()
    other = f'"{field}":"{int(shards[0][field]) - 1}"'.encode()
    assert wanted in data
    agree(browser, forged(path, {bundle_names.STATEMENT: data.replace(wanted, other, 1)}, tmp_path / "f.zip"), field)


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[: len(data) // 2],
    "a byte less": lambda data: data[:-1],
    "a byte more": lambda data: data + b"\0",
    "a byte before": lambda data: b"\0" + data,
    "said to be deflated": lambda data: data[:8] + b"\x08\x00" + data[10:],
    "another local name": lambda data: data.replace(b"README.html", b"../DME.html", 1),
    "a name that leads elsewhere": lambda data: data.replace(b"README.html", b"../DME.html"),
    "members doubled": lambda data: data + data,
    "claims a great directory": lambda data: data[:-10] + b"\xff\xff\xff\x7f" + data[-6:],
    "an end record alone": lambda _data: b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_both_refuse_a_hostile_zip(browser: Browser, path: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "hostile.zip"
    out.write_bytes(HOSTILE[name](path.read_bytes()))
    agree(browser, out, name)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the personal data of its entries."""
    made = tmp_path_factory.mktemp("shown") / "shown.zip"
    bundle_of(with_buyers(KEY), KEY, made, 1, 3, shown=shown_of())
    return made


def test_both_find_nothing_in_a_bundle_with_personal_data(browser: Browser, shown: Path, tmp_path: Path) -> None:
    """All pairs, one pair alone, one entry's erased: the counts agree."""
    bundle_of(with_buyers(KEY), KEY, tmp_path / "one.zip", 1, 3, shown=shown_of(["country"], erased=[7]))
    for path in (shown, tmp_path / "one.zip"):
        answer, report = by_page(browser, path), verified(path, KEY.registry)
        assert (answer["sound"], report.findings) == (True, ()), answer
        counts = answer["results"][1]["counts"]
        assert counts["openings"] == report.counts["openings"] > 0
        assert counts.get("digests that are not opened", 0) == report.counts.get("digests_not_opened", 0)


@pytest.mark.parametrize("name", FORGED)
def test_both_find_a_forged_opening_and_name_its_line(browser: Browser, shown: Path, tmp_path: Path, name: str) -> None:
    forge, code = FORGED[name]
    lines = contents_of(shown)[bundle_names.OPENINGS].splitlines(keepends=True)
    out = resigned(shown, {bundle_names.OPENINGS: b"".join(forge(lines))}, KEY, tmp_path / "forged.zip")
    assert bundle_names.OPENINGS in agree(browser, out, name)
    told = {finding.code for finding in verified(out, KEY.registry).findings}
    found = [each for result in by_page(browser, out)["results"] for each in result["findings"]]
    assert code in told & {each["code"].replace("file.cut", "opening.form") for each in found}, (told, found)
    assert all(each["line"] for each in found), found


def test_both_ask_whether_personal_data_are_said_to_be_in_it(browser: Browser, shown: Path, tmp_path: Path) -> None:
    hidden = resigned(shown, {}, KEY, tmp_path / "hidden.zip", pii_included=False)
    assert agree(browser, hidden, "said to be left out") == {bundle_names.OPENINGS}
    gone = resigned(shown, {bundle_names.OPENINGS: None}, KEY, tmp_path / "gone.zip")
    assert agree(browser, gone, "said to be there") == {bundle_names.OPENINGS}


def test_both_find_every_mutation_of_a_bundle_and_name_one_member_of_it(
    browser: Browser, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """`--bundle-mutations N` takes more of them. A bundle that nobody can read as one has no member to name."""
    path, out = sound_bundle(KEY, tmp_path / "sound.zip"), tmp_path / "forged.zip"
    assert by_page(browser, path)["sound"]
    assert verified(path, KEY.registry).findings == ()
    count, seen, apart, nameless = int(pytestconfig.getoption("--bundle-mutations")), 0, [], []
    for words in mutations(path, KEY, SEED, count, out):
        answer, report = by_page(browser, out), verified(out, KEY.registry)
        theirs, ours = places(answer), {it.place or "bundle.zip" for it in report.findings}
        if answer["sound"] or report.sound or not theirs & ours:
            apart.append((words, sorted(theirs), sorted(ours)))
        found = [each for result in answer["results"] for each in result["findings"]]
        if not all(each["field"] or each["line"] for each in found):
            nameless.append((words, found))
        seen += 1
    assert seen == count
    assert apart == []
    assert nameless == []
