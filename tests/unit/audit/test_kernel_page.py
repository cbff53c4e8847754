"""docs/KERNEL.md says what the table and the format really are."""

from __future__ import annotations

import re
from pathlib import Path

import orjson

from ledger_core.audit.events import EVENT_FIELDS, event_hash
from ledger_core.signing.signatures import PublicKey, decode_signature, verify_digest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "KERNEL.md").read_text()
MIGRATION = (ROOT / "ledger_core" / "postgres" / "schema" / "migrations" / "0004_audit.sql").read_text()


def test_the_columns_are_those_of_the_migration_and_of_the_topic() -> None:
    table = MIGRATION.split("CREATE TABLE audit_events")[1].split("\n);")[0]
    columns = dict(re.findall(r"^    ([a-z_]+) +(text|bigint|jsonb|timestamptz)\b", table, re.MULTILINE))
    documented = dict(re.findall(r"^\| `([a-z_]+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert documented == columns
    assert sorted(documented) == sorted(EVENT_FIELDS)


def test_the_worked_example_is_right() -> None:
    key_text = re.search(r"is `([A-Za-z0-9+/=]{44})`", PAGE)
    assert key_text is not None
    first_payload, second_payload = (orjson.loads(text) for text in re.findall(r"^payload +(.+)$", PAGE, re.MULTILINE))
    first_prev, second_prev = re.findall(r"^prev_hash +(\S+)$", PAGE, re.MULTILINE)
    first_hash = re.search(r"^hash +(\S+)$", PAGE, re.MULTILINE)
    signature = re.search(r"^signature +(\S+)$", PAGE, re.MULTILINE)
    second_hash = re.search(r"^`([0-9a-f]{64})`\.$", PAGE, re.MULTILINE)
    assert first_hash is not None
    assert signature is not None
    assert second_hash is not None
    assert (first_prev, second_prev) == ("NULL", first_hash[1])
    assert event_hash(first_payload, None) == first_hash[1]
    assert event_hash(second_payload, second_prev) == second_hash[1]
    verify_digest(PublicKey.parse(key_text[1]), bytes.fromhex(first_hash[1]), decode_signature(signature[1]))
