"""Mutual TLS on every hop: the whole route runs on it, and nobody gets in or further without the certificate for it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from botocore.exceptions import ClientError
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from finance.settings.deployment import Settings
from finance.settings.variables import PROCESSES
from finance.workshop.devstack import Stack
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.session import session
from producers.kafka import topics as topics_kafka
from producers.signing.kms import KmsKey
from producers.signing.kms_client import KmsPlace
from producers.storage.archive_s3 import S3ArchiveStore
from producers.storage.lock_canary import check_lock
from producers.storage.s3_client import s3_client
from schemas.authority.policies import CANARY_KEY
from schemas.topology.load import load_topology
from tests.support import secure
from tests.support.buckets import adapter_tls
from tests.support.command_line import Finance, quick_topology
from tests.support.databases import role_url
from tests.support.kafka import tls_of
from tests.support.topics import TOPOLOGY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAMES = ("admin", *PROCESSES, "api", "auditor", "marketplace", "kernel", "backup")
TURNED_AWAY = "CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|closed|EOF|reset|valid client certificate"
NOT_FOR_AUDITORS = ("outcomes", "settlements.dlq", "personal")
NOT_PERSONAL = (*((n, n) for n in ("marketplace", "api")), *((n, f"finance-{n}") for n in ("poster", "projector")))


@pytest.fixture(scope="module")
def stack(secure_stack: Stack) -> Stack:
    return secure_stack


@pytest.fixture(scope="module")
def finance(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Finance:
    """`finance ...` on that stack, migrated, with topics and ACLs."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    topology = quick_topology(str(TOPOLOGY), tmp_path_factory.mktemp("topology"))
    made = Finance({**inherited, **stack.env, "FINANCE_TOPOLOGY": topology})
    made("migrate")
    made("topics", "apply")
    return made


@pytest.fixture(scope="module")
def strangers(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> secure.Strangers:
    return secure.Strangers.make(stack, tmp_path_factory.mktemp("strangers"), NAMES)


def kafka(stack: Stack, name: str, **more: Any) -> dict[str, Any]:
    certificates = tls_of(str(stack.place.tls), name)
    return {"bootstrap.servers": stack.env["KAFKA_BROKERS"], "log_level": 0, **certificates, **more}


def test_the_whole_route_runs_and_verifies(finance: Finance) -> None:
    finance("publish", "--synthetic", "300")
    finance("run", "all", "--until-idle")
    assert finance.json("status")["finished"] is True
    for what in ("ledger", "archive", "audit"):
        assert finance.json("verify", what)["ok"] is True
    assert finance.json("topics", "check")["acls"] == {
        "enforced": True, "created": [], "missing": [], "extra": [], "removed": 0
    }  # fmt: skip


def test_no_port_of_the_stack_serves_a_client_without_a_certificate(stack: Stack) -> None:
    ports = secure.listening(stack)
    assert set(ports.values()) == {"postgres", "kafka", "s3", "kms"}
    assert len(ports) == 12, ports  # kafka and its controller, s3 with four HTTP and four gRPC ports, postgres, kms
    for port, service in ports.items():
        for protocol, first in secure.PLAIN.items():
            said = secure.plain_answer(port, first)
            refused = said == b"" or said[:1] == b"\x15" or b"400 Bad Request" in said or b"FATAL" in said
            assert refused, (service, port, protocol, said)
        by_tls = secure.tls_answer(port, service, stack.place.tls / "ca.crt")
        assert re.search(TURNED_AWAY, by_tls), (service, port, by_tls)


@pytest.mark.parametrize(
    ("name", "topic"),
    [("marketplace", "journal"), ("marketplace", "audit"), ("kernel", "audit"), ("prover", "journal"),
     ("archiver", "journal"), ("poster", "audit"), ("poster", "settlements"), ("notary", "journal"),
     ("auditor", "settlements"), ("api", "journal"), ("projector", "journal"), ("notary", "settlements.dlq")],
)  # fmt: skip
def test_nobody_writes_to_a_topic_of_another(stack: Stack, finance: Finance, name: str, topic: str) -> None:
    errors: list[KafkaError | None] = []
    producer = Producer(kafka(stack, name, **{"message.timeout.ms": 10_000}))
    producer.produce(f"finance.{topic}", b"x", partition=0, on_delivery=lambda error, _message: errors.append(error))
    producer.flush(300)
    assert errors[0] is not None
    assert errors[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, errors[0]
    if topic == "audit":  # nor does it fence the notary
        with pytest.raises(KafkaException, match="TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
            Producer(kafka(stack, name, **{"transactional.id": "finance.audit.writer"})).init_transactions(300)


@pytest.mark.parametrize(
    ("name", "topic", "group", "code"),
    [("kernel", "settlements", "kernel", KafkaError.TOPIC_AUTHORIZATION_FAILED),
     ("marketplace", "journal", "marketplace", KafkaError.TOPIC_AUTHORIZATION_FAILED),
     ("prover", "settlements", "finance-prover", KafkaError.TOPIC_AUTHORIZATION_FAILED),
     *(("auditor", topic, "auditor", KafkaError.TOPIC_AUTHORIZATION_FAILED) for topic in NOT_FOR_AUDITORS),
     *((name, "personal", group, KafkaError.TOPIC_AUTHORIZATION_FAILED) for name, group in NOT_PERSONAL),
     ("keeper", "settlements", "finance-keeper", KafkaError.TOPIC_AUTHORIZATION_FAILED),
     ("archiver", "journal", "finance-prover", KafkaError.GROUP_AUTHORIZATION_FAILED),
     ("prover", "journal", "finance-poster", KafkaError.GROUP_AUTHORIZATION_FAILED),
     ("kernel", "audit", "marketplace", KafkaError.GROUP_AUTHORIZATION_FAILED)],
)  # fmt: skip
@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_nobody_reads_or_joins_what_is_anothers(
    stack: Stack, finance: Finance, name: str, topic: str, group: str, code: int, protocol: str
) -> None:
    told: list[int] = []
    options = {"group.id": group, "group.protocol": protocol, "error_cb": lambda error: told.append(error.code())}
    consumer = Consumer(kafka(stack, name, **options))
    consumer.subscribe([f"finance.{topic}"])
    try:
        for _ in range(40):
            message = consumer.poll(0.5)
            if message is not None:
                error = message.error()
                assert error is not None, "a record was read"
                told.append(error.code())
            if code in told:
                break
    finally:
        consumer.close()
    assert code in told, told


def test_processes_change_nothing_on_the_cluster(stack: Stack, finance: Finance) -> None:
    for name in ("poster", "notary", "api", "marketplace"):
        admin = AdminClient(kafka(stack, name))
        for futures in (
            admin.create_topics([NewTopic(f"of-{name}", 1)]),
            admin.delete_topics(["finance.audit"]),
        ):
            (future,) = futures.values()
            error = future.exception(timeout=300)
            assert error is not None
            assert "AUTHORIZATION_FAILED" in str(error)
    denied = finance("topics", "apply", code=3, **as_operator(stack, "poster"))
    assert "certificate of an operator" in denied


def as_operator(stack: Stack, name: str) -> dict[str, str]:
    own = stack.place.tls / name
    return {"KAFKA_TLS_CERT_FILE": str(own / "tls.crt"), "KAFKA_TLS_KEY_FILE": str(own / "tls.key")}


def test_an_acl_too_much_is_named_and_goes_only_by_its_name(stack: Stack, finance: Finance) -> None:
    from producers.kafka import acls as acls_kafka
    from schemas.authority.kafka_acls import Acl

    extra = Acl("User:CN=old", "topic", "finance.journal", "READ")
    acls_kafka.apply([extra], stack.env["KAFKA_BROKERS"], tls_of(str(stack.place.tls), "admin"))
    assert finance.json("topics", "check", code=1)["acls"]["extra"] == [extra.text]
    assert finance.json("topics", "apply", code=1)["acls"]["extra"] == [extra.text]
    assert "topology.yaml wants" in finance(
        "topics", "apply", "--remove-acl", "User:CN=prover topic finance.journal READ", code=3
    )
    assert finance.json("topics", "apply", "--remove-acl", extra.text)["acls"]["removed"] == 1
    assert finance.json("topics", "check")["ok"] is True


@pytest.mark.parametrize("wrong", ["none", "expired", "other_authority", "untrusted", "plaintext"])
def test_kafka_turns_away_who_has_no_right_certificate(stack: Stack, strangers: secure.Strangers, wrong: str) -> None:
    folder, ca = str(stack.place.tls), str(stack.place.tls / "ca.crt")
    options = {
        "none": {"security.protocol": "ssl", "ssl.ca.location": ca},
        "expired": {**tls_of(str(strangers.expired), "poster"), "ssl.ca.location": ca},
        "other_authority": {**tls_of(str(strangers.other_authority), "poster"), "ssl.ca.location": ca},
        "untrusted": {**tls_of(folder, "poster"), "ssl.ca.location": str(strangers.expired / "poster" / "tls.crt")},
        "plaintext": {},
    }[wrong]
    with pytest.raises(Unavailable) as caught:
        topics_kafka.check(load_topology(TOPOLOGY), stack.env["KAFKA_BROKERS"], options, seconds_max=3)
    wanted = "TLS was not tried" if wrong == "plaintext" else "last: ssl://.*SSL"
    assert re.search(wanted, caught.value.detail), caught.value.detail


@pytest.mark.parametrize("wrong", ["none", "expired", "other_authority", "plaintext", "prover"])
def test_postgres_maps_a_certificate_to_its_own_role_alone(
    stack: Stack, strangers: secure.Strangers, wrong: str
) -> None:
    url, folder = stack.env["DATABASE_URL_POSTER"], str(stack.place.tls)
    given = {
        "none": re.sub("&sslcert=[^&]*&sslkey=[^&]*", "&sslcert=/nowhere", url),
        "expired": url.replace(f"{folder}/poster", f"{strangers.expired}/poster"),
        "other_authority": url.replace(f"{folder}/poster", f"{strangers.other_authority}/poster"),
        "plaintext": url.partition("?")[0] + "?sslmode=disable",
        "prover": url.replace("/poster/", "/prover/"),
    }[wrong]
    with pytest.raises((Refused, Unavailable)) as caught, session(given, application_name="stranger"):
        pass
    assert re.search("certificate|pg_hba|authentication failed|SSL|ssl", str(caught.value)), caught.value


def test_a_server_of_another_name_or_authority_is_not_trusted(stack: Stack, strangers: secure.Strangers) -> None:
    url = stack.env["DATABASE_URL_POSTER"]
    others = url.replace(f"sslrootcert={stack.place.tls}/ca.crt", f"sslrootcert={strangers.expired}/poster/tls.crt")
    for given in (others, url.replace("@127.0.0.1:", "@127.0.0.2:")):
        with pytest.raises(Unavailable), session(given, application_name="stranger"):
            pass


def bucket_client(stack: Stack, keys: str = "S3_AUDIT", **tls: Any) -> S3Client:
    access_key, secret = stack.env[f"{keys}_ACCESS_KEY"], stack.env[f"{keys}_SECRET"]
    endpoint = stack.env["S3_AUDIT_ENDPOINT"]
    return s3_client(region="us-east-1", endpoint=endpoint, access_key=access_key, secret=secret, **tls)


@pytest.mark.parametrize("wrong", ["none", "expired", "other_authority"])
def test_s3_and_kms_turn_away_who_has_no_right_certificate(
    stack: Stack, strangers: secure.Strangers, wrong: str
) -> None:
    env, ca = stack.env, str(stack.place.tls / "ca.crt")
    folder = {"expired": strangers.expired, "other_authority": strangers.other_authority}.get(wrong)
    pair = None if folder is None else (f"{folder}/prover/tls.crt", f"{folder}/prover/tls.key")
    client = bucket_client(stack, ca_file=ca, client_pair=pair)
    with pytest.raises(Unavailable, match=r"(?i)ssl|certificate|connection"):
        S3ArchiveStore(client, env["S3_AUDIT_BUCKET"], clock=lambda: secure.now()).versions("")
    place = KmsPlace("us-east-1", env["KMS_ENDPOINT"], "x", "x", ca, pair)
    key = KmsKey(env["KMS_KEY_ED25519"], "ed25519", place)
    with pytest.raises(Unavailable, match=r"(?i)ssl|certificate|connection|closed"):
        key.public_key()


@pytest.mark.parametrize("role", ["WRITER", "READER"])
def test_the_store_holds_its_identities_to_the_rendered_policies(stack: Stack, role: str) -> None:
    keys, name = ("S3_AUDIT", "archiver") if role == "WRITER" else ("S3_AUDIT_READ", "auditor")
    client = bucket_client(stack, keys, **adapter_tls(stack.env, name))
    bucket = stack.env["S3_AUDIT_BUCKET"]
    refused: list[Callable[[], object]] = [
        lambda: client.delete_object(Bucket=bucket, Key="any"),
        lambda: client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}),
        lambda: client.put_bucket_policy(Bucket=bucket, Policy="{}"),
        lambda: client.create_bucket(Bucket=f"of-{role.lower()}"),
        lambda: client.delete_bucket(Bucket=bucket),
    ]
    if role == "READER":
        refused.append(lambda: client.put_object(Bucket=bucket, Key="x", Body=b"x"))
    for attempt in refused:
        with pytest.raises(ClientError, match="AccessDenied"):
            attempt()
    client.list_object_versions(Bucket=bucket)
    assert client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]["ObjectLockEnabled"]


def test_only_the_lock_keeps_the_archiver_from_deleting_its_canary(stack: Stack) -> None:
    """A policy that denies the attack would let a bucket pass that locks nothing."""
    env = stack.env
    client = bucket_client(stack, **adapter_tls(env, "archiver"))
    bucket = env["S3_AUDIT_BUCKET"]
    admin = bucket_client(stack, "S3_ADMIN", **adapter_tls(env, "archiver"))
    for key in (CANARY_KEY, "dev/batches/x"):
        version = admin.put_object(Bucket=bucket, Key=key, Body=b"not locked")["VersionId"]
        if key == CANARY_KEY:
            client.delete_object(Bucket=bucket, Key=key, VersionId=version)
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                client.delete_object(Bucket=bucket, Key=key, VersionId=version)
    check_lock(client, bucket, "COMPLIANCE", secure.now())


def test_a_process_with_an_expired_certificate_is_refused_with_the_remedy(
    finance: Finance, strangers: secure.Strangers
) -> None:
    for process in ("notary", "poster"):
        said = finance("run", process, code=3, FINANCE_TLS_DIR=str(strangers.expired))
        assert "expired at" in said
        assert "renew it" in said


def test_settings_of_a_secure_stack_are_all_that_a_command_needs(
    stack: Stack, finance: Finance, tmp_path: Path
) -> None:
    settings = Settings.from_env(finance.environ, tmp_path)
    assert settings.kafka_options("kernel")["ssl.certificate.location"].endswith("/kernel/tls.crt")
    assert set(settings.tls_sets("prover")) == {"client"}  # Kafka's and Postgres' are the same files: watched once
    with psycopg.connect(role_url(stack.env["DATABASE_URL"], "finance_auditor")) as connection:
        row = connection.execute("SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        assert row == (True, "/CN=auditor")
