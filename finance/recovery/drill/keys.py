"""The keys: each one of the registry still verifies what it signed, in every copy, and those that are named sign.

Guarantees: every signature of database, archive, exported chain and audit topic's newest event is verified by the
oracle; statements are counted by the key they name, so that a key whose history is gone shows. Changes nothing.
Does not: compare with Kernel's copy of the registry: that is done by people (RUNBOOK, section 15).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import msgspec

from finance.recovery.drill.report import KeyResult, WayResult
from finance.recovery.drill.ways import DrillScene, WayRun
from finance.settings.signing import SigningSettings, cosigner_of, outgoing_of
from finance.wiring import services
from finance.wiring.oracle import check_audit_of, check_ledger_of
from finance.wiring.signers import open_signer
from ledger_core.audit.sources import exported_events
from ledger_core.findings import Collector, Report
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.times import format_time
from ledger_core.verify.oracle import verify_archive, verify_audit


class CountedRegistry(SignerRegistry):
    """The registry, counting how often each kid is looked up: once for each signature that is verified."""

    __slots__ = ("looked_up",)

    def __init__(self, registry: SignerRegistry) -> None:
        super().__init__(registry.signers)
        self.looked_up: Counter[str] = Counter()

    def find(self, kid: str) -> RegisteredSigner | None:
        self.looked_up[kid] += 1
        return super().find(kid)


def drill_keys(scene: DrillScene, signer: PinnedSigner) -> WayResult:
    """Verify the history, then make one signature with each key that the settings name: `signer`, which is the current
    one, the outgoing one, the cosigner. A key that does not answer would delay proofs the day it is needed."""
    settings, sources = scene.settings, {}
    bucket = settings.archive("auditor").bucket
    record = WayRun("keys", (str(settings.signers_path), "database", f"s3://{bucket}", "audit chain, and its exports"))
    checks: dict[str, Callable[[SignerRegistry, Callable[[int], None]], Report]] = {
        "database": lambda registry, advance: check_ledger_of(settings, registry, advance),
        "archive": lambda registry, _: verify_archive(services.open_archive(settings), settings.env, registry),
        "audit_chain": lambda registry, advance: check_audit_of(settings, scene.topology, registry, advance),
    }
    if scene.live.exported_seq:
        checks["audit_exports"] = lambda registry, _: _exports(scene, registry)
    for name, check in checks.items():
        counted = sources[name] = CountedRegistry(scene.registry)
        with (
            record.stopping(),
            record.step(f"verify every signature: {name.replace('_', ' ')}", check=True, unit="signatures") as count,
            scene.counting(f"verifying {name}", "rows", None) as bar,
        ):
            record.found.take(check(counted, bar))
            count(counted.looked_up.total())
    signed = set(_sign(scene, record, "the current key", lambda: nullcontext(signer)))
    for name, signing in (("the outgoing key", outgoing_of(settings)), ("the cosigner", cosigner_of(settings))):
        if signing is not None:
            retired_too = name == "the outgoing key"
            signed |= set(_sign(scene, record, name, partial(_opened, scene, signing, retired_too=retired_too)))
    keys = tuple(
        _key(key, sources, signs_now=key.kid in signed)
        for key in sorted(scene.registry.signers, key=lambda key: key.kid)
    )
    return msgspec.structs.replace(record.result(), keys=keys)


def _sign(
    scene: DrillScene, record: WayRun, name: str, signer_of: Callable[[], AbstractContextManager[PinnedSigner]]
) -> Iterator[str]:
    """The kid of the key, if it signs and the registered key verifies it; else that is a finding."""
    with (
        record.stopping(),
        record.step(f"sign with {name}, and verify", check=True, unit="signatures") as count,
        signer_of() as signer,
    ):
        signer.sign_digest(hashlib.sha256(f"finance drill {scene.drill_id}".encode()).digest())
        count(1)
        yield signer.kid


@contextmanager
def _opened(scene: DrillScene, signing: SigningSettings, *, retired_too: bool) -> Iterator[PinnedSigner]:
    signer = open_signer(scene.settings, scene.topology, scene.registry, signing, retired_too=retired_too)
    try:
        signer.pin()
        yield signer
    finally:
        signer.close()


def _exports(scene: DrillScene, registry: SignerRegistry) -> Report:
    found = Collector()
    events = exported_events(services.open_archive(scene.settings), scene.settings.env, found)
    return verify_audit(events, registry, found=found)


def _key(key: RegisteredSigner, sources: dict[str, CountedRegistry], *, signs_now: bool) -> KeyResult:
    return KeyResult(
        signer_kid=key.kid,
        alg=key.algorithm,
        deployed_at=_time(key.deployed_at),
        retired_at=_time(key.retired_at),
        statements={name: str(registry.looked_up[key.kid]) for name, registry in sources.items()},
        signs_now=signs_now,
    )


def _time(moment: dt.datetime | None) -> str | None:
    return None if moment is None else format_time(moment)
