"""The promotion checklist of the runbook (section 15) as checks: each line with evidence, or who must check it.

Guarantees: closed: every line of the runbook's checklist is a line here (tested); a line that no command can check says
so and who answers for it, and is never shown as sound. A check that fails names the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from finance.guards.model import EVERYBODY, Given, GuardFault
from finance.guards.probes import (
    PROBES,
    Probe,
    Probed,
    probe_archive,
    probe_drill,
    probe_exports,
    probe_reading,
    probe_registry,
    probe_signer,
    probe_topics,
)
from finance.guards.proxy_guards import proxy_faults
from finance.guards.settings_guards import settings_faults, signing_path_is_required
from finance.settings.variables import PROCESSES
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.schema.migrate import pending
from schemas.topology.load import load_topology
from schemas.topology.model import Topology

State = Literal["sound", "refused", "found", "unavailable", "not checkable"]


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the doctor's report. `refused` would stop a process from starting, `found` stops a promotion."""

    name: str  # of the line, as the runbook has it
    state: State  # what came of it
    evidence: str  # what was seen, one line
    faults: tuple[GuardFault, ...] = ()  # empty when it is as it must be


@dataclass(frozen=True, slots=True)
class Check:
    """One line to run. `refuses`: whether a process refuses to start for its faults."""

    name: str  # of the line, as the runbook has it
    run: Callable[[], Probed]  # sees for itself; does not raise for a fault
    refuses: bool = True

    def result(self) -> Result:
        """Run it. Raises nothing of ours: what does not answer is a state."""
        try:
            probed = self.run()
        except Unavailable as error:
            return Result(self.name, "unavailable", str(error))
        except Refused as error:
            probed = Probed("refused", (GuardFault(error.message, error.remedy),))
        state: State = ("refused" if self.refuses else "found") if probed.faults else "sound"
        return Result(self.name, state, probed.evidence, probed.faults)


# The lines of the runbook that no command of this version can answer, and who does.
BY_HAND: Final = (
    (
        "Kernel's own registry has the public key",
        "compare signers.json with it before the signer is used (`finance signers check`)",
    ),
    ("the tests are green on this commit", "the pipeline's record of `.ci/run` for the commit that is promoted"),
    ("reconciliation is in place", "not yet: this version has no reconciliation"),
    ("alerts and dashboards were seen to fire", "the monitoring system; the alerts are in RUNBOOK section 10"),
    ("security engineer and finance lead signed off", "their signatures, kept with the release"),
)


def checks(given: Given) -> list[Check]:
    """Every check that a command can do, for all processes, in the order of a start."""
    made = [
        Check("settings of every process", lambda: _settings(given)),
        Check("signing path required", lambda: _required(given)),
    ]
    if given.text("SIGNING_PROXY_LOG"):
        made.append(Check("settings of the signing proxy", lambda: _proxy(given)))
    settings = given.settings
    if settings is None:
        return made

    def probing(probe: Probe, process: str) -> Callable[[], Probed]:
        return lambda: probe(settings, _topology(given), process)

    for process in PROCESSES:
        made.append(Check(f"database as the {process}", probing(dict(PROBES[process])["database"], process)))
    made.append(Check("database of who asks the read side", probing(probe_reading, "reading")))
    made += [
        Check("migrations applied", lambda: _migrated(given), refuses=False),
        Check("topics as the topology", probing(probe_topics, EVERYBODY)),
        Check("signer answers", probing(probe_signer, "prover")),
        Check("public key registered", probing(probe_registry, "prover")),
        Check("bucket locks", probing(probe_archive, "archiver")),
        Check("exports reach the archive", probing(probe_exports, "auditor"), refuses=False),
        Check("recovery drill within 35 days", probing(probe_drill, "auditor"), refuses=False),
    ]
    return made


def by_hand() -> Iterator[Result]:
    """What a person must check."""
    for name, evidence in BY_HAND:
        yield Result(name, "not checkable", evidence)


def _topology(given: Given) -> Topology:
    prefix = given.settings.topic_prefix if given.settings else ""
    return load_topology(given.topology_path, topic_prefix=prefix)


def _settings(given: Given) -> Probed:
    others = set(signing_path_is_required(given))
    faults = tuple(fault for fault in settings_faults(given) if fault not in others)
    return Probed(f"{len(given.values)} variables set, FINANCE_ENV={given.env}", faults)


def _required(given: Given) -> Probed:
    names = [name for name in ("REQUIRE_KMS", "REQUIRE_SIGNING_PROXY") if given.is_true(name)]
    return Probed(
        f"{' and '.join(names) or 'neither REQUIRE_KMS nor REQUIRE_SIGNING_PROXY'} true",
        tuple(signing_path_is_required(given)),
    )


def _proxy(given: Given) -> Probed:
    return Probed(f"log {given.text('SIGNING_PROXY_LOG')}", tuple(proxy_faults(given)))


def _migrated(given: Given) -> Probed:
    settings = given.settings
    if settings is None or not given.text("DATABASE_URL"):
        raise Refused("DATABASE_URL is not set", remedy="run this line where migrations run: `finance migrate --check`")
    names = pending(settings.owner_database_url())
    fault = GuardFault(f"{len(names)} migrations are missing: {', '.join(names)}", "run `finance migrate`")
    return Probed("the schema of this version", (fault,) if names else ())


def exit_code(results: list[Result]) -> int:
    """3: a process would refuse to start; 1: something else to mend; 4: something does not answer; 0: sound."""
    states = {result.state for result in results}
    return 3 if "refused" in states else 1 if "found" in states else 4 if "unavailable" in states else 0
