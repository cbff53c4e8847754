"""Changing signers in one process, without a notary: quick enough to try what an operator does in the wrong order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from finance.settings.deployment import Settings
from finance.signing import rotation
from finance.signing.desk import Desk
from finance.signing.key_choice import variables_of
from finance.wiring.registry_file import read_registry
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from schemas.topology.load import load_topology
from tests.support.archive_factory import Key
from tests.support.databases import role_url
from tests.support.topics import TOPOLOGY


class Office:
    """A desk on keys in files, and a database in which no notary runs: what was told waits in the outbox."""

    def __init__(self, environ: Mapping[str, str], database_url: str, folder: Path, key: Key) -> None:
        self.folder = folder
        self.signers = folder / "signers.json"
        registered = RegisteredSigner(key.kid, "ed25519", key.public, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        self.signers.write_bytes(SignerRegistry([registered]).to_json())
        kept = {name: value for name, value in environ.items() if "AUDIT_SIGNING_" not in name}
        own = {
            "FINANCE_SIGNERS": str(self.signers),
            "FINANCE_TOPOLOGY": str(TOPOLOGY),
            "DATABASE_URL_API": role_url(database_url, "finance_api"),
        }
        self.settings = Settings.from_env({**kept, **own, **self.variables(key)}, folder)

    def variables(self, key: Key) -> dict[str, str]:
        pem = self.folder / f"{key.kid}.pem"
        pem.touch(0o600)
        pem.write_bytes(key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return variables_of("local", str(pem), key.kid, "ed25519", None)

    def desk(self) -> Desk:
        topology = load_topology(self.settings.topology_path)
        return Desk(self.settings, topology, "operator:alice", dt.datetime.now(dt.UTC))

    def begin(self, variables: Mapping[str, str]) -> rotation.Done:
        return rotation.begin(self.desk(), variables, overlap=dt.timedelta(0), description="")

    def registered(self, kid: str) -> RegisteredSigner:
        return read_registry(self.signers).get(kid)
