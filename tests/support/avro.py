"""Avro by the general library, fastavro: the judge of our own codecs, and of what two schema versions can read."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException
from fastavro.types import Schema

from schemas.wire.registry import published

ReadError = (EOFError, IndexError, KeyError, TypeError, ValueError, OverflowError, fastavro.read.SchemaResolutionError)


def without_logical_types(schema: Any) -> Any:
    """The same bytes, read as plain numbers."""
    if isinstance(schema, dict):
        return {key: without_logical_types(part) for key, part in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [without_logical_types(part) for part in schema]
    return schema


def parsed(text: str) -> Schema:
    return fastavro.parse_schema(without_logical_types(json.loads(text)))


SCHEMAS = {schema.key: parsed(schema.text) for schema in published()}


def write(schema: Schema, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def read(schema: Schema, data: bytes, reader: Schema | None = None) -> Any:
    stream = io.BytesIO(data)
    record = fastavro.schemaless_reader(stream, schema, reader)
    if stream.read(1):
        raise ValueError("bytes follow the record")
    return record


def incompatibilities(old: str, new: str, examples: Iterable[bytes]) -> list[str]:
    """What breaks when `new` stands beside `old`: backward (new reads old data) and forward (old reads new data).

    `examples` are record bodies written with `old`; between them they must use every branch of every union.
    """
    faults = []
    try:
        before, after = parsed(old), parsed(new)
    except SchemaParseException as error:
        return [f"not a schema: {error}"]
    for data in examples:
        try:
            upgraded = read(before, data, after)
        except ReadError as error:
            faults.append(f"backward: the new schema cannot read old data: {error!r}")
            continue
        try:
            read(after, write(after, upgraded), before)
        except ReadError as error:
            faults.append(f"forward: the old schema cannot read new data: {error!r}")
    return faults
