"""The development stack is real: its servers sync, lock and sign, and are reached from this machine only."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import json
from pathlib import Path

import boto3
import psutil
import psycopg
import pytest
from botocore.exceptions import ClientError
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils

from finance.settings.deployment import Settings
from finance.workshop.devstack import Stack
from tests.support.buckets import boto_tls, s3_client
from tests.support.databases import role_url
from tests.support.kafka import client


def test_environ_reaches_all_four_services(stack: Stack, environ: dict[str, str]) -> None:
    with psycopg.connect(environ["DATABASE_URL_POSTER"]) as connection:
        assert connection.execute("SELECT current_user, count(*) FROM halts").fetchone() == ("finance_poster", 0)
    lock = s3_client(environ).get_object_lock_configuration(Bucket=environ["S3_AUDIT_BUCKET"])
    assert lock["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    assert [status.service for status in stack.status() if status.healthy] == ["postgres", "kafka", "s3", "kms"]


def test_environ_is_all_that_settings_need(environ: dict[str, str], tmp_path: Path) -> None:
    settings = Settings.from_env(environ, tmp_path)
    assert settings.kafka_brokers == environ["KAFKA_BROKERS"]
    assert settings.topic_prefix == environ["FINANCE_TOPIC_PREFIX"]
    assert settings.signers_path.exists()


def test_each_test_gets_an_empty_database(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    with psycopg.connect(role_url(database_url, "finance_auditor")) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("finance_auditor",)


def test_every_server_listens_on_loopback_only(stack: Stack) -> None:
    listening: dict[str, set[str]] = {}
    for status in stack.status():
        process = psutil.Process(status.pid)
        for member in [process, *process.children(recursive=True)]:
            for socket in member.net_connections(kind="inet"):
                if socket.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):  # NONE: a UDP socket
                    listening.setdefault(status.service, set()).add(socket.laddr.ip)
    assert set(listening) == {"postgres", "kafka", "s3", "kms"}
    addresses = {ipaddress.ip_address(address) for found in listening.values() for address in found}
    mapped = {getattr(address, "ipv4_mapped", None) or address for address in addresses}
    assert all(address.is_loopback for address in mapped), listening


def test_postgres_syncs_what_it_commits(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = {
            name: connection.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes", "server_encoding", "data_checksums")
        }
        assert connection.info.server_version >= 180000
    assert found == {
        "fsync": ("on",),
        "synchronous_commit": ("on",),
        "full_page_writes": ("on",),
        "server_encoding": ("UTF8",),
        "data_checksums": ("on",),
    }


def test_settlements_carry_the_brokers_append_time(stack: Stack, topic_prefix: str) -> None:
    admin = AdminClient(client(stack.env["KAFKA_BROKERS"]))
    resource = ConfigResource(ResourceType.TOPIC, f"{topic_prefix}finance.settlements")
    (described,) = admin.describe_configs([resource]).values()
    assert described.result(timeout=300)["message.timestamp.type"].value == "LogAppendTime"


def test_kafka_makes_no_topic_by_itself(stack: Stack) -> None:
    errors: list[object] = []
    producer = Producer({**client(stack.env["KAFKA_BROKERS"]), "message.timeout.ms": 2000})
    producer.produce("never-created", b"x", on_delivery=lambda error, _message: errors.append(error))
    producer.flush(300)
    assert errors[0] is not None
    with pytest.raises(KafkaException):
        raise KafkaException(errors[0])
    admin = AdminClient(client(stack.env["KAFKA_BROKERS"]))
    assert "never-created" not in admin.list_topics(timeout=300).topics


def test_a_locked_version_cannot_be_deleted(stack: Stack, bucket: str) -> None:
    s3 = s3_client(stack.env)
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    put = s3.put_object(
        Bucket=bucket,
        Key="batch",
        Body=b"rows",
        ChecksumAlgorithm="SHA256",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key="batch", VersionId=put["VersionId"], BypassGovernanceRetention=True)
    assert s3.get_object(Bucket=bucket, Key="batch", VersionId=put["VersionId"])["Body"].read() == b"rows"


def test_the_store_refuses_strangers(stack: Stack, bucket: str) -> None:
    stranger = s3_client({**stack.env, "S3_ADMIN_SECRET": "wrong"})
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket=bucket)


def test_kms_signatures_verify_with_the_registered_keys(stack: Stack) -> None:
    kms = boto3.client("kms", endpoint_url=stack.env["KMS_ENDPOINT"], region_name=stack.env["KMS_REGION"],
                       aws_access_key_id=stack.env["AWS_ACCESS_KEY_ID"],
                       aws_secret_access_key=stack.env["AWS_SECRET_ACCESS_KEY"],
                       **boto_tls(stack.env, "prover"))  # fmt: skip
    digest = hashlib.sha256(b"a range").digest()
    keys = _registered_keys(stack)
    rsa_key, ed25519_key = keys["finance-dev-rsa-v1"], keys["finance-dev-ed25519-v1"]
    by_rsa = kms.sign(
        KeyId=stack.env["KMS_KEY_RSA"],
        Message=digest,
        MessageType="DIGEST",
        SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
    )
    assert isinstance(rsa_key, rsa.RSAPublicKey)
    rsa_key.verify(by_rsa["Signature"], digest, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))
    by_ed25519 = kms.sign(
        KeyId=stack.env["KMS_KEY_ED25519"], Message=digest, MessageType="RAW", SigningAlgorithm="ED25519_SHA_512"
    )
    assert isinstance(ed25519_key, ed25519.Ed25519PublicKey)
    ed25519_key.verify(by_ed25519["Signature"], digest)


def _registered_keys(stack: Stack) -> dict[str, object]:
    registry = json.loads(Path(stack.env["FINANCE_SIGNERS"]).read_text())
    assert {entry["algorithm"] for entry in registry["signers"]} == {"rsa-sha256", "ed25519"}
    assert all({"deployedAt", "description"} <= set(entry) for entry in registry["signers"])
    return {
        entry["signer_kid"]: serialization.load_pem_public_key(entry["public_key_pem"].encode())
        for entry in registry["signers"]
    }
