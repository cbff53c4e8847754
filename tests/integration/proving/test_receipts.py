"""Receipts from a real ledger: live checkpoints as the role finance_prover, `finance receipt` as finance_api."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from ledger_core.postgres.connection import connect
from ledger_core.postgres.proving.receipt_reader import ReceiptReader
from ledger_core.posting.verdicts import decode_verdict
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.receipt import receipt_of
from ledger_core.tree import inclusion_proof, leaf_hashes
from ledger_core.verify.oracle import verify_receipt
from tests.support.command_line import Finance
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import publish, write
from tests.support.pipeline import Pipeline, step_until
from tests.support.receipt_factory import leaves


@pytest.fixture
def pipeline(environ: dict[str, str]) -> Pipeline:
    return Pipeline(environ, limits=RangeLimits(100_000, 3600), idle_seconds=3600.0)


def rows(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


def signed_to(url: str, shard: int) -> int:
    found = rows(url, "SELECT next_offset FROM live_checkpoints WHERE shard = %s", shard)
    return found[0][0] if found else 0


def a_shard() -> TinyShard:
    made = TinyShard(shard=1, first_offset=30).silence(2, reason="bad_field").post(300).silence(300)
    return made.post(400).silence(1, reason="unbalanced").post(3).silence(5)


@pytest.fixture
def ledger(pipeline: Pipeline, database_url: str) -> TinyShard:
    shard = a_shard()
    write(database_url, shard)
    publish(pipeline.brokers, pipeline.topic, shard)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: signed_to(database_url, shard.shard) == shard.next_offset)
    assert rows(database_url, "SELECT count(*) FROM ranges") == [(0,)], "no receipt waits for a range"
    return shard


def test_every_kind_of_record_has_a_receipt(
    ledger: TinyShard, pipeline: Pipeline, environ: dict[str, str], database_url: str
) -> None:
    with contextlib.closing(connect(environ["DATABASE_URL_API"], application_name="t")) as connection:
        reader = ReceiptReader(connection)
        for offset in [30, 31, 32, 33, 287, 331, 332, 631, 632, 887, 1031, 1032, 1033, ledger.next_offset - 1]:
            leaf = reader.by_offset(1, offset)
            assert leaf is not None
            assert leaf.offset == offset
            held = leaves(ledger, leaf.tree)
            assert held[leaf.index] == leaf.data
            kept = reader.over(leaf)
            assert kept is not None
            path = reader.path(leaf, kept)
            assert path == inclusion_proof(leaf_hashes(held), leaf.index, len(held))
            data = receipt_of(kept.note, pipeline.registry, leaf.tree, leaf.index, leaf.data, path).to_bytes()
            assert verify_receipt(data, pipeline.registry).report.sound
        assert reader.by_offset(1, 29) is None
        assert reader.by_offset(1, ledger.next_offset) is None
        assert reader.by_offset(0, 30) is None
        entry = ledger.entries[5]
        assert reader.by_event(entry.entry.event_id) == reader.by_seq(1, 6) == reader.by_offset(1, entry.offset)


def test_the_command_writes_what_anybody_can_verify(
    ledger: TinyShard, pipeline: Pipeline, environ: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    signers, out = tmp_path / "signers.json", tmp_path / "receipt.json"
    signers.write_bytes(pipeline.registry.to_json())
    finance = Finance({**environ, "FINANCE_SIGNERS": str(signers)})
    event_id = ledger.entries[41].entry.event_id
    said = finance("receipt", event_id, "--out", str(out))
    assert "entry 42 of shard 1" in said
    assert "finance verify receipt" in said
    told = finance.json("verify", "receipt", str(out), "--signers", str(signers))
    assert told["ok"]
    assert told["receipts"][0]["says"]["event_id"] == event_id
    told = finance.json("receipt", "--shard", "1", "--offset", "30")
    line = decode_verdict(told["receipt"]["leaf"].encode())
    assert (line.offset, line.reason, told["receipt"]["tree"]) == ("30", "bad_field", "verdicts")
    assert json.loads(finance("receipt", "--shard", "1", "--seq", "42")) == json.loads(out.read_bytes())
    assert "neither an entry nor a verdict" in finance("receipt", "0199f2c4-1b7a-8e2d-9f00-3a5b6c7d8e9f", code=3)
    assert "nothing at seq 9999" in finance("receipt", "--shard", "1", "--seq", "9999", code=3)
    for wrong in (
        [],
        ["--shard", "1"],
        ["--seq", "1"],
        [event_id, "--shard", "1"],
        ["--shard", "1", "--seq", "1", "--offset", "1"],
    ):
        finance("receipt", *wrong, code=2)
    ledger.post(1)
    write(database_url, ledger)
    said = finance("receipt", "--shard", "1", "--seq", str(len(ledger.entries)), "--wait", "0.3", code=4)
    assert f"ends at offset {ledger.next_offset - 1}" in said
    with psycopg.connect(database_url, autocommit=True) as connection:  # as a superuser may
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE tiles SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) WHERE level = 0")
    assert "is not sound" in finance("receipt", event_id, code=3)
    found = finance.json("verify", "ledger", code=1)["findings"]
    assert [it["code"] for it in found if it["code"].startswith("ledger.tiles")] != []


def test_what_is_kept_only_grows(ledger: TinyShard, environ: dict[str, str], database_url: str) -> None:
    refused = {
        "UPDATE live_checkpoints SET next_offset = next_offset - 1": errors.CheckViolation,
        "UPDATE live_checkpoints SET next_offset = next_offset + 1, tree_size = tree_size - 1": errors.CheckViolation,
        "UPDATE live_checkpoints SET note = 'x'": errors.CheckViolation,
        **{
            f"INSERT INTO live_checkpoints (shard, tree_size, verdict_count, next_offset, note) "
            f"VALUES ({shard}, {size}, {verdicts}, {end}, 'x') ON CONFLICT (shard) DO UPDATE SET "
            f"tree_size = excluded.tree_size, verdict_count = excluded.verdict_count, "
            f"next_offset = excluded.next_offset": errors.CheckViolation
            for shard, size, verdicts, end in (
                (1, 10**15, 10**15, 30 + 2 * 10**15),  # far ahead
                (1, len(ledger.entries) + 1, len(ledger.verdicts), ledger.next_offset + 1),
                (1, len(ledger.entries), len(ledger.verdicts) + 1, ledger.next_offset + 1),
                (1, len(ledger.entries) - 1, len(ledger.verdicts) + 1, ledger.next_offset),  # other sizes
                (1, len(ledger.entries), len(ledger.verdicts), ledger.next_offset + 5),
                (7, 0, 0, 0),  # a shard that there is not
            )
        },
        "UPDATE tile_edges SET hashes = ''": errors.CheckViolation,
        "UPDATE tile_edges SET tile_no = tile_no - 1": errors.CheckViolation,
        "UPDATE tile_edges SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) || decode(repeat('00', 32), 'hex')"
        " WHERE level = 0": errors.CheckViolation,
        "DELETE FROM live_checkpoints": errors.InsufficientPrivilege,
        "TRUNCATE live_checkpoints": errors.InsufficientPrivilege,
        "DELETE FROM tile_edges": errors.InsufficientPrivilege,
        "DELETE FROM tiles": errors.InsufficientPrivilege,
        "UPDATE tiles SET level = 3": errors.InsufficientPrivilege,
    }
    with psycopg.connect(database_url, autocommit=True) as owner:
        for statement, error in refused.items():
            with pytest.raises(error):
                owner.execute(statement)


def test_a_prover_that_comes_later_goes_on_from_tiles_or_without_them(
    ledger: TinyShard, pipeline: Pipeline, environ: dict[str, str], database_url: str
) -> None:
    count = "SELECT count(*), sum(octet_length(hashes)) FROM tiles"
    before = rows(database_url, count)
    ledger.post(200).silence(100)
    write(database_url, ledger)
    publish(pipeline.brokers, pipeline.topic, ledger, first_seq=600)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: signed_to(database_url, 1) == ledger.next_offset)
    after = rows(database_url, count)
    assert after > before
    everything = "SELECT shard, tree, level, tile_no, hashes FROM {} ORDER BY 1, 2, 3, 4"
    held = [rows(database_url, everything.format(table)) for table in ("tiles", "tile_edges")]
    closing = pipeline.beside(idle_seconds=0.1)
    with contextlib.closing(closing.prover()) as prover:
        step_until(prover, lambda: rows(database_url, "SELECT count(*) FROM ranges") == [(1,)])
    with psycopg.connect(database_url) as connection:  # as a rebuild leaves it
        connection.execute("SET session_replication_role = replica")
        for table in ("tiles", "tile_edges", "live_checkpoints"):
            connection.execute(f"DELETE FROM {table}")
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: signed_to(database_url, 1) == ledger.next_offset)
    assert [rows(database_url, everything.format(table)) for table in ("tiles", "tile_edges")] == held


def test_a_kept_checkpoint_finds_what_a_superuser_with_the_key_did(
    ledger: TinyShard, pipeline: Pipeline, environ: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    signers, kept = tmp_path / "signers.json", tmp_path / "kept.note"
    signers.write_bytes(pipeline.registry.to_json())
    finance = Finance({**environ, "FINANCE_SIGNERS": str(signers)})
    first = rows(database_url, "SELECT note FROM live_checkpoints WHERE shard = 1")[0][0]
    kept.write_bytes(first)
    assert finance.json("verify", "consistency", str(kept))["ok"]
    ledger.post(300).silence(20)
    write(database_url, ledger)
    publish(pipeline.brokers, pipeline.topic, ledger, first_seq=600)
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: signed_to(database_url, 1) == ledger.next_offset)
    told = finance.json("verify", "consistency", str(kept))
    assert told["counts"]["entries_appended"] == 300
    assert kept.read_bytes() == first
    assert finance.json("verify", "consistency", str(kept), "--keep")["kept"]
    assert kept.read_bytes() == rows(database_url, "SELECT note FROM live_checkpoints WHERE shard = 1")[0][0]
    with psycopg.connect(database_url, autocommit=True) as superuser:  # puts back what was signed before
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("UPDATE live_checkpoints SET note = %s WHERE shard = 1", [first])
    told = finance.json("verify", "consistency", str(kept), "--keep", code=1)
    assert told["findings"][0]["code"] == "consistency.shrunk"
    kept.write_bytes(b"no checkpoint")
    assert finance.json("verify", "consistency", str(kept), code=1)["findings"][0]["code"] == "checkpoint.signature"
