"""`python -m tests.chaos [--minutes N] [--seed N] [--rate N]` (`make chaos`): misfortune without end, then the account.

Settlements of every kind come at a rate, with their buyers' data beside them; processes are killed and frozen (posters
inside COPY too), their clocks and those of database and broker step, sessions are cut, servers crash, the database is
put back to before with a service away; operators erase buyers' data and put new posting rules in force. At the end
everything runs again until nothing waits; the oracle judges the ledger, the archive and the audit chain, and an
accounting of its own judges every offset, balance, answer and buyer. Exit code 0: no contradiction. The run
says its seed; the same seed gives the same load and the same strikes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.load import fresh_ledger
from tests.chaos.accounting import account
from tests.chaos.load import Load
from tests.chaos.strikes import Strikes
from tests.support.backups import finance
from tests.support.route import Ledger

# The limit of dead letters is for a publisher gone wrong; here one in ten is meant to be rejected.
LIMITS = {
    "range_entries_max": 200,
    "range_idle_seconds": 1,
    "retry_delay_ms_max": 1000,
    "poster_dead_letters_max": 10_000,  # as many as the window has records
}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--minutes", type=float, default=30, help="how long strikes fall (default: 30)")
    parser.add_argument("--seed", type=int, default=None, help="of load and strikes (default: a new one)")
    parser.add_argument("--rate", type=float, default=150, help="messages a second (default: 150)")
    options = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    say(f"seed {seed}, {options.minutes:g} minutes, {options.rate:g} messages a second")
    with fresh_ledger() as fresh, TemporaryDirectory() as folder:
        ledger = Ledger({**fresh.environ, "FINANCE_LOG_FORMAT": "json"}, Path(folder), LIMITS)
        load = Load(fresh.environ, fresh.prefix, seed, options.rate)
        strikes = Strikes(ledger, fresh.stack, load.buyers, seed, say)
        chance = random.Random(f"{seed}:pauses")
        try:
            strikes.clock_servers()
            strikes.start()
            load.start()
            ends_at = time.monotonic() + 60 * options.minutes
            while time.monotonic() < ends_at:
                time.sleep(chance.uniform(1, 12))
                strikes.strike()
            load.end()
            strikes.stop()
            judge(ledger, load, strikes)
        finally:
            ledger.end()
            strikes.unclock_servers()
    return 0


def judge(ledger: Ledger, load: Load, strikes: Strikes) -> None:
    """Run until nothing waits, then ask oracle and accounting. Raises AssertionError."""
    say("everything runs until nothing waits")
    with ThreadPoolExecutor(1) as beside:
        ends = beside.submit(finance, ledger.started[-1].environ, "run", "all", "--until-idle")
        while not ends.done():  # what a stepped broker dated last is posted by now
            strikes.accept_times()
            time.sleep(5)
        ends.result()
    for what in ("ledger", "archive", "audit"):
        told = finance(ledger.environ, "verify", what)
        say(f"verify {what}: sound, {told['counts']}")
    say(f"projection verify: sound, {finance(ledger.environ, 'projection', 'verify')['counts']}")
    repeated = ledger.ask("SELECT count(*) - count(DISTINCT proof_id) FROM proofs")[0]
    assert repeated == 0
    say(f"strikes: {strikes.counts}; aborted records: {load.aborted}")
    say(f"offsets: {account(ledger.environ, load)}")


def say(text: str) -> None:
    print(f"[chaos {time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
