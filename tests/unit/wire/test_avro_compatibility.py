"""Published schemas stay as they are, and every version of one reads every other's data."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from schemas.wire.avro import FRAME_BYTES
from schemas.wire.registry import SCHEMA_IDS, PublishedSchema, published
from tests.support.avro import incompatibilities

EXAMPLES = Path(__file__).parents[3] / "schemas" / "examples"
# Published for ever: a change of a committed schema is a new file `.v2.avsc` and a new line here.
PUBLISHED_IDS = {
    "journal.v1": 1981399991,
    "outcome.v1": 993352326,
    "personal.v1": 690172119,
    "settlement.v1": 887898946,
}
PAIRS = [
    (one, other) for one, other in permutations(published(), 2) if one.name == other.name
]  # empty while every schema has one version; the planted schemas below keep the check honest
SETTLEMENT = next(schema for schema in published() if schema.key == "settlement.v1")


def bodies(schema: PublishedSchema) -> list[bytes]:
    files = sorted((EXAMPLES / schema.key / "valid").glob("*.hex"))
    return [bytes.fromhex(file.read_text())[FRAME_BYTES:] for file in files]


def test_no_published_schema_has_changed() -> None:
    assert SCHEMA_IDS == PUBLISHED_IDS


def test_every_version_reads_every_other_version_of_its_schema() -> None:
    for one, other in PAIRS:
        assert incompatibilities(one.text, other.text, bodies(one)) == [], f"{one.key} and {other.key}"


def test_every_schema_is_compatible_with_itself() -> None:
    for schema in published():
        assert bodies(schema), f"{schema.key} has no examples"
        assert incompatibilities(schema.text, schema.text, bodies(schema)) == []


Field = dict[str, Any]


def changed(change: Callable[[dict[str, Field], list[Field]], object]) -> str:
    document = json.loads(SETTLEMENT.text)
    change({field["name"]: field for field in document["fields"]}, document["fields"])
    return json.dumps(document)


COMPATIBLE = {
    "a new field with a default": lambda by_name, fields: fields.append(
        {"name": "channel", "type": ["null", "string"], "default": None}
    ),
    "an optional field removed": lambda by_name, fields: fields.remove(by_name["reverses"]),
    "another doc": lambda by_name, fields: by_name["order_id"].update(doc="The order"),
}
INCOMPATIBLE = {
    "a required field removed": lambda by_name, fields: fields.remove(by_name["order_id"]),
    "a new field without a default": lambda by_name, fields: fields.append({"name": "channel", "type": "string"}),
    "a field renamed": lambda by_name, fields: by_name["settlement_id"].update(name="payout_id"),
    "a number that becomes a text": lambda by_name, fields: by_name["occurred_at"].update(type="string"),
    "a union that loses a branch": lambda by_name, fields: by_name["pii_digest"].update(type="null"),
    "an enum that loses a symbol": lambda by_name, fields: by_name["lines"]["type"]["items"]["fields"][1][
        "type"
    ].update(symbols=["debit"]),
    "an enum renamed symbol": lambda by_name, fields: by_name["lines"]["type"]["items"]["fields"][1]["type"].update(
        symbols=["debit", "kredit"]
    ),
}


@pytest.mark.parametrize("name", COMPATIBLE)
def test_a_compatible_change_passes(name: str) -> None:
    assert incompatibilities(SETTLEMENT.text, changed(COMPATIBLE[name]), bodies(SETTLEMENT)) == []


@pytest.mark.parametrize("name", INCOMPATIBLE)
def test_a_planted_incompatible_change_is_found(name: str) -> None:
    assert incompatibilities(SETTLEMENT.text, changed(INCOMPATIBLE[name]), bodies(SETTLEMENT))
