"""Four kinds of failure, named by what the caller must do.

FinanceError
├── Rejected      one event is bad: dead-letter it, go on
├── Unavailable   something outside does not answer: bounded retry, fail closed
│   ├── AheadOfClocks  a broker dated a record ahead: its shard waits, and no other
│   ├── LockHeld   another session holds what it waited for: waiting is not progress
│   └── TakenOver  a later writer took this one's place: let go of everything, and begin anew by asking what stands
├── Refused       a guard says no: the remedy is in the message, exit 3
│   ├── Unreadable   what stands at an offset of a topic, of which no reader can make anything
│   └── SignerRefused  a signature that was not made, with the word that metrics count it under
└── Corrupt       the record contradicts itself: halt and page
"""

from __future__ import annotations

import enum


class FinanceError(Exception):
    """Root of every error this service raises on purpose."""


class RejectReason(enum.StrEnum):
    """Why an event was dead-lettered. Published text: values are for ever."""

    MALFORMED = "malformed"  # not Confluent-framed Avro of the named schema
    UNKNOWN_SCHEMA = "unknown_schema"  # a schema id that was never published
    OVERSIZE = "oversize"  # a limit of ledger_core.books.event_rules exceeded
    BAD_FIELD = "bad_field"  # an id, time, text or metadata field outside its form
    KEY_MISMATCH = "key_mismatch"  # the message key is not the settlement_id
    UNKNOWN_ACCOUNT = "unknown_account"  # the account's first word is not an account type
    BAD_CURRENCY = "bad_currency"  # not an ISO 4217 code in use
    BAD_AMOUNT = "bad_amount"  # not a positive integer of minor units in range
    UNBALANCED = "unbalanced"  # debits differ from credits in some currency, or no lines
    UNKNOWN_REVERSAL = "unknown_reversal"  # reverses an event id this shard has not posted
    CONFLICT = "conflict"  # the event id has its verdict already, with other content
    NO_RECORD = "no_record"  # the offset holds no record (an aborted transaction or its marker)
    BAD_RULES = "bad_rules"  # claims to be a control record of the posting rules, and does not count
    UNREADABLE = "unreadable"  # no reader can read what is there; operators set it aside, on record


class Rejected(FinanceError):
    """One event cannot be posted, now or ever. `detail` says which field and why, for its publisher."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class Unavailable(FinanceError):
    """A dependency does not answer. `what` is one word for metrics: postgres, kafka, s3, signer, clock."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"{what} is unavailable: {detail}")
        self.what = what
        self.detail = detail


class LockHeld(Unavailable):
    """A lock was waited for beyond its limit. The server is well, and somebody else keeps what this one needs."""


class AheadOfClocks(Unavailable):
    """A record of one shard has a time that has not come, by clocks that agree: that shard waits, and no other."""


class TakenOver(Unavailable):
    """Somebody who came later writes in this one's place, or it was silent for too long. Nothing of its newest
    transaction stands, unless its commit was under way. It may come again only from the beginning."""


class Refused(FinanceError):
    """A guard says no. `remedy` is what the operator does next."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(f"{message}. Remedy: {remedy}")
        self.message = message
        self.remedy = remedy


class Unreadable(Refused):
    """What stands in a topic at `offset` cannot be read by any reader of ours, now or later: a batch that unpacks to
    more than one can hold."""

    def __init__(self, message: str, *, remedy: str, partition: int, offset: int) -> None:
        super().__init__(message, remedy=remedy)
        self.partition = partition
        self.offset = offset


class SignerFailure(enum.StrEnum):
    """Why a signature was not made, for metrics and alerts. Published text: values are for ever."""

    UNAVAILABLE = "unavailable"  # the key service does not answer, or throttles
    REFUSED = "refused"  # the key service says no: disabled key, wrong PIN, no permission
    NOT_VERIFIED = "not_verified"  # it signed, and the registered key does not verify it
    WRONG_KEY = "wrong_key"  # its key is not the registered one
    NOT_CONFIGURED = "not_configured"  # what waits names a key that this process does not hold
    WITNESS = "witness"  # the key is well, and will not sign this checkpoint: it contradicts what it signed before


class SignerRefused(Refused):
    """A key service, or a guard around it, says no; `failure` says which kind of no."""

    def __init__(self, failure: SignerFailure, message: str, *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.failure = failure


class Corrupt(FinanceError):
    """What was recorded contradicts itself. Never retried, never repaired by code."""
