"""Before a process touches anything: its guards, all faults at once, or nothing started.

Guarantees: outside dev, what a process rests on is asked too: its database role, its signer, its bucket; and in dev the
signer, where REQUIRE_KMS or REQUIRE_SIGNING_PROXY is true. A wrong answer refuses the start (exit 3). A signer that is
required and does not answer ends it as well (Unavailable, exit 4); for everything else that is away the process waits
in its own loop, where the same is asked again.
Does not: run in a `dev` without those variables, where the dev stack is what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog

from finance.guards.model import Given, GuardFault, StartRefused
from finance.guards.settings_guards import settings_faults
from finance.settings.variables import SIGNING_PROXY
from ledger_core.errors import Refused, Unavailable
from schemas.topology.load import load_topology


def check_start(process: str, environ: Mapping[str, str], cwd: Path) -> None:
    """Raise StartRefused with every fault, Unavailable for a required signer that does not answer; else return."""
    given = Given.of(process, environ, cwd)
    faults = settings_faults(given)
    if faults or given.settings is None:
        raise StartRefused(process, faults)
    faults = probe_faults(given)
    if faults:
        raise StartRefused(process, faults)


def check_proxy_start(environ: Mapping[str, str], cwd: Path) -> None:
    """The same for the signing proxy. In dev its key may be away: /health says so. Raises StartRefused."""
    from finance.guards.proxy_guards import proxy_faults

    given = Given.of(SIGNING_PROXY, environ, cwd)
    faults = proxy_faults(given) or probe_faults(given)
    if faults:
        raise StartRefused(SIGNING_PROXY, faults)


def probe_faults(given: Given) -> list[GuardFault]:
    """What the probes of this process find. Raises Unavailable for a required signer."""
    from finance.guards.probes import PROBES  # here: settings are judged without loading drivers

    settings = given.settings
    required = given.is_true("REQUIRE_KMS") or given.is_true("REQUIRE_SIGNING_PROXY")
    if settings is None or not (given.guarded or required):
        return []
    try:
        topology = load_topology(settings.topology_path, topic_prefix=settings.topic_prefix)
    except Refused as error:
        return [GuardFault(error.message, error.remedy)]
    faults: list[GuardFault] = []
    for name, probe in PROBES.get(given.process, ()):
        if not given.guarded and name != "signer":
            continue
        try:
            faults += probe(settings, topology, given.process).faults
        except Unavailable as error:
            if name == "signer" and required:
                raise
            structlog.get_logger("guards").warning("guard.unanswered", guard=name, detail=str(error))
        except Refused as error:
            faults.append(GuardFault(error.message, error.remedy))
    return list(dict.fromkeys(faults))
