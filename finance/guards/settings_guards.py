"""The guards that need settings alone, in the order of the runbook's section 2: no network, no file but two.

Guarantees: pure but for reading topology.yaml and signers.json; each yields all of its faults. A truth is spelled true,
1, yes or y in any case; what is spelled in no known way is a fault, never taken for false.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from finance.guards.address_guards import (
    database_is_reached_safely,
    doors_are_shut,
    endpoints_are_ours,
    owner_stays_at_home,
    port_is_a_port,
    watchers_have_addresses,
)
from finance.guards.file_guards import configuration_is_ours
from finance.guards.model import (
    EVERYBODY,
    FALSE,
    PRODUCTION,
    TRUE,
    Given,
    Guard,
    GuardFault,
    is_production,
    missing,
)
from finance.guards.secret_rules import find_secrets, is_random
from finance.settings.compiled import stale
from finance.settings.key_file import API_KEY, KEYS_FILE, TABLES, spelled
from finance.settings.signing import EVERY_SLOT, signing_of
from finance.settings.variables import COSIGNER, KEY_VARIABLES, OUTGOING, PROCESSES, VARIABLES, Kind
from finance.wiring.mac_keys import is_mac, key_uses
from finance.wiring.registry_file import read_registry
from ledger_core.errors import Refused
from ledger_core.signing.purposes import SIGNED_BY
from ledger_core.signing.registry import SignerRegistry
from schemas.read_file import SETTINGS_BYTES_MAX, read_file

SIGNING_PROCESSES: Final = ("prover", "archiver", "notary")
TRUTHS: Final = ("REQUIRE_KMS", "REQUIRE_SIGNING_PROXY", "REQUIRE_MTLS", "DEV_SKIP_MTLS")
DEVELOPMENT: Final = ("development", "dev", "test", "local", "ci")  # what NODE_ENV says of a development machine
REQUIRING: Final = ("REQUIRE_KMS", "REQUIRE_SIGNING_PROXY")
CUSTODY: Final[tuple[Kind, ...]] = ("kms", "pkcs11", "transit")  # where REQUIRE_KMS lets a key live
ADMIN_TOKEN_CHARS_MIN: Final = 32
# Every secret, those that a keys file names included.
SECRETS: Final = (*(it.name for it in VARIABLES if it.secret), OUTGOING + API_KEY, COSIGNER + API_KEY)
SECRET_CHARS_MIN: Final = 8


def settings_can_be_read(given: Given) -> Iterator[GuardFault]:
    """A value that cannot be right."""
    for error in given.unreadable:
        yield GuardFault(error.message, error.remedy)


def environments_agree(given: Given) -> Iterator[GuardFault]:
    """NODE_ENV (what the platform's tools read) and FINANCE_ENV (what stands in proofs) say the same."""
    node, own = given.text("NODE_ENV"), given.text("FINANCE_ENV")
    if node and is_production(node) != (own == PRODUCTION):
        yield GuardFault(
            f"NODE_ENV is {node} and FINANCE_ENV is {own or 'not set'}", "set both to production, or neither"
        )
    elif node and given.env == "dev" and node.lower() not in DEVELOPMENT:
        yield GuardFault(
            f"NODE_ENV is {node} and FINANCE_ENV is {own or 'not set'}",
            f"set FINANCE_ENV to staging or production, or NODE_ENV to one of {', '.join(DEVELOPMENT)}",
        )


def truths_are_spelled(given: Given) -> Iterator[GuardFault]:
    """A guard that was mistyped must not be off."""
    for name in TRUTHS:
        if given.text(name).lower() not in (*TRUE, *FALSE):
            yield GuardFault(f"{name} is {given.text(name)!r}", f"use {', '.join(TRUE)} or {', '.join(FALSE[:-1])}")


def domain_is_ours(given: Given) -> Iterator[GuardFault]:
    """Checkpoints carry it for ever."""
    if given.guarded and given.text("FINANCE_DOMAIN") in ("", "example.com"):
        yield GuardFault(
            "FINANCE_DOMAIN is not set to a domain of yours", "set it: every checkpoint carries it for ever"
        )


def signing_path_is_required(given: Given) -> Iterator[GuardFault]:
    """In production at least one is required; what is required, in any environment, is configured."""
    kms, proxy = given.is_true("REQUIRE_KMS"), given.is_true("REQUIRE_SIGNING_PROXY")
    if given.production and not (kms or proxy):
        yield GuardFault(
            "neither REQUIRE_KMS nor REQUIRE_SIGNING_PROXY is true", "set the one whose signer you run to true"
        )
    if kms and not any(given.text(KEY_VARIABLES[kind]) for kind in CUSTODY):
        yield from _no_key(given, "kms", "REQUIRE_KMS is true")
    if proxy:
        yield from _no_key(given, "proxy", "REQUIRE_SIGNING_PROXY is true")
        if not any(given.text(name) for name in ("SIGNING_PROXY_API_KEY", "FINANCE_TLS_DIR")):
            yield from missing(given, ("SIGNING_PROXY_API_KEY",), "no client certificate is given either")


def _no_key(given: Given, kind: Kind, why: str) -> Iterator[GuardFault]:
    """The key that signs is of another kind; where a keys file names it, the file is mended."""
    if given.text(KEYS_FILE) and not given.text(KEY_VARIABLES[kind]):
        place = spelled(given.values, "", "AUDIT_SIGNING_KIND")
        yield GuardFault(f"{place} is not {kind}, and {why}", "name such a key there")
    else:
        yield from missing(given, (KEY_VARIABLES[kind],), why)


def no_key_in_a_file(given: Given) -> Iterator[GuardFault]:
    """Outside dev no private key is in a process, in no slot: not the outgoing one, and no cosigner."""
    name = KEY_VARIABLES["local"]
    for slot in TABLES:
        if given.guarded and given.text(slot + name):
            place = spelled(given.values, slot, name)
            yield GuardFault(f"{place} names a key in a file", "unset it; sign with KMS, an HSM or a signing proxy")


def key_is_one_that_is_required(given: Given) -> Iterator[GuardFault]:
    """The key that signs is known, and is of a kind that is required."""
    kms, proxy = given.is_true("REQUIRE_KMS"), given.is_true("REQUIRE_SIGNING_PROXY")
    named = any(given.text(name) for name in KEY_VARIABLES.values())
    if given.settings is None or not given.does(*SIGNING_PROCESSES) or not (given.guarded or kms or proxy) or not named:
        return  # without any key, signing_path_is_required has said so
    name = SIGNING_PROCESSES[0] if given.process == EVERYBODY else given.process
    for key_of in EVERY_SLOT:
        try:
            key = key_of(given.settings, name=name)
        except Refused as error:
            yield GuardFault(error.message, error.remedy)
            continue
        allowed = (*(CUSTODY if kms else ()), *(("proxy",) if proxy else ()))
        if key is not None and allowed and key.kind not in allowed:
            required = " and ".join(name for name in REQUIRING if given.is_true(name))
            yield GuardFault(
                f"{required} is true, and a key of kind {key.kind} signs", f"sign with one of {', '.join(allowed)}"
            )


def proofs_can_be_checked(given: Given) -> Iterator[GuardFault]:
    """A MAC stands beside a signature that strangers can check, or somebody waived that, by name and with a reason; and
    what no MAC may sign has a key."""
    if given.settings is None or not given.does(*SIGNING_PROCESSES) or not given.guarded:
        return
    try:
        registry = read_registry(given.settings.signers_path)
    except Refused:
        registry = SignerRegistry(())  # registry_can_be_read says so
    for process in SIGNING_PROCESSES if given.process == EVERYBODY else (given.process,):
        try:
            if is_mac(signing_of(given.settings, name=process), registry):
                key_uses(given.settings, registry, SIGNED_BY[process], name=process)
        except Refused as error:
            yield GuardFault(error.message, error.remedy)


def nothing_is_skipped(given: Given) -> Iterator[GuardFault]:
    """Not in production, and not where it is required."""
    skip, required = given.is_true("DEV_SKIP_MTLS"), given.is_true("REQUIRE_MTLS")
    if given.production and skip:
        yield GuardFault("DEV_SKIP_MTLS is true", "set it to false: it is for a development machine only")
    if required and skip and not given.production:
        yield GuardFault("REQUIRE_MTLS and DEV_SKIP_MTLS are both true", "set one of them to false")


def mtls_is_on(given: Given) -> Iterator[GuardFault]:
    """What is required has its certificates."""
    required = given.is_true("REQUIRE_MTLS")
    own_files = given.text("KAFKA_TLS_CERT_FILE") and given.text("KAFKA_TLS_KEY_FILE")
    if (required or given.production) and not given.text("FINANCE_TLS_DIR") and not own_files:
        yield from missing(given, ("FINANCE_TLS_DIR",), "certificates are needed on every hop")


def archive_is_named(given: Given) -> Iterator[GuardFault]:
    """Where batches go, and by which right."""
    if given.guarded and given.does("archiver"):
        names = ("S3_AUDIT_BUCKET", "S3_AUDIT_REGION", "S3_AUDIT_ACCESS_KEY", "S3_AUDIT_SECRET")
        yield from missing(given, names, "the archiver stores audit batches")
        if given.text("S3_AUDIT_ENDPOINT").lower().startswith("http:"):
            yield GuardFault(
                "S3_AUDIT_ENDPOINT is not https", "use its https address, with its authority in S3_AUDIT_CA_FILE"
            )


def brokers_are_named(given: Given) -> Iterator[GuardFault]:
    """Where events come from."""
    if given.guarded and given.does(*PROCESSES):
        yield from missing(given, ("KAFKA_BROKERS",), "every process needs it")


def registry_can_be_read(given: Given) -> Iterator[GuardFault]:
    """Whom everything signed is checked against."""
    if given.does("poster", *SIGNING_PROCESSES) and given.guarded:
        yield from registry_is_there(given)


def registry_is_there(given: Given) -> Iterator[GuardFault]:
    """Nothing that is signed counts by a key that is not registered: control records of the posting rules, too."""
    yield from missing(given, ("FINANCE_SIGNERS",), "no key signs that is not registered")
    if given.settings is not None and given.text("FINANCE_SIGNERS"):
        try:
            read_registry(given.settings.signers_path)
        except Refused as error:
            yield GuardFault(error.message, error.remedy)


def admin_token_is_strong(given: Given) -> Iterator[GuardFault]:
    """Drawn by a machine, and shared with nothing else."""
    token = given.text("FINANCE_ADMIN_TOKEN")
    if not token or not given.guarded:
        return
    if len(token) < ADMIN_TOKEN_CHARS_MIN or not is_random(token):
        yield GuardFault(
            "FINANCE_ADMIN_TOKEN is short or guessable",
            f"use {ADMIN_TOKEN_CHARS_MIN} random characters or more, and rotate them",
        )
    if any(token == given.text(name) for name in SECRETS if name != "FINANCE_ADMIN_TOKEN"):
        yield GuardFault("FINANCE_ADMIN_TOKEN is used for something else too", "give each purpose a secret of its own")


def topology_holds_no_secret(given: Given) -> Iterator[GuardFault]:
    """Secrets come from files or the environment of a secret manager; topology.yaml is read by everybody."""
    try:
        data = read_file(given.topology_path, SETTINGS_BYTES_MAX)
    except (OSError, Refused):
        return  # whoever needs it refuses by name
    text = data.decode("utf-8", "replace")
    for secret in find_secrets(data):
        yield GuardFault(
            f"topology.yaml, line {secret.line}, contains a secret ({secret.kind})",
            "name a variable there, and rotate the secret",
        )
    for name in _secrets_in(given.values, text):
        yield GuardFault(
            f"topology.yaml contains the value of {name}", "name the variable there, and rotate the secret"
        )


def _secrets_in(values: Mapping[str, str], text: str) -> Iterator[str]:
    for name in SECRETS:
        value = values.get(name, "")
        if len(value) >= SECRET_CHARS_MIN and value in text:
            yield name


def compiled_modules_are_of_their_sources(given: Given) -> Iterator[GuardFault]:
    """In dev as well: Python would run the rules of an older version, and no answer would say so."""
    if given.does(*PROCESSES) and (found := stale()):
        yield GuardFault(
            f"compiled modules were made from other sources: {', '.join(found)}",
            "compile them anew: `make compile`, or `python -m finance.workshop.compile`",
        )


SETTINGS_GUARDS: Final[tuple[Guard, ...]] = (
    settings_can_be_read, environments_agree, truths_are_spelled, domain_is_ours, signing_path_is_required,
    no_key_in_a_file, key_is_one_that_is_required, proofs_can_be_checked, nothing_is_skipped, mtls_is_on,
    database_is_reached_safely, endpoints_are_ours, owner_stays_at_home, archive_is_named, brokers_are_named,
    registry_can_be_read, watchers_have_addresses, compiled_modules_are_of_their_sources, configuration_is_ours,
    doors_are_shut, admin_token_is_strong, port_is_a_port, topology_holds_no_secret,
)  # fmt: skip


def settings_faults(given: Given) -> list[GuardFault]:
    """Every fault of every guard, in that order, each once."""
    return list(dict.fromkeys(fault for guard in SETTINGS_GUARDS for fault in guard(given)))
