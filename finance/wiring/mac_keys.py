"""MAC keys in the settings: which key signs what beside one, who is asked about a MAC, and the waiver.

A MAC key may be the one that signs (AUDIT_SIGNING_ALG=hmac-sha256). It signs range proofs alone
(`ledger_core.signing.purposes`); what else a process says, the cosigner says: checkpoints of the prover, and everything
of a process that makes no proof. So one keys file serves all of them.
Guarantees: in production a MAC stands beside a signature that strangers can check, or the settings name who waived that
and why. A MAC is asked about only where the settings name a KMS.
Does not: open a key (`signers` does), or record the waiver: who publishes a proof does (`proof.published`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from finance.settings.deployment import Settings
from finance.settings.extras import needs_extra
from finance.settings.mac_waiver import Waiver, waiver_of
from finance.settings.signing import EVERY_SLOT, SigningSettings, kms_key
from finance.settings.variables import COSIGNER, KEY_VARIABLES, OUTGOING
from finance.wiring.kms_place import place_of
from finance.wiring.registry_file import read_registry
from ledger_core.errors import Refused
from ledger_core.signing.mac_keys import MAC_ALGORITHM
from ledger_core.signing.purposes import MAC_MAY_SIGN, WORDS, Purpose
from ledger_core.signing.registry import SignerRegistry

COSIGNER_REMEDY: Final = (
    "name a key of rsa-sha256 or ed25519 in the table [cosigner] of the file that SIGNING_KEYS_FILE names "
    "(docs/SIGNING.md)"
)
STRANGERS_REMEDY: Final = (
    f"{COSIGNER_REMEDY}; or, where no stranger is ever to verify a proof, say who decided that and why: "
    'AUDIT_SIGNING_MAC_WAIVER="name: reason"'
)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One key of a process, and what it has to say there."""

    signing: SigningSettings  # which key
    signs: frozenset[Purpose]  # the kinds of statement that it signs there
    is_outgoing: bool = False  # only what was written down for it
    is_cosigner: bool = False  # beside another key


def key_uses(
    settings: Settings, registry: SignerRegistry, signs: Iterable[Purpose], *, name: str = "api"
) -> list[KeyUse]:
    """The keys of the process `name`, which makes these kinds of statements: first the one for what is new. Raises
    Refused when a kind is left to nobody, or proofs to a MAC alone that nobody waived."""
    wanted = frozenset(signs)
    current, outgoing, cosigner = (key_of(settings, name=name) for key_of in EVERY_SLOT)
    assert current is not None  # noqa: S101  # signing_of raises instead
    macs = frozenset(it for it in wanted if MAC_MAY_SIGN[it])
    beside = None if cosigner is None else KeyUse(cosigner, wanted, is_cosigner=True)
    if cosigner is not None and is_mac(cosigner, registry):
        beside = KeyUse(cosigner, macs, is_cosigner=True) if macs else None
    first = KeyUse(current, wanted)
    if is_mac(current, registry) and wanted:
        if beside is not None and is_mac(beside.signing, registry):
            raise Refused("the key that signs and the cosigner are both MAC keys", remedy=COSIGNER_REMEDY)
        first, beside = _beside_a_mac(settings, current, beside, macs, wanted - macs)
    uses = [first]
    if outgoing is not None:
        left = macs if is_mac(outgoing, registry) else wanted
        uses += [KeyUse(outgoing, left, is_outgoing=True)] if left or not wanted else []
    return uses + ([] if beside is None else [beside])


def _beside_a_mac(
    settings: Settings,
    current: SigningSettings,
    beside: KeyUse | None,
    macs: frozenset[Purpose],
    others: frozenset[Purpose],
) -> tuple[KeyUse, KeyUse | None]:
    """The key for what is new, and the cosigner, where the key that signs is a MAC key."""
    if macs:
        check_strangers_can_check(settings, cosigned=beside is not None)
    if beside is None and others:
        said = " and ".join(WORDS[it] for it in WORDS if it in others)
        raise Refused(f"the key that signs is a MAC key, which cannot sign {said}", remedy=COSIGNER_REMEDY)
    if not macs:
        assert beside is not None  # noqa: S101  # or there was nothing to say
        return KeyUse(beside.signing, others), None
    if beside is None:
        return KeyUse(current, macs), None
    said_beside = others if waiver_of(settings) else macs | others
    return KeyUse(current, macs), KeyUse(beside.signing, said_beside, is_cosigner=True)


def check_strangers_can_check(settings: Settings, *, cosigned: bool) -> Waiver | None:
    """For a MAC that signs proofs: the waiver, if one is given. Raises Refused in production without a cosigner and a
    waiver."""
    waiver = waiver_of(settings)
    if settings.env == "production" and not cosigned and waiver is None:
        raise Refused("proofs would carry a MAC alone, which no stranger can check", remedy=STRANGERS_REMEDY)
    return waiver


def is_mac(signing: SigningSettings, registry: SignerRegistry) -> bool:
    """Whether the settings mean a MAC key, by its algorithm or by its kid."""
    if signing.algorithm is not None or signing.kid is None:
        return signing.algorithm == MAC_ALGORITHM
    signer = registry.find(signing.kid)
    return signer is not None and signer.is_mac


def asking(settings: Settings, registry: SignerRegistry, *, name: str = "auditor") -> SignerRegistry:
    """The registry, with the KMS of the settings asked about MACs where they name one. Raises Refused."""
    if not registry.has_macs or not names_a_kms(settings):
        return registry
    with needs_extra():
        from producers.signing.kms_mac_key import KmsMacs
    return registry.asking(KmsMacs(place_of(kms_key(settings, "", name))))


def names_a_kms(settings: Settings) -> bool:
    """Whether the settings give access to a KMS: its region or address, or a key there."""
    named = ("KMS_REGION", "KMS_ENDPOINT", *(slot + KEY_VARIABLES["kms"] for slot in ("", OUTGOING, COSIGNER)))
    return any(settings.values.get(it) for it in named)


def trusted_registry(settings: Settings, *, name: str = "auditor") -> SignerRegistry:
    """The registry of the settings (FINANCE_SIGNERS), with the KMS asked about MACs as far as it can be. Raises
    Refused."""
    return asking(settings, read_registry(settings.signers_path), name=name)
