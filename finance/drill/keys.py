"""The keys: each one of the registry still verifies what it signed, in every copy, and the current one signs.

Guarantees: every signature of database, archive, exported chain and audit topic's newest event is verified by the
oracle; statements are counted by the key they name, so that a key whose history is gone shows. Changes nothing.
Does not: compare with Kernel's copy of the registry: that is done by people (RUNBOOK, section 15).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable

import msgspec

from finance import bootstrap
from finance.drill.judge import take
from finance.drill.report import KeyResult, WayResult
from finance.drill.ways import Record, Scene
from finance.verify_ledger import check_audit_of, check_ledger_of
from ledger_core.audit_sources import exported_events
from ledger_core.findings import Collector, Report
from ledger_core.pinned_signer import PinnedSigner
from ledger_core.signers import RegisteredSigner, SignerRegistry
from ledger_core.times import format_time
from ledger_core.verify import verify_archive, verify_audit


class CountedRegistry(SignerRegistry):
    """The registry, counting how often each kid is looked up: once for each signature that is verified."""

    __slots__ = ("looked_up",)

    def __init__(self, registry: SignerRegistry) -> None:
        super().__init__(registry.signers)
        self.looked_up: Counter[str] = Counter()

    def find(self, kid: str) -> RegisteredSigner | None:
        self.looked_up[kid] += 1
        return super().find(kid)


def drill_keys(scene: Scene, signer: PinnedSigner) -> WayResult:
    """Verify the history, then make one signature. `signer` is the current key."""
    settings, sources = scene.settings, {}
    bucket = settings.archive("auditor").bucket
    record = Record("keys", (str(settings.signers_path), "database", f"s3://{bucket}", "audit chain, and its exports"))
    checks: dict[str, Callable[[SignerRegistry, Callable[[int], None]], Report]] = {
        "database": lambda registry, advance: check_ledger_of(settings, registry, advance),
        "archive": lambda registry, _: verify_archive(bootstrap.open_archive(settings), settings.env, registry),
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
            take(record.found, check(counted, bar))
            count(counted.looked_up.total())
    signs = False
    with (
        record.stopping(),
        record.step(f"sign with {signer.kid}, and verify", check=True, unit="signatures") as count,
    ):
        signer.sign_digest(hashlib.sha256(f"finance drill {scene.drill_id}".encode()).digest())
        signs = True
        count(1)
    keys = tuple(
        _key(key, sources, signs_now=signs and key.kid == signer.kid)
        for key in sorted(scene.registry.signers, key=lambda key: key.kid)
    )
    return msgspec.structs.replace(record.result(), keys=keys)


def _exports(scene: Scene, registry: SignerRegistry) -> Report:
    found = Collector()
    events = exported_events(bootstrap.open_archive(scene.settings), scene.settings.env, found)
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
