"""The audit batch: its lines, its identity, its names; and that nothing but a whole batch is read."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest

from ledger_core import canonical
from ledger_core.archive.batch import (
    GZIP_HEADER,
    BatchWriter,
    metadata_of,
    object_metadata,
    parse_metadata,
)
from ledger_core.archive.lines import batch_lines
from ledger_core.archive.names import batch_key, manifest_key
from ledger_core.errors import Refused
from ledger_core.proving.range_proof import assemble_proof, parse_proof
from schemas.topology.load import load_topology
from tests.support.proof_examples import VERDICTS, payload, shard_range
from tests.support.topics import TOPOLOGY

PROOF = assemble_proof(payload().to_bytes(), b"s" * 64)
METADATA = metadata_of(parse_proof(PROOF), pii_included=False, pii_policy_version="1")
ENTRIES = [b'{"entry":%d}' % number for number in range(3)]


def sealed() -> Any:
    writer = BatchWriter(METADATA)
    writer.add_lines(ENTRIES[:1])
    writer.add_lines(ENTRIES[1:])
    writer.add_lines([])
    writer.add_lines(VERDICTS)
    return writer.seal(PROOF)


def test_lines_stand_in_their_order_and_gzip_reads_them() -> None:
    lines = gzip.decompress(sealed().data).splitlines()
    assert lines == [METADATA.to_bytes(), *ENTRIES, *VERDICTS, PROOF]
    assert list(batch_lines(sealed().data)) == lines


def test_identity_is_the_digest_of_the_uncompressed_bytes() -> None:
    batch = sealed()
    plain = gzip.decompress(batch.data)
    assert (batch.sha256, batch.size_bytes) == (hashlib.sha256(plain).hexdigest(), len(plain))
    assert batch.stored_sha256 == hashlib.sha256(batch.data).hexdigest()


def test_same_range_gives_same_bytes_however_the_lines_were_added() -> None:
    writer = BatchWriter(METADATA)
    writer.add_lines([*ENTRIES, *VERDICTS])
    assert writer.seal(PROOF).sha256 == sealed().sha256
    assert sealed().data == sealed().data


def test_gzip_header_holds_no_time_no_name_and_no_system() -> None:
    assert sealed().data[:10] == GZIP_HEADER
    assert GZIP_HEADER[3:] == b"\0\0\0\0\0\0\xff"


def test_metadata_has_exactly_the_fields_of_the_design() -> None:
    names = ["count", "env", "first_seq", "from_ts", "last_seq", "pii_included", "pii_policy_version", "prev_hash"]
    names += ["service", "shard", "signer_kid", "to_ts", "verdicts"]
    assert list(canonical.decode(METADATA.to_bytes())) == names
    assert parse_metadata(METADATA.to_bytes()) == METADATA


def test_object_metadata_is_flat_ascii_without_null() -> None:
    genesis = payload(shard_range(first_seq=1, last_seq=2))
    metadata = metadata_of(
        parse_proof(assemble_proof(genesis.to_bytes(), b"s")), pii_included=False, pii_policy_version="1"
    )
    texts = object_metadata(metadata, "00")
    assert texts["pii-included"] == "false"
    assert texts["first-seq"] == "1"
    assert "prev-hash" not in texts
    assert all(name.isascii() and text.isascii() and text for name, text in texts.items())


def test_names_sort_in_order_of_the_chain() -> None:
    places = ((2, 9, 1), (10, 10, 12), (11, 10, 99), (11, 100, 100))
    keys = [batch_key("test", shard_range(first_seq=a, last_seq=b, first_offset=c)) for a, b, c in places]
    assert keys == sorted(keys)
    assert len(set(keys)) == 4
    assert manifest_key("test", 3, 9) < manifest_key("test", 3, 10)


@pytest.mark.parametrize(
    "data",
    [
        sealed().data[:-1],
        sealed().data[:-9],
        sealed().data + b"x",
        sealed().data * 2,
        sealed().data[:40] + bytes([sealed().data[40] ^ 1]) + sealed().data[41:],
        gzip.compress(b"no line end", mtime=0),  # the bytes name the test, in each worker the same
        b"plain",
        b"",
    ],
)
def test_what_is_not_one_whole_batch_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        list(batch_lines(data))


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    bomb = gzip.compress(b"\0" * (64 * 1024 * 1024))
    with pytest.raises(ValueError, match="a line of more than"):
        list(batch_lines(bomb))


@pytest.mark.parametrize(
    ("said", "instead"),
    [(b'"1"', text) for text in (b'"01"', b'"001"', b'""', b'"+1"', b'"1.0"', b'"one"', b"1", b'" 1"')]
    + [(b'"pii_included":false', b'"pii_included":true')],
)
def test_a_policy_has_one_spelling_and_no_batch_says_that_it_has_personal_data(said: bytes, instead: bytes) -> None:
    whole = METADATA.to_bytes()
    wanted = b'"pii_policy_version":' + said if said == b'"1"' else said
    assert parse_metadata(whole) == METADATA
    assert wanted in whole
    with pytest.raises(ValueError, match="pii_"):
        parse_metadata(whole.replace(wanted, b'"pii_policy_version":' + instead if said == b'"1"' else instead))


def test_the_policy_of_the_topology_is_a_file(tmp_path: Path) -> None:
    spec = load_topology(TOPOLOGY).stores["archive"]
    assert (TOPOLOGY.parent / f"docs/pii-policy/{spec.pii_policy_version}.md").is_file()
    copy = tmp_path / "topology.yaml"
    copy.write_text(TOPOLOGY.read_text("utf-8").replace('pii_policy_version: "1"', 'pii_policy_version: "01"'), "utf-8")
    with pytest.raises(Refused, match="pii_policy_version"):
        load_topology(copy)
