"""Schema ids: computable by anyone from the schema alone, and importable into a registry."""

from __future__ import annotations

import hashlib
import json

from schemas.wire.registry import SCHEMA_IDS, canonical_form, import_requests, published, schema_id

# Written out by hand from the Avro specification, "Transforming into Parsing Canonical Form".
JOURNAL_CANONICAL_FORM = (
    '{"name":"finance.v1.Journal","type":"record","fields":[{"name":"shard","type":"int"},{"name":"seq","type":"long"},'
    '{"name":"body","type":"bytes"},{"name":"entry_hash","type":'
    '{"name":"finance.v1.EntryHash","type":"fixed","size":32}}]}'
)


def test_the_canonical_form_is_the_one_of_the_specification() -> None:
    journal = next(schema for schema in published() if schema.key == "journal.v1")
    assert canonical_form(journal.text) == JOURNAL_CANONICAL_FORM


def test_an_id_is_31_bits_of_the_sha256_of_the_canonical_form() -> None:
    digest = hashlib.sha256(JOURNAL_CANONICAL_FORM.encode()).digest()
    assert SCHEMA_IDS["journal.v1"] == int.from_bytes(digest[:4], "big") % 2**31


def test_docs_and_layout_do_not_change_an_id() -> None:
    for schema in published():
        document = json.loads(schema.text)
        document.pop("doc")
        assert schema_id(json.dumps(document, indent=7)) == schema.schema_id


def test_every_schema_is_published_under_a_positive_id_of_its_own() -> None:
    assert sorted(SCHEMA_IDS) == ["journal.v1", "outcome.v1", "settlement.v1"]
    assert all(0 < number < 2**31 for number in SCHEMA_IDS.values())
    assert len(set(SCHEMA_IDS.values())) == len(SCHEMA_IDS)


def test_a_registry_is_given_the_same_ids_in_import_mode() -> None:
    requests = import_requests({"settlement": "finance.settlements"})
    assert [(request.method, request.path) for request in requests] == [
        ("PUT", "/mode/finance.settlements-value"),
        ("POST", "/subjects/finance.settlements-value/versions"),
        ("PUT", "/mode/finance.settlements-value"),
    ]
    bodies = [json.loads(request.body) for request in requests]
    assert (bodies[0], bodies[2]) == ({"mode": "IMPORT"}, {"mode": "READWRITE"})
    assert bodies[1]["id"] == SCHEMA_IDS["settlement.v1"]
    assert bodies[1]["version"] == 1
    assert schema_id(bodies[1]["schema"]) == bodies[1]["id"]
