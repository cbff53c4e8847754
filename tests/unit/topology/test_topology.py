"""The topology: what is committed loads, and every planted fault is named with its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger_core.errors import Refused
from schemas.topology.load import load_topology

PATH = Path(__file__).parents[3] / "topology.yaml"
TEXT = PATH.read_text()


def faults_of(tmp_path: Path, *changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "topology.yaml"
    path.write_text(text)
    with pytest.raises(Refused) as caught:
        load_topology(path)
    assert caught.value.remedy
    return caught.value.message


def test_the_committed_topology_loads() -> None:
    topology = load_topology(PATH)
    assert topology.topics["journal"].name == "finance.journal"
    assert topology.topics["audit"].partitions == 1
    assert topology.processes["prover"].group == "finance-prover"
    assert topology.processes["notary"].consumes is None
    assert topology.limits.range_entries_max > 0
    assert topology.stores["archive"].bucket_env == "S3_AUDIT_BUCKET"
    assert topology.signers["kms"].key_env == "AUDIT_SIGNING_KMS_KEY_ID"


def test_the_prefix_stands_before_every_topic_name() -> None:
    plain, prefixed = load_topology(PATH), load_topology(PATH, topic_prefix="blue.")
    assert [f"blue.{topic.name}" for topic in plain.topics.values()] == [t.name for t in prefixed.topics.values()]


FAULTS = {
    "unknown key": (("  retention_days: -1   ", "  retention_weeks: 1"), "topics.settlements.retention_weeks"),
    "unknown section": (("limits:\n", "limit: {}\nlimits:\n"), "limit: is not a key here"),
    "missing key": (("    key: event_id\n", ""), "topics.outcomes.key: is missing"),
    "missing section": (("signers:\n", "signer:\n"), "signers: is missing"),
    "no signer": ((TEXT[TEXT.index("signers:\n") :], "signers: {}\n"), "signers: at least one"),
    "reader nobody defines": (
        ("readers: [kernel, auditor, notary, prover]", "readers: [kernal]"),
        "topics.audit.readers",
    ),
    "signer nobody defines": (("ledger: [prover,", "ledger: [signer,"), "access.signing.ledger"),
    "two keys for one": (("backups: [backup]", "backups: [backup, api]"), "access.signing: api is named for two keys"),
    "outsider that is a process": (
        ("outsiders: [marketplace,", "outsiders: [prover, marketplace,"),
        "prover is a process",
    ),
    "writer that is a reader": (
        ("archive_readers: [api", "archive_readers: [archiver"),
        "archiver is a writer already",
    ),
    "principal without a name": (('"User:CN={name}"', '"User:CN=all"'), "access.kafka_principal"),
    "missing access": (("access: ", "acces: "), "access: is missing"),
    "topic nobody defines": (("consumes: settlements", "consumes: sales"), "processes.poster.consumes"),
    "published topic nobody defines": (("outcomes, dead_letters]", "outcomes, dlq]"), "processes.poster.publishes"),
    "publisher nobody defines": (
        ("publishers: [marketplace, api]", "publishers: [shop]"),
        "topics.settlements.publishers",
    ),
    "publisher who does not publish": (("publishes: [audit]", "publishes: []"), "topics.audit.publishers"),
    "dead letters nobody defines": (("dead_letters: dead_letters", "dead_letters: dlq"), "settlements.dead_letters"),
    "time of the publisher": (("LogAppendTime", "CreateTime"), "topics.settlements.timestamp_type"),
    "journal of other partitions": (
        ("name: finance.journal\n    partitions: 2", "name: finance.journal\n    partitions: 3"),
        "topics.journal.partitions: wants 2",
    ),
    "dead letters of other partitions": (
        ("name: finance.settlements.dlq\n    partitions: 2", "name: finance.settlements.dlq\n    partitions: 1"),
        "topics.settlements.dead_letters: wants 2",
    ),
    "two audit partitions": (("partitions: 1  ", "partitions: 2  "), "topics.audit.partitions: wants 1"),
    "two topics of one name": (("name: finance.outcomes", "name: finance.journal"), "both named finance.journal"),
    "two processes of one group": (
        ("group: finance-prover", "group: finance-poster"),
        "share the group finance-poster",
    ),
    "two processes of one role": (("finance_prover", "finance_poster"), "share the database_role finance_poster"),
    "no name of a variable": (("bucket_env: S3_AUDIT_BUCKET", "bucket_env: my-bucket"), "stores.archive.bucket_env"),
    "a secret": (
        ("secret_env: S3_AUDIT_SECRET", "secret: hunter2"),
        "stores.archive.secret: a secret does not belong here",
    ),
    "a key that looks like a variable": (
        ("S3_AUDIT_ACCESS_KEY", "AKIAIOSFODNN7EXAMPLE"),
        "access_key_env: looks like an AWS access key",
    ),
    "an address with a password": (
        ("DATABASE_URL_POSTER", "postgres://poster:pw@db/finance"),
        "database_url_env: looks like an address with a password",
    ),
    "a limit of zero": (
        ("notary_batch_events_max: 200", "notary_batch_events_max: 0"),
        "limits.notary_batch_events_max",
    ),
    "a limit as text": (("poster_linger_ms: 20", 'poster_linger_ms: "50"'), "limits.poster_linger_ms"),
    "a limit that never bites": (("poster_dead_letters_max: 1000 ", "poster_dead_letters_max: 20000"), "never halt"),
    "delays the wrong way round": (
        ("retry_delay_ms_min: 200", "retry_delay_ms_min: 20000"),
        "limits.retry_delay_ms_min",
    ),
    "no retention": (("retention_days: 30", "retention_days: 0"), "topics.outcomes.retention_days"),
    "a codec that a topic takes unopened": (("compression: snappy", "compression: zstd"), "topics.journal.compression"),
    "whatever a publisher sends": (("compression: snappy", "compression: producer"), "topics.journal.compression"),
    "a batch that no reader can hold": (
        ("message_bytes_max: 2097152\n    compression: snappy", "message_bytes_max: 4194304\n    compression: snappy"),
        "topics.journal.message_bytes_max: a batch may unpack to 92274688 bytes",
    ),
    "packed by strangers": (
        (
            "message_bytes_max: 1048576\n    compression: uncompressed",
            "message_bytes_max: 1048576\n    compression: snappy",
        ),
        "topics.settlements.compression: wants uncompressed",
    ),
    "another version": (("version: 1", "version: 2"), "version"),
    "a topic name Kafka refuses": (("name: finance.audit", "name: finance/audit"), "topics.audit.name"),
    "a key twice": (("service: finance\n", "service: finance\nservice: finance\n"), "stands here twice"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named_with_its_path(tmp_path: Path, name: str) -> None:
    change, wanted = FAULTS[name]
    assert wanted in faults_of(tmp_path, change)


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    message = faults_of(
        tmp_path,
        ("bucket_env: S3_AUDIT_BUCKET", "bucket_env: x y"),
        ("LogAppendTime", "Never"),
        ("retry_delay", "delay"),
    )
    for path in (
        "stores.archive.bucket_env",
        "settlements.timestamp_type",
        "limits.delay_ms_min",
        "limits.retry_delay_ms",
    ):
        assert path in message


@pytest.mark.parametrize("text", ["", "[]", "a: [", "topics: 3", "topics: {1: {}}", "!!python/object:os.system {}"])
def test_what_is_no_topology_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "topology.yaml"
    path.write_text(text)
    with pytest.raises(Refused):
        load_topology(path)


def test_a_missing_file_is_refused_with_the_variable_to_set(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="FINANCE_TOPOLOGY"):
        load_topology(tmp_path / "absent.yaml")
