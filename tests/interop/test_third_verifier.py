"""A third verifier, in Go, written from docs/FORMATS.md alone: the document says enough, and the verifiers agree."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.page_corpus import ED, RSA, Case, checkpoint, mutations, registries, sound
from tests.support.tools import installed

HERE = Path(__file__).parent / "third_verifier"
SEED, MUTATIONS = 20261130, 2_000
BATCHES = frozenset(case.data for case in sound() if case.kind == "batch")


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built from its sources with the standard library alone."""
    go = installed("go", "golang-go")
    folder = tmp_path_factory.mktemp("third")
    environ = {
        **os.environ,
        "GOCACHE": str(folder / "cache"),
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    subprocess.run([go, "build", "-o", folder / "third", "."], cwd=HERE, env=environ, check=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return folder / "third"


def answers(third: Path, cases: Sequence[Case]) -> list[str]:
    """What the program says of each: `sound`, or a reason."""
    given = [
        {"kind": case.kind, **{name: base64.b64encode(getattr(case, name)).decode() for name in ("data", "signers")}}
        for case in cases
    ]
    asked = "".join(json.dumps(one) + "\n" for one in given)
    said = subprocess.run([third], input=asked, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == len(cases)
    return said


def test_it_finds_what_is_sound_sound(third: Path) -> None:
    cases = [*sound(), *(Case("note", "checkpoint", checkpoint(key), key.registry.to_json()) for key in (ED, RSA))]
    assert {case.kind for case in cases} == {"batch", "proof", "audit", "receipt", "checkpoint"}
    assert dict(zip((case.name for case in cases), answers(third, cases), strict=True)) == {
        case.name: "sound" for case in cases
    }


def test_it_refuses_a_key_that_does_not_count(third: Path) -> None:
    cases = [each for case in sound() for each in registries(case)]
    assert [case.name for case, said in zip(cases, answers(third, cases), strict=True) if said == "sound"] == []


def names_another_policy(case: Case) -> bool:
    """Whether only `pii_policy_version` was edited: a manifest binds it, a batch on its own does not."""
    first, _, rest = case.data.partition(b"\n")
    as_it_was = re.sub(rb'"pii_policy_version":"[0-9]+"', b'"pii_policy_version":"1"', first)
    return case.kind == "batch" and as_it_was + b"\n" + rest in BATCHES


def test_it_finds_every_mutation_that_the_product_finds(third: Path) -> None:
    cases = [case for case in mutations(SEED, MUTATIONS) if not names_another_policy(case)]
    assert len(cases) > MUTATIONS * 0.98
    apart = []
    for case, said in zip(cases, answers(third, cases), strict=True):
        report = case.by_python()
        if said == "sound" or (report is not None and not report.findings):
            apart.append((case.name, said))
    assert apart == []
