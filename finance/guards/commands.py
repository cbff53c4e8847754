"""The guards of a command: what is wrong for a process is wrong for whoever types a command beside it.

Guarantees: every command of the command line has a kind (COMMAND_KINDS; a test holds the table against the command
line), and outside dev each one that touches the ledger, its keys or its copies is refused, with all faults at once,
where the settings say two things, or carry what no production carries. One that signs needs the signing path as well.
Does not: ask for what a command may not need: an auditor has no certificate of a broker. A command that lacks something
says so itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from finance.guards.address_guards import addresses_given_are_safe, endpoints_are_ours
from finance.guards.file_guards import configuration_is_ours
from finance.guards.model import Given, Guard, StartRefused
from finance.guards.settings_guards import (
    environments_agree,
    key_is_one_that_is_required,
    no_key_in_a_file,
    nothing_is_skipped,
    settings_can_be_read,
    signing_path_is_required,
    topology_holds_no_secret,
    truths_are_spelled,
)

# free: development, or it asks nothing. own: its guards are its job. asks: it reads or changes. signs: with a key, too.
Kind = Literal["free", "own", "asks", "signs"]
COMMAND_KINDS: Final[Mapping[str, Kind]] = {
    "dev": "free", "demo": "free", "render": "free",
    "run": "own", "signing-proxy": "own", "doctor": "own", "guard": "own",
    "migrate": "asks", "topics": "asks", "publish": "asks", "status": "asks", "balances": "asks", "entry": "asks",
    "receipt": "asks", "movement": "asks", "payout": "asks", "hold": "asks", "approvers": "asks",
    "settlement": "asks", "order": "asks", "account": "asks", "payables": "asks", "report": "asks",
    "dlq": "asks", "verify": "asks", "archive": "asks", "rebuild": "asks", "replay": "asks", "halt": "asks",
    "resume": "asks", "pii": "asks", "projection": "asks", "shards": "asks", "audit": "asks",
    "export": "signs", "prove": "signs", "rules": "signs", "signers": "signs", "rotate": "signs", "backup": "signs",
    "drill": "signs",
}  # fmt: skip

ASKING: Final[tuple[Guard, ...]] = (
    settings_can_be_read, environments_agree, truths_are_spelled, no_key_in_a_file, nothing_is_skipped,
    addresses_given_are_safe, endpoints_are_ours, topology_holds_no_secret, configuration_is_ours,
)  # fmt: skip
SIGNING: Final[tuple[Guard, ...]] = (*ASKING, signing_path_is_required, key_is_one_that_is_required)


def check_command(name: str, environ: Mapping[str, str], cwd: Path) -> None:
    """Raise StartRefused with every fault of this command's environment; in dev there is nothing to ask."""
    kind = COMMAND_KINDS[name]
    if kind not in ("asks", "signs"):
        return
    given = Given.of("prover" if kind == "signs" else "", environ, cwd)
    if not given.suspected:
        return
    guards = SIGNING if kind == "signs" else ASKING
    faults = list(dict.fromkeys(fault for guard in guards for fault in guard(given)))
    if faults:
        raise StartRefused(f"finance {name}", faults)
