"""Keys under which anybody can sign are no keys: small order, other encodings, weak moduli."""

from __future__ import annotations

import base64
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from ledger_core.signing.key_rules import P, check_ed25519, check_rsa
from ledger_core.signing.signatures import PublicKey

# The eight points of small order in their one encoding, two of them with the sign that belongs to no other x.
SMALL_ORDER: Final = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
)
TWO_ENCODINGS: Final = (
    (P + 0).to_bytes(32, "little").hex(),
    (P + 1).to_bytes(32, "little").hex(),
    (2**255 - 1).to_bytes(32, "little").hex(),
    (1 | 1 << 255).to_bytes(32, "little").hex(),
    (P - 1 | 1 << 255).to_bytes(32, "little").hex(),
)
PRIME: Final = int(  # of 2048 bits: RFC 3526, group 14
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B"
    "302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"
    "49286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D"
    "670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
    "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)


@pytest.mark.parametrize("text", SMALL_ORDER)
def test_a_point_of_small_order_is_no_key(text: str) -> None:
    raw = bytes.fromhex(text)
    with pytest.raises(ValueError, match="small order"):
        PublicKey.parse(base64.b64encode(raw).decode())
    forged = bytes([1]) + bytes(63)  # R the neutral element, S zero: under the neutral key it fits every message
    if text == SMALL_ORDER[0]:
        ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(forged, b"whatever an attacker wants")


@pytest.mark.parametrize("text", TWO_ENCODINGS)
def test_a_point_has_one_encoding(text: str) -> None:
    with pytest.raises(ValueError, match="one encoding"):
        check_ed25519(bytes.fromhex(text))


def test_half_of_all_texts_are_no_points_and_every_key_is_one() -> None:
    refused = [number for number in range(2, 66) if not _is_point(number)]
    assert 16 < len(refused) < 48
    with pytest.raises(ValueError, match="not a point"):
        check_ed25519(refused[0].to_bytes(32, "little"))
    for _ in range(64):
        check_ed25519(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw())


@pytest.fixture(scope="module")
def sound() -> rsa.RSAPrivateNumbers:
    return rsa.generate_private_key(65_537, 2048).private_numbers()


def test_a_modulus_that_anybody_can_take_apart_is_refused(sound: rsa.RSAPrivateNumbers) -> None:
    n, p = sound.public_numbers.n, sound.p
    check_rsa(n, 65_537)
    for modulus, said in (
        (n + 1, "a factor below"),
        (PRIME, "is a prime"),
        (p * p * 2**2, "a factor below"),
        (p * p << 0, "close together"),
        (p * _next_prime(p), "close together"),
        (3 * (1 << 2046 | 1), "a factor below"),
        (n >> 8, "is not within 2048 to 8192"),
    ):
        with pytest.raises(ValueError, match=said):
            check_rsa(modulus, 65_537)


@pytest.mark.parametrize(("exponent", "said"), [(3, "forged"), (65_535, "forged"), (65_538, "even"), (2**65 + 1, "64")])
def test_an_exponent_that_nobody_uses_is_refused(sound: rsa.RSAPrivateNumbers, exponent: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_rsa(sound.public_numbers.n, exponent)


def _is_point(number: int) -> bool:
    try:
        check_ed25519(number.to_bytes(32, "little"))
    except ValueError:
        return False
    return True


def _next_prime(number: int) -> int:
    number += 2
    while pow(2, number - 1, number) != 1:
        number += 2
    return number
