"""What the fault tests of the read side ask again and again: is all of it posted, and is the projection sound?"""

from __future__ import annotations

from tests.support.route import Ledger
from tests.support.waits import until


def await_posted(ledger: Ledger, count: int) -> None:
    """Until the shards have posted `count` entries together."""
    until("all is posted", lambda: ledger.ask("SELECT coalesce(sum(posted), 0) FROM shards") == (count,))


def assert_sound(ledger: Ledger) -> None:
    """`finance projection verify --all` finds nothing."""
    done = ledger.command("projection", "verify", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
