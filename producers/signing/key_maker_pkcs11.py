"""Making a key pair on a PKCS#11 token: one call, and both halves are there or neither.

Guarantees: the private half is made on the token, sensitive, never extractable, for signing alone (the public one for
verifying); what the token then says of it is read back. Whoever holds the user PIN may do this: a token knows no less.
"""

from __future__ import annotations

from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from ledger_core.errors import Refused
from producers.signing.key_maker import KeySpec, MadeKey, check_made
from producers.signing.pkcs11 import Pkcs11Key

MAKING_SECONDS_MAX: Final = 120.0  # an RSA key of 4096 bits takes a small HSM a while
CURVE: Final = b"\x13\x0cedwards25519"  # CKA_EC_PARAMS: the curve's name as PrintableString
_SIGN_ALONE: Final = {
    Attribute.SIGN: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.NEVER_EXTRACTABLE: True,
    Attribute.LOCAL: True,
    Attribute.DECRYPT: False,
    Attribute.UNWRAP: False,
}


class Pkcs11KeyMaker(Pkcs11Key):
    """A KeyMaker for one label of a token."""

    def make(self, spec: KeySpec) -> MadeKey:
        """Make the key pair, or find it. Raises Unavailable("signer") and Refused."""
        made = self._within_deadline(lambda: self._make(spec))
        return MadeKey(self.public_key(), f"{self._token}/{self._label}", made)

    def _make(self, spec: KeySpec) -> bool:
        with self._login(rw=True) as session:
            private = list(session.get_objects(self._named(ObjectClass.PRIVATE_KEY)))
            public = list(session.get_objects(self._named(ObjectClass.PUBLIC_KEY)))
            if len(private) > 1 or len(private) != len(public):
                raise Refused(
                    f"the label {self._label} names {len(private)} private and {len(public)} public keys of the token",
                    remedy="give the new key a label of its own",
                )
            made = not private
            if made:
                private = [self._generate(session, spec)]
            wanted: dict[str, object] = {attribute.name: value for attribute, value in _SIGN_ALONE.items()}
            check_made(self.name, wanted, {it.name: private[0][it] for it in _SIGN_ALONE})
            return made

    def _named(self, object_class: ObjectClass) -> dict[Attribute, Any]:
        return {Attribute.CLASS: object_class, Attribute.LABEL: self._label}

    def _generate(self, session: pkcs11.Session, spec: KeySpec) -> pkcs11.PrivateKey:
        how: dict[str, Any] = {
            "label": self._label,
            "store": True,
            "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
            "private_template": {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
        }
        if spec.bits:
            return session.generate_keypair(KeyType.RSA, spec.bits, **how)[1]
        curve = session.create_domain_parameters(KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: CURVE}, local=True)
        return curve.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, **how)[1]
