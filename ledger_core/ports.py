"""What the core asks of the world: small protocols, and the plain values that cross them.

Adapters live in `ledger_core.postgres` and `producers`; only `finance.wiring.services` names them. Every method may
raise Unavailable (the dependency does not answer) and says which other errors it raises.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import msgspec

Algorithm = Literal["ed25519", "rsa-sha256", "hmac-sha256"]  # the last: a MAC (ledger_core.signing.mac_keys)
LockMode = Literal["COMPLIANCE", "GOVERNANCE"]  # of Object Lock; COMPLIANCE: nobody shortens it


class TreeHistory(Protocol):
    """What a signer that is a witness wants to see of the tree behind a checkpoint before it signs it."""

    @property
    def old_size(self) -> int:
        """The size of the checkpoint before: what a witness saw last, unless something was lost."""
        ...

    def consistency(self, size: int) -> tuple[bytes, ...]:
        """That the tree of `size` and that of the checkpoint are one history, whichever is larger (RFC 9162, 2.1.4).

        Raises SignerRefused (WITNESS) when the shard does not reach that far, Unavailable, Corrupt.
        """
        ...


class Signer(Protocol):
    """A key that signs (facts of each adapter in its file). Every signature is verified before it is returned.

    Raises Unavailable("signer", ...) on time-outs and throttling, Refused on a disabled, missing or wrong key.
    """

    @property
    def kid(self) -> str:
        """The signer_kid under which the public key stands in the signer registry."""
        ...

    @property
    def algorithm(self) -> Algorithm: ...

    def pin(self) -> None:
        """Make sure that the key behind is the registered one and signs as it must. Cheap once that is known."""
        ...

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 digest bytes: RSA PKCS#1 v1.5 with the SHA-256 DigestInfo, or Ed25519 over the 32 bytes."""
        ...

    def sign_text(self, text: bytes, history: TreeHistory | None = None) -> bytes:
        """Sign a note: RSA PKCS#1 v1.5 over SHA256(text), or Ed25519 over the text itself (C2SP signed-note).

        `history` is for a signer that is a witness: one that refuses a checkpoint raises SignerRefused (WITNESS).
        """
        ...

    def close(self) -> None:
        """Let the connection to the key service go."""
        ...


class Mac(Protocol):
    """A keyed digest, for what no stranger has to check. Raises Unavailable("mac"), Refused."""

    @property
    def key_id(self) -> str:
        """Which key it is; no secret."""
        ...

    def make(self, message: bytes) -> bytes:
        """The MAC of up to 4096 bytes."""
        ...

    def verify(self, message: bytes, mac: bytes) -> bool:
        """Whether this key made it."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the archive store says of one version of one object. Sizes in bytes."""

    key: str  # name in the bucket
    version_id: str  # the store's id of this version
    size_bytes: int  # as stored (compressed)
    sha256: str  # of the stored (compressed) bytes, lower-case hex
    retain_until: dt.datetime | None  # UTC; None without a lock
    mode: LockMode | None  # None without a lock
    metadata: dict[str, str] = field(default_factory=dict)  # set by the writer; for people, proved nowhere


class ArchiveStore(Protocol):
    """Write-once storage with Object Lock (G7)."""

    def check_lock(self) -> None:
        """Refuse (with the remedy) a bucket without Object Lock, or one that really lets a locked version go."""
        ...

    def put(self, key: str, data: bytes, *, retain_until: dt.datetime, metadata: dict[str, str]) -> StoredObject:
        """Store under lock, read back, compare. An equal object that is there already is success (idempotent);
        a different one raises Corrupt."""
        ...

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """The bytes of one version (the newest without version_id). Raises KeyError when there is none."""
        ...

    def versions(self, prefix: str) -> Sequence[StoredObject]:
        """Every version below a prefix in order of key; delete markers have version_id but size_bytes == -1."""
        ...


NO_APPEND_TIME_MS: Final = -1
"""Time of a record that a publisher dated, not the broker: Kafka's own word for none."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record as read. `timestamp_ms` is the broker's append time; `key`/`value` may be None."""

    topic: str  # Kafka topic, prefix included
    partition: int  # from 0; of the settlements topic equal to the shard
    offset: int  # Kafka's offset of this record
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()  # in the order of the record


class Publisher(Protocol):
    """An ordered, idempotent producer to Kafka. `publish` only queues; `flush` is the barrier."""

    def publish(
        self,
        topic: str,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        """Queue one record. A failed delivery surfaces as Unavailable from the next publish, poll or flush."""
        ...

    def poll(self) -> int:
        """Serve delivery reports without waiting; how many records are not acknowledged yet."""
        ...

    def flush(self, timeout_seconds: float) -> None:
        """Wait until everything queued was acknowledged by the brokers; Unavailable when that fails."""
        ...

    def close(self) -> None:
        """Drop what was not acknowledged, and let go."""
        ...


@dataclass(frozen=True, slots=True)
class AuditIntent:
    """A state change that wants its place on the audit chain. `payload` is canonical-safe and flat-ish JSON."""

    event_type: str  # journal.posted, proof.published, audit_export.completed, ledger.halted, ...
    actor_id: str  # service:poster, operator:<name>, ...
    payload: dict[str, object]
    trace_id: str  # 32 lower-case hex digits; of the change that caused it


@dataclass(frozen=True, slots=True)
class PendingIntent:
    """An intent as it waits in the outbox. `created_at` is the database's clock in the state change's transaction, and
    never ahead of that clock."""

    outbox_id: int  # grows with each intent; the notary's order
    intent: AuditIntent  # what is to be chained; an empty payload where it could not be read
    created_at: dt.datetime
    content_sha256: str = ""  # hex; of the payload as the database spells it
    fault: str | None = None  # why its payload could not be read
