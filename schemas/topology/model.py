"""The types of topology.yaml: what each key means and which values it can hold. Loaded by `schemas.topology.load`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
TopicName = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
GroupName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9.-]{0,127}$")]
EnvName = Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$", max_length=64)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
PolicyVersion = Literal["1"]  # of docs/pii-policy: a file each, which never changes
UNPACKS_TIMES_MAX: Final = {"uncompressed": 1, "snappy": 22}  # by its form: 3 bytes of snappy repeat at most 64
RetentionDays = Annotated[int, msgspec.Meta(ge=-1, le=36525)]  # -1: for ever


class Topic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Kafka topic. `name` carries the topic prefix; sizes in bytes, retention in days (-1: for ever).

    With either compression the broker unpacks every batch of another kind, and counts what it then stores: so what a
    batch unpacks to is bounded (`UNPACKS_TIMES_MAX`). Of `producer`, gzip, zstd and lz4 it would count packed bytes:
    some kilobytes that unpack to hundreds of megabytes, at every reader and at every start (decision 102).

    `readers` are those besides the process that consumes it.
    """

    name: TopicName
    partitions: Positive  # number of them; of settlements and journal the number of shards
    key: Literal["settlement_id", "event_id", "constant", "none"]  # what a record's key says
    value: Literal["settlement", "original_bytes", "outcome", "journal", "audit_event", "personal"]  # kind of the value
    timestamp_type: Literal["LogAppendTime", "CreateTime"]  # whose clock: the broker's or the producer's
    retention_days: RetentionDays  # -1: for ever
    message_bytes_max: Positive  # of one batch as it lies at the brokers
    compression: Literal["uncompressed", "snappy"]  # as it lies at the brokers, whatever its publisher sent
    publishers: tuple[Name, ...]  # names of processes or outsiders
    cleanup: Literal["delete", "compact"] = "delete"  # compact: of each key the newest record alone stays
    readers: tuple[Name, ...] = ()
    dead_letters: Name | None = None  # key of the topic that takes what is rejected

    @property
    def transactional_id(self) -> str | None:
        """What the one writer of a chain fences older writers with (decision 091); None: any number may write."""
        return f"{self.name}.writer" if self.value == "audit_event" else None


class Process(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of process: what it reads and writes, and as whom. A notary consumes no topic and has no group."""

    publishes: tuple[Name, ...]  # keys of topics
    database_role: Name  # role in Postgres
    database_url_env: EnvName  # VARIABLE that holds the URL
    metrics_port_env: EnvName  # VARIABLE that holds the port
    consumes: Name | None = None  # key of the topic
    group: GroupName | None = None  # consumer group, prefix excluded
    also_consumes: Mapping[Name, GroupName] = {}  # keys of further topics, each with a group of its own

    @property
    def consumed(self) -> Mapping[str, str]:
        """Key of each topic that it consumes, and the group it does so in, prefix excluded."""
        own = {} if self.consumes is None or self.group is None else {self.consumes: self.group}
        return {**own, **self.also_consumes}


class SigningKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may ask which key for a signature: a key each for the ledger, for operators, and for backups."""

    ledger: tuple[Name, ...]  # proofs, checkpoints, manifests, events of the audit chain
    operators: tuple[Name, ...]  # proofs that they ask for, reports of drills
    backups: tuple[Name, ...]  # backups and lists of WAL

    @property
    def everybody(self) -> tuple[str, ...]:
        return (*self.ledger, *self.operators, *self.backups)


class Access(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who holds a certificate besides the processes, and what beyond topics each may do. Names are common names."""

    # pattern; {name} is the common name
    kafka_principal: Annotated[str, msgspec.Meta(pattern=r"^User:[^{}]*\{name\}[^{}]*$", max_length=200)]
    outsiders: tuple[Name, ...]  # certificate holders that are not a process
    operators: tuple[Name, ...]  # may make topics and ACLs
    archive_writers: tuple[Name, ...]  # may put audit batches
    archive_readers: tuple[Name, ...]  # may read audit batches
    backup_keepers: tuple[Name, ...]  # may write and delete backups
    signing: SigningKeys  # may ask for signatures


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of the running processes; units last in the names."""

    poster_batch_records_max: Positive  # records of one transaction, inclusive
    poster_linger_ms: Positive  # longest wait for a fuller batch
    poster_dead_letters_max: Positive  # within the window; beyond it posting halts
    poster_dead_letter_window_records: Positive  # offsets, the newest ones
    range_entries_max: Positive  # offsets of one range, inclusive
    range_bytes_max: Positive  # of the entries' bodies; the range ends with the entry that reaches it
    range_window_seconds: Positive  # recorded_at of one range
    range_idle_seconds: Positive  # without a record, then the range closes
    checkpoint_interval_ms: Positive  # between two live checkpoints of a shard, while there is something new
    notary_batch_events_max: Positive  # audit events of one transaction, inclusive
    audit_export_events_max: Positive  # audit events of one export, inclusive
    audit_export_idle_seconds: Positive  # without an event, then what is there is exported
    archive_canary_seconds: Positive  # between two attempts to delete a locked object
    keeper_batch_records_max: Positive  # records of one transaction, inclusive
    projector_batch_records_max: Positive  # records of one transaction, inclusive
    personal_waiting_days: Positive  # data whose event is not posted by then are erased
    retry_delay_ms_min: Positive  # first wait after a failure
    retry_delay_ms_max: Positive  # longest wait; it doubles up to here


class ArchiveStoreSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where audit batches rest, and for how long they are locked."""

    kind: Literal["s3"]  # the one kind with Object Lock
    bucket_env: EnvName  # VARIABLE that holds the bucket
    region_env: EnvName  # VARIABLE that holds the region
    endpoint_env: EnvName  # VARIABLE that holds the URL
    access_key_env: EnvName  # VARIABLE that holds the key id
    secret_env: EnvName  # VARIABLE that holds the secret
    retention_mode: Literal["COMPLIANCE", "GOVERNANCE"]  # COMPLIANCE: nobody shortens it
    retention_days: Positive  # length of the lock
    pii_policy_version: PolicyVersion  # stands in every batch


class SignerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of key service that may sign here, by the names of the variables that say which key, and how to reach it.

    A kind that the file does not list is refused, whatever the environment says.
    """

    kind: Literal["kms", "pkcs11", "transit", "proxy", "local"]  # which adapter signs
    key_env: EnvName  # VARIABLE that names the key
    algorithm_env: EnvName  # VARIABLE that names the algorithm
    connection_envs: tuple[EnvName, ...] = ()  # VARIABLES that the adapter needs besides


class Topology(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file, checked."""

    version: Literal[1]  # of the file's format
    service: Name  # always finance; begins every name
    topics: Mapping[str, Topic]  # key -> topic
    processes: Mapping[str, Process]  # name -> process
    access: Access  # who may do what
    limits: Limits  # bounds of the processes
    stores: Mapping[str, ArchiveStoreSpec]  # key -> store
    signers: Mapping[str, SignerSpec]  # kind -> signer
