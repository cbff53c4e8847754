"""topology.yaml as a typed, closed-world object: topics, processes, limits, stores and signers of the service.

`load_topology` gives a topology in which every name resolves and every cross-check of `schemas.topology.checks` holds,
or raises Refused listing every fault at once, each with its path in the file. Unknown and repeated keys are faults. The
file names environment variables; a value that looks like a secret is a fault. Nothing here reads the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from ledger_core.errors import Refused
from schemas.read_file import SETTINGS_BYTES_MAX, read_text
from schemas.strict_yaml import YAMLError, load_yaml
from schemas.topology.checks import cross_faults, secret_faults
from schemas.topology.model import Access, ArchiveStoreSpec, Limits, Process, SignerSpec, Topic, Topology

__all__ = ["Access", "ArchiveStoreSpec", "Limits", "Process", "SignerSpec", "Topic", "Topology", "load_topology"]

_SECTIONS: Final[dict[str, type[msgspec.Struct]]] = {
    "topics": Topic,
    "processes": Process,
    "stores": ArchiveStoreSpec,
    "signers": SignerSpec,
}


def load_topology(path: Path, *, topic_prefix: str = "") -> Topology:
    """Read and check the file; `topic_prefix` is put before every topic name. Raises Refused with every fault."""
    try:
        text = read_text(path, SETTINGS_BYTES_MAX)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the topology cannot be read: {error}", remedy="name the file with FINANCE_TOPOLOGY") from None
    try:
        data = load_yaml(text)
    except YAMLError as error:
        raise Refused(f"{path.name} is not YAML: {error}", remedy="correct it at the line given") from None
    faults = secret_faults(data)
    _put_prefix(data, topic_prefix)
    topology = _typed(data, faults)
    if topology is not None:
        faults += cross_faults(topology)
    if topology is None or faults:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        raise Refused(f"{path.name} has {len(faults)} fault(s):{listed}\n", remedy=f"correct them in {path.name}")
    return topology


def _put_prefix(data: object, topic_prefix: str) -> None:
    topics = data.get("topics") if isinstance(data, dict) else None
    for topic in topics.values() if isinstance(topics, dict) else ():
        if isinstance(topic, dict) and isinstance(topic.get("name"), str):
            topic["name"] = topic_prefix + topic["name"]


def _typed(data: object, faults: list[str]) -> Topology | None:
    """The typed topology, or None when something in it has the wrong form; every fault found is appended."""
    parts = _mapping(data, "(file)", faults)
    _check_struct(Topology, parts, "", faults, only=("version", "service"))
    for name, struct in _SECTIONS.items():
        for key, fields in _mapping(parts.get(name, {}), name, faults).items():
            path = f"{name}.{key}"
            _check_struct(struct, _mapping(fields, path, faults), path, faults)
    for name, struct in (("limits", Limits), ("access", Access)):
        if name in parts:
            _check_struct(struct, _mapping(parts[name], name, faults), name, faults)
    return None if faults else msgspec.convert(parts, Topology)


def _mapping(value: object, path: str, faults: list[str]) -> dict[str, Any]:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    faults.append(f"{path}: wants a mapping with text keys")
    return {}


def _check_struct(
    struct: type[msgspec.Struct], values: dict[str, Any], path: str, faults: list[str], only: tuple[str, ...] = ()
) -> None:
    """Field by field, so that every wrong field is reported and not only the first one msgspec meets."""
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    below = f"{path}." if path else ""
    faults += [
        f"{below}{key}: is not a key here; the keys are {', '.join(fields)}" for key in values if key not in fields
    ]
    for name, field in fields.items():
        if name not in values:
            if field.required:
                faults.append(f"{below}{name}: is missing")
        elif not only or name in only:
            try:
                msgspec.convert(values[name], field.type)
            except msgspec.ValidationError as error:
                faults.append(f"{below}{name}: {error} (has {values[name]!r})")
