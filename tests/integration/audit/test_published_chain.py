"""What binds a notary of all that somebody can write to the audit topic: events that count, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Final

import pytest
from confluent_kafka import Producer

from consumers.audit import published_chain
from ledger_core.audit.events import AuditEvent, UnsignedAuditEvent, event_hash
from ledger_core.errors import Refused
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.validity import Interval, Validity
from ledger_core.times import format_time
from tests.support.archive_factory import Key
from tests.support.audit import newest_of, topic_of
from tests.support.audit_factory import CREATED_AT, audit_events
from tests.support.kafka import client
from tests.support.waits import PATIENCE_SECONDS

pytestmark = pytest.mark.services

KEY: Final = Key("ed25519")
STRANGER: Final = Key("ed25519", "nobody-announced")
NEXT: Final = Key("ed25519", "announced")
FAR: Final = 10**12
(SIGNER,) = KEY.registry.signers


def event(seq: int, key: Key, signer: RegisteredSigner | None = None, **changed: object) -> AuditEvent:
    """A lone event at a place of the attacker's choice, its hash its own."""
    columns: dict[str, object] = {
        "id": f"event-{seq}",
        "seq": str(seq),
        "actor_id": "service:prover",
        "event_type": "signer.rotation" if "incoming_kid" in changed else "proof.published",
        "created_at": format_time(CREATED_AT),
    }
    if "incoming_kid" in changed:
        columns["actor_id"] = "operator:ada"
        changed |= {"step": "announced", "rotation_id": "1", "outgoing_kid": key.kid}
    else:
        changed |= {"range": "7"}
    payload = {**columns, **changed}
    unsigned = UnsignedAuditEvent(
        id=str(columns["id"]),
        seq=seq,
        actor_id=str(columns["actor_id"]),
        event_type=str(columns["event_type"]),
        payload=payload,
        prev_hash="ab" * 32,
        hash=event_hash(payload, "ab" * 32),
        created_at=CREATED_AT,
    )
    return unsigned.signed(key.sign_digest(unsigned.digest), signer or key.registry.get(key.kid))


def forged() -> AuditEvent:
    """In the name of a registered key, signed by another."""
    return dataclasses.replace(event(FAR, STRANGER), signer_kid=KEY.kid)


def altered() -> AuditEvent:
    return dataclasses.replace(event(FAR, KEY), payload={"range": "8"})


def beside(**changed: object) -> AuditEvent:
    """A published event with something else beside its payload, which alone is signed."""
    return dataclasses.replace(audit_events(KEY)[-1], **changed)  # type: ignore[arg-type]


CHAIN: Final = [it.to_json() for it in audit_events(KEY)]
ENDED: Final = SignerRegistry(
    (*KEY.registry.signers, dataclasses.replace(*NEXT.registry.signers, validity=Validity(audit=Interval(1, 100))))
)
REVOKED: Final = SignerRegistry(
    (
        *KEY.registry.signers,
        dataclasses.replace(
            *NEXT.registry.signers,
            validity=Validity(audit=Interval(1, 100)),
            retired_at=CREATED_AT - dt.timedelta(1),
            revoked_at=CREATED_AT - dt.timedelta(1),
        ),
    )
)
# What stands behind four events that count -> the seq that binds.
SKIPPED: Final[dict[str, tuple[Sequence[bytes | None], SignerRegistry]]] = {
    "nothing": ([], KEY.registry),
    "no JSON": ([b"rubbish"], KEY.registry),
    "a tombstone": ([None], KEY.registry),
    "a forged signature": ([forged().to_json()], KEY.registry),
    "altered after signing": ([altered().to_json()], KEY.registry),
    "a key that nobody knows": ([event(FAR, STRANGER).to_json()], KEY.registry),
    "a key that another stranger announced": (
        [event(FAR - 1, STRANGER, incoming_kid=NEXT.kid).to_json(), event(FAR, NEXT).to_json()],
        KEY.registry,
    ),
    "a revoked key": ([event(FAR, NEXT).to_json()], ENDED),
    "a revoked key, by a time after its end": ([event(FAR, NEXT).to_json()], REVOKED),
    "another seq beside a signed payload": ([beside(seq=FAR).to_json()], KEY.registry),
    "another key beside a signed payload": ([beside(seq=FAR, signer_kid=NEXT.kid).to_json()], KEY.registry),
    "repeats of a thawed notary": (CHAIN[:2], KEY.registry),
    "more rubbish than one window": ([b"rubbish"] * 25, KEY.registry),
    "more forgeries than one window": ([forged().to_json()] * 25, KEY.registry),
}


@pytest.fixture
def write(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[bytes | None]], None]:
    monkeypatch.setattr(published_chain, "WINDOW_RECORDS", 10)

    def records(values: Sequence[bytes | None]) -> None:
        producer = Producer(client(environ["KAFKA_BROKERS"]))
        for value in values:
            producer.produce(topic_of(environ), value, b"audit", 0)
        assert producer.flush(PATIENCE_SECONDS) == 0

    return records


@pytest.mark.parametrize(("behind", "registry"), SKIPPED.values(), ids=SKIPPED)
def test_what_does_not_count_stops_no_notary(
    environ: dict[str, str],
    write: Callable[[Sequence[bytes | None]], None],
    behind: Sequence[bytes | None],
    registry: SignerRegistry,
) -> None:
    write([*CHAIN, *behind])
    newest = newest_of(environ, registry)
    assert newest is not None
    assert newest.to_json() == CHAIN[-1]


RETIRED: Final = SignerRegistry((dataclasses.replace(SIGNER, retired_at=CREATED_AT - dt.timedelta(1)),))
REFUSED: Final[dict[str, tuple[Sequence[bytes], SignerRegistry, str]]] = {
    "a key that the chain announced": (
        [*CHAIN, event(5, KEY, incoming_kid=NEXT.kid).to_json(), event(6, NEXT).to_json()],
        KEY.registry,
        "signed by announced, which is not in the registry",
    ),
    "no key of the chain is known": (CHAIN, STRANGER.registry, "is not in the registry"),
    "a key that was retired too early": (CHAIN, RETIRED, "after that key was retired"),
}


@pytest.mark.parametrize(("records", "registry", "words"), REFUSED.values(), ids=REFUSED)
def test_an_event_that_may_bind_is_refused_with_the_remedy(
    environ: dict[str, str],
    write: Callable[[Sequence[bytes | None]], None],
    records: Sequence[bytes],
    registry: SignerRegistry,
    words: str,
) -> None:
    write(records)
    with pytest.raises(Refused, match=words):
        newest_of(environ, registry)


def test_an_empty_topic_binds_nobody(environ: dict[str, str]) -> None:
    assert newest_of(environ, KEY.registry) is None
