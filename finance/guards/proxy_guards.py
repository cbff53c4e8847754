"""The guards of `finance signing-proxy`, which is a service of its own, with settings of its own.

Guarantees: in production no key in a file and no proxy behind a proxy, TLS on every address, callers and scopes that
mean something, a log (and a witness's memory) that nobody else can write to, and configuration that nobody else can
change; all faults at once. In dev only what could never work. Pure but for reading the files that are named.
Does not: ask for the key (`probes.probe_signer` does), or read the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from finance.door.exposure import check_exposure
from finance.door.gate import Gate
from finance.door.tls import DoorFiles, TlsContexts
from finance.guards.file_guards import configuration_is_ours, others_that_write
from finance.guards.model import Given, Guard, GuardFault
from finance.guards.settings_guards import (
    domain_is_ours,
    environments_agree,
    no_key_in_a_file,
    registry_is_there,
    settings_can_be_read,
    topology_holds_no_secret,
    truths_are_spelled,
)
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.settings.signing import EVERY_SLOT
from finance.settings.variables import PROXY_SCOPES, SIGNING_PROXY
from finance.signing_proxy.log_file import parts_of
from finance.signing_proxy.setup import ProxyServiceSettings
from finance.wiring.registry_file import read_registry
from ledger_core.errors import Refused
from schemas.authority.door import DoorConfig


class _Untold:
    """A door that is only checked counts nothing."""

    def door_answered(self, status: int) -> None: ...

    def door_turned_away(self, code: str) -> None: ...

    def certificate_expires(self, certificate: str, at: float) -> None: ...

    def reload_failed(self, what: str) -> None: ...


def keys_are_in_custody(given: Given) -> Iterator[GuardFault]:
    """What signs is named, and is not another proxy; in production a service's, and required."""
    if given.production and not given.is_true("REQUIRE_KMS"):
        yield GuardFault(
            "REQUIRE_KMS is not true",
            "set it to true: this proxy signs with KMS, an HSM or a transit engine or not at all",
        )
    if given.settings is None:
        return
    for key_of in EVERY_SLOT:
        try:
            key = key_of(given.settings, name=SIGNING_PROXY)
        except Refused as error:
            yield GuardFault(error.message, error.remedy)
            continue
        if key is not None and key.kind == "proxy":
            yield GuardFault("a signing proxy behind a signing proxy", "name a key in KMS, an HSM or a transit engine")


def door_is_shut(given: Given) -> Iterator[GuardFault]:
    """TLS wherever it can be reached; whoever comes in may do something here, with keys that there are."""
    settings = given.settings
    if settings is None:
        return
    tls, config = settings.door_tls_dir, settings.door_config
    try:
        check_exposure(
            "production" if given.production else settings.env,
            settings.text("SIGNING_PROXY_HOST"),
            tls=tls is not None,
            callers=config is not None,
            plaintext_in_production=False,
        )
    except Refused as error:
        yield GuardFault(error.message, error.remedy)
    rules: DoorConfig | None = None
    try:
        rules = Gate(config, metrics=_Untold(), clock=clock.utc_now).config
    except Refused as error:
        yield GuardFault(error.message, error.remedy)
    if rules is not None:
        yield from _rules(rules, settings)
    if tls is not None:
        required = rules is None or rules.client_certificate == "required"
        try:
            TlsContexts(DoorFiles(tls), certificate_required=required, metrics=_Untold(), clock=clock.utc_now)
        except Refused as error:
            yield GuardFault(error.message, error.remedy)


def log_is_ours(given: Given) -> Iterator[GuardFault]:
    """Who could put another file in the place of the log, or of the witness's memory, could take history away."""
    if given.settings is None:
        return
    try:
        own = ProxyServiceSettings.of(given.settings)
    except Refused as error:
        yield GuardFault(error.message, error.remedy)
        return
    for folder in sorted({path.absolute().parent for path in (own.log, own.witness_state, own.used)}):
        if not folder.is_dir():
            yield GuardFault(f"{folder} is not a folder", "make it, for the proxy alone (chmod 700)")
        elif given.guarded and (who := others_that_write(folder)):
            yield GuardFault(
                f"{folder}, where the log is, can be written to by {who}", "give it to the proxy alone (chmod 700)"
            )
    if given.guarded:
        for path in (*parts_of(own.log), own.witness_state, own.used):
            if path.exists() and (who := others_that_write(path)):
                yield GuardFault(f"{path} can be written to by {who}", "give it to the proxy alone (chmod 600)")


PROXY_GUARDS: Final[tuple[Guard, ...]] = (
    settings_can_be_read, environments_agree, truths_are_spelled, domain_is_ours, no_key_in_a_file, keys_are_in_custody,
    registry_is_there, door_is_shut, log_is_ours, configuration_is_ours, topology_holds_no_secret,
)  # fmt: skip


def proxy_faults(given: Given) -> list[GuardFault]:
    """Every fault of every guard, in that order, each once."""
    return list(dict.fromkeys(fault for guard in PROXY_GUARDS for fault in guard(given)))


def _rules(rules: DoorConfig, settings: Settings) -> Iterator[GuardFault]:
    for role, scopes in rules.roles.items():
        for scope in scopes:
            if scope not in PROXY_SCOPES:
                yield GuardFault(
                    f"door.yaml, role {role}: nothing here has the scope {scope}", f"use {', '.join(PROXY_SCOPES)}"
                )
    try:
        registry = read_registry(settings.signers_path)
    except Refused:
        return  # registry_is_there has said so
    for name, caller in rules.callers.items():
        for kid in caller.signing_keys:
            if registry.find(kid) is None:
                yield GuardFault(f"door.yaml, caller {name}: no key is registered as {kid}", "correct its signing_keys")
