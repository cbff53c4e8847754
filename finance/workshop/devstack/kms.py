"""The AWS KMS API from PyPI `ministack`: RSA with `MessageType=DIGEST` and Ed25519, keys kept over restarts.

An emulator (no HSM behind it): it honours digests and key states, which is what Finance relies on. It saves its keys
when it ends cleanly, so after making keys it is restarted once; from then on a SIGKILL loses none.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from finance.settings import clock
from finance.workshop.devstack import signers
from finance.workshop.devstack.authority import authority_of
from finance.workshop.devstack.processes import Launch, accepts_connections
from finance.workshop.devstack.server import Site
from finance.workshop.devstack.state import KeyRecord, State

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_kms.literals import KeySpecType

REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "finance-dev", "finance-dev"  # it checks none; boto3 wants some
_SPECS: dict[str, KeySpecType] = {"rsa-sha256": "RSA_2048", "ed25519": "ECC_NIST_EDWARDS25519"}
_KIDS = {"rsa-sha256": "finance-dev-rsa", "ed25519": "finance-dev-ed25519"}


def client(state: State) -> KMSClient:
    config = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1})
    trust = authority_of(state)
    if trust is not None:
        config = config.merge(Config(client_cert=trust.principal("admin").names))
    return boto3.client(
        "kms",
        endpoint_url=endpoint(state),
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        verify=None if trust is None else str(trust.certificate),
        config=config,
    )


def endpoint(state: State) -> str:
    return f"{'https' if state.tls else 'http'}://127.0.0.1:{state.ports['kms']}"


def _has(kms: KMSClient, key_id: str) -> bool:
    try:
        kms.describe_key(KeyId=key_id)
        return True
    except kms.exceptions.NotFoundException:
        return False


def current_key(state: State, algorithm: str) -> KeyRecord | None:
    """The newest key of an algorithm: earlier ones were lost with a wiped server and stay registered as retired."""
    return next((key for key in reversed(state.keys) if key.algorithm == algorithm), None)


class Kms:
    name: ClassVar[str] = "kms"
    port_names: ClassVar[tuple[str, ...]] = ("kms",)
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_seconds_max: ClassVar[float] = 15.0
    ready_seconds_max: ClassVar[float] = 60.0

    def prepare(self, site: Site, /) -> Launch:
        data = site.place.data(self.name)
        environment = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(site.state.ports["kms"]),
            "SERVICES": "kms",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(data),
            "TMPDIR": str(data),  # it writes a pid file into the temporary directory
            "DOCKER_HOST": f"unix://{data}/no-docker.sock",  # it would remove containers it takes for its own
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "LOG_LEVEL": "INFO",
        }
        command = [sys.executable, "-m", "ministack"]
        trust = authority_of(site.state)
        if trust is not None:
            # Its own USE_SSL asks for no client certificate, and takes port 443 along: so its ASGI server, directly.
            own = trust.server("kms")
            command = [sys.executable, "-m", "hypercorn", "ministack.app:app", "--workers", "0", "--keep-alive", "75"]
            command += ["--bind", f"127.0.0.1:{site.state.ports['kms']}", "--verify-mode", "CERT_REQUIRED"]
            command += ["--certfile", str(own.certificate), "--keyfile", str(own.key)]
            command += ["--ca-certs", str(trust.certificate)]
        return Launch(command, directory=data, environment=environment)

    def is_ready(self, state: State, /) -> bool:
        if not accepts_connections(state.ports["kms"]):
            return False
        try:
            client(state).list_keys()
            return True
        except (BotoCoreError, ClientError):
            return False

    def provision(self, site: Site, /) -> bool:
        kms, state = client(site.state), site.state
        made = False
        for algorithm, spec in _SPECS.items():
            known = current_key(state, algorithm)
            if known is not None and _has(kms, known.key_id):
                continue
            kid = f"{_KIDS[algorithm]}-v{1 + sum(key.algorithm == algorithm for key in state.keys)}"
            made_key = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY", Description=kid)["KeyMetadata"]["KeyId"]
            public_key = kms.get_public_key(KeyId=made_key)["PublicKey"]
            now = clock.utc_now()
            signers.register(site.place.signers_file, kid, algorithm, public_key, now, known.kid if known else None)
            state.keys.append(KeyRecord(kid=kid, key_id=made_key, algorithm=algorithm))
            made = True
        return made

    def sweep(self, site: Site, /) -> None:
        for leftover in (site.place.path / self.name).glob("ministack-*.pid"):
            leftover.unlink(missing_ok=True)
