"""A signer that fails is told of, waited for and probed; a statement is signed by the key it names, or by none."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import pytest

from consumers.metrics import NullMetrics
from consumers.signing.circuit import RETRY_SECONDS_MAX, SignerAway
from consumers.signing.signer_set import SignerSet
from ledger_core.errors import Refused, SignerFailure, SignerRefused, Unavailable
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import verify_digest
from producers.signing.local import LocalKey
from producers.signing.verified_signer import VerifiedSigner
from tests.simulator.faults import Faults
from tests.simulator.proving import MemorySigner
from tests.support.signing import NOW, signer_set

DIGEST = bytes(range(32))
BEFORE, AFTER = "2025-12-31T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"
AWAY = Unavailable("signer", "time-out")
DISABLED = Refused("key is disabled", remedy="enable it")
NOT_VERIFIED = SignerRefused(SignerFailure.NOT_VERIFIED, "hashed twice", remedy="x")


class Moody(MemorySigner):
    """Fails with `error` while it is set; `pin_error` is what it says before it was ever pinned."""

    error: Exception | None = None
    pin_error: Exception | None = None
    asked = 0

    def pin(self) -> None:
        self.asked += 1
        if self.pin_error is not None:
            raise self.pin_error

    def sign_digest(self, digest: bytes) -> bytes:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return super().sign_digest(digest)


@dataclass
class Told(NullMetrics):
    reasons: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    def signer_failed(self, reason: str) -> None:
        self.reasons.append(reason)

    def signer_circuit(self, kid: str, state: str) -> None:
        self.states.append(state)


class Bench:
    def __init__(self, *names: str, retired: str | None = None, cosigner: bool = False) -> None:
        self.keys = {name: Moody(Faults(), name) for name in ("new", *names)}
        self.now, self.told = 0.0, Told()
        registered = [
            RegisteredSigner(
                key.kid, "ed25519", key.registry.get(key.kid).public_key, None, NOW if name == retired else None
            )
            for name, key in self.keys.items()
        ]
        self.registry = SignerRegistry(registered)
        new, *others = self.keys.values()
        self.signers: SignerSet = signer_set(
            new,
            self.registry,
            metrics=self.told,
            monotonic=lambda: self.now,
            others=[] if cosigner else others,
            cosigner=others[0] if cosigner else None,
        )

    def sign(self) -> bytes:
        with self.signers.attempt() as signer:
            return signer.sign_digest(DIGEST)

    def sign_written(self, kid: str, ts: str = BEFORE) -> bytes:
        with self.signers.attempt_written(kid, ts) as signer:
            return signer.sign_digest(DIGEST)

    def cosign(self, kid: str) -> list[str]:
        with self.signers.attempt_cosign(kid) as cosigners:
            return [cosigner.cosign(DIGEST).signer_kid for cosigner in cosigners]

    def fail_half_way(self) -> None:
        with self.signers.attempt() as signer:
            signer.sign_digest(DIGEST)
            raise AWAY


@pytest.mark.parametrize(
    ("error", "reason"), [(AWAY, "unavailable"), (DISABLED, "refused"), (NOT_VERIFIED, "not_verified")]
)
def test_each_failure_is_counted_once_by_its_reason_and_the_circuit_opens_at_the_third(
    error: Exception, reason: str
) -> None:
    bench = Bench()
    bench.keys["new"].error = error
    for number in range(1, 4):
        with pytest.raises(SignerAway):
            bench.sign()
        assert bench.told.reasons == [reason] * number
        bench.now += RETRY_SECONDS_MAX
    assert bench.told.states == ["closed", "closed", "closed", "open"]


def test_an_open_circuit_asks_nobody_and_lets_one_probe_through_when_its_wait_is_over() -> None:
    bench = Bench()
    key = bench.keys["new"]
    key.error = AWAY
    for _ in range(3):
        with pytest.raises(SignerAway):
            bench.sign()
        bench.now += RETRY_SECONDS_MAX
    bench.now -= RETRY_SECONDS_MAX
    asked = key.asked
    for _ in range(100):
        with pytest.raises(SignerAway, match="before its wait is over"):
            bench.sign()
    assert (key.asked, bench.signers.ready) == (asked, False)
    bench.now += RETRY_SECONDS_MAX
    with pytest.raises(SignerAway, match="time-out"):
        bench.sign()
    assert bench.told.states[-2:] == ["half_open", "open"]
    key.error = None
    bench.now += RETRY_SECONDS_MAX
    verify_digest(bench.registry.get("new-ed25519").public_key, DIGEST, bench.sign())
    assert bench.told.states[-2:] == ["half_open", "closed"]
    assert bench.told.reasons == ["unavailable"] * 4


def test_half_a_statement_never_closes_the_circuit() -> None:
    bench = Bench()
    for _ in range(3):
        with pytest.raises(SignerAway):
            bench.fail_half_way()
        bench.now += RETRY_SECONDS_MAX
    assert bench.told.states[-1] == "open"


def test_what_is_not_the_signers_failure_passes_through_uncounted() -> None:
    bench = Bench()
    with pytest.raises(Unavailable, match="postgres"), bench.signers.attempt():
        raise Unavailable("postgres", "away")
    assert bench.told.reasons == []
    assert bench.signers.ready


def test_a_key_whose_service_is_away_at_the_start_is_pinned_before_it_signs() -> None:
    bench = Bench()
    key = bench.keys["new"]
    key.pin_error = AWAY
    bench.signers.pin()
    assert bench.told.reasons == ["unavailable"]
    key.pin_error = None
    bench.now += RETRY_SECONDS_MAX
    assert bench.sign()
    asked = key.asked
    assert bench.sign()
    assert key.asked == asked + 1, "pinned once"


def test_the_wrong_key_coming_up_ends_the_process_and_signs_nothing() -> None:
    bench = Bench()
    key = bench.keys["new"]
    key.pin_error = AWAY
    bench.signers.pin()
    key.pin_error = SignerRefused(SignerFailure.WRONG_KEY, "not the registered key", remedy="compare")
    bench.now += RETRY_SECONDS_MAX
    asked = key.asked
    with pytest.raises(SignerRefused, match="not the registered key"):
        bench.sign()
    assert key.asked == asked + 1
    assert bench.told.reasons == ["unavailable", "wrong_key"]


def test_each_statement_is_signed_by_the_key_it_was_written_down_for() -> None:
    bench = Bench("old")
    for kid in ("new-ed25519", "old-ed25519"):
        verify_digest(bench.registry.get(kid).public_key, DIGEST, bench.sign_written(kid))
    assert bench.signers.kid == "new-ed25519"


def test_an_outgoing_key_that_is_away_does_not_keep_the_new_one_from_signing() -> None:
    bench = Bench("old")
    bench.keys["old"].error = AWAY
    with pytest.raises(SignerAway):
        bench.sign_written("old-ed25519")
    assert bench.signers.ready
    assert bench.sign_written("new-ed25519")


def test_a_retired_key_signs_what_was_written_down_before_and_nothing_after() -> None:
    bench = Bench("old", retired="old")
    assert bench.sign_written("old-ed25519", BEFORE)
    with pytest.raises(SignerAway, match="was retired at"):
        bench.sign_written("old-ed25519", AFTER)


def test_a_statement_for_a_key_that_nobody_holds_waits_and_is_told() -> None:
    bench = Bench()
    with pytest.raises(SignerAway, match=r"\[outgoing\] of SIGNING_KEYS_FILE"):
        bench.sign_written("lost-v1")
    assert bench.told.reasons == ["not_configured"]
    with pytest.raises(SignerAway, match="before its wait is over"):
        bench.sign_written("lost-v1")
    assert bench.sign()


def test_a_cosigner_that_is_away_is_told_by_its_own_name_and_the_signer_goes_on() -> None:
    bench = Bench("second", cosigner=True)
    bench.keys["second"].error = AWAY
    with pytest.raises(SignerAway):
        bench.cosign("new-ed25519")
    assert bench.told.reasons == ["unavailable"]
    assert bench.sign_written("new-ed25519")
    bench.keys["second"].error = None
    bench.now += RETRY_SECONDS_MAX
    assert bench.cosign("new-ed25519") == ["second-ed25519"]
    assert bench.cosign("second-ed25519") == [], "nobody cosigns what it signed"


def test_a_key_whose_end_comes_while_it_runs_signs_no_more_and_nothing_is_written_down_for_it() -> None:
    service = LocalKey.generate("ed25519", env="dev")
    ends = RegisteredSigner("emergency-v1", "ed25519", service.public_key(), None, NOW + dt.timedelta(hours=1))
    registry = SignerRegistry([ends])
    clock = [NOW]
    signers = SignerSet(
        PinnedSigner(VerifiedSigner(service, ends, now=NOW), registry),
        registry,
        monotonic=lambda: 0.0,
        metrics=NullMetrics(),
        clock=lambda: clock[0],
    )
    with signers.attempt() as signer:
        assert signer.sign_digest(DIGEST)
    clock[0] += dt.timedelta(hours=1)
    for ask in (signers.check_current, lambda: signers.attempt().__enter__()):
        with pytest.raises(Refused, match="retired since"):
            ask()
