"""What an entry must say by the rules of posting, asked again of entries that others wrote: archive, journal, database.

Guarantees: an entry is judged by the version of the rules that it names. `entry_faults` names every field that
`ledger_core.books.event_rules` would have refused, and what posting gives an entry (times, digest, topic) without its
form. `all_follow` is the same judgement of a block at once, in a few passes; it may be False for a sound block, never
True for one with a fault.
Does not: compare an entry with others (chain, place, an event id that stands twice), or add up its lines: who decodes
an entry has done so (`ledger_core.books.balance`).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ledger_core.books import event_rules
from ledger_core.books.entries import EntryFields
from ledger_core.books.event_rules import EVENT_TYPE_FORM, LINES_MAX, NAME_FORM, UUID_FORM
from ledger_core.books.lines import Line
from ledger_core.books.rule_versions import RuleSet, UnknownRules, rules_of
from ledger_core.books.settlements import microseconds
from ledger_core.decimals import parse_decimal
from ledger_core.errors import Rejected
from ledger_core.hashes import is_hash
from ledger_core.times import parse_time

# A moment that exists, in the one form of `ledger_core.times`; a 29th of February is for the slow way to judge. The
# broker's time has milliseconds.
_SECOND: Final = (
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\."
)
OCCURRED_AT_FORM: Final = r"(?:2[01][0-9]{2}|19[7-9][0-9])-" + _SECOND + r"[0-9]{6}Z"
RECORDED_AT_FORM: Final = r"2[01][0-9]{2}-" + _SECOND + r"[0-9]{3}000Z"
_NAMES: Final = re.compile(rf"(?:{UUID_FORM}\n{EVENT_TYPE_FORM}\n{NAME_FORM}\n{NAME_FORM}\n)*+")
_HASHES: Final = re.compile(r"(?:[0-9a-f]{64}\n)*+")
_TIMES: Final = re.compile(rf"(?:{OCCURRED_AT_FORM}\n{RECORDED_AT_FORM}\n)*+")
_is_topic = re.compile(r"[A-Za-z0-9._-]{1,249}").fullmatch
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class EntryFault(NamedTuple):
    """One rule that an entry breaks."""

    field: str  # path of the field, such as lines[2].account; lines count from 1
    message: str  # the rule, in the words of the rejection that posting would have given


def entry_faults(entry: EntryFields) -> list[EntryFault]:
    """Every field of an entry that breaks a rule of posting, in the order in which posting asks."""
    try:
        rules = rules_of(entry.rules)
    except UnknownRules as unknown:
        return [EntryFault("rules", str(unknown))]
    return list(_faults(entry, rules))


def all_follow(entries: Sequence[EntryFields]) -> bool:
    """Whether entries surely break no rule: asked of the texts of the whole block at once."""
    names = "".join([f"{e.event_id}\n{e.event_type}\n{e.settlement_id}\n{e.order_id}\n" for e in entries])
    times = "".join([f"{e.occurred_at}\n{e.recorded_at}\n" for e in entries])
    if names.count("\n") != 4 * len(entries) or not _NAMES.fullmatch(names) or not _TIMES.fullmatch(times):
        return False
    if not _HASHES.fullmatch("".join([f"{e.source.value_sha256}\n" for e in entries])):
        return False
    legs = [leg for entry in entries for leg in entry.lines]
    versions = {entry.rules for entry in entries}
    if len(versions) != 1:
        return False  # a block in which they change is for the slow way to judge
    try:
        rules = rules_of(versions.pop())
    except UnknownRules:
        return False
    if (
        not {leg.currency for leg in legs} <= rules.currencies
        or max([len(entry.lines) for entry in entries]) > LINES_MAX
    ):
        return False
    if not all(_is_topic(topic) for topic in {entry.source.topic for entry in entries}):
        return False
    try:
        for account in {leg.account for leg in legs}:
            event_rules.check_account(account)
        for memo in {leg.memo for leg in legs}:
            if memo is not None:
                event_rules.check_text("memo", memo)
    except Rejected:
        return False
    return not any(next(_rare_faults(entry, rules), None) for entry in entries if _has_more(entry))


def _has_more(entry: EntryFields) -> bool:
    """Whether it has any of the fields that most entries lack."""
    return bool(entry.metadata or entry.provider) or entry.reverses is not None or entry.pii_digest is not None


def _faults(entry: EntryFields, rules: RuleSet) -> Iterator[EntryFault]:
    names = (entry.event_id, entry.event_type, entry.settlement_id, entry.order_id)
    for field, words in _asked("", lambda: event_rules.check_names(*names)):
        yield EntryFault(words.partition(" ")[0] or field, words)  # the first word is the name
    yield from _asked("occurred_at", lambda: event_rules.check_occurred_at(_us(entry.occurred_at)))
    yield from _asked("recorded_at", lambda: event_rules.check_recorded_at(_ms(entry.recorded_at)))
    yield from _asked("lines", lambda: event_rules.check_line_count(len(entry.lines)))
    for number, leg in enumerate(entry.lines, 1):
        yield from _leg_faults(f"lines[{number}]", leg, rules)
    yield from _rare_faults(entry, rules)
    if not _is_topic(entry.source.topic):
        yield EntryFault("source.topic", f"{entry.source.topic[:64]!r} is not the name of a topic")
    if not is_hash(entry.source.value_sha256):
        yield EntryFault("source.value_sha256", "value_sha256 is not 64 lower-case hex digits")


def _leg_faults(place: str, leg: Line, rules: RuleSet) -> Iterator[EntryFault]:
    memo = leg.memo
    yield from _asked(f"{place}.account", lambda: event_rules.check_account(leg.account))
    yield from _asked(f"{place}.currency", lambda: event_rules.check_currency(leg.currency, rules))
    if memo is not None:
        yield from _asked(f"{place}.memo", lambda: event_rules.check_text("memo", memo))


def _rare_faults(entry: EntryFields, rules: RuleSet) -> Iterator[EntryFault]:
    """Of the fields that not every entry has."""
    provider = entry.provider
    yield from _asked("metadata", lambda: event_rules.check_metadata(entry.metadata, rules))
    yield from _asked("reverses", lambda: event_rules.check_reverses(entry.reverses))
    if provider is not None:
        name, reference, currency = provider.name, provider.reference, provider.currency
        amount = provider.amount_minor
        yield from _asked(
            "provider", lambda: event_rules.check_provider(name, reference, parse_decimal(amount), currency, rules)
        )
    digest = entry.pii_digest
    if digest is not None:
        yield from _asked("pii_digest", lambda: event_rules.check_pii_digest(digest))


def _asked(field: str, check: Callable[[], None]) -> Iterator[EntryFault]:
    try:
        check()
    except Rejected as rejected:
        yield EntryFault(field, rejected.detail)
    except ValueError as error:  # a text without the form of a time or of an amount
        yield EntryFault(field, str(error))


def _us(text: str) -> int:
    return microseconds(parse_time(text))


def _ms(text: str) -> int:
    moment = parse_time(text)
    if not text.endswith("000Z"):
        raise ValueError(f"{text!r} is not a time that a broker gives: those have milliseconds")
    return (moment - _EPOCH) // _MILLISECOND
