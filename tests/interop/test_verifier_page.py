"""Two verifiers, one corpus: the page, in a real browser, and the Python one find the same files sound and unsound.

The page is written from docs/FORMATS.md and schemas/json alone. `--page-mutations N` takes more of them.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from finance.verifier_page.assemble import page_bytes
from finance.workshop.browser import Browser
from ledger_core.findings import Collector
from ledger_core.verify.statements import check_note
from tests.support.archive_factory import Key
from tests.support.page_corpus import CHANGES, ED, RSA, Case, audit_lines, checkpoint, mutations, registries, sound

SEED = 20251101


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    page = tmp_path_factory.mktemp("page") / "verify.html"
    page.write_bytes(page_bytes())
    opened = Browser(page)
    yield opened
    opened.close()


def by_page(browser: Browser, case: Case) -> dict[str, Any]:
    return browser.verify({"signers.json": case.signers, case.name: case.data})


def findings(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for result in answer["results"] for finding in result["findings"]]


@pytest.mark.parametrize("case", sound(), ids=lambda case: case.name)
def test_both_find_nothing_in_what_is_sound(browser: Browser, case: Case) -> None:
    answer, report = by_page(browser, case), case.by_python()
    assert report is not None
    assert report.findings == ()
    assert answer["sound"], findings(answer)
    assert answer["results"][1]["counts"], "something was checked"


def test_a_batch_is_read_as_gzip_and_only_as_one_member(browser: Browser) -> None:
    case = sound()[0]
    packed = gzip.compress(case.data, mtime=0)
    assert by_page(browser, Case("packed", "batch", packed, case.signers))["sound"]
    for name, data in (
        ("two members", packed * 2),
        ("cut", packed[:-9]),
        ("damaged", packed[:40] + b"\0" + packed[41:]),
    ):
        assert not by_page(browser, Case(name, "batch", data, case.signers))["sound"], name


@pytest.mark.parametrize("case", [each for case in sound() for each in registries(case)], ids=lambda case: case.name)
def test_both_refuse_a_key_that_does_not_count(browser: Browser, case: Case) -> None:
    answer, report = by_page(browser, case), case.by_python()
    assert not answer["sound"]
    assert report is None or report.findings


def test_both_find_every_mutation_and_name_its_place(browser: Browser, pytestconfig: pytest.Config) -> None:
    count = int(pytestconfig.getoption("--page-mutations"))
    apart, nameless, seen = [], [], 0
    for case in mutations(SEED, count):
        answer, report = by_page(browser, case), case.by_python()
        python_sound = report is not None and not report.findings
        if answer["sound"] or python_sound:
            apart.append((case.name, answer["sound"], python_sound))
        nameless += [
            found for found in findings(answer) if not found["object"] or not (found["line"] or found["field"])
        ]
        seen += 1
    assert seen == count
    assert apart == []
    assert nameless == []


def test_a_chain_that_was_cut_is_found_where_its_name_says_where_it_ends(browser: Browser) -> None:
    lines, signers = audit_lines(ED).splitlines(keepends=True), ED.registry.to_json()
    name = "test/audit/seqs-{:019d}-{:019d}.jsonl.gz".format
    assert by_page(browser, Case(name(1, 3), "audit", b"".join(lines), signers))["sound"]
    assert by_page(browser, Case(name(2, 3), "audit", b"".join(lines[1:]), signers))["sound"]
    for wrong in (
        Case(name(1, 3), "audit", b"".join(lines[:2]), signers),
        Case("x", "audit", b"".join(lines[1:]), signers),
    ):
        assert [found["field"] for found in findings(by_page(browser, wrong))] == ["seq"]


@pytest.mark.parametrize("key", [ED, RSA], ids=["ed25519", "rsa"])
def test_a_checkpoint_holds_with_the_lines_of_its_record_and_no_other(browser: Browser, key: Key) -> None:
    note, signers = checkpoint(key), key.registry.to_json()
    assert by_page(browser, Case("note", "checkpoint", note, signers))["sound"]
    lines = note.splitlines(keepends=True)
    changed = {
        "no record": b"".join(lines[:3] + lines[4:]),
        "no verdicts": b"".join(lines[:4] + lines[5:]),
        "another size": note.replace(b"\n12\n", b"\n13\n"),
        "another record": note.replace(b"record 0", b"record 1"),
        "one line more": b"".join([*lines[:5], b"more 1\n", *lines[5:]]),
        "no signature": b"".join(lines[:6]),
        "signed twice": note + lines[-1],
        "cut": note[:-1],
        "another ledger": note.replace(b"/test/", b"/prod/"),
    }
    for words, data in changed.items():
        answer = by_page(browser, Case(words, "checkpoint", data, signers))
        assert not answer["sound"], words
        assert all(found["line"] or found["field"] for found in findings(answer)), words


def test_both_find_every_mutation_of_a_checkpoint(browser: Browser, pytestconfig: pytest.Config) -> None:
    count, chance, seen, apart = int(pytestconfig.getoption("--page-mutations")) // 4, random.Random(SEED), 0, []
    words_of_notes = ["a bit flipped", "a line dropped", "a line doubled", "two lines swapped", "cut off", "not UTF-8"]
    while seen < count:
        key, words = chance.choice([ED, RSA]), chance.choice(words_of_notes)
        note = checkpoint(key)
        data = CHANGES[words](chance, note)
        if data == note:
            continue
        found = Collector()
        check_note(data, key.registry, found)
        answer = by_page(browser, Case(words, "checkpoint", data, key.registry.to_json()))
        if answer["sound"] or not len(found):
            apart.append((words, data, answer["sound"], len(found)))
        assert all(each["line"] or each["field"] for each in findings(answer)), (words, data)
        seen += 1
    assert apart == []


@pytest.mark.parametrize(
    "files", [{}, {"signers.json": ED.registry.to_json()}, {"x": b""}, {"x": b"PK"}, {"x": b"\x1f\x8b"}]
)
def test_nothing_to_check_is_never_a_success(browser: Browser, files: dict[str, bytes]) -> None:
    assert not browser.verify(files)["sound"]


def test_hostile_files_are_refused_and_shown_as_text(browser: Browser) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    evil = '{"count":"1","x":"\u202e<img src=x onerror=alert(1)>"}\n'.encode() * 2
    for name, data in {"bomb": bomb, "../../\u202e<b>evil": evil, "deep": b'{"count":' * 100_000}.items():
        answer = browser.verify({"signers.json": ED.registry.to_json(), name: data})
        assert not answer["sound"], name
        assert "\u202e" not in json.dumps(answer, ensure_ascii=False)


def test_the_page_asks_no_network_and_its_policy_forbids_it(browser: Browser) -> None:
    assert {address.split(":")[0] for address in browser.requests} <= {"file", "blob"}
    tried = "fetch('https://example.com/').then(() => 'reached', () => 'refused')"
    assert browser.ask(tried) == "refused"
    text = page_bytes().decode()
    assert "default-src 'none'" in text
    assert "innerHTML" not in text
