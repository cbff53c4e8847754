"""kill -9 of the notary at any moment: the chain is one, each intent is on it once, and the topic has no gap."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finance.workshop.devstack import Stack
from tests.support import audit
from tests.support.audit_checks import assert_chain, assert_published
from tests.support.signing import kms_signer

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[3]
KILLS = 8
INTENTS = 600


def _start(environ: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.notary_process"]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_killed_at_any_moment_two_notaries_lose_and_double_nothing(environ: dict[str, str], stack: Stack) -> None:
    """Two run at once, so that each kill also hands over the lock; the seed is printed with a failure."""
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    url = environ["DATABASE_URL"]
    notaries = [_start(environ), _start(environ)]
    try:
        for kill in range(KILLS):
            numbers = range(kill * INTENTS // KILLS, (kill + 1) * INTENTS // KILLS)
            audit.append(url, [audit.intent(number) for number in numbers])
            time.sleep(dice.uniform(0.1, 1.2))
            victim = dice.randrange(2)
            notaries[victim].kill()
            notaries[victim].wait()
            notaries[victim] = _start(environ)
    finally:
        for notary in notaries:
            notary.kill()
            notary.wait()
    signer, registry = kms_signer(stack.env, "ed25519")
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))
    rows = assert_chain(url, registry, range(INTENTS))
    repeats = assert_published(environ, rows)
    assert repeats <= (KILLS + 2) * 20, f"seed {seed}: more repeats than the batches that were interrupted"
