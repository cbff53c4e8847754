"""What the read side answers in the demo: one settlement's whole story, and the statement of an account.

Guarantees: it asks by the commands that everybody has, once the projection has read what was posted, and where the
proof and object of that settlement are (a minute at most). Does not: judge the rows; the trial balance did.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Final, NamedTuple

from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.demo.model import DemoCheck
from ledger_core.books.settlements import SettlementEvent
from ledger_core.postgres.reading.asking import snapshot, wait_for
from ledger_core.postgres.reading.projection_entries import By
from ledger_core.postgres.reading.stories import story_of
from ledger_core.postgres.session import Session, session

SECONDS_MAX: Final = 60.0
PAUSE_SECONDS: Final = 0.2
LINES: Final = 5  # of the statement


class Printed(NamedTuple):
    """A command, and what it printed."""

    check: DemoCheck
    lines: tuple[str, ...]


def ask(ledger: DemoLedger, posted: Mapping[int, int], event: SettlementEvent) -> list[Printed]:
    """Ask about a settlement and one of its accounts. `posted`: of each shard, the newest sequence. Raises Unavailable,
    Refused."""
    with session(ledger.settings.database_url("reading"), application_name="finance demo") as connection:
        for shard, seq in posted.items():
            wait_for(connection, shard, seq, seconds=SECONDS_MAX)
        _wait_for_links(connection, event.settlement_id)
    account = event.lines[-1].account
    return [
        _answer(ledger, "settlement", "show", event.settlement_id),
        _answer(ledger, "account", "statement", account, "--limit", str(LINES)),
    ]


def _wait_for_links(connection: Session, settlement_id: str) -> None:
    """Until the audit topic said where proof and object are, or a while has passed."""
    for _ in range(int(SECONDS_MAX / PAUSE_SECONDS)):
        with snapshot(connection) as asked:
            story = story_of(asked, By.SETTLEMENT, settlement_id, asked.position(None))
        if story.entries and all(link.proof_id and link.object_key for link in story.links.values()) and story.links:
            return
        connection.execute("SELECT pg_sleep(%s)", (PAUSE_SECONDS,))


def _answer(ledger: DemoLedger, *arguments: str) -> Printed:
    done = subprocess.run(
        [sys.executable, "-m", "finance", *arguments], env=ledger.environ, capture_output=True, text=True, check=False
    )
    lines = tuple((done.stdout if done.returncode == 0 else done.stderr).rstrip().splitlines())
    command = f"finance {' '.join(arguments)}"
    return Printed(DemoCheck(command, done.returncode, f"{len(lines)} lines"), lines)
