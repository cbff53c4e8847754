"""Whether a signature counts: the one question that every reader of signed statements asks. Pure.

    who:     is the kid registered, and is the algorithm that the statement declares the registered one
    what:    did that key sign these bytes (of a MAC, only its key service knows), and is this a kind that it signs
    when:    does the statement's own time lie before the key's end (retired, or revoked)
    where:   does the key count at the statement's place in its shard, in the audit chain, among the lists of WAL
    by whom: a revoked key's statement that stands in no chain, or is read without it, counts once something later
             holds its hash

Guarantees: every reason is named, in this order, so that a reader may report all of them or stop at the first; no
reader asks less than another. Nothing but the place is proof against a stolen key, which writes any time it likes.
Does not: parse a statement, recompute its hash, or choose what a fault means for whoever asked.

    fault = first_fault(Claim(kid=proof.signer_kid, signature=proof.signature, signed=proof.digest(), ...), registry)
    if fault is not None:
        raise Corrupt(fault.message)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ledger_core.ports import Algorithm
from ledger_core.signing.purposes import WORDS, Purpose, write_purposes
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature, MacUnchecked, decode_signature, verify_digest, verify_text
from ledger_core.times import format_time

Code = Literal["signer", "alg", "signature", "mac", "purpose", "retired", "validity"]


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """A statement about the entries of a shard."""

    shard: int  # number of the shard, from 0
    seq: int  # the last sequence it speaks of, inclusive; 0 when it speaks of none
    head_hash: str | None = None  # entry hash at seq, 64 hex digits; None where the statement does not name it
    chained: bool = True  # False: an operator's statement, which may speak of entries older than its key


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """An event of the audit chain."""

    seq: int  # its place on the chain, from 1
    hash: str | None = None  # its own hash, 64 hex digits; None where it is not at hand


@dataclass(frozen=True, slots=True)
class BackupPlace:
    """A list of WAL, or a backup, among the lists of WAL: these are numbered, and each is signed when it is made. So
    what stands behind a list was signed after it, whatever time it claims."""

    after: dt.datetime | None  # the latest time that a list before it was signed at, UTC; None: no list is before it
    is_held: bool  # whether a later one, of a key that counts there, holds its hash


@dataclass(frozen=True, slots=True)
class RecordedPlace:
    """A statement whose hash an event of a sound audit chain holds."""

    seq: int  # of the event, from 1
    at: dt.datetime  # when the event was asked for, by the database's clock, UTC


@dataclass(frozen=True, slots=True)
class TopicPlace:
    """A record of a topic whose times the broker gives. What was decided of it is proved by what follows it."""

    at: dt.datetime  # the record's append time, UTC


Place = ShardPlace | AuditPlace | BackupPlace | RecordedPlace | TopicPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a statement says of its signature: what a reader asks about. Set from the statement as it was read."""

    kid: str  # the key it names
    purpose: Purpose  # the kind of statement
    signature: str | bytes  # base64 in its one spelling, or the raw bytes
    signed: bytes  # what must have been signed: 32 bytes of digest, or the text of a note
    is_text: bool = False  # True: `signed` is the text of a note
    alg: Algorithm | None = None  # the algorithm it declares; None where this kind of statement declares none
    at: dt.datetime | None = None  # the time it says it was signed at, UTC; None where it names none
    places: tuple[Place, ...] = ()  # every place that it speaks of
    is_alone: bool = False  # True: it is read without the chain in which it stands


@dataclass(frozen=True, slots=True)
class SignatureFault:
    """One reason why a signature does not count."""

    code: Code  # which question it answers: signer and alg are who, signature, mac and purpose are what, and so on
    message: str  # one line for people, naming the kid
    shard: int | None = None  # of `validity`, where the place is one of a shard
    seq: int | None = None  # of `validity`, where the place has a sequence


def faults(claim: Claim, registry: SignerRegistry) -> tuple[SignatureFault, ...]:
    """Every reason why the signature does not count, in the order of the module's head; none when it counts."""
    signer = registry.find(claim.kid)
    if signer is None:
        return (_unknown(claim.kid),)
    return tuple(_faults(claim, signer))


def place_faults(kid: str, places: tuple[Place, ...], registry: SignerRegistry) -> tuple[SignatureFault, ...]:
    """Of who and where alone: for a record of who signed what, without the statements."""
    signer = registry.find(kid)
    if signer is None:
        return (_unknown(kid),)
    return tuple(fault for place in places if (fault := _place_fault(place, signer)) is not None)


def first_fault(claim: Claim, registry: SignerRegistry) -> SignatureFault | None:
    """The first reason why the signature does not count; None when it counts."""
    return next(iter(faults(claim, registry)), None)


def _unknown(kid: str) -> SignatureFault:
    return SignatureFault("signer", f"signer {kid!r} is not in the registry")


def _faults(claim: Claim, signer: RegisteredSigner) -> Iterator[SignatureFault]:
    if claim.alg is not None and claim.alg != signer.algorithm:
        message = f"says {claim.alg}, but {signer.kid} is registered as {signer.algorithm}"
        yield SignatureFault("alg", message)
    verify = verify_text if claim.is_text else verify_digest
    lacks = bool(signer.lacks([claim.purpose]))
    try:
        raw = claim.signature if isinstance(claim.signature, bytes) else decode_signature(claim.signature)
        if not (signer.is_mac and lacks):  # what no MAC may sign, nobody is asked about
            verify(signer.public_key, claim.signed, raw)
    except MacUnchecked as error:
        yield SignatureFault("mac", f"{error} (signer {signer.kid})")
    except BadSignature as error:
        yield SignatureFault("signature", f"{error} (signer {signer.kid})")
    if lacks:
        said = ", ".join(write_purposes(signer.counts_for)) + (" (it is a MAC key)" if signer.is_mac else "")
        yield SignatureFault("purpose", f"this is {WORDS[claim.purpose]}, and signer {signer.kid} signs only: {said}")
    if claim.at is not None and signer.ended_by(claim.at):
        message = f"signed at {format_time(claim.at)} by {signer.kid}, which was retired before"
        yield SignatureFault("retired", message)
    elsewhere = [fault for place in claim.places if (fault := _place_fault(place, signer)) is not None]
    yield from elsewhere
    if not elsewhere and signer.revoked_at is not None and not _is_held(claim, signer):
        yield _not_held(signer)


def _is_held(claim: Claim, signer: RegisteredSigner) -> bool:
    """Whether something later than the statement holds it: its chain, the record, or the registry's pin of its head."""
    if not claim.is_alone or any(isinstance(place, RecordedPlace) for place in claim.places):
        return bool(claim.places)
    return bool(claim.places) and all(
        isinstance(place, ShardPlace) and signer.pins_shard(place.shard, place.seq, place.head_hash)
        for place in claim.places
    )


def _place_fault(place: Place, signer: RegisteredSigner) -> SignatureFault | None:
    if isinstance(place, RecordedPlace):
        return _late(f"was put on record at {format_time(place.at)}", signer) if signer.ended_by(place.at) else None
    if isinstance(place, TopicPlace):
        return _late(f"came at {format_time(place.at)}", signer) if signer.ended_by(place.at) else None
    if isinstance(place, BackupPlace):
        if place.after is not None and signer.ended_by(place.after):
            return _late(f"stands behind a list of {format_time(place.after)}", signer)
        return None if place.is_held or signer.revoked_at is None else _not_held(signer)
    if isinstance(place, AuditPlace):
        why = signer.audit_fault(place.seq, place.hash)
        shard, what = None, f"is seq {place.seq}"
    else:
        why = signer.shard_fault(place.shard, place.seq, place.head_hash, chained=place.chained)
        shard, what = place.shard, f"is of seq {place.seq}"
    if why is None:
        return None
    return SignatureFault("validity", f"signer {signer.kid} {why} and this {what}", shard, place.seq)


def _late(what: str, signer: RegisteredSigner) -> SignatureFault:
    return SignatureFault("validity", f"{what}, and signer {signer.kid} was retired before")


def _not_held(signer: RegisteredSigner) -> SignatureFault:
    return SignatureFault(
        "validity",
        f"signer {signer.kid} was revoked, and nothing signed later holds this one's hash: a thief may have made it",
    )
