"""A signing proxy from settings: its keys, its log, its door.

Guarantees: it starts only with keys that are registered (and sign, as far as their service answers), a log that can be
written and that no other process holds, and a door that is TLS, or loopback outside production. A witness signs with
Ed25519 only: with RSA, a note is signed as its digest, and a digest could be asked for past the witness. Else Refused.
"""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import structlog

from finance.door.server import Door
from finance.door.setup import open_door
from finance.door.used_once import UsedOnce
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.settings.signing import cosigner_of, outgoing_of, signing_of
from finance.settings.variables import SIGNING_PROXY
from finance.signing_proxy.log_seal import EVER, Sealer
from finance.signing_proxy.request_log import RequestLog
from finance.signing_proxy.service import ProxySigner, SigningProxy
from finance.signing_proxy.witness import Head, WitnessState
from finance.telemetry.health import Health, telemetry_routes
from finance.telemetry.prometheus import MetricExporter
from finance.telemetry.surfaces import PrometheusDoor, PrometheusProxy, PrometheusWork
from finance.wiring.registry_file import read_registry
from finance.wiring.signers import open_mac, open_signer
from ledger_core.errors import Refused
from ledger_core.hashes import is_hash
from ledger_core.signing.pinned_signer import PinnedSigner
from schemas.topology.model import Topology

BEAT_SECONDS = 1.0
LOG_BYTES_MIN = 1_000_000
WITNESSED_RECORDS_MAX = 10_000  # that a state must not be behind

log = structlog.get_logger(SIGNING_PROXY)


@dataclass(frozen=True, slots=True)
class ProxyServiceSettings:
    """Where it listens, and what it writes."""

    host: str  # address that it listens on
    port: int  # 0: any free one
    log: Path  # its newest part
    log_bytes_max: int  # of one part
    log_mac_key: str  # empty: it is not sealed
    witness_state: Path  # file with the largest head of each log
    used: Path  # folder of the tokens and nonces that were used

    @staticmethod
    def of(settings: Settings) -> ProxyServiceSettings:
        """Raises Refused."""
        host, port, path = settings.signing_proxy()
        state = settings.values.get("SIGNING_PROXY_WITNESS_STATE")
        used = settings.values.get("SIGNING_PROXY_USED")
        return ProxyServiceSettings(
            host,
            port,
            path,
            int(settings.number("SIGNING_PROXY_LOG_BYTES_MAX", LOG_BYTES_MIN, 2**40)),
            settings.text("SIGNING_PROXY_LOG_MAC_KEY"),
            path.with_suffix(".witness.json") if state is None else Path(state),
            path.with_suffix(".used") if used is None else Path(used),
        )


@dataclass(frozen=True, slots=True)
class OpenProxy:
    """What runs. `beat` is for every second."""

    door: Door  # serves until it is closed
    sealer: Sealer | None  # None: the log is not sealed

    def beat(self) -> None:
        if self.sealer is not None:
            self.sealer.beat()


def run_signing_proxy(settings: Settings, topology: Topology, *, witness: bool, stop: threading.Event) -> None:
    """Serve until `stop` is set. Raises Refused, Unavailable("signer")."""
    with ExitStack() as undo:
        signers = open_proxy_signers(settings, topology, undo)
        health = Health(process=SIGNING_PROXY, stall_seconds=settings.health_stall_seconds)
        exporter = MetricExporter(process=SIGNING_PROXY, version=metadata.version("finance-ledger"))
        metrics = PrometheusWork(exporter, health)
        outgoing = signers[-1].kid if outgoing_of(settings, name=SIGNING_PROXY) else None
        proxy = open_proxy(settings, signers, outgoing, witness=witness, exporter=exporter, health=health, undo=undo)
        door = proxy.door
        log.info(
            "signing_proxy.listening",
            url=f"http{'s' if door.tls else ''}://{ProxyServiceSettings.of(settings).host}:{door.port}",
            keys=[signer.registered.kid for signer in signers],
            witness=witness,
        )
        while not stop.wait(BEAT_SECONDS):
            metrics.progress()
            proxy.beat()


def open_proxy_signers(settings: Settings, topology: Topology, undo: ExitStack) -> list[PinnedSigner]:
    """The key for what is new, and the cosigner and the outgoing key where they are named. Raises Refused."""
    registry = read_registry(settings.signers_path)
    outgoing = outgoing_of(settings, name=SIGNING_PROXY)
    signers = []
    for signing in filter(
        None, (signing_of(settings, name=SIGNING_PROXY), cosigner_of(settings, name=SIGNING_PROXY), outgoing)
    ):
        signer = open_signer(settings, topology, registry, signing, retired_too=signing is outgoing)
        undo.callback(signer.close)
        signers.append(signer)
    return signers


def open_proxy(
    settings: Settings,
    signers: Sequence[ProxySigner],
    outgoing: str | None,
    *,
    witness: bool,
    exporter: MetricExporter,
    health: Health,
    undo: ExitStack,
) -> OpenProxy:
    """Log, seals, witness, routes, door; `undo` closes them in turn. Raises Refused, Unavailable("mac")."""
    own = ProxyServiceSettings.of(settings)
    request_log = RequestLog(own.log, clock=clock.utc_now, part_bytes_max=own.log_bytes_max)
    undo.callback(request_log.close)
    sealer = None
    if own.log_mac_key:
        sealer = Sealer(request_log, open_mac(settings, own.log_mac_key, name=SIGNING_PROXY))
        undo.callback(sealer.close)
    state = _witness(own, signers, request_log) if witness else None
    version = metadata.version("finance-ledger")
    keys = " ".join(signer.registered.kid for signer in signers)
    request_log.append({"event": "started", "version": version, "keys": keys, "witness": str(witness).lower()})
    used = UsedOnce(own.used, now=clock.utc_now().timestamp())
    proxy = SigningProxy(
        signers,
        request_log,
        state,
        clock=clock.utc_now,
        told=PrometheusProxy(exporter).proxy_request,
        used=used,
        outgoing=() if outgoing is None else (outgoing,),
    )
    proxy.pin()
    routes = {**telemetry_routes(health, exporter.registry), **proxy.routes()}
    try:
        door = open_door(settings, routes, host=own.host, port=own.port, metrics=PrometheusDoor(exporter), used=used)
    except OSError as error:
        raise Refused(
            f"{own.host}:{own.port} cannot be listened on ({error})",
            remedy="set SIGNING_PROXY_HOST and SIGNING_PROXY_PORT to a free address",
        ) from error
    undo.callback(door.close)
    return OpenProxy(door, sealer)


def stop_on_signals(stop: threading.Event) -> None:
    """SIGTERM and an interrupt let requests in hand finish."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())


def _witness(own: ProxyServiceSettings, signers: Sequence[ProxySigner], request_log: RequestLog) -> WitnessState:
    other = [signer.registered.kid for signer in signers if signer.algorithm != "ed25519"]
    if other:
        raise Refused(
            f"a witness signs with Ed25519, and {', '.join(other)} is of another algorithm: a note of RSA could be "
            "signed as a digest, and a MAC signs none",
            remedy="give the witness an Ed25519 key of its own",
        )
    state = WitnessState(own.witness_state)
    state.check_not_behind(
        (record["log"], Head(int(record["size"]), bytes.fromhex(record["root"])))
        for record in itertools.islice(request_log.recent(EVER, b'"root":'), WITNESSED_RECORDS_MAX)
        if record.get("event") == "signed" and "log" in record and is_hash(record.get("root"))
    )
    return state
