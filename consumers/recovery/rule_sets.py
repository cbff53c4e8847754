"""The versions of the posting rules, by name: today there is one, and it is the ledger's.

A version is a function from a record to its decision (`consumers.posting.decision.decide` is version 1). What the shard
already has is not part of it (`ledger_core.posting.sequencing`). Published verdicts are for ever, so a change of the
rules is a new name here, beside the old one; which records it judges, and from when, has to be written into the topic
before it may post. Until then another version can only be asked what it would have done: `finance replay --rules NAME`.

Guarantees: names are for ever. Does not: choose; the poster imports the ledger's rules itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from consumers.posting.decision import decide
from consumers.recovery.replay import Decide

LEDGER_RULES: Final = "1"
RULE_SETS: Final[Mapping[str, Decide]] = {LEDGER_RULES: decide}
