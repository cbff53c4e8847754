"""Reading the audit chain out of what holds it, and comparing two copies of it. Pure.

Guarantees: what is not an event, stands twice with other content, or lies under a wrong name is a finding; a repeat on
the topic (it is published at least once) is passed over. Memory stays bounded. Does not: check events (`verify_audit`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from ledger_core.archive.lines import batch_lines
from ledger_core.archive.listing import ArchiveReader
from ledger_core.archive.names import export_key, exports_folder
from ledger_core.audit.events import AuditEvent
from ledger_core.findings import Collector

REPEATS_KEPT: Final = 10_000  # a repeat comes right after a crash: at most a batch or two back


def events_of_lines(lines: Iterable[bytes], found: Collector) -> Iterator[AuditEvent]:
    """The events of JSON lines without their LF; what is not an event is a finding and left out."""
    for number, line in enumerate(lines, 1):
        try:
            yield AuditEvent.from_json(line)
        except ValueError as error:
            found.add("audit.form", f"line {number} is not an audit event: {error}", field="line")


def ended_lines(lines: Iterable[bytes], found: Collector) -> Iterator[bytes]:
    """The lines without their LF; a last one that has none is a finding."""
    for line in lines:
        if not line.endswith(b"\n"):
            found.add("audit.form", "the last line is not ended by LF: the file was cut", field="line")
        yield line.removesuffix(b"\n")


def once(events: Iterable[AuditEvent], found: Collector) -> Iterator[AuditEvent]:
    """The events of the topic without the repeats of a publisher that was interrupted; those of the archive without
    what two exports of a database that was put back both hold."""
    seen: OrderedDict[int, str] = OrderedDict()
    for event in events:
        known = seen.get(event.seq)
        if known is None:
            seen[event.seq] = event.hash
            if len(seen) > REPEATS_KEPT:
                seen.popitem(last=False)
            yield event
        elif known != event.hash:
            found.add("audit.fork", "this seq stood there before with other content", seq=event.seq, place=event.id)
        else:
            found.count("repeats")


def exported_events(reader: ArchiveReader, env: str, found: Collector) -> Iterator[AuditEvent]:
    """The events of the exported objects, in order of their names. Raises what the reader raises."""
    before = ""
    for stored in reader.versions(exports_folder(env)):
        if stored.size_bytes < 0:
            found.add("audit.delete_marker", "a delete marker shadows this export", place=stored.key)
            continue
        if stored.key == before:
            found.add("audit.shadowed", f"version {stored.version_id} is a second one", place=stored.key)
            continue
        before = stored.key
        found.count("objects")
        if stored.retain_until is None and stored.mode is None:
            found.add("audit.retention", "this export is not locked", place=stored.key)
        yield from _of_object(stored.key, env, reader.get(stored.key, stored.version_id), found)


def _of_object(key: str, env: str, data: bytes, found: Collector) -> Iterator[AuditEvent]:
    first = last = 0
    try:
        for event in events_of_lines(batch_lines(data), found):
            first, last = first or event.seq, event.seq
            yield event
    except ValueError as error:
        found.add("audit.object", str(error), seq=last, place=key)
    if key != export_key(env, first, last):
        found.add("audit.object", f"it holds events {first}..{last}, its name says otherwise", seq=last, place=key)


def along(
    events: Iterable[AuditEvent], others: Iterator[AuditEvent], name: str, found: Collector, *, must_reach: bool
) -> Iterator[AuditEvent]:
    """The events, while each is compared with the one of another copy; the first contradiction is reported.

    `must_reach`: the other copy holds nothing that this one may lack.
    """
    theirs = next(others, None)
    last, sound = 0, True
    for event in events:
        while theirs is not None and theirs.seq < event.seq:
            theirs = next(others, None)
        if theirs is not None and theirs.seq == event.seq:
            found.count(f"compared_with_{name}")
            if theirs.hash != event.hash and sound:
                sound = False
                message = f"{name} has {theirs.hash} at this place: the chains part here"
                found.add("audit.contradiction", message, seq=event.seq, field="hash", place=event.id)
        last = event.seq
        yield event
    end = theirs.seq if theirs is not None else 0
    for theirs in others:
        end = theirs.seq
    if end > last and must_reach:
        found.add(
            "audit.truncated", f"the chain ends at seq {last}, {name} reaches {end}", seq=last, field="seq", place=name
        )
    elif end > last:
        found.count(f"only_in_{name}", end - last)
