"""The waiver: proofs with a MAC alone, by the decision of somebody who is named, for a reason that is written down.

Guarantees: AUDIT_SIGNING_MAC_WAIVER is `name: reason`, both there and of one line, or it is refused: somebody stands
for it.
Does not: waive anything but the cosignature of proofs. Checkpoints, manifests and audit events are signed by a key that
strangers can check, with it and without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from finance.settings.deployment import Settings
from ledger_core.audit.admission import checked_words
from ledger_core.errors import Refused

WAIVER: Final = "AUDIT_SIGNING_MAC_WAIVER"
CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Waiver:
    """Who decided that proofs need no signature that strangers can check, and why."""

    name: str  # who decided
    reason: str  # why

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def waiver_of(settings: Settings) -> Waiver | None:
    """The waiver that the settings give. Raises Refused when it names nobody, or no reason."""
    text = settings.text(WAIVER).strip()
    if not text:
        return None
    name, _, reason = (part.strip() for part in text.partition(":"))
    if not name or not reason or not text.isprintable() or len(text) > CHARS_MAX:
        raise Refused(
            f"{WAIVER} does not say who waives the cosignature, and why",
            remedy=f'write one line of at most {CHARS_MAX} characters, {WAIVER}="name: reason", or unset it and name a '
            "[cosigner]",
        )
    checked_words(WAIVER, text)
    return Waiver(name, reason)


def waiver_text(settings: Settings) -> str | None:
    """`name: reason`, as the audit chain records it with each proof that carries a MAC alone. Raises Refused."""
    waiver = waiver_of(settings)
    return None if waiver is None else str(waiver)
