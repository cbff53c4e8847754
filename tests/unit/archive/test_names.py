"""Names of archive objects: made and read back in one place, never changed, and spelled nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_core.archive import names
from ledger_core.proving.range_proof import parse_proof
from tests.unit.signing.statement_readers import proof_of
from tests.unit.signing.trials import KEY

ROOT = Path(__file__).parents[3]
NUMBERS = st.integers(0, 10**19 - 1)


def test_names_are_these_for_ever() -> None:
    (part,) = parse_proof(proof_of(KEY)).shards
    first_to_last = "0000000000000000000-0000000000000000005.seqs-0000000000000000001-0000000000000000005"
    assert names.batch_key("dev", part) == f"dev/batches/shard-00000/offsets-{first_to_last}.jsonl.gz"
    assert names.manifest_key("dev", 12, 3) == "dev/manifests/shard-00012/0000000000000000003.json"
    assert names.export_key("dev", 1, 90) == "dev/audit/seqs-0000000000000000001-0000000000000000090.jsonl.gz"
    assert names.first_offset_of(names.batch_key("dev", part)) == 0


@given(st.integers(0, 2**31 - 1), NUMBERS)
def test_a_manifest_is_found_in_its_name_and_in_no_other(shard: int, number: int) -> None:
    key = names.manifest_key("dev", shard, number)
    assert key.startswith(names.manifests_folder("dev", shard))
    assert (names.shard_of(key), names.manifest_no_of(key, "dev", shard)) == (shard, number)
    assert names.manifest_no_of(key, "prod", shard) is None
    assert names.manifest_no_of(key, "dev", shard + 1) is None
    assert names.manifest_no_of(key.removesuffix(".json"), "dev", shard) is None


@given(st.integers(0, 2**31 - 1), NUMBERS, NUMBERS)
def test_names_sort_in_the_order_of_the_chain(shard: int, one: int, other: int) -> None:
    keys = [names.manifest_key("dev", shard, number) for number in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)


ARCHIVE = r"""["'/{}](batches|manifests|audit)/|shard-(\{|\[|\d)|seqs-(\{|\[|\d)|offsets-(\{|\[|\d)"""
BACKUPS = r"""["'/{}](base|wal|wal-list)/["'{]|\.age["']|/manifest\.json|newest\.json"""


@pytest.mark.parametrize(
    ("spelled", "places"),
    [
        (ARCHIVE, {"ledger_core/archive/names.py", "ledger_core/archive/bundle_names.py"}),
        (BACKUPS, {"finance/recovery/backup/place/keys.py"}),
    ],
    ids=["archive", "backups"],
)
def test_nobody_else_spells_a_name(spelled: str, places: set[str]) -> None:
    found = {
        str(path.relative_to(ROOT)): line.strip()
        for room in ("ledger_core", "schemas", "producers", "consumers", "finance")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(spelled, line)
    }
    assert found.keys() == places, found
