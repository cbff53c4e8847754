"""A signers.json that changes under a running process: a key that is over signs nothing more."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.registry_edit import with_signers
from tests.support.route import Ledger

pytestmark = pytest.mark.services


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    signers = tmp_path / "signers.json"
    signers.write_bytes(Path(environ["FINANCE_SIGNERS"]).read_bytes())
    made = Ledger({**environ, "FINANCE_SIGNERS": str(signers)}, tmp_path, {"range_idle_seconds": 1})
    try:
        yield made
    finally:
        made.end()


def test_a_process_whose_key_is_retired_ends_and_a_damaged_registry_changes_nothing(ledger: Ledger) -> None:
    notary = ledger.start("notary")
    notary.wait_said("notary.leading")
    path = Path(ledger.environ["FINANCE_SIGNERS"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    notary.wait_said("registry.not_sound")
    assert notary.running
    over = [
        dataclasses.replace(it, retired_at=dt.datetime.now(dt.UTC)) for it in SignerRegistry.from_json(whole).signers
    ]
    path.write_bytes(with_signers(whole, over))
    assert notary.wait() == 3
    assert "is retired since" in str(notary.said("service.refused"))
