"""A key that the settings do not sign with yet: named by options, asked for its public half, and tried once.

Guarantees: what is registered is a key that signs: its service was asked for the public key, and made a signature that
this key verifies. No address comes out of an event (`own_variables`). No secret is in the variables that name a key, so
they may stand on the audit chain.
Does not: register it, or touch a private key.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from finance.settings.deployment import Settings
from finance.settings.key_file import KEYS_FILE, TABLES, KeysFile, NamedKey, Slot, named_key, read_keys
from finance.settings.signing import DEFAULT_ALGORITHM, signing_of
from finance.settings.variables import COSIGNER, KEY_VARIABLES, NAMES_A_KEY, OUTGOING, Kind
from finance.wiring.signers import check_listed, key_service, open_signer
from ledger_core.errors import Refused
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from producers.signing.verified_signer import VerifiedSigner
from schemas.topology.model import Topology

CLOCK_SECONDS_MAX: Final = 60.0
ADDRESS: Final = KEY_VARIABLES["proxy"]  # the one variable that names a key by where its service answers


def variables_of(kind: Kind, key: str, kid: str, algorithm: str, key_version: int | None) -> dict[str, str]:
    """The variables that make a process sign with that key."""
    named = {
        "AUDIT_SIGNING_KIND": kind,
        KEY_VARIABLES[kind]: key,
        "AUDIT_SIGNING_KID": kid,
        "AUDIT_SIGNING_ALG": algorithm,
    }
    if key_version is not None:
        named["AUDIT_SIGNING_TRANSIT_KEY_VERSION"] = str(key_version)
    return named


def current_variables(settings: Settings, kid: str) -> dict[str, str]:
    """The variables of the key that signs now, by the settings, with its kid and kind."""
    named = {name: settings.values[name] for name in NAMES_A_KEY if name in settings.values}
    return {**named, "AUDIT_SIGNING_KIND": signing_of(settings).kind, "AUDIT_SIGNING_KID": kid}


def outgoing(variables: Mapping[str, str]) -> dict[str, str]:
    """The same key as the one that signs only what was written down for it."""
    return {OUTGOING + name: value for name, value in variables.items()}


def keys_to_deploy(settings: Settings, variables: Mapping[str, str]) -> KeysFile:
    """The keys file with which a process signs as the variables say. Without an outgoing key among them, the key that
    signs by the settings becomes it. A cosigner and the files of API keys stay as the present file has them. Raises
    Refused.
    """
    path = settings.text(KEYS_FILE)
    present = read_keys(Path(path)) if path else None
    known = [] if present is None else [present.of(slot) for slot in TABLES]
    api_keys = {it.key: str(Path(path).parent / it.api_key_file) for it in known if it and it.api_key_file}

    def named(values: Mapping[str, str], slot: Slot) -> NamedKey | None:
        found = named_key(values, slot)
        return found and msgspec.structs.replace(
            found, api_key_file=api_keys.get(found.key) if found.kind == "proxy" else None
        )

    signing, leaving = named(variables, ""), named(variables, OUTGOING)
    if signing is None:
        raise Refused(
            f"{variables.get('AUDIT_SIGNING_KID')} cannot be written as a table: its variables do not name one key",
            remedy="see what is announced (`finance rotate status`), roll back, and begin again",
        )
    if leaving is None:
        leaving = named(settings.values, "")
        if leaving is not None and (leaving.kind, leaving.key) == (signing.kind, signing.key):
            leaving = named(settings.values, OUTGOING)  # asked for again, when it signs already
    return KeysFile(signing, leaving, named(settings.values, COSIGNER))


def own_variables(settings: Settings, announced: Mapping[str, str], addresses: Sequence[str]) -> dict[str, str]:
    """The variables that an event of the audit chain names, once these settings, or the operator (`addresses`), name
    the same address: credentials go there. Raises Refused."""
    foreign = sorted(set(announced) - {*NAMES_A_KEY, *(slot + name for slot in TABLES for name in NAMES_A_KEY)})
    if foreign:
        raise Refused(
            f"the announcement sets {foreign[0]}, which names no key",
            remedy="nobody's command writes that: find out who left it, set it aside (`finance audit set-aside`)",
        )
    path = settings.text(KEYS_FILE)
    present = read_keys(Path(path)) if path else None
    tables = [] if present is None else [present.of(slot) for slot in TABLES]
    known = {*addresses, *(table.key for table in tables if table is not None and table.kind == "proxy")}
    known |= {str(settings.values.get(slot + ADDRESS)) for slot in TABLES}
    for slot in TABLES:
        address = announced.get(slot + ADDRESS)
        if address is not None and address not in known:
            raise Refused(
                f"the announcement names {address}, and these settings do not",
                remedy="if that is the signing proxy, say so with --address; else find out who announced it, and set "
                "the event aside (`finance audit set-aside`)",
            )
    return dict(announced)


def with_key(settings: Settings, variables: Mapping[str, str]) -> Settings:
    """The settings as they are once the variables are set."""
    kept = {name: value for name, value in settings.values.items() if name not in (*NAMES_A_KEY, KEYS_FILE)}
    return dataclasses.replace(settings, values={**kept, **variables})


def ask_key(
    settings: Settings, topology: Topology, registry: SignerRegistry, variables: Mapping[str, str], now: dt.datetime
) -> RegisteredSigner:
    """The key as it would be registered, after it made a signature. Raises Refused; Unavailable("signer")."""
    signing = signing_of(with_key(settings, variables))
    check_listed(topology, signing.kind)
    algorithm = signing.algorithm or DEFAULT_ALGORITHM
    service = key_service(signing, algorithm, registry, signing.kid, env=settings.env)
    try:
        try:
            signer = RegisteredSigner(str(signing.kid), algorithm, service.public_key(), now)
        except ValueError as error:
            raise Refused(
                str(error), remedy="name the key's own algorithm with --alg, and a kid of that form"
            ) from error
        VerifiedSigner(service, signer, now=None).pin()
        return signer
    finally:
        service.close()


def current_kid(settings: Settings, topology: Topology, registry: SignerRegistry) -> str:
    """The kid of the key that signs by these settings. Raises Refused; Unavailable when its service must be asked."""
    signer = open_signer(settings, topology, registry)
    try:
        return signer.kid
    finally:
        signer.close()


def check_clock(here: dt.datetime, database: dt.datetime) -> None:
    """Raise Refused when this machine's clock is not the database's: its times go into the registry for ever."""
    seconds = (here - database).total_seconds()
    if abs(seconds) > CLOCK_SECONDS_MAX:
        raise Refused(
            f"this machine's clock is {seconds:+.0f} s off the database's",
            remedy="set the clock (NTP) of whichever is wrong, and try again",
        )
