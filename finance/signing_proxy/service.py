"""The routes of the signing proxy: sign, verify, public key, health.

Guarantees, in this order for each signature: the caller may use the key (door.yaml), the nonce is new, a witness sees a
log that only grew; `asked` is on disk; the witness remembers; the key signs, and the registered public key verifies it;
`signed` is on disk; the answer leaves. So nothing is signed that is not on record, and what failed in between is on
record as asked. Every refusal is on record, too, once the caller is known (the door logs strangers).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import structlog

from finance.door.caller import Caller
from finance.door.problem import Answer, Problem, Request, Route
from finance.door.used_once import UsedOnce
from finance.signing_proxy.request_log import LogHead, Record, RequestLog
from finance.signing_proxy.requests import Message, SignRequest, parse_sign, parse_verify
from finance.signing_proxy.turns import Turns
from finance.signing_proxy.witness import Head, LogName, WitnessState, judge
from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import Algorithm
from ledger_core.signing.registry import RegisteredSigner
from ledger_core.signing.signatures import BadSignature, MacUnchecked, encode_signature, verify_digest, verify_text
from ledger_core.times import format_time

SIGN_PATHS: Final = ("/sign", "/sign/hash", "/sign/canonical")  # one operation, by the names that clients know
NONCE_SECONDS: Final = 86_400.0  # a nonce is remembered at least this long, also over a restart,
NONCE_SECONDS_MIN: Final = 900.0  # or at least this long, by a caller that uses too many a day to remember
PROBE_SECONDS: Final = 10.0  # a key that failed is tried again by /health this often, at most
WAIT_SECONDS_MAX: Final = 5.0  # for the requests before, when the key service is slow
PROBE_DIGEST: Final = hashlib.sha256(b"finance: signing proxy health").digest()

log = structlog.get_logger("signing-proxy")


class ProxySigner(Protocol):
    """A key that signs, pinned to its registered public key; what it returns is verified."""

    @property
    def registered(self) -> RegisteredSigner: ...

    @property
    def algorithm(self) -> Algorithm: ...

    def pin(self) -> None:
        """Make sure that the key behind is the registered one. Cheap once that is known."""
        ...

    def sign_digest(self, digest: bytes) -> bytes: ...

    def sign_text(self, text: bytes) -> bytes: ...


class SigningProxy:
    """Holds `signers` by kid; of those retired, only `outgoing` ones sign, for what was written down before.

    `witness` None: notes are signed as they come. `told` counts what became of requests.
    """

    def __init__(
        self,
        signers: Sequence[ProxySigner],
        request_log: RequestLog,
        witness: WitnessState | None,
        *,
        clock: Callable[[], dt.datetime],
        told: Callable[[str], None],
        used: UsedOnce,
        outgoing: Collection[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._signers: Mapping[str, ProxySigner] = {signer.registered.kid: signer for signer in signers}
        self._log, self._witness = request_log, witness
        self._clock, self._told, self._monotonic = clock, told, monotonic
        self._turns = {kid: Turns() for kid in self._signers}  # a key service may not be asked twice at once
        self._outgoing = outgoing
        self._used = used
        self._failed_at: dict[str, float] = {}

    def pin(self) -> None:
        """Ask for every key now; /health says which does not answer. Raises Refused when one is wrong."""
        for kid, signer in self._signers.items():
            try:
                signer.pin()
            except Unavailable as error:
                self._failed_at[kid] = self._monotonic()
                log.warning("signing_proxy.key_unavailable", kid=kid, detail=error.detail)

    def routes(self) -> dict[tuple[str, str], Route]:
        """Scopes: sign, verify; whoever is known may see public keys and health."""
        return {
            **{("POST", path): Route(self._sign, "sign", changes=True) for path in SIGN_PATHS},
            ("POST", "/verify"): Route(self._verify, "verify"),
            ("GET", "/public-key"): Route(self._public_key, None),
            ("GET", "/health"): Route(self._health, None),
        }

    def _sign(self, request: Request) -> Answer:
        record = _record("sign", request.caller)
        try:
            wanted = parse_sign(request.body)
            record |= _message_record(wanted.message)
            signer = self._signer(request.caller, wanted.message)
            record |= {"kid": signer.registered.kid, "alg": signer.algorithm}
            with self._holding(signer.registered.kid, request.caller):
                if wanted.nonce is not None:
                    record["nonce"] = wanted.nonce
                    self._use_nonce(request.caller, wanted.nonce)
                return self._signed(signer, request.caller, wanted, record)
        except Problem as problem:
            self._append({**record, "event": "refused", "code": problem.code})
            raise

    def _signed(self, signer: ProxySigner, caller: Caller, wanted: SignRequest, record: Record) -> Answer:
        """Under the key's lock. A Problem here is a refusal of the witness, before anything was asked."""
        seen = None if self._witness is None else self._witnessed(self._witness, signer, caller, wanted, record)
        asked = self._append({**record, "event": "asked"})
        outcome = {**record, "asked_seq": str(asked.seq)}
        kid, message = signer.registered.kid, wanted.message
        try:
            if seen is not None and self._witness is not None:
                self._witness.save(*seen)
            signer.pin()
            signature = signer.sign_digest(message.data) if message.kind == "digest" else signer.sign_text(message.data)
        except Exception as error:
            self._failed_at[kid] = self._monotonic()
            away = isinstance(error, Unavailable | OSError)
            code = "KEY_UNAVAILABLE" if away else "KEY_REFUSED" if isinstance(error, Refused) else "FAULT"
            self._append({**outcome, "event": "failed", "code": code})
            log.error("signing_proxy.failed", kid=kid, code=code, detail=str(error))
            if away:
                raise Unavailable("signer", str(error)) from error
            raise
        self._failed_at.pop(kid, None)
        signed = {**outcome, "event": "signed", "signature_sha256": hashlib.sha256(signature).hexdigest()}
        head = self._append(signed)
        text = encode_signature(signature)
        told = {"signature_b64": text, "signature": text, "kind": message.kind, "digest_hex": record["digest"]}
        return Answer.of({**self._spelled(signer), **told, **_head(head)})

    def _verify(self, request: Request) -> Answer:
        record = _record("verify", request.caller)
        try:
            wanted = parse_verify(request.body)
            record |= _message_record(wanted.message)
            signer = self._signer(request.caller, wanted.message)
        except Problem as problem:
            self._append({**record, "event": "refused", "code": problem.code})
            raise
        verify = verify_digest if wanted.message.kind == "digest" else verify_text
        try:
            verify(signer.registered.public_key, wanted.message.data, wanted.signature)
            valid = True
        except MacUnchecked as error:  # neither valid nor invalid: nobody was asked
            self._append({**record, "event": "refused", "code": "NOT_CHECKABLE"})
            raise Problem(503, "NOT_CHECKABLE", str(error), remedy="let the proxy ask KMS (VerifyMac)") from error
        except BadSignature:
            valid = False
        code = "VALID" if valid else "INVALID"
        self._append({**record, "event": "verified", "kid": signer.registered.kid, "code": code})
        # Clients read `verified`, or else `ok`, and take that for the answer: so each of them says the same.
        return Answer.of({**self._spelled(signer), "ok": valid, "verified": valid, "valid": valid})

    def _public_key(self, request: Request) -> Answer:
        kid = request.query.get("kid") or request.query.get("signer_kid")
        signer = self._signer(request.caller, Message("digest", b"", kid, None))
        witness = self._witness is not None
        pem = None if signer.registered.is_mac else signer.registered.public_pem  # of a MAC key, the name alone
        spelled = {} if pem is None else dict.fromkeys(("public_key_pem", "publicKeyPem", "public_key"), pem)
        return Answer.of({**self._spelled(signer), **spelled, "witness": witness})

    def _health(self, request: Request) -> Answer:
        keys = self._allowed(request.caller)
        failing = [kid for kid in keys if not self._answers(kid, request.caller)]
        told: dict[str, object] = {"keys": keys, "witness": self._witness is not None, **_head(self._log.head)}
        if len(keys) == 1:
            told = {**self._spelled(self._signers[keys[0]]), **told}
        if failing or not self._log.sound:
            what = "the log cannot be written" if not failing else f"no signature from {', '.join(failing)}"
            raise Problem(503, "UNHEALTHY", what, remedy="RUNBOOK section 13 B", extra=told)
        return Answer.of({"ok": True, **told})

    def _answers(self, kid: str, caller: Caller) -> bool:
        """Whether the key signs, as far as is known; one that failed is asked again, but not by every probe."""
        failed_at = self._failed_at.get(kid)
        if failed_at is None or self._monotonic() - failed_at < PROBE_SECONDS:
            return failed_at is None
        self._failed_at[kid] = self._monotonic()
        try:
            with self._holding(kid, caller):
                self._signers[kid].pin()
                self._signers[kid].sign_digest(PROBE_DIGEST)
        except (Unavailable, Refused, Problem):
            return False
        self._failed_at.pop(kid, None)
        return True

    @contextmanager
    def _holding(self, kid: str, caller: Caller) -> Iterator[None]:
        """The key, for one request at a time, callers in turn. Raises Problem (503): who waits longer than its client
        asks in vain."""
        if not self._turns[kid].take(caller.name, WAIT_SECONDS_MAX):
            raise Problem(503, "BUSY", f"{kid} is asked for more than it signs", headers={"Retry-After": "5"})
        try:
            yield
        finally:
            self._turns[kid].give_back()

    def _witnessed(
        self, witness: WitnessState, signer: ProxySigner, caller: Caller, wanted: SignRequest, record: Record
    ) -> tuple[LogName, Head] | None:
        """What the witness will remember of a note; a digest does not concern it. Raises Problem."""
        if wanted.checkpoint is None:
            return None
        origin, head = wanted.checkpoint
        log = LogName(signer.registered.kid, origin, caller.name)
        record |= {"log": log.text, "size": str(head.size), "root": head.root.hex()}
        last = witness.last(log, self._allowed(caller))
        return log, judge(last, head, wanted.old_size, wanted.consistency)

    def _signer(self, caller: Caller, message: Message) -> ProxySigner:
        """The key that is named, or the only one that the caller may use. Raises Problem."""
        allowed = self._allowed(caller)
        if message.kid is None and len(allowed) > 1:
            raise Problem(400, "KEY_NOT_NAMED", "more than one key is here", remedy=f"send kid: {', '.join(allowed)}")
        if not allowed or message.kid not in (None, *allowed):
            raise Problem(
                403,
                "KEY_NOT_ALLOWED",
                f"{caller.name} may not use {'any key' if message.kid is None else 'that key'}",
                remedy="name it under signing_keys of the caller in door.yaml, if it may",
            )
        signer = self._signers[message.kid or allowed[0]]
        if message.algorithm not in (None, signer.algorithm):
            raise Problem(400, "ALGORITHM_DIFFERS", f"{signer.registered.kid} signs with {signer.algorithm}")
        retired_at = signer.registered.retired_at
        retired = retired_at is not None and retired_at <= self._clock()
        if retired and signer.registered.kid not in self._outgoing:
            raise Problem(403, "KEY_RETIRED", f"{signer.registered.kid} is retired", remedy="use its successor")
        return signer

    def _allowed(self, caller: Caller) -> list[str]:
        return [kid for kid in self._signers if kid in caller.signing_keys or caller.by == "loopback"]

    def _use_nonce(self, caller: Caller, nonce: str) -> None:
        now = self._clock().timestamp()
        try:
            first = self._used.use(
                caller.name,
                "nonce",
                nonce,
                now=now,
                kept_seconds=NONCE_SECONDS,
                kept_seconds_min=NONCE_SECONDS_MIN,
            )
        except OverflowError:
            raise Problem(503, "BUSY", "too many nonces to remember", headers={"Retry-After": "60"}) from None
        except OSError as error:
            raise Problem(503, "UNAVAILABLE", f"nonces cannot be remembered: {error}") from None
        if not first:
            raise Problem(409, "REPLAYED", "this nonce was used before", remedy="ask again with a new nonce")

    def _append(self, record: Record) -> LogHead:
        head = self._log.append(record)
        self._told(record["event"])
        return head

    def _spelled(self, signer: ProxySigner) -> dict[str, object]:
        """The key's name in every spelling that clients in the field read."""
        kid = signer.registered.kid
        names = dict.fromkeys(("signer_kid", "signer_id", "signerId", "kid"), kid)
        return {"ok": True, **names, "alg": signer.algorithm, "algorithm": signer.algorithm, "ts": self._now()}

    def _now(self) -> str:
        return format_time(self._clock())


def _record(operation: str, caller: Caller) -> Record:
    return {"operation": operation, "caller": caller.name, "by": caller.by, "principal": caller.principal}


def _message_record(message: Message) -> Record:
    """A note stands there as its SHA-256."""
    digest = message.data if message.kind == "digest" else hashlib.sha256(message.data).digest()
    return {"kind": message.kind, "digest": digest.hex()}


def _head(head: LogHead) -> dict[str, object]:
    return {"log_seq": str(head.seq), "log_hash": None if head.hash is None else head.hash.hex()}
