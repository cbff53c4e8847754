"""What is let onto the chain: an intent that means something, has a canonical form, and is not too long. Pure.

Guarantees: `admission_fault` is asked where an intent is left, and again by the notary before it is chained. Texts
without `<`, `>` and `&`: encoders that escape them in JSON (Go's does) would hash other bytes than ours. Operators are
asked for other words (`checked_words`); a process's own words, and those of a stranger's intent, are respelled by one
rule (`respelled`). Does not: judge what stands on the chain already (`events`, `event_types`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

from ledger_core import canonical
from ledger_core.audit.event_types import INTENT_REFUSED, meaning_fault
from ledger_core.audit.events import check_intent
from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent

EVENT_TYPE_BYTES_MAX: Final = 100
ACTOR_ID_BYTES_MAX: Final = 200
TRACE_ID_BYTES_MAX: Final = 200
PAYLOAD_BYTES_MAX: Final = 65_536  # one audit event must fit a Kafka message with room for its envelope
NAME_CHARS_MAX: Final = 200  # of what is cited of a refused intent
REASON_CHARS_MAX: Final = 1000

ESCAPED: Final = "<>&"
_RESPELLED: Final = str.maketrans({"<": "\uff1c", ">": "\uff1e", "&": "\uff06"})  # their fullwidth forms


def admission_fault(intent: AuditIntent) -> str | None:
    """Why an intent is not chained, in one line; None when it may be."""
    for name, text, bytes_max in (
        ("event_type", intent.event_type, EVENT_TYPE_BYTES_MAX),
        ("actor_id", intent.actor_id, ACTOR_ID_BYTES_MAX),
        ("trace_id", intent.trace_id, TRACE_ID_BYTES_MAX),
    ):
        if len(text.encode("utf-8", "replace")) > bytes_max:
            return f"{name} of more than {bytes_max} bytes"
    fault = meaning_fault(intent.event_type, intent.actor_id, intent.payload)
    if fault is not None:
        return fault
    try:
        check_intent(intent)
        payload = canonical.encode(intent.payload)
    except (ValueError, RecursionError) as error:
        return str(error) or "nested too deep"
    if len(payload) > PAYLOAD_BYTES_MAX:
        return f"payload of {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX}"
    if any(it in text for it in ESCAPED for text in (payload.decode(), intent.actor_id, intent.trace_id)):
        return "a text contains <, > or &, which some readers' encoders spell otherwise"
    return None


def refused_intent(outbox_id: int, intent: AuditIntent, content_sha256: str, reason: str) -> AuditIntent:
    """`audit.intent_refused`: what was left under that number is not chained, and why."""
    payload: dict[str, object] = {
        "outbox_id": str(outbox_id),
        "intent_type": respelled(intent.event_type)[:NAME_CHARS_MAX],
        "intent_actor": respelled(intent.actor_id)[:NAME_CHARS_MAX],
        "content_sha256": content_sha256,
        "reason": respelled(reason)[:REASON_CHARS_MAX],
    }
    return AuditIntent(INTENT_REFUSED, "service:notary", payload, "")


def respelled(text: str) -> str:
    """One line of plain text in NFC, with `<`, `>` and `&` in their fullwidth forms."""
    plain = "".join(it if it.isprintable() else " " for it in unicodedata.normalize("NFC", text.translate(_RESPELLED)))
    try:
        canonical.check_text(plain)
    except ValueError:  # a character younger than the pinned version of Unicode
        plain = plain.encode("ascii", "replace").decode()
    return plain


def checked_reason(reason: str) -> str:
    """One line of plain text in NFC without `<`, `>` and `&`: it stands on the audit chain, and in logs. Raises Refused
    for anything else."""
    text = unicodedata.normalize("NFC", reason.strip())
    if not text or len(text) > REASON_CHARS_MAX or not text.isprintable():
        raise Refused(
            "the reason is not a plain line of text",
            remedy=f"say in 1 to {REASON_CHARS_MAX} printable characters why, for whoever reads the audit chain",
        )
    checked_words("reason", text)
    return text


def checked_words(what: str, words: object) -> None:
    """Raise Refused when what an operator says, anywhere in it, contains a character that is not for the chain."""
    if isinstance(words, str):
        if any(it in words for it in ESCAPED):
            raise Refused(
                f"the {what} contains <, > or &",
                remedy="say it without these three characters: it stands on the audit chain, where some readers' JSON "
                "spells them otherwise, and their hashes would differ",
            )
    elif isinstance(words, Mapping):
        for name, value in words.items():
            checked_words(f"{what} ({name})", value)
    elif isinstance(words, list | tuple):
        for value in words:
            checked_words(what, value)
