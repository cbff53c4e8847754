"""Writes the stack's `signers.json`: the registry of public keys that Finance and Kernel verify with."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization

from finance.workshop.devstack.state import write_private


class Entry(msgspec.Struct, omit_defaults=True):
    """One signer as docs/FORMATS.md lays it down."""

    signer_kid: str
    algorithm: str
    public_key_pem: str
    deployedAt: str  # noqa: N815  the registry's published spelling
    description: str
    retiredAt: str | None = None  # noqa: N815


class Registry(msgspec.Struct):
    signers: list[Entry] = []


def register(
    path: Path, kid: str, algorithm: str, public_key_der: bytes, now: dt.datetime, replaces: str | None
) -> None:
    """Add a public key (DER SubjectPublicKeyInfo). What it replaces stays, as retired: or history stops verifying."""
    registry = msgspec.json.decode(path.read_bytes(), type=Registry) if path.exists() else Registry()
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    for entry in registry.signers:
        if entry.signer_kid == replaces:
            entry.retiredAt = stamp
    pem = serialization.load_der_public_key(public_key_der).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    registry.signers.append(Entry(kid, algorithm, pem.decode(), stamp, f"{algorithm} key of a development stack"))
    write_private(path, msgspec.json.format(msgspec.json.encode(registry), indent=2))
