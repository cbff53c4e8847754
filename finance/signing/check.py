"""`finance signers check`: one check of all the places that must agree about keys.

Guarantees: findings, never a repair. Each key that a setting names holds what the registry says; each key that signed
anything is registered, and for those sequences; Kernel's copy, where it is given, has the same keys and ends.
Does not: verify signatures (`finance verify` does). A key service that is away is counted, not a finding.
"""

from __future__ import annotations

from pathlib import Path

from finance.settings.signing import SigningSettings, cosigner_of, outgoing_of, signing_of
from finance.signing.desk import Desk, Look
from finance.signing.reach import ANY_HISTORY
from finance.wiring import services
from finance.wiring.registry_file import read_registry
from finance.wiring.signers import open_signer
from ledger_core.archive.manifest import parse_manifest
from ledger_core.archive.names import manifests_folder
from ledger_core.errors import Refused, Unavailable
from ledger_core.findings import Collector, Report
from ledger_core.postgres.signing.signer_uses import SignerUse
from ledger_core.signing.counting import AuditPlace, Place, ShardPlace, place_faults
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.rotation import rotations


def check_signers(desk: Desk, kernel: Path | None, *, archive: bool) -> Report:
    """Compare everything. Raises Refused for a registry that cannot be read, Unavailable for database and archive."""
    found, registry = Collector(), desk.registry
    found.count("signers", len(registry.signers))
    _check_services(desk, registry, found)
    look = desk.look()
    for use in desk.uses():
        found.count("statements", use.statements)
        _check_use(use, registry, found)
    _check_rotations(look, registry, found)
    if archive:
        _check_archive(desk, registry, found)
    if kernel is not None:
        _check_copy(registry, read_registry(kernel, foreign=True), kernel, found)
    return found.report()


def _check_services(desk: Desk, registry: SignerRegistry, found: Collector) -> None:
    """The keys that these settings name: registered, not retired (the outgoing one may be), held by their services."""
    slots: list[tuple[str, SigningSettings | None]] = [
        ("current", signing_of(desk.settings)),
        ("outgoing", outgoing_of(desk.settings)),
        ("cosigner", cosigner_of(desk.settings)),
    ]
    for slot, signing in slots:
        if signing is None:
            continue
        try:
            signer = open_signer(desk.settings, desk.topology, registry, signing, retired_too=slot == "outgoing")
            try:
                signer.pin()
            finally:
                signer.close()
            found.count("key_services")
        except Refused as error:
            found.add("signers.service", f"the {slot} key: {error.message}", place=slot)
        except Unavailable:
            found.count("key_services_away")


def _check_use(use: SignerUse, registry: SignerRegistry, found: Collector) -> None:
    for fault in place_faults(use.kid, _places(use), registry):
        if fault.code == "signer":
            message = f"{use.statements} of {use.what} are by {use.kid}, which is not registered"
            found.add("signers.unregistered", message, shard=use.shard, seq=use.last_seq, place=use.what)
        else:
            message = f"{fault.message} ({use.what})"
            found.add("signers.validity", message, shard=use.shard, seq=fault.seq, place=use.what)


def _places(use: SignerUse) -> tuple[Place, ...]:
    """The first and the last place that a key signed there. What an operator asks for may reach back as far as he
    likes: of that only the last."""
    if use.shard is None:
        return tuple(dict.fromkeys((AuditPlace(use.first_seq), AuditPlace(use.last_seq))))
    last = ShardPlace(use.shard, use.last_seq, chained=use.what != ANY_HISTORY)
    return (last,) if use.what == ANY_HISTORY else tuple(dict.fromkeys((ShardPlace(use.shard, use.first_seq), last)))


def _check_rotations(look: Look, registry: SignerRegistry, found: Collector) -> None:
    for rotation in rotations(look.events):
        found.count("rotations")
        event = rotation.announced
        if event.signer_kid not in (None, rotation.outgoing):
            message = f"{rotation.incoming} was announced by {event.signer_kid}, not by {rotation.outgoing}"
            found.add("signers.rotation", message, seq=event.seq)
        known = registry.find(rotation.incoming)
        if known is None or known.public_key.fingerprint != event.text("incoming_fingerprint"):
            message = f"{rotation.incoming} is not registered with the key that was announced"
            found.add("signers.rotation", message, seq=event.seq)


def _check_archive(desk: Desk, registry: SignerRegistry, found: Collector) -> None:
    reader = services.open_archive(desk.settings)
    for stored in reader.versions(manifests_folder(desk.settings.env)):
        if stored.size_bytes < 0:
            continue
        try:
            manifest = parse_manifest(reader.get(stored.key, stored.version_id))
        except ValueError as error:
            found.add("signers.archive", f"no manifest: {error}", place=stored.key)
            continue
        found.count("manifests")
        shard, seq = manifest.place
        _check_use(SignerUse("manifest", manifest.signer_kid, shard, seq, seq, 1), registry, found)


def _check_copy(registry: SignerRegistry, copy: SignerRegistry, path: Path, found: Collector) -> None:
    """Keys of others in the copy are theirs; a MAC key of ours is not published: who has no secret cannot use it."""
    for signer in (it for it in registry.signers if not it.is_mac):
        other = copy.find(signer.kid)
        if other is None:
            what = "is missing"
        elif other.public_key != signer.public_key:
            what = f"has another key, {other.public_key.fingerprint[:16]}"
        elif (other.retired_at, other.validity) != (signer.retired_at, signer.validity):
            what = "has another end or validity"
        else:
            continue
        found.add("signers.copy", f"{signer.kid} {what}: `finance signers publish`", place=str(path))
