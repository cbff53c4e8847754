"""A new key, made in its service, and announced on the audit chain: the first step of a key's life.

Two side effects in this order, and asked for again after a crash it does what is missing:
  1. the key is made in its service   the commit point; a key that nobody registered signs nothing of ours
  2. an intent is left                the audit chain says who made it, where, and its fingerprint
Guarantees: private material never leaves the service, nor reaches this process; a key that is registered already is
never taken for a new one. Needs the credentials of who makes keys, not of who signs: nothing is signed here.
Does not: register or announce the key: `finance rotate begin` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from finance.settings.signing import signing_of
from finance.signing.desk import Desk
from finance.signing.key_choice import with_key
from finance.wiring.signers import check_listed, key_maker
from ledger_core.errors import Refused
from ledger_core.signing.registry import RegisteredSigner, check_kid
from ledger_core.signing.rotation import CREATED
from producers.signing.key_maker import KeySpec, MadeKey, check_public_key

MADE_ELSEWHERE: Final = {
    "proxy": Refused(
        "a key of a signing proxy is made behind it, in the service that it stands in front of",
        remedy="have it made there by who runs the proxy (docs/SIGNING_PROXY.md), then: finance rotate begin",
    ),
    "local": Refused(
        "a key in a file would be made in this process: no command here touches a private key",
        remedy="for tests: openssl genpkey -algorithm ed25519 -out key.pem; else use KMS, an HSM or transit",
    ),
}


@dataclass(frozen=True, slots=True)
class Created:
    """The key as it will be registered, what its service calls it, and what was done now."""

    signer: RegisteredSigner  # with its kid and public key
    key_id: str  # what the service calls it: an ARN, a label, a name
    made: bool  # False: it stood there already
    told: bool  # announced on the audit chain by this command


def create(desk: Desk, variables: Mapping[str, str], spec: KeySpec, *, policy: str | None) -> Created:
    """Make the key that the variables name. Raises Refused; Unavailable when service or database are away."""
    kid, kind = variables["AUDIT_SIGNING_KID"], variables["AUDIT_SIGNING_KIND"]
    if kind in MADE_ELSEWHERE:
        raise MADE_ELSEWHERE[kind]
    try:
        check_kid(kid)
    except ValueError as error:
        raise Refused(str(error), remedy="name it otherwise with --kid") from error
    look = desk.look()  # first: what cannot be announced is not made
    if desk.registry.find(kid) is not None:
        raise Refused(f"signer {kid} is registered already", remedy="give the new key a kid of its own")
    signing = signing_of(with_key(desk.settings, variables))
    check_listed(desk.topology, signing.kind)
    maker = key_maker(signing, spec.algorithm, policy=policy)
    try:
        made = maker.make(spec)
        check_public_key(maker.name, spec, made)
    finally:
        maker.close()
    signer = RegisteredSigner(kid, spec.algorithm, made.public_key, desk.now)
    look.check_fresh(desk.registry, signer)
    fingerprint = signer.public_key.fingerprint
    known = any(it.event_type == CREATED and it.text("fingerprint") == fingerprint for it in look.events)
    if not known:
        desk.tell(CREATED, _payload(signer, spec, made, variables))
    return Created(signer, made.key_id, made.made, not known)


def _payload(signer: RegisteredSigner, spec: KeySpec, made: MadeKey, variables: Mapping[str, str]) -> dict[str, object]:
    return {
        "signer_kid": signer.kid,
        "algorithm": signer.algorithm,
        "bits": str(spec.bits),
        "fingerprint": signer.public_key.fingerprint,
        "key_id": made.key_id,
        "variables": dict(variables),
    }
