"""The guards that ask: the database, the signer, the bucket, the brokers. Each answers with evidence, or with faults.

Guarantees: a probe changes nothing that lasts but for the archive's canary (a locked object of a day that must not go
away) and has one digest signed, which it verifies with the registered key and throws away. What does not answer is
Unavailable, and never taken for sound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from finance.guards.model import GuardFault
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.settings.mac_waiver import waiver_text
from finance.settings.variables import SIGNING_PROXY
from finance.wiring import services
from finance.wiring.kafka import check_topics
from finance.wiring.mac_keys import KeyUse, is_mac, key_uses, trusted_registry
from finance.wiring.registry_file import check_copy, kernel_path, read_registry
from finance.wiring.signers import open_signer
from ledger_core.errors import Refused
from ledger_core.postgres.reading.progress import manifest_heads
from ledger_core.postgres.reading.projection_places import belongs_to
from ledger_core.postgres.recovery.drills import newest_sound_drill
from ledger_core.postgres.schema.authority import granted
from ledger_core.postgres.schema.bounds import for_superusers
from ledger_core.postgres.schema.deployment import read_deployment
from ledger_core.postgres.schema.guard import check_schema
from ledger_core.postgres.session import Session, session
from ledger_core.signing.purposes import SIGNED_BY
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from schemas.topology.model import Topology

FINDINGS_TOLD_MAX: Final = 5
DRILL_DAYS_MAX: Final = 35  # monthly, and some days to mend what stopped it

POWERS: Final = """
SELECT current_user::text, rolsuper, rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls,
       has_schema_privilege(current_user, 'public', 'CREATE') OR has_database_privilege(current_database(), 'CREATE'),
       (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p')
           AND NOT (rolname = 'finance_projector' AND n.nspname IN ('reading', 'reading_1', 'reading_2'))),
       (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()),
       (SELECT string_agg(m.roleid::regrole::text, ', ') FROM pg_auth_members m WHERE m.member = r.oid)
  FROM pg_roles r WHERE rolname = current_user"""

HELD: Final = """
SELECT c.relname, p FROM pg_class c, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'INSERT']) AS p
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
   AND has_table_privilege(current_user, c.oid, p) ORDER BY 1, 2"""

DURABILITY: Final = """
SELECT name, setting FROM pg_settings
 WHERE (name, setting) IN (('fsync', 'off'), ('full_page_writes', 'off'), ('synchronous_commit', 'off'))"""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe saw: one line of evidence, and the faults."""

    evidence: str  # what was seen, one line
    faults: tuple[GuardFault, ...] = ()  # empty when it is as it must be


Probe = Callable[[Settings, Topology, str], Probed]


def probe_database(settings: Settings, _topology: Topology, process: str) -> Probed:
    """The process's role may do what it must and no more, in a database of this environment whose guards are whole."""
    with session(settings.database_url(process), application_name="finance guards", read_only=True) as connection:
        user, faults = role_powers(connection, process, production=settings.env == "production")
        faults += _belongs(connection, settings)
        schema = check_schema(connection)
        everybodys = len(for_superusers(connection))
        for name, value in connection.execute(DURABILITY.encode()):
            faults.append(
                GuardFault(f"Postgres runs with {name} = {value}", "switch it on: an acknowledged entry must survive")
            )
    for finding in schema.findings[:FINDINGS_TOLD_MAX]:
        faults.append(
            GuardFault(
                f"{finding.code}: {finding.message}", "see `finance verify ledger`; only migrations change guards"
            )
        )
    if len(schema.findings) > FINDINGS_TOLD_MAX:
        faults.append(
            GuardFault(f"{len(schema.findings)} guards of the schema differ in all", "see `finance verify ledger`")
        )
    told = f"{user}, {schema.counts['guards']} guards and {schema.counts['grants']} grants as migrated"
    if everybodys:  # no fault: on managed Postgres nobody may revoke them, and no job of ours depends on it
        told += f"; {everybodys} bounds that only a superuser sets are missing: a role could fill disk or locks"
    return Probed(told, tuple(faults))


def probe_reading(settings: Settings, topology: Topology, process: str) -> Probed:
    """As `probe_database`, for the read side: in a database of its own there is nothing of the ledger to compare."""
    with session(settings.database_url(process), application_name="finance guards", read_only=True) as connection:
        row = connection.execute("SELECT to_regclass('public.deployment') IS NULL").fetchone()
        apart = row is not None and bool(row[0])
        user, faults = role_powers(connection, process, production=settings.env == "production")
        found, wanted = belongs_to(connection), (settings.env, settings.domain, settings.topic_prefix)
    if found is not None and found != wanted:
        told = f"the read side is of {found}, the settings say {wanted}"
        remedy = "set DATABASE_URL_PROJECTOR and DATABASE_URL_READING of one and the same environment"
        faults.append(GuardFault(told, remedy))
    if apart:
        return Probed(f"{user}, in a database of the read side's own", tuple(faults))
    probed = probe_database(settings, topology, process)
    return Probed(probed.evidence, tuple(dict.fromkeys((*probed.faults, *faults))))


def role_powers(connection: Session, process: str, *, production: bool) -> tuple[str, list[GuardFault]]:
    """The role of this connection, and what it may do that it must not. Raises Refused."""
    row = connection.execute(POWERS.encode()).fetchone()
    if row is None:
        raise Refused("the database does not know this role", remedy="run `finance migrate`")
    user, superuser, powers, may_create, owns, encrypted, member_of = row
    remedy = f"log in as finance_{process}, with the grants of migrations and nothing else"
    if superuser:
        return user, [GuardFault(f"the database role {user} is a superuser", remedy)]
    faults = []
    if powers:
        faults.append(
            GuardFault(f"the database role {user} may make roles or databases, replicate or bypass policies", remedy)
        )
    if may_create:
        faults.append(GuardFault(f"the database role {user} may create tables (DDL)", remedy))
    if member_of:  # also without INHERIT: SET ROLE is enough
        faults.append(GuardFault(f"the database role {user} is a member of {member_of}", remedy))
    if owns:
        faults.append(GuardFault(f"the database role {user} owns {owns} tables, and could drop them", remedy))
    decided = {(table, privilege) for table, role, privilege in granted() if role == f"finance_{process}"}
    held = {(str(table), str(privilege)) for table, privilege in connection.execute(HELD.encode())}
    for table, privilege in sorted(held - decided):
        faults.append(GuardFault(f"the database role {user} may {privilege} {table}", remedy))
    if production and not encrypted:
        faults.append(GuardFault(f"the connection of {user} is not encrypted", "use sslmode=verify-full"))
    return user, faults


def _belongs(connection: Session, settings: Settings) -> list[GuardFault]:
    found = read_deployment(connection)
    if found == (settings.env, settings.domain) or (found is None and settings.env == "dev"):
        return []
    if found is None:
        return [GuardFault("the database belongs to no environment yet", "run `finance migrate` with these settings")]
    return [
        GuardFault(
            f"the database belongs to {found[0]} of {found[1]}, the settings say {settings.env} of {settings.domain}",
            "set DATABASE_URL_*, FINANCE_ENV and FINANCE_DOMAIN of one and the same environment",
        )
    ]


def probe_signer(settings: Settings, topology: Topology, process: str) -> Probed:
    """A signature is made with each key that is named, and verified with the registered key."""
    return _probe_keys(settings, topology, process, lambda _: None)


def probe_registry(settings: Settings, topology: Topology, process: str) -> Probed:
    """The public key of each signer is in signers.json, deployed and not retired (`probe_signer` refuses otherwise),
    and in Kernel's own copy where KERNEL_SIGNERS_FILE names that."""
    kernel = kernel_path(settings)
    probed = _probe_keys(settings, topology, process, lambda it: _check_kernel(kernel, it))
    known = len(read_registry(settings.signers_path).signers)
    copy = "Kernel's copy is not known (KERNEL_SIGNERS_FILE)" if kernel is None else f"compared with {kernel}"
    return Probed(f"{known} keys in {settings.signers_path.name}, {copy}: {probed.evidence}", probed.faults)


def _check_kernel(kernel: Path | None, signer: RegisteredSigner) -> None:
    """Raise Refused unless Kernel's copy has the key. A MAC key is not published there: Kernel could not use it."""
    if kernel is not None and not signer.is_mac:
        check_copy(kernel, [signer])


def _probe_keys(
    settings: Settings, topology: Topology, process: str, check: Callable[[RegisteredSigner], None]
) -> Probed:
    registry = trusted_registry(settings, name=process)
    told, faults = [], []
    signs = SIGNED_BY.get(process, frozenset())
    try:
        uses = key_uses(settings, registry, signs, name=process)
    except Refused as error:
        return Probed("no signature", (GuardFault(error.message, error.remedy),))
    for use in uses:
        signing = use.signing
        try:
            signer = open_signer(settings, topology, registry, signing, signs=use.signs, retired_too=use.is_outgoing)
        except Refused as error:
            faults.append(GuardFault(error.message, error.remedy))
            continue
        try:
            signer.pin()
            check(signer.registered)
            told.append(f"{signer.kid} ({signer.algorithm}, {signing.kind}) signed, and the registered key verified it")
        except Refused as error:
            faults.append(GuardFault(error.message, error.remedy))
        finally:
            signer.close()
    told += _told_of_macs(settings, registry, uses)
    return Probed("; ".join(told) or "no signature", tuple(faults))


def _told_of_macs(settings: Settings, registry: SignerRegistry, uses: list[KeyUse]) -> list[str]:
    """By whose decision proofs carry a MAC alone, where they do."""
    cosigned = any(use.is_cosigner and use.signs & uses[0].signs for use in uses)
    if cosigned or not uses[0].signs or not is_mac(uses[0].signing, registry):
        return []
    return [f"proofs carry a MAC alone, waived by {waiver_text(settings) or 'nobody'}"]


def probe_archive(settings: Settings, topology: Topology, _process: str) -> Probed:
    """The bucket has Object Lock, and refuses a real delete of a locked version."""
    store = services.open_archive(settings, topology.stores["archive"].retention_mode, name="archiver")
    try:
        store.check_lock()
    except Refused as error:
        return Probed("no lock", (GuardFault(error.message, error.remedy),))
    return Probed(f"bucket {settings.archive().bucket} refused to delete a locked version")


def probe_topics(settings: Settings, topology: Topology, _process: str) -> Probed:
    """The topics are as topology.yaml says, where shards depend on it."""
    try:
        check_topics(settings, topology, tuple(topology.topics), name="admin")  # as `finance topics` asks
    except Refused as error:
        return Probed("not as the topology", (GuardFault(error.message, error.remedy),))
    return Probed(f"{len(topology.topics)} topics as topology.yaml says")


def probe_exports(settings: Settings, _topology: Topology, _process: str) -> Probed:
    """Something was archived and listed already: the pipeline was tried as a whole."""
    with session(settings.database_url("auditor"), application_name="finance doctor", read_only=True) as connection:
        heads = manifest_heads(connection)
    if not heads:
        fault = GuardFault(
            "nothing was archived yet", "let the archiver export a proved range, then `finance verify archive`"
        )
        return Probed("no manifest", (fault,))
    return Probed(f"manifests of {len(heads)} shards, the newest number {max(number for _, number, _ in heads)}")


def probe_drill(settings: Settings, _topology: Topology, _process: str) -> Probed:
    """A recovery drill without findings stands on the audit chain, and is not too old."""
    with session(settings.database_url("auditor"), application_name="finance doctor", read_only=True) as connection:
        newest = newest_sound_drill(connection)
    remedy = "run `finance drill all`, and see that deploy/kubernetes/drill-cronjob.yaml does so monthly"
    if newest is None:
        return Probed("no drill", (GuardFault("no recovery drill succeeded yet", remedy),))
    days = (clock.utc_now() - newest).days
    if days > DRILL_DAYS_MAX:
        return Probed(f"{days} days ago", (GuardFault(f"the last drill that succeeded was {days} days ago", remedy),))
    return Probed(f"the newest that succeeded was chained at {newest:%Y-%m-%dT%H:%M:%SZ}")


# What a process asks before it touches anything. The poster signs nothing and the bucket is the archiver's alone.
PROBES: Final[dict[str, tuple[tuple[str, Probe], ...]]] = {
    "poster": (("database", probe_database),),
    "prover": (("database", probe_database), ("signer", probe_signer)),
    "archiver": (("database", probe_database), ("signer", probe_signer), ("archive", probe_archive)),
    "notary": (("database", probe_database), ("signer", probe_signer)),
    "keeper": (("database", probe_database),),
    "projector": (("database", probe_reading),),
    SIGNING_PROXY: (("signer", probe_signer),),
}
