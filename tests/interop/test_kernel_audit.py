"""Kernel can verify what the notary wrote, with its own means: Node's crypto, and openssl, over a real chain (G8)."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from finance.workshop.devstack import Stack
from ledger_core.audit.events import AuditEvent, event_hash
from ledger_core.ports import Algorithm, AuditIntent
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import PublicKey, decode_signature, encode_signature, verify_digest
from tests.support import audit
from tests.support.signing import kms_signer, local_signer
from tests.support.tools import installed

pytestmark = pytest.mark.services

HERE = Path(__file__).parent
Row = dict[str, Any]
TEXT = 'Zoë / \u2028 \u007f \t " \\ 😀'
NESTED: dict[str, object] = {"z": [1, -5, 10**15 - 1, True, None], "a": {"b": "", "B": {}}}


def special(number: int) -> AuditIntent:
    """An event with all that JSON can spell, as far as it may stand on the chain."""
    payload: dict[str, object] = {"retired_at": str(number), "validity": NESTED, "reason": TEXT}
    key: dict[str, object] = {"signer_kid": "k", "algorithm": "ed25519", "fingerprint": "ab" * 32}
    return AuditIntent("signer.retired", "operator:tester", {**key, **payload}, f"{number:032x}")


def _node() -> str:
    return installed("node", "nodejs")


READERS: dict[str, Callable[[], list[str]]] = {
    "node": lambda: [_node(), str(HERE / "kernel_verify.mjs")],
    "python-openssl": lambda: [sys.executable, str(HERE / "kernel_verify.py")],
}


class Chain:
    """A chain as exported for Kernel, and what a reader says of it."""

    def __init__(self, rows: list[Row], signers: bytes, folder: Path) -> None:
        self.rows, self.signers, self.folder = rows, signers, folder

    def read_by(self, reader: str, rows: list[Row] | None = None, *options: str) -> tuple[int, str]:
        rows_file, signers_file = self.folder / "rows.jsonl", self.folder / "signers.json"
        text = "".join(json.dumps(row) + "\n" for row in (self.rows if rows is None else rows))
        rows_file.write_text(text)
        signers_file.write_bytes(self.signers)
        command = [*READERS[reader](), str(rows_file), str(signers_file), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, done.stdout


@pytest.fixture(params=["ed25519", "rsa-sha256"])
def chain(request: pytest.FixtureRequest, stack: Stack, environ: dict[str, str], tmp_path: Path) -> Chain:
    """Eight events, chained, signed by the KMS and published by a notary on the real servers."""
    algorithm: Algorithm = request.param
    signer, registry = kms_signer(stack.env, algorithm)
    audit.append(environ["DATABASE_URL"], [special(number) for number in range(8)])
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry, batch_events_max=5))
    return Chain(
        audit.rows_newest_first(environ["DATABASE_URL"]), Path(environ["FINANCE_SIGNERS"]).read_bytes(), tmp_path
    )


@pytest.mark.parametrize("reader", READERS)
def test_an_honest_chain_verifies(chain: Chain, reader: str) -> None:
    code, text = chain.read_by(reader)
    assert (code, text) == (0, "8 events, 0 findings\n")
    newest_three = chain.rows[:3]
    assert chain.read_by(reader, newest_three, "--partial") == (0, "3 events, 0 findings\n")


def _alter_payload(rows: list[Row]) -> None:
    rows[5]["payload"]["retired_at"] = "999"


def _alter_deep_text(rows: list[Row]) -> None:
    rows[5]["payload"]["validity"]["z"][1] = -6


def _alter_payload_and_hash(rows: list[Row]) -> None:
    rows[0]["payload"]["retired_at"] = "999"
    rows[0]["hash"] = event_hash(rows[0]["payload"], rows[0]["prev_hash"])


def _remove_a_row(rows: list[Row]) -> None:
    del rows[4]


def _swap_two_rows(rows: list[Row]) -> None:
    rows[3], rows[4] = rows[4], rows[3]


def _equal_times(rows: list[Row]) -> None:
    rows[3]["created_at"] = rows[4]["created_at"]


def _alter_actor_column(rows: list[Row]) -> None:
    rows[2]["actor_id"] = "operator:mallory"


def _take_another_signature(rows: list[Row]) -> None:
    rows[2]["signature"] = rows[3]["signature"]


def _unknown_signer(rows: list[Row]) -> None:
    rows[2]["signer_kid"] = "mallory-v1"


def _remove_genesis(rows: list[Row]) -> None:
    del rows[-1]


def _remove_everything(rows: list[Row]) -> None:
    rows.clear()


TAMPERINGS: list[tuple[Callable[[list[Row]], None], str]] = [
    (_alter_payload, "hash is not"),
    (_alter_deep_text, "hash is not"),
    (_alter_payload_and_hash, "signature does not verify"),
    (_remove_a_row, "prev_hash is not"),
    (_swap_two_rows, "prev_hash is not"),
    (_equal_times, "created_at does not increase"),
    (_alter_actor_column, "actor_id is not what the payload says"),
    (_take_another_signature, "signature does not verify"),
    (_unknown_signer, "unknown signer"),
    (_remove_genesis, "does not begin at genesis"),
    (_remove_everything, "the chain is empty"),
]


@pytest.mark.parametrize("reader", READERS)
def test_every_tampering_is_named(chain: Chain, reader: str) -> None:
    for tamper, finding in TAMPERINGS:
        rows = copy.deepcopy(chain.rows)
        tamper(rows)
        code, text = chain.read_by(reader, rows)
        assert code == 1, tamper.__name__
        assert finding in text, tamper.__name__


def test_the_columns_and_types_are_those_that_kernel_reads(database_url: str) -> None:
    query = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'audit_events'"
    with psycopg.connect(database_url) as connection:
        columns: dict[str, str] = dict(connection.execute(query).fetchall())
    wanted = {"id": "text", "payload": "jsonb", "prev_hash": "text", "hash": "text", "signature": "text"}
    assert wanted.items() <= columns.items()
    assert columns["signer_kid"] == "text"
    assert columns["created_at"] == "timestamp with time zone"


def test_the_topic_holds_the_same_events_in_order_under_one_key(chain: Chain, environ: dict[str, str]) -> None:
    records = audit.read_topic(environ)
    values = [json.loads(value) for _, value in records]
    assert {key for key, _ in records} == {b"audit"}
    assert [{**value, "seq": int(value["seq"])} for value in values] == chain.rows[::-1]
    assert all(AuditEvent.from_json(value).to_json() == value for _, value in records)


# Published vectors of Kernel's format: the key is that of RFC 8032, test 1.
VECTOR_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
VECTORS: list[tuple[Row, str, str]] = [
    (
        {"amount_cents": 19999, "currency": "USD", "journal_id": "jrn-1"},
        "472a0112b87881eb3b5572a9827848e74eebca20a6e5d9852817b60b793d5b42",
        "9joD28AqzCWR59oJ/rdP9mOaWWtgaPVc+8DoBsN9PIB94JF4VgvfM3+m5JKFnJRFoFjoDjVduJi1bwrtlXxNAw==",
    ),
    (
        {"a": {"y": "<&>", "z": "Zoë"}, "b": [1, 2.5, None, True]},
        "3fbf5e795678059a0311c0de8a1fc0da484f50a84f151b375b96ea018ab05def",
        "0RKx0PjnTUKYk/rYE9JvPdtv9gtCk4aqkR4B4hZ9VThm5/5EN9T0wjOIgj70FnNwsau4ZagiplcBELE5aQZeDw==",
    ),
    (
        {},
        "f9ab9ca1cba57d420245783be7af50727b6572949c69be357e5c505e4d2fdf58",
        "UUegnmbBLWo3hoJEgHRx7U6vFoewBGdP32nccche/M2FlvH6PuVIrwSBiUogpSOseYc5kEdomeBG3OGXThibBA==",
    ),
]


@pytest.mark.parametrize("reader", READERS)
def test_the_readers_accept_the_published_vectors(reader: str, tmp_path: Path) -> None:
    """They are read with Kernel's five columns alone: the vectors' payloads do not repeat id, seq and times."""
    key = PublicKey.parse(VECTOR_KEY)
    entry = {"signer_kid": "vector", "algorithm": "ed25519", "public_key_pem": key.pem}
    rows: list[Row] = []
    for number, (payload, digest, signature) in enumerate(VECTORS):
        prev_hash = rows[-1]["hash"] if rows else None
        row = {"payload": payload, "prev_hash": prev_hash, "hash": digest, "signature": signature}
        rows.append({**row, "signer_kid": "vector"})
        verify_digest(key, bytes.fromhex(digest), decode_signature(signature))
        if number != 1:  # the second holds a float, which we never write
            assert event_hash(payload, prev_hash) == digest
    chain = Chain(rows[::-1], json.dumps({"signers": [entry]}).encode(), tmp_path)
    assert chain.read_by(reader) == (0, "3 events, 0 findings\n")


@pytest.mark.parametrize("reader", READERS)
def test_a_signed_chain_with_a_gap_in_seq_is_a_finding(reader: str, tmp_path: Path) -> None:
    """Kernel's own tool cannot see it: every hash and signature is right."""
    signer, registry = local_signer()
    rows: list[Row] = []
    for seq in (1, 3):
        moment = f"2026-01-01T00:00:00.{seq:06d}Z"
        said = {"id": f"e{seq}", "seq": str(seq), "event_type": "x", "actor_id": "y", "created_at": moment}
        prev_hash = rows[-1]["hash"] if rows else None
        digest = event_hash({**said}, prev_hash)
        signature = encode_signature(signer.sign_digest(bytes.fromhex(digest)))
        row = {"payload": said, "prev_hash": prev_hash, "hash": digest, "signature": signature}
        rows.append({**said, **row, "seq": seq, "signer_kid": signer.kid})
    code, text = Chain(rows[::-1], registry.to_json(), tmp_path).read_by(reader)
    assert (code, text) == (1, "e3: seq is not the next one\n2 events, 1 findings\n")


def test_the_commands_of_the_kernel_page_do_what_it_says(chain: Chain, environ: dict[str, str]) -> None:
    _node()
    page = (HERE.parents[1] / "docs" / "KERNEL.md").read_text()
    (script,) = [block for block in page.split("```") if block.lstrip().startswith("psql")]
    (chain.folder / "signers.json").write_bytes(chain.signers)
    (chain.folder / "tests").symlink_to(HERE.parent)
    path = os.pathsep.join([environ["PG_BIN"], str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=chain.folder,
        env={**environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "8 events, 0 findings\n" * 2), done.stderr


def audit_verify(chain: Chain, environ: dict[str, str], changed: Callable[[str], str] = str) -> tuple[int, str]:
    """The page's line for Kernel's own tool, on the stand-in with its arguments."""
    node, page = _node(), (HERE.parents[1] / "docs" / "KERNEL.md").read_text()
    (line,) = [block.strip() for block in page.split("```") if "audit-verify.js --database-url" in block]
    (chain.folder / "signers.json").write_bytes(chain.signers)
    tool = chain.folder / "kernel" / "tools" / "audit-verify.js"
    tool.parent.mkdir(parents=True, exist_ok=True)
    tool.write_text(f"await import({str(HERE / 'audit_verify_standin.mjs')!r});\n")
    (chain.folder / "package.json").write_text('{"type": "module"}')
    path = os.pathsep.join([environ["PG_BIN"], str(Path(node).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-ec", changed(line)],
        cwd=chain.folder,
        env={**environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_line_for_kernels_own_tool_works_as_printed(chain: Chain, environ: dict[str, str]) -> None:
    assert audit_verify(chain, environ) == (0, "8 events, 0 findings\n")
    assert audit_verify(chain, environ, lambda it: it.replace("1000000", "3")) == (0, "3 events, 0 findings\n")
    other = environ["DATABASE_URL_AUDITOR"].rpartition("/")[0] + "/postgres"
    code, _ = audit_verify(chain, {**environ, "DATABASE_URL_AUDITOR": other})
    assert code != 0, "the address is the one that the line names"
    with psycopg.connect(environ["DATABASE_URL"]) as owner:
        owner.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        owner.execute("UPDATE audit_events SET hash = repeat('0', 64) WHERE seq = 5")
    code, said = audit_verify(chain, environ)
    assert (code, "hash is not" in said) == (1, True)


def test_our_own_reading_agrees_about_the_registry(chain: Chain) -> None:
    registry = SignerRegistry.from_json(chain.signers)
    for row in chain.rows:
        key = registry.get(row["signer_kid"]).public_key
        verify_digest(key, bytes.fromhex(row["hash"]), decode_signature(row["signature"]))
        assert event_hash(row["payload"], row["prev_hash"]) == row["hash"]
