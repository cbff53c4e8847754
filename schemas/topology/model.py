"""The types of topology.yaml: what each key means and which values it can hold. Loaded by `schemas.topology.load`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
TopicName = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
GroupName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9.-]{0,127}$")]
EnvName = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$", max_length=64)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
PolicyVersion = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,64}$")]  # stands in every audit batch
RetentionDays = Annotated[int, msgspec.Meta(ge=-1, le=36525)]  # -1: for ever


class Topic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Kafka topic. `name` carries the topic prefix; sizes in bytes, retention in days (-1: for ever).

    `readers` are those besides the process that consumes it.
    """

    name: TopicName
    partitions: Positive
    key: Literal["settlement_id", "event_id", "constant", "none"]
    value: Literal["settlement", "original_bytes", "outcome", "journal", "audit_event"]
    timestamp_type: Literal["LogAppendTime", "CreateTime"]
    retention_days: RetentionDays
    message_bytes_max: Positive
    publishers: tuple[Name, ...]
    readers: tuple[Name, ...] = ()
    dead_letters: Name | None = None


class Process(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of process: what it reads and writes, and as whom. A notary consumes no topic and has no group."""

    publishes: tuple[Name, ...]
    database_role: Name
    database_url_env: EnvName
    metrics_port_env: EnvName
    consumes: Name | None = None
    group: GroupName | None = None


class Access(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who holds a certificate besides the processes, and what beyond topics each may do. Names are common names."""

    kafka_principal: Annotated[str, msgspec.Meta(pattern=r"^User:[^{}]*\{name\}[^{}]*$", max_length=200)]
    outsiders: tuple[Name, ...]
    operators: tuple[Name, ...]
    archive_writers: tuple[Name, ...]
    archive_readers: tuple[Name, ...]
    backup_keepers: tuple[Name, ...]
    signing: tuple[Name, ...]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of the running processes; units last in the names."""

    poster_batch_records_max: Positive
    poster_linger_ms: Positive
    poster_dead_letters_max: Positive
    poster_dead_letter_window_records: Positive
    range_entries_max: Positive
    range_window_seconds: Positive
    range_idle_seconds: Positive
    notary_batch_events_max: Positive
    audit_export_events_max: Positive
    audit_export_idle_seconds: Positive
    archive_canary_seconds: Positive
    retry_delay_ms_min: Positive
    retry_delay_ms_max: Positive


class ArchiveStoreSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where audit batches rest, and for how long they are locked."""

    kind: Literal["s3"]
    bucket_env: EnvName
    region_env: EnvName
    endpoint_env: EnvName
    access_key_env: EnvName
    secret_env: EnvName
    retention_mode: Literal["COMPLIANCE", "GOVERNANCE"]
    retention_days: Positive
    pii_policy_version: PolicyVersion


class SignerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of key service that may sign here, by the names of the variables that tell which key, and how to reach it.

    A kind that the file does not list is refused, whatever the environment says.
    """

    kind: Literal["kms", "pkcs11", "transit", "proxy", "local"]
    key_env: EnvName
    algorithm_env: EnvName
    connection_envs: tuple[EnvName, ...] = ()


class Topology(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file, checked."""

    version: Literal[1]
    service: Name
    topics: Mapping[str, Topic]
    processes: Mapping[str, Process]
    access: Access
    limits: Limits
    stores: Mapping[str, ArchiveStoreSpec]
    signers: Mapping[str, SignerSpec]
