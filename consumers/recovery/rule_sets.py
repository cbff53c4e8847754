"""What a replay judges by: the rules that the topic itself put in force, or one version throughout.

The ledger's way is to begin with rules 1 and to follow the control records (`ledger_core.posting.activation`), as the
poster did. A version by its number asks what it would have done with every event (`finance replay --rules 2`): that is
never the ledger. What the shard already has is not part of it (`ledger_core.posting.sequencing`).

Guarantees: names are for ever; the versions are those of `ledger_core.books.rule_versions`. Does not: choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from consumers.posting.decision import Decide, Judge, decide
from ledger_core.books.rule_versions import VERSIONS, RuleSet
from ledger_core.ports import Record
from ledger_core.posting.activation import is_control
from ledger_core.posting.plans import Decided

LEDGER_RULES: Final = "ledger"


def by_the_ledger(judge: Judge | None) -> Decide:
    """The rules in force, as the topic says."""
    return partial(decide, judge=judge)


def always(rules: RuleSet) -> Callable[[Judge | None], Decide]:
    """These rules for every event, whatever is in force; control records are what they are."""

    def make(judge: Judge | None) -> Decide:
        def decide_so(record: Record, in_force: RuleSet) -> Decided:
            return decide(record, in_force if is_control(record.value) else rules, judge)

        return decide_so

    return make


RULE_SETS: Final[Mapping[str, Callable[[Judge | None], Decide]]] = {
    LEDGER_RULES: by_the_ledger,
    **{str(number): always(rules) for number, rules in VERSIONS.items()},
}
