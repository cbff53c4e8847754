"""A production environment in which the settings guards find nothing wrong, to be spoilt one variable at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

from ledger_core.errors import Refused
from tests.support.archive_factory import Key
from tests.support.topics import TOPOLOGY

CERTIFICATE = "sslmode=verify-full&sslrootcert=ca.crt&sslcert=tls.crt&sslkey=tls.key"
RANDOM = "q7Gk2vXw9RtB4mZpLs8YhJ3nDc6FaUe1"


def sound(folder: Path) -> dict[str, str]:
    """Every variable that production needs, for all processes; signers.json and topology.yaml are made in `folder`."""
    (folder / "signers.json").write_bytes(Key("rsa-sha256").registry.to_json())
    shutil.copy(TOPOLOGY, folder / "topology.yaml")
    roles = ("poster", "prover", "archiver", "notary", "keeper", "projector", "reading", "api", "auditor")
    return {
        "FINANCE_ENV": "production",
        "NODE_ENV": "production",
        "FINANCE_DOMAIN": "ledger.example.org",
        "FINANCE_SIGNERS": str(folder / "signers.json"),
        "FINANCE_TOPOLOGY": str(folder / "topology.yaml"),
        "FINANCE_TLS_DIR": str(folder),
        "REQUIRE_KMS": "true",
        "REQUIRE_MTLS": "true",
        "DEV_SKIP_MTLS": "false",
        "AUDIT_SIGNING_KMS_KEY_ID": "alias/finance",
        "AUDIT_SIGNING_ALG": "rsa-sha256",
        "KAFKA_BROKERS": "broker:9093",
        "S3_AUDIT_BUCKET": "audit",
        "S3_AUDIT_REGION": "eu-central-1",
        "S3_AUDIT_ACCESS_KEY": "access",
        "S3_AUDIT_SECRET": "a secret of the archive",
        **{f"DATABASE_URL_{r.upper()}": f"postgresql://finance_{r}@db/finance?{CERTIFICATE}" for r in roles},
    }


def refusal(error: Refused) -> list[str]:
    """The lines of a refused start."""
    return error.message.splitlines()
