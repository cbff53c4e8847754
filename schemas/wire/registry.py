"""The published Avro schemas and their ids, which mean the same with and without a schema registry server.

The id in the Confluent frame is the first four bytes of SHA-256 over the schema's Avro Parsing Canonical Form (Avro
specification, "Transforming into Parsing Canonical Form"), top bit cleared: a registry's ids are positive 32-bit
integers. Whoever has the schema can compute the id; some registries accept it in IMPORT mode (`import_script`).
A published schema never changes: a new one is `<name>.v2.avsc` beside it. This module reads package files, no network.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from fastavro.schema import to_parsing_canonical_form

_FILE_NAME: Final = re.compile(r"(?P<name>[a-z_]+)\.v(?P<version>[1-9][0-9]*)\.avsc")


@dataclass(frozen=True, slots=True)
class PublishedSchema:
    """One committed .avsc file: `key` is `<name>.v<version>`, `text` the JSON as committed, `schema_id` 31 bits."""

    name: str  # base name of the file
    version: int  # from 1
    text: str
    schema_id: int

    @property
    def key(self) -> str:
        return f"{self.name}.v{self.version}"


def canonical_form(text: str) -> str:
    """The Avro Parsing Canonical Form of a schema: names in full, no docs, defaults or logical types."""
    return str(to_parsing_canonical_form(json.loads(text)))


def schema_id(text: str) -> int:
    """The id under which a schema travels: 31 bits of SHA-256 of its parsing canonical form."""
    digest = hashlib.sha256(canonical_form(text).encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFF_FFFF


@cache
def published() -> tuple[PublishedSchema, ...]:
    """Every schema of schemas/avro, in order of name and version."""
    found = []
    for file in resources.files("schemas").joinpath("avro").iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            continue
        text = file.read_text(encoding="utf-8")
        found.append(PublishedSchema(match["name"], int(match["version"]), text, schema_id(text)))
    return tuple(sorted(found, key=lambda schema: (schema.name, schema.version)))


SCHEMA_IDS: Final[dict[str, int]] = {schema.key: schema.schema_id for schema in published()}
"""`<name>.v<version>` -> schema id."""

SCHEMA_KEYS: Final[dict[int, str]] = {number: key for key, number in SCHEMA_IDS.items()}
"""Schema id -> `<name>.v<version>`."""

if len(SCHEMA_KEYS) != len(SCHEMA_IDS):  # two schemas of one canonical form: a version that changes nothing
    raise ImportError(f"two published schemas share one id: {sorted(SCHEMA_IDS.items())}")


@dataclass(frozen=True, slots=True)
class RegistryRequest:
    """One HTTP request to a Confluent-compatible schema registry; `body` is JSON text."""

    method: str  # GET, POST or PUT
    path: str  # with its leading slash
    body: str


def import_requests(topic_of_schema: dict[str, str]) -> list[RegistryRequest]:
    """What to send, in this order, so that a registry serves our schemas under our ids.

    `topic_of_schema` gives the topic name of each schema name (`settlement` -> `finance.settlements`); the subject is
    `<topic>-value` (TopicNameStrategy). IMPORT mode is what lets a client choose the id; it wants a subject without
    versions, and is left again at the end.
    """
    requests: list[RegistryRequest] = []
    for name, topic in sorted(topic_of_schema.items()):
        subject = f"{topic}-value"
        requests.append(RegistryRequest("PUT", f"/mode/{subject}", json.dumps({"mode": "IMPORT"})))
        for schema in published():
            if schema.name == name:
                body = {"schema": schema.text, "schemaType": "AVRO", "id": schema.schema_id, "version": schema.version}
                requests.append(RegistryRequest("POST", f"/subjects/{subject}/versions", json.dumps(body)))
        requests.append(RegistryRequest("PUT", f"/mode/{subject}", json.dumps({"mode": "READWRITE"})))
    return requests


def import_script(url: str, topic_of_schema: dict[str, str]) -> str:
    """The requests as a shell script for the registry at `url`. It passes over a subject that is served already, stops
    at the first refusal, and asks at the end whether the registry kept our ids. Exit 0: it did."""
    lines = [
        "set -eu",
        f"registry={shlex.quote(url.rstrip('/'))}",
        'keeps() { curl -fsS "$registry$1" | grep -Eq "\\"id\\" ?: ?$2 ?[,}]"; }',
        "send() { curl -fsS -X \"$1\" -H 'Content-Type: application/vnd.schemaregistry.v1+json' "
        '--data "$3" "$registry$2"; echo; }',
    ]
    for name, topic in sorted(topic_of_schema.items()):
        schemas = [schema for schema in published() if schema.name == name]
        kept = [f"keeps /subjects/{topic}-value/versions/{it.version} {it.schema_id}" for it in schemas]
        lines.append(f"if ! {{ {' && '.join(kept)}; }} 2>/dev/null; then")
        lines += (f"  send {it.method} {it.path} {shlex.quote(it.body)}" for it in import_requests({name: topic}))
        lines.append("fi")
        for schema, check in zip(schemas, kept, strict=True):
            lost = f"the registry does not serve {schema.key} under id {schema.schema_id}: do not use it"
            lines.append(f"{check} || {{ echo {shlex.quote(lost)} >&2; exit 1; }}")
    return "\n".join((*lines, "echo 'the registry serves our schemas under our ids'")) + "\n"
