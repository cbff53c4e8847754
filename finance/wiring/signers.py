"""The wiring of signers: from settings, topology and registry to keys that sign, each verified and pinned.

Guarantees: a key service is used only when topology.yaml lists a signer of its kind; a key whose kid the configuration
names (AUDIT_SIGNING_KID, or the one key of its algorithm that is registered and not retired) is there at once, and is
pinned when its service answers: so a process starts, and ranges close, while the service is away. Any other key must
be asked for first. The packages of KMS and HSM are extras: each is imported when a key of its kind is asked for.
Does not: sign, wait or retry (`consumers.signing.circuit`), or read secrets (`finance.settings.signing`).
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from consumers.metrics import Metrics
from consumers.signing.signer_set import SignerSet
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.settings.extras import needs_extra
from finance.settings.signing import (
    DEFAULT_ALGORITHM,
    KmsKeySettings,
    LocalKeySettings,
    Pkcs11KeySettings,
    ProxySettings,
    SigningSettings,
    TransitKeySettings,
    check_kind,
    kms_key,
)
from finance.settings.variables import Kind
from finance.wiring.kms_place import place_of
from finance.wiring.mac_keys import KeyUse, asking, key_uses
from ledger_core.errors import Refused
from ledger_core.ports import Algorithm, Mac
from ledger_core.signing.mac_keys import MAC_ALGORITHM
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.purposes import WORDS, Purpose
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from producers.signing.https_exchange import HttpsExchange
from producers.signing.key_maker import KeyMaker
from producers.signing.key_maker_transit import TransitKeyMaker
from producers.signing.local import LocalKey
from producers.signing.proxy import ProxyKey
from producers.signing.transit import TransitKey
from producers.signing.verified_signer import KeyService, VerifiedSigner, pin
from schemas.topology.model import Topology

TransitT = TypeVar("TransitT", bound=TransitKey)


def open_signers(
    settings: Settings,
    topology: Topology,
    registry: SignerRegistry,
    metrics: Metrics,
    *,
    name: str,
    signs: Iterable[Purpose],
    monotonic: Callable[[], float] = time.monotonic,
) -> SignerSet:
    """The keys of the process `name`, which signs these kinds of statements, pinned as far as their services answer.

    Raises Refused; Unavailable("signer") when the kid of a key cannot be known without its service, and that is away.
    """
    registry = asking(settings, registry, name=name)
    current, *others = key_uses(settings, registry, signs, name=name)
    with ExitStack() as undo:

        def opened(use: KeyUse) -> PinnedSigner:
            retired_too = use.is_outgoing
            signer = open_signer(settings, topology, registry, use.signing, signs=use.signs, retired_too=retired_too)
            undo.callback(signer.close)
            return signer

        signers = SignerSet(
            opened(current),
            registry,
            clock=clock.utc_now,
            monotonic=monotonic,
            metrics=metrics,
            others=[opened(use) for use in others if use.is_outgoing],
            cosigner=next((opened(use) for use in others if use.is_cosigner), None),
        )
        signers.pin()
        undo.pop_all()
    return signers


def open_signer(
    settings: Settings,
    topology: Topology,
    registry: SignerRegistry,
    signing: SigningSettings | None = None,
    *,
    signs: Iterable[Purpose] = (),
    retired_too: bool = False,
) -> PinnedSigner:
    """One key (that of the settings for what is to be said, if no other is given), not yet asked for when its kid is
    known without. `signs`: the kinds of statements that it is opened for.

    Raises Refused, also for a key that does not count for one of them; Unavailable("signer") when the service must be
    asked, and is away.
    """
    registry = asking(settings, registry)
    signing = signing or key_uses(settings, registry, signs)[0].signing
    check_listed(topology, signing.kind)
    now = None if retired_too else clock.utc_now()
    registered = _expected(signing, registry, clock.utc_now(), guess=not retired_too)
    algorithm = signing.algorithm or (registered.algorithm if registered else DEFAULT_ALGORITHM)
    service = key_service(signing, algorithm, registry, registered.kid if registered else None, env=settings.env)
    try:
        signer = VerifiedSigner(service, registered, now=now) if registered else pin(service, registry, now=now)
        check_purposes(signer.registered, signs)
        return PinnedSigner(signer, registry)
    except BaseException:
        service.close()
        raise


def check_purposes(signer: RegisteredSigner, purposes: Iterable[Purpose]) -> None:
    """Raise Refused for a key that is registered for other kinds of statements: what it signed would not count."""
    lacking = signer.lacks(purposes)
    if lacking:
        raise Refused(
            f"signer {signer.kid} is registered for other statements than {' and '.join(WORDS[it] for it in lacking)}",
            remedy="name the key that is registered for them (`finance signers list`), or register one: "
            f"finance signers add --signs {' --signs '.join(lacking)}",
        )


def check_listed(topology: Topology, kind: Kind) -> None:
    """Raise Refused unless topology.yaml lists a signer of that kind."""
    kinds = sorted({spec.kind for spec in topology.signers.values()})
    if kind not in kinds:
        raise Refused(
            f"the topology lists no signer of kind {kind}, only {', '.join(kinds)}",
            remedy="add it under signers in topology.yaml, or use a kind that is listed: the processes would refuse it",
        )


def key_service(
    signing: SigningSettings, algorithm: Algorithm, registry: SignerRegistry, kid: str | None, *, env: str
) -> KeyService:
    """The adapter that the settings name, on the key `kid` if that is known; nothing is asked yet. Raises Refused."""
    check_kind(signing.kind, algorithm)
    match signing.key:
        case KmsKeySettings() as key if algorithm == MAC_ALGORITHM:
            with needs_extra():
                from producers.signing.kms_mac_key import KmsMacKey
            return KmsMacKey(key.key_id, place_of(key))
        case KmsKeySettings() as key:
            with needs_extra():
                from producers.signing.kms import KmsKey
            return KmsKey(key.key_id, algorithm, place_of(key))
        case Pkcs11KeySettings() as key:
            with needs_extra():
                from producers.signing.pkcs11 import Pkcs11Key
            return Pkcs11Key(key.module, key.token, key.key, algorithm, pin=key.pin)
        case TransitKeySettings() as key:
            return _on_transit(TransitKey, key, algorithm)
        case ProxySettings() as key:
            exchange = HttpsExchange(key.url, ca_file=key.tls.ca_file, client_pair=key.tls.client_pair)
            return ProxyKey(exchange, algorithm, registry, api_key=key.api_key, kid=kid)
        case LocalKeySettings() as key:
            return LocalKey.from_file(Path(key.path), env=env)


def open_mac(settings: Settings, key_id: str, *, name: str) -> Mac:
    """The MAC key in KMS, as used by the process `name`; nothing is asked yet. Raises Refused."""
    key = kms_key(settings, key_id, name)
    with needs_extra():
        from producers.signing.kms_mac import KmsMac
    return KmsMac(key.key_id, place_of(key))


def key_maker(signing: SigningSettings, algorithm: Algorithm, *, policy: str | None) -> KeyMaker:
    """What makes the key that the settings name; `policy` is the key's in KMS. Raises Refused; ValueError for a kind
    whose keys are made elsewhere."""
    match signing.key:
        case KmsKeySettings() as key:
            with needs_extra():
                from producers.signing.key_maker_kms import KmsKeyMaker
            maker = KmsKeyMaker(key.key_id, algorithm, place_of(key))
            maker.policy = policy
            return maker
        case Pkcs11KeySettings() as key:
            with needs_extra():
                from producers.signing.key_maker_pkcs11 import MAKING_SECONDS_MAX, Pkcs11KeyMaker
            seconds = MAKING_SECONDS_MAX
            return Pkcs11KeyMaker(key.module, key.token, key.key, algorithm, pin=key.pin, timeout_seconds=seconds)
        case TransitKeySettings() as key:
            return _on_transit(TransitKeyMaker, key, algorithm)
        case ProxySettings() | LocalKeySettings():
            raise ValueError(f"a {signing.kind} key is not ours to make")


def _on_transit(kind: type[TransitT], key: TransitKeySettings, algorithm: Algorithm) -> TransitT:
    exchange = HttpsExchange(key.url, ca_file=key.tls.ca_file, client_pair=key.tls.client_pair)
    return kind(exchange, key.key, algorithm, token=key.token, key_version=key.version, mount=key.mount)


def _expected(
    signing: SigningSettings, registry: SignerRegistry, now: dt.datetime, *, guess: bool
) -> RegisteredSigner | None:
    """The registered key that the configuration means, when that is certain without asking the key service."""
    if signing.kid is None:
        return registry.only_unretired(signing.algorithm or DEFAULT_ALGORITHM, now) if guess else None
    registered = registry.find(signing.kid)
    if registered is None:
        raise Refused(
            f"kid {signing.kid} (AUDIT_SIGNING_KID, or kid in SIGNING_KEYS_FILE) is not in the signer registry",
            remedy="publish the key first in signers.json (FINANCE_SIGNERS), or name the kid that is registered",
        )
    if signing.algorithm not in (None, registered.algorithm):
        raise Refused(
            f"the algorithm is {signing.algorithm} (AUDIT_SIGNING_ALG, or algorithm in SIGNING_KEYS_FILE), and "
            f"{signing.kid} is registered as {registered.algorithm}",
            remedy="set both to what belongs together, or leave the algorithm out",
        )
    return registered
