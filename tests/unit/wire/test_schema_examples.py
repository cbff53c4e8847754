"""Golden examples: every schema has valid and invalid ones, every example is judged, and nothing lies beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from ledger_core.archive.batch import parse_metadata
from ledger_core.archive.manifest import parse_manifest
from ledger_core.audit.events import AuditEvent, event_hash
from ledger_core.books.entries import decode_entry
from ledger_core.books.settlements import event_from_record, record_from_event
from ledger_core.bundle.consistency import parse_consistency
from ledger_core.bundle.openings import parse_opening
from ledger_core.bundle.statement import parse_bundle
from ledger_core.errors import Corrupt, Rejected
from ledger_core.posting.rules import draft
from ledger_core.posting.verdicts import decode_verdict
from ledger_core.proving.range_proof import parse_proof
from schemas.wire.journal import decode_journal, encode_journal
from schemas.wire.outcomes import decode_outcome, encode_outcome
from schemas.wire.registry import published
from schemas.wire.settlement_json import decode_settlement_json, encode_settlement_json
from schemas.wire.settlements import decode_settlement, encode_settlement
from tests.support.avro import SCHEMAS, read

FOLDER = Path(__file__).parents[3] / "schemas"
EXAMPLES = FOLDER / "examples"
JSON_SCHEMAS = {file.name.removesuffix(".schema.json"): file for file in sorted((FOLDER / "json").iterdir())}
AVRO_SCHEMAS = [schema.key for schema in published()]
PARSERS: dict[str, Callable[[bytes], object]] = {
    "audit_batch_metadata.v1": parse_metadata,
    "audit_event.v1": AuditEvent.from_json,
    "bundle.v1": parse_bundle,
    "consistency.v1": parse_consistency,
    "journal_entry.v1": decode_entry,
    "manifest.v1": parse_manifest,
    "personal_opening.v1": parse_opening,
    "range_proof.v1": parse_proof,
    "verdict_line.v1": decode_verdict,
}


def files(schema: str, kind: str, suffix: str) -> list[Path]:
    return sorted((EXAMPLES / schema / kind).glob(f"*{suffix}"))


def hex_bytes(file: Path) -> bytes:
    return bytes.fromhex(file.read_text())


def validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(JSON_SCHEMAS[schema].read_text()))


JSON_VALID = [(name, file) for name in JSON_SCHEMAS for file in files(name, "valid", ".json")]
JSON_INVALID = [(name, file) for name in JSON_SCHEMAS for file in files(name, "invalid", ".json")]


def test_every_schema_has_both_kinds_of_examples_and_nothing_else_lies_there() -> None:
    assert sorted(PARSERS) == sorted(JSON_SCHEMAS)
    assert {folder.name for folder in EXAMPLES.iterdir()} == {*JSON_SCHEMAS, *AVRO_SCHEMAS}
    judged = set()
    for name in JSON_SCHEMAS:
        assert files(name, "valid", ".json"), name
        assert files(name, "invalid", ".json"), name
        judged |= {*files(name, "valid", ".json"), *files(name, "invalid", ".json")}
    for name in AVRO_SCHEMAS:
        assert files(name, "valid", ".hex"), name
        assert files(name, "invalid", ".hex"), name
        judged |= {*files(name, "valid", ".hex"), *files(name, "invalid", ".hex"), *files(name, "valid", ".json")}
        assert [f.stem for f in files(name, "valid", ".hex")] == [f.stem for f in files(name, "valid", ".json")]
    assert judged == {file for file in EXAMPLES.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", JSON_SCHEMAS)
def test_json_schemas_are_schemas_of_a_closed_world(name: str) -> None:
    document = json.loads(JSON_SCHEMAS[name].read_text())
    Draft202012Validator.check_schema(document)
    assert document["additionalProperties"] is False
    assert document["$id"] == f"urn:finance:schema:{name}"


@pytest.mark.parametrize(("name", "file"), JSON_VALID, ids=lambda part: getattr(part, "stem", part))
def test_a_valid_example_passes_its_schema_and_our_parser(name: str, file: Path) -> None:
    data = file.read_bytes().removesuffix(b"\n")
    assert [error.message for error in validator(name).iter_errors(json.loads(data))] == []
    PARSERS[name](data)


@pytest.mark.parametrize(("name", "file"), JSON_INVALID, ids=lambda part: getattr(part, "stem", part))
def test_an_invalid_example_is_refused_by_its_schema(name: str, file: Path) -> None:
    assert list(validator(name).iter_errors(json.loads(file.read_bytes())))


def test_audit_examples_are_chained_by_their_hashes() -> None:
    first, second = (AuditEvent.from_json((EXAMPLES / "audit_event.v1/valid" / name).read_bytes().rstrip())
                     for name in ("genesis.json", "chained.json"))  # fmt: skip
    assert second.prev_hash == first.hash
    assert [event_hash(event.payload, event.prev_hash) for event in (first, second)] == [first.hash, second.hash]


@pytest.mark.parametrize("file", files("settlement.v1", "valid", ".hex"), ids=lambda file: file.stem)
def test_settlement_bytes_and_settlement_json_say_the_same(file: Path) -> None:
    value = hex_bytes(file)
    record = decode_settlement(value)
    event = event_from_record(record)
    line = file.with_suffix(".json").read_bytes().removesuffix(b"\n")
    assert decode_settlement_json(line) == event
    assert encode_settlement_json(event) == line
    assert encode_settlement(event) == value
    assert record_from_event(event) == record
    draft(record, record.settlement_id.encode())


@pytest.mark.parametrize("file", files("settlement.v1", "invalid", ".hex"), ids=lambda file: file.stem)
def test_bad_settlement_bytes_are_rejected_for_the_reason_in_their_name(file: Path) -> None:
    with pytest.raises(Rejected) as caught:
        decode_settlement(hex_bytes(file))
    assert caught.value.reason.value == file.name.split(".")[0]


@pytest.mark.parametrize("file", files("journal.v1", "valid", ".hex"), ids=lambda file: file.stem)
def test_journal_bytes_decode_to_what_stands_beside_them(file: Path) -> None:
    record = decode_journal(hex_bytes(file))
    wanted = json.loads(file.with_suffix(".json").read_text())
    assert (record.shard, record.seq, record.body.decode(), record.entry_hash.hex()) == (
        wanted["shard"], wanted["seq"], wanted["body"], wanted["entry_hash"],
    )  # fmt: skip
    assert encode_journal(record.shard, record.seq, record.body, record.entry_hash) == hex_bytes(file)


@pytest.mark.parametrize("file", files("outcome.v1", "valid", ".hex"), ids=lambda file: file.stem)
def test_outcome_bytes_decode_to_what_stands_beside_them(file: Path) -> None:
    outcome = decode_outcome(hex_bytes(file))
    fields = msgspec.structs.asdict(outcome)
    assert encode_outcome(**fields) == hex_bytes(file)
    fields["entry_hash"] = outcome.entry_hash and outcome.entry_hash.hex()
    assert fields == json.loads(file.with_suffix(".json").read_text())


@pytest.mark.parametrize("file", files("journal.v1", "invalid", ".hex"), ids=lambda file: file.stem)
def test_bad_journal_bytes_are_corrupt(file: Path) -> None:
    with pytest.raises(Corrupt):
        decode_journal(hex_bytes(file))


@pytest.mark.parametrize("file", files("outcome.v1", "invalid", ".hex"), ids=lambda file: file.stem)
def test_bad_outcome_bytes_are_corrupt(file: Path) -> None:
    with pytest.raises(Corrupt):
        decode_outcome(hex_bytes(file))


@pytest.mark.parametrize("name", AVRO_SCHEMAS)
def test_fastavro_reads_our_golden_bytes(name: str) -> None:
    for file in files(name, "valid", ".hex"):
        assert isinstance(read(SCHEMAS[name], hex_bytes(file)[5:]), dict)
