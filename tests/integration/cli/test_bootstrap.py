"""No process is built on ground that does not carry: wrong topics, keys and buckets are refused."""

from __future__ import annotations

import uuid
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from consumers.metrics import NullMetrics
from finance.runtime import process
from finance.settings.deployment import Settings
from finance.settings.variables import PROCESSES
from finance.wiring import services
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.signing.registry import SignerRegistry
from producers.signing.local import LocalKey
from schemas.topology.load import load_topology
from tests.support.buckets import s3_client
from tests.support.kafka import client
from tests.support.signing import register


def build(name: str, environ: dict[str, str]) -> None:
    settings = Settings.from_env(environ, Path.cwd())
    topology = load_topology(settings.topology_path, topic_prefix=settings.topic_prefix)
    services.build_service(name, settings, topology, NullMetrics()).close()


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_is_built_on_sound_ground_with_its_own_role(environ: dict[str, str], name: str) -> None:
    own = f"DATABASE_URL_{name.upper()}"
    others = {key: "" for key in environ if key.startswith("DATABASE_URL") and key != own}
    build(name, {**environ, **others})


def test_a_settlements_topic_without_the_brokers_time_is_refused(environ: dict[str, str]) -> None:
    topic = environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    wrong = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[wrong])
    admin = AdminClient(client(environ["KAFKA_BROKERS"]))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(timeout=300)
    with pytest.raises(Refused, match=r"message\.timestamp\.type is CreateTime, the topology says LogAppendTime"):
        build("poster", environ)


@pytest.mark.parametrize("name", PROCESSES)
def test_missing_topics_are_refused_with_the_remedy(environ: dict[str, str], name: str) -> None:
    with pytest.raises(Refused, match="finance topics apply"):
        build(name, {**environ, "FINANCE_TOPIC_PREFIX": f"missing-{uuid.uuid4().hex[:8]}."})


@pytest.mark.parametrize("name", ["prover", "archiver", "notary"])
def test_a_key_that_is_not_registered_is_refused(environ: dict[str, str], name: str, tmp_path: Path) -> None:
    nobody = tmp_path / "signers.json"
    nobody.write_text('{"signers": []}')
    with pytest.raises(Refused, match="not in the signer registry"):
        build(name, {**environ, "FINANCE_SIGNERS": str(nobody)})


@pytest.mark.parametrize("text", ["{", '{"signers": [{"signer_kid": "x"}]}'])
def test_a_registry_that_is_not_sound_is_refused(environ: dict[str, str], tmp_path: Path, text: str) -> None:
    broken = tmp_path / "signers.json"
    broken.write_text(text)
    with pytest.raises(Refused, match="FINANCE_SIGNERS"):
        build("notary", {**environ, "FINANCE_SIGNERS": str(broken)})


def test_a_bucket_without_object_lock_is_refused(environ: dict[str, str]) -> None:
    name = f"unlocked-{uuid.uuid4().hex[:12]}"
    s3_client(environ).create_bucket(Bucket=name)
    with pytest.raises(Refused, match="Object Lock"):
        build("archiver", {**environ, "S3_AUDIT_BUCKET": name})


@pytest.mark.parametrize(
    ("name", "variable", "what"),
    [
        ("poster", "KAFKA_BROKERS", "kafka"),
        ("notary", "DATABASE_URL_NOTARY", "postgres"),
        ("archiver", "S3_AUDIT_ENDPOINT", "s3"),
    ],
)
def test_what_does_not_answer_is_unavailable_and_leaves_no_connection(
    environ: dict[str, str], name: str, variable: str, what: str
) -> None:
    nowhere = {
        "KAFKA_BROKERS": "127.0.0.1:1",
        "DATABASE_URL_NOTARY": "postgresql://nobody@127.0.0.1:1/none",
    }
    with pytest.raises(Unavailable) as caught:
        build(name, {**environ, variable: nowhere.get(variable, "http://127.0.0.1:1")})
    assert caught.value.what == what
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        left = connection.execute(
            "SELECT application_name FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'finance-%'"
        ).fetchall()
    assert left == []


NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize("name", ["prover", "archiver", "notary"])
def test_a_key_service_that_is_away_keeps_no_process_from_starting(environ: dict[str, str], name: str) -> None:
    build(name, {**environ, "KMS_ENDPOINT": NOWHERE})


def test_a_key_whose_name_only_its_service_can_tell_is_waited_for(environ: dict[str, str], tmp_path: Path) -> None:
    both = register(LocalKey.generate("ed25519", env="dev"), "incoming").signers
    registry = SignerRegistry([*SignerRegistry.from_json(Path(environ["FINANCE_SIGNERS"]).read_bytes()).signers, *both])
    path = tmp_path / "signers.json"
    path.write_bytes(registry.to_json())
    ambiguous = {**environ, "KMS_ENDPOINT": NOWHERE, "FINANCE_SIGNERS": str(path)}
    with pytest.raises(Unavailable, match="signer"):
        build("prover", ambiguous)
    build("prover", {**ambiguous, "AUDIT_SIGNING_KID": "incoming"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AUDIT_SIGNING_KID": "unheard-of"}, "kid unheard-of .AUDIT_SIGNING_KID, "),
        ({"AUDIT_SIGNING_KID": "finance-dev-rsa-v1"}, "is registered as rsa-sha256"),
        ({"AUDIT_SIGNING_ALG": "rsa-sha256"}, "is a key for ed25519, not rsa-sha256|AUDIT_SIGNING_ALG"),
        ({"AUDIT_SIGNING_KIND": "local"}, "AUDIT_SIGNING_KEY_FILE is not set"),
    ],
)
def test_a_signer_that_does_not_fit_the_registry_is_refused(
    environ: dict[str, str], changes: dict[str, str], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        build("prover", {**environ, **changes})


def test_a_kind_of_signer_that_the_topology_does_not_list_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    text = Path(environ["FINANCE_TOPOLOGY"]).read_text()
    without = tmp_path / "topology.yaml"
    without.write_text(text[: text.index("  file:\n    kind: local")])
    own = {"AUDIT_SIGNING_KEY_FILE": "key.pem", "AUDIT_SIGNING_KIND": "local", "FINANCE_TOPOLOGY": str(without)}
    with pytest.raises(Refused, match="lists no signer of kind local"):
        build("prover", {**environ, **own})


def test_a_process_that_finds_a_contradiction_halts_posting(environ: dict[str, str]) -> None:
    settings = Settings.from_env(environ, Path.cwd())
    process.halt_posting("prover", settings, Corrupt("shard 0, seq 7:\nthe link is broken"))
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        control = connection.execute("SELECT reason, actor_id FROM halts").fetchone()
        intents = connection.execute("SELECT event_type, actor_id FROM audit_outbox").fetchall()
    assert control == ("prover found a contradiction: shard 0, seq 7: the link is broken", "service:prover")
    assert intents == [("ledger.halted", "service:prover")]
