"""Private keys in binary: PKCS#8 (plain and encrypted), PKCS#1, SEC 1, PKCS#12 and Java key stores.

Guarantees: recognised by the first bytes of their ASN.1 structure (RFC 5208, 5958, 8017 A.1.2, 5915, 7292), anywhere in
the data, so that a key inside another file is found too; public keys, certificates, signatures are built otherwise.
Does not: decode further, or decrypt anything.
"""

from __future__ import annotations

import re
from typing import Final

_LENGTH: Final = rb"(?:[\x10-\x7f]|\x81[\x80-\xff]|\x82[\x01-\xff][\x00-\xff])"
_ALGORITHMS: Final = b"|".join(
    re.escape(bytes.fromhex(oid))
    for oid in (
        "06092a864886f70d010101",  # rsaEncryption
        "06092a864886f70d01010a",  # RSASSA-PSS
        "06072a8648ce3d0201",  # ecPublicKey
        "06072a8648ce380401",  # DSA
        "06032b6570",  # Ed25519
        "06032b6571",  # Ed448
        "06032b656e",  # X25519
        "06032b656f",  # X448
    )
)

_STRUCTURES: Final[tuple[tuple[str, re.Pattern[bytes]], ...]] = tuple(
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        # PrivateKeyInfo: version 0 or 1, AlgorithmIdentifier
        ("der-pkcs8", rb"\x30" + _LENGTH + rb"\x02\x01[\x00\x01]\x30[\x03-\x7f](?:" + _ALGORITHMS + rb")"),
        # EncryptedPrivateKeyInfo: PBES1, PBES2 or the schemes of PKCS#12, with their parameters
        (
            "der-pkcs8-encrypted",
            rb"\x30" + _LENGTH + rb"\x30[\x0b-\x7f](?:\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05[\x01-\x0d]"
            rb"|\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01[\x01-\x06])\x30",
        ),
        # RSAPrivateKey: version 0, then the modulus (a public key has no version; a modulus is not a single zero)
        ("der-pkcs1", rb"\x30\x82[\x00-\xff]{2}\x02\x01\x00\x02(?:\x81[\x80-\xff]|\x82[\x01-\xff][\x00-\xff])\x00"),
        # ECPrivateKey: version 1, the secret of 28 to 66 octets, then the curve or the public key
        ("der-sec1", rb"\x30" + _LENGTH + rb"\x02\x01\x01\x04(?:\x1c.{28}|\x20.{32}|\x30.{48}|\x42.{66})[\xa0\xa1]"),
        # PFX: version 3, ContentInfo of type data or signedData
        ("pkcs12", rb"\x30(?:\x80|" + _LENGTH + rb"|\x83...)\x02\x01\x03\x30(?:\x80|" + _LENGTH + rb"|\x83...)"
         rb"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07[\x01\x02]"),
        ("java-keystore", rb"\A(?:\xfe\xed\xfe\xed|\xce\xce\xce\xce)\x00\x00\x00[\x01\x02]"),
    )
)  # fmt: skip


def find_der_keys(data: bytes) -> list[tuple[str, int, bytes]]:
    """(kind, offset, the first 64 bytes) of every private key structure in `data`."""
    return [
        (kind, found.start(), data[found.start() : found.start() + 64])
        for kind, structure in _STRUCTURES
        for found in structure.finditer(data)
    ]
