"""Schema ids: computable by anyone from the schema alone, and importable into a registry."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Literal

import pytest

from schemas.wire.registry import SCHEMA_IDS, canonical_form, import_requests, import_script, published, schema_id

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
    assert sorted(SCHEMA_IDS) == ["journal.v1", "outcome.v1", "personal.v1", "settlement.v1"]
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


Manner = Literal["keeps ids", "gives its own ids", "has no modes", "refuses an id"]
TOPICS = {"settlement": "finance.settlements", "outcome": "finance.outcomes"}


@contextmanager
def registry(manner: Manner) -> Iterator[tuple[str, list[str]]]:
    """A registry of that manner, by Confluent's paths: its address, and the requests that changed something."""
    held: dict[str, dict[str, Any]] = {}
    changes: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, held[self.path]) if self.path in held else self.answer(404, {"error_code": 40402})

        def do_PUT(self) -> None:
            self.change(404 if manner == "has no modes" else 200)

        def do_POST(self) -> None:
            body = self.change(422 if manner == "refuses an id" else 200)
            number = body["id"] if manner == "keeps ids" else len(held) + 1
            held[f"{self.path}/{body['version']}"] = {"subject": "s", "version": 1, "id": number, "schema": "..."}

        def change(self, status: int) -> Any:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            changes.append(f"{self.command} {self.path}")
            self.answer(status, {})
            return body

        def answer(self, status: int, body: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Not into the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", changes
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh"], input=script, capture_output=True, text=True, check=False)


def test_the_script_gives_a_registry_our_ids_once() -> None:
    with registry("keeps ids") as (url, changes):
        first = run(import_script(url + "/", TOPICS))
        assert first.returncode == 0, first.stderr
        assert first.stdout.endswith("the registry serves our schemas under our ids\n")
        assert len(changes) == 6
        assert run(import_script(url, TOPICS)).returncode == 0
        assert len(changes) == 6, "what is served already is not sent again"


@pytest.mark.parametrize("manner", ["gives its own ids", "has no modes", "refuses an id"])
def test_the_script_fails_where_a_registry_does_not_keep_our_ids(manner: Manner) -> None:
    with registry(manner) as (url, _):
        done = run(import_script(url, TOPICS))
    assert done.returncode != 0
    assert done.stderr
    assert "the registry serves" not in done.stdout
