"""A SoftHSM2 token in a folder of its own: a real PKCS#11 library, with keys made on the token or stored there."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pkcs11
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass

from ledger_core.ports import Algorithm
from producers.signing.pkcs11 import Pkcs11Key
from tests.support.waits import PATIENCE_SECONDS

ED25519_PARAMS = b"\x13\x0cedwards25519"  # CKA_EC_PARAMS: the curve's name as PrintableString
INSTALL = Path(__file__).with_name("install-softhsm")


@cache
def module() -> str:
    """The path of the library, which is installed when it is missing."""
    done = subprocess.run([INSTALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@dataclass(frozen=True, slots=True)
class Token:
    """A token by its label. Its folder is the process's SOFTHSM2_CONF: one for all tokens of a test run."""

    label: str
    pin: str = "1234-user"

    @classmethod
    def make(cls, folder: Path, label: str) -> Token:
        """The library reads its configuration once a process, so the first folder serves all tokens."""
        token, library = cls(label), module()
        if "SOFTHSM2_CONF" not in os.environ:
            tokens = folder / "tokens"
            tokens.mkdir(parents=True)
            conf = folder / "softhsm2.conf"
            conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
            os.environ["SOFTHSM2_CONF"] = str(conf)
        command = [
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            "so-pin",
            "--pin",
            token.pin,
        ]
        subprocess.run(command, check=True, capture_output=True)
        pkcs11.lib(library).reinitialize()
        return token

    def open(self) -> pkcs11.Session:
        found = pkcs11.lib(module()).get_token(token_label=self.label)
        try:
            return found.open(rw=True, user_pin=self.pin)
        except pkcs11.UserAlreadyLoggedIn:
            return found.open(rw=True)

    def key(self, label: str, algorithm: Algorithm, *, pin: str | None = None) -> Pkcs11Key:
        given = pin or self.pin
        return Pkcs11Key(module(), self.label, label, algorithm, pin=given, timeout_seconds=PATIENCE_SECONDS)

    def make_key(self, label: str, algorithm: Algorithm, *, bits: int = 2048, may_sign: bool = True) -> None:
        """A key pair made on the token: its private half was never anywhere else."""
        use = MechanismFlag.SIGN if may_sign else MechanismFlag.DECRYPT
        with self.open() as session:
            if algorithm == "ed25519":
                curve = session.create_domain_parameters(
                    KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: ED25519_PARAMS}, local=True
                )
                curve.generate_keypair(
                    label=label, store=True, mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, capabilities=use
                )
            else:
                session.generate_keypair(KeyType.RSA, bits, label=label, store=True, capabilities=use)

    def store_key(self, label: str, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        """A given key, private and public half."""
        with self.open() as session:
            for object_class, attributes in _attributes(key):
                session.create_object(
                    {Attribute.CLASS: object_class, Attribute.TOKEN: True, Attribute.LABEL: label, **attributes}
                )


def _attributes(key: RSAPrivateKey | Ed25519PrivateKey) -> list[tuple[ObjectClass, dict[Attribute, object]]]:
    private: dict[Attribute, object] = {Attribute.SIGN: True, Attribute.PRIVATE: True, Attribute.SENSITIVE: True}
    public: dict[Attribute, object] = {Attribute.VERIFY: True}
    if isinstance(key, Ed25519PrivateKey):
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        curve = {Attribute.KEY_TYPE: KeyType.EC_EDWARDS, Attribute.EC_PARAMS: ED25519_PARAMS}
        private |= curve | {Attribute.VALUE: key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())}
        public |= curve | {Attribute.EC_POINT: b"\x04\x20" + raw}
    else:
        numbers = key.private_numbers()
        halves = {
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.MODULUS: _big_endian(numbers.public_numbers.n),
            Attribute.PUBLIC_EXPONENT: _big_endian(numbers.public_numbers.e),
        }
        secret = {
            Attribute.PRIVATE_EXPONENT: numbers.d,
            Attribute.PRIME_1: numbers.p,
            Attribute.PRIME_2: numbers.q,
            Attribute.EXPONENT_1: numbers.dmp1,
            Attribute.EXPONENT_2: numbers.dmq1,
            Attribute.COEFFICIENT: numbers.iqmp,
        }
        private |= halves | {name: _big_endian(number) for name, number in secret.items()}
        public |= halves
    return [(ObjectClass.PRIVATE_KEY, private), (ObjectClass.PUBLIC_KEY, public)]


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
