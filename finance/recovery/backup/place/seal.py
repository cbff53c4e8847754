"""Backups at rest: compressed, then encrypted to the recipients' age keys (age-encryption.org/v1, X25519).

Guarantees: whoever takes the place where backups lie learns nothing without a private identity, which is needed for a
restore and for nothing else; a changed byte is an error when it is opened (age authenticates each 64 KiB).
Does not: say who made a backup: anybody can encrypt to a public key. The signed manifest says that.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import pyrage
from isal import igzip, isal_zlib
from pyrage import x25519

from ledger_core.archive.lines import GzipError
from ledger_core.errors import Refused
from schemas.read_file import SETTINGS_BYTES_MAX, read_text

COMPRESSION_LEVEL = 1  # pages and WAL: level 1 of isal takes three quarters off at hundreds of MB a second


def read_recipients(text: str) -> list[x25519.Recipient]:
    """Public keys separated by commas. Raises Refused."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        recipients = [x25519.Recipient.from_str(name) for name in names]
    except pyrage.RecipientError as error:
        raise Refused(
            f"BACKUP_RECIPIENTS contains something that is not an age public key ({error})",
            remedy="make a key pair with `age-keygen`, give its public part (age1...)",
        ) from error
    if not recipients:
        raise Refused("BACKUP_RECIPIENTS names nobody", remedy="give at least one age public key (age1...)")
    return recipients


def read_identities(path: Path) -> list[x25519.Identity]:
    """The private identities in a file as `age-keygen` writes it. Raises Refused."""
    try:
        lines = [line.strip() for line in read_text(path, SETTINGS_BYTES_MAX).splitlines()]
        identities = [x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError, pyrage.IdentityError) as error:
        raise Refused(
            f"the identity file {path.name} cannot be read ({type(error).__name__})",
            remedy="name the file that `age-keygen` wrote with BACKUP_IDENTITY_FILE",
        ) from error
    if not identities:
        raise Refused(f"the identity file {path.name} contains no identity", remedy="it has a line AGE-SECRET-KEY-...")
    return identities


def seal(data: bytes, recipients: Sequence[x25519.Recipient]) -> bytes:
    """Encrypt what is compressed already."""
    return bytes(pyrage.encrypt(data, list(recipients)))


def unseal(data: bytes, identities: Sequence[x25519.Identity], name: str) -> bytes:
    """Raises Refused when none of the identities opens it."""
    try:
        return bytes(pyrage.decrypt(data, list(identities)))
    except pyrage.DecryptError as error:
        raise Refused(
            f"{name} does not open with this identity ({error})",
            remedy="use the private identity of one of the recipients it was made for (BACKUP_IDENTITY_FILE)",
        ) from error


def pack(data: bytes, recipients: Sequence[x25519.Recipient]) -> bytes:
    """Compress and encrypt one file."""
    return seal(igzip.compress(data, COMPRESSION_LEVEL), recipients)


def unpack(data: bytes, identities: Sequence[x25519.Identity], name: str, bytes_max: int) -> bytes:
    """The file again, of at most `bytes_max` bytes. Raises Refused, as `unseal`, and for other content."""
    inflate = isal_zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = inflate.decompress(unseal(data, identities, name), bytes_max + 1)
    except GzipError as error:
        raise _opens_to(name, f"no gzip ({error})") from None
    if len(plain) > bytes_max or not inflate.eof:
        raise _opens_to(name, f"more than {bytes_max:,} bytes" if len(plain) > bytes_max else "half a file")
    return plain


def _opens_to(name: str, what: str) -> Refused:
    return Refused(f"{name} opens to {what}", remedy="restore from another backup, or name a second place with --also")
