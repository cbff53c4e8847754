"""What a public key must be, beyond its form: one under which not everybody can make signatures. Pure.

Guarantees: an Ed25519 key is a point of the curve in its one encoding, and not of small order (RFC 8032, 5.1.3; under
the eight points of small order some signature counts for any message); an RSA modulus is odd, composite, of no small
factor and no square, and its factors do not lie close together (Fermat); its exponent is odd and of the size that
people use. What a search of hours could find (a weak generator) is not searched for.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

P: Final = 2**255 - 19
D: Final = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_1: Final = pow(2, (P - 1) // 4, P)
COFACTOR_DOUBLINGS: Final = 3  # 8 = 2 ** 3

RSA_EXPONENT_MIN: Final = 65_537
RSA_EXPONENT_MAX: Final = 2**64 - 1
RSA_BITS_MIN: Final = 2_048
RSA_BITS_MAX: Final = 8_192
SMALL_FACTORS_BELOW: Final = 2**12
FERMAT_STEPS: Final = 64

Point = tuple[int, int, int]  # X:Y:Z of the twisted Edwards curve


@lru_cache(maxsize=1024)
def check_ed25519(raw: bytes) -> None:
    """Raise ValueError unless the 32 bytes are a key that one person can have."""
    point = _decompress(raw)
    for _ in range(COFACTOR_DOUBLINGS):
        point = _double(point)
    x, y, z = point
    if x % P == 0 and (y - z) % P == 0:
        raise ValueError("the Ed25519 key is of small order: signatures under it can be made by anybody")


@lru_cache(maxsize=1024)
def check_rsa(modulus: int, exponent: int) -> None:
    """Raise ValueError unless modulus and exponent are of a key that one person can have."""
    bits = modulus.bit_length()
    if exponent < RSA_EXPONENT_MIN:
        raise ValueError(f"RSA public exponent {exponent} is below {RSA_EXPONENT_MIN}: signatures can be forged")
    if exponent > RSA_EXPONENT_MAX or exponent % 2 == 0:
        raise ValueError("the RSA public exponent is even, or has more than 64 bits")
    if not RSA_BITS_MIN <= bits <= RSA_BITS_MAX:
        raise ValueError(f"RSA key of {bits} bits is not within {RSA_BITS_MIN} to {RSA_BITS_MAX}")
    if math.gcd(modulus, _small_factors()) != 1:
        raise ValueError(f"the RSA modulus has a factor below {SMALL_FACTORS_BELOW}: anybody can find the key")
    if pow(2, modulus - 1, modulus) == 1:
        raise ValueError("the RSA modulus is a prime: anybody can compute the key")
    if _close_factors(modulus):
        raise ValueError("the factors of the RSA modulus lie close together: anybody can find the key")


def _decompress(raw: bytes) -> Point:
    """RFC 8032, 5.1.3."""
    if len(raw) != 32:
        raise ValueError("an Ed25519 key has 32 bytes")
    value = int.from_bytes(raw, "little")
    sign, y = value >> 255, value & (2**255 - 1)
    if y >= P:
        raise ValueError("the Ed25519 key is not in its one encoding")
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * SQRT_MINUS_1 % P
    if v * x * x % P != u:
        raise ValueError("the Ed25519 key is not a point of the curve")
    if x == 0 and sign:
        raise ValueError("the Ed25519 key is not in its one encoding")
    return (P - x if x % 2 != sign else x), y, 1


def _double(point: Point) -> Point:
    """Twisted Edwards curve, a = -1, projective."""
    x, y, z = point
    b, c, d = (x + y) ** 2 % P, x * x % P, y * y % P
    f = (d - c) % P
    j = (f - 2 * z * z) % P
    return (b - c - d) * j % P, f * (-c - d) % P, f * j % P


@lru_cache(maxsize=1)
def _small_factors() -> int:
    """The product of all primes below SMALL_FACTORS_BELOW."""
    sieve = bytearray([1]) * SMALL_FACTORS_BELOW
    sieve[0:2] = b"\0\0"
    for number in range(2, math.isqrt(SMALL_FACTORS_BELOW) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, SMALL_FACTORS_BELOW, number)))
    return math.prod(number for number in range(SMALL_FACTORS_BELOW) if sieve[number])


def _close_factors(modulus: int) -> bool:
    """Fermat's search: modulus = a*a - b*b with an `a` just above the root. A square is b = 0."""
    a = math.isqrt(modulus - 1) + 1
    for _ in range(FERMAT_STEPS):
        rest = a * a - modulus
        if math.isqrt(rest) ** 2 == rest:
            return True
        a += 1
    return False
