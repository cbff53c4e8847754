"""Where the audit chain holds a statement that is read on its own. Pure.

A key that was revoked may be in other hands, and a thief dates what he signs as he likes. So a statement of such a key
counts alone only when a sound audit chain, whole from its first event, held its hash before the key's end.
Guarantees: a chain with a finding answers nothing, and its findings are the caller's. Does not: check the statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ledger_core.audit.events import AuditEvent
from ledger_core.audit.set_aside import meaningful, places_set_aside
from ledger_core.audit.sources import ended_lines, events_of_lines
from ledger_core.findings import Collector
from ledger_core.signing.counting import RecordedPlace
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.audit import AuditLines, check_audit_lines, each_line

PROOF_FIELDS: Final = {
    "journal.posted": "proof_hash",
    "journal.adopted": "proof_hash",
    "proof.published": "proof_hash",
}


def recorded(
    digest: str,
    fields: Mapping[str, str],
    audit_lines: AuditLines,
    registry: SignerRegistry,
    found: Collector,
    kind: str,
) -> tuple[RecordedPlace, ...]:
    """The first event that holds the hash; none is a finding `<kind>.record`.

    `digest`: the statement's hash, lower-case hex. `fields`: event type -> field of its payload that holds such a hash.
    `audit_lines`: the chain as JSON lines, each ended by LF, from its first event; it is read three times.
    """
    checked = check_audit_lines(audit_lines, registry)
    found.take(checked)
    if not checked.sound:
        return ()
    aside = places_set_aside(_events(audit_lines))
    for event in meaningful(_events(audit_lines), aside):
        name = fields.get(event.event_type)
        if name is not None and event.payload.get(name) == digest:
            return (RecordedPlace(event.seq, event.created_at),)
    found.add(f"{kind}.record", f"the audit chain does not hold the hash of this {kind}", field="hash")
    return ()


def _events(lines: AuditLines) -> Iterator[AuditEvent]:
    return events_of_lines(ended_lines(each_line(lines), Collector()), Collector())
