"""The versions of the posting rules, as a closed table: what differs from one to the next, and nothing else.

A version is in force in a shard from one offset to the next control record that puts another in its place
(`ledger_core.posting.activation`). Version 1 is where every shard begins. Published verdicts are for ever, so a version
that was published never changes: a currency that joins ISO 4217, or a limit that is raised, is a new row here.

Guarantees: versions count from 1 without a gap, and each says whatever a verdict by it depends on beside the code that
all versions share: currencies, limits, and the version of Unicode whose normal form C texts must have.
Does not: say which version is in force: the shard's head does, and each entry names the version that judged it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import msgspec

from ledger_core.books.money import CURRENCIES_1, CURRENCIES_2
from ledger_core.errors import Refused
from ledger_core.normal_form import RULES_VERSION

FIRST_RULES: Final = 1  # where every shard begins; an entry that names no version was judged by it


class RuleSet(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One version of the posting rules, as far as it differs from others."""

    number: int  # its name, from 1
    currencies: frozenset[str]  # ISO 4217 codes that a line may have
    metadata_pairs_max: int  # pairs of metadata in one event
    unicode: str  # whose normal form C texts must have (`ledger_core.normal_form`)
    changes: str  # what is new in it, for people


class UnknownRules(Refused):
    """What is at hand was judged by rules that this version of finance does not know."""


VERSIONS: Final = MappingProxyType(
    {
        1: RuleSet(
            number=1,
            currencies=CURRENCIES_1,
            metadata_pairs_max=32,
            unicode=RULES_VERSION,
            changes="the first rules: ISO 4217 as published on 2026-01-01",
        ),
        2: RuleSet(
            number=2,
            currencies=CURRENCIES_2,
            metadata_pairs_max=64,
            unicode=RULES_VERSION,
            changes="ANG and BGN, withdrawn in 2025 and 2026, for late settlements and refunds; metadata of 64 pairs",
        ),
    }
)
RULES_1: Final = VERSIONS[FIRST_RULES]
NEWEST_RULES: Final = max(VERSIONS)


def rules_of(number: int) -> RuleSet:
    """The rules of that number. Raises UnknownRules."""
    found = VERSIONS.get(number)
    if found is None:
        raise unknown_rules(number)
    return found


def unknown_rules(number: int) -> UnknownRules:
    """What whoever lacks these rules says."""
    return UnknownRules(
        f"posting rules {number} are in force, and this version of finance knows rules {FIRST_RULES} to {NEWEST_RULES}",
        remedy="use a version of finance that knows them (RUNBOOK, section 17)",
    )
