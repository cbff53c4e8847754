"""One long-lived process: logging, metrics, health, signals, and the service inside.

Guarantees: SIGINT, SIGTERM and the end of a parent that asked for it stop the service after the step at hand; the exit
code is that of `consumers.service.run_service` (0 stopped, 1 corrupt, 3 refused). A record that contradicts itself
halts posting before the process ends. A second SIGINT ends it at once. One that hangs ends by itself, with code 4.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Mapping
from importlib import metadata

import structlog

from consumers.service import EXIT_UNAVAILABLE, Service, run_service
from finance.door.problem import Route
from finance.door.server import Door
from finance.door.setup import open_door
from finance.runtime.registry_watch import RegistryWatch
from finance.runtime.tls_watch import TlsWatch
from finance.runtime.watchdog import Watchdog
from finance.settings.compiled import HOT, compiled
from finance.settings.deployment import Settings
from finance.telemetry.health import Health, telemetry_routes
from finance.telemetry.log_lines import configure_logging
from finance.telemetry.prometheus import MetricExporter
from finance.telemetry.surfaces import PrometheusBackup, PrometheusDoor, PrometheusWork
from finance.wiring import services
from ledger_core.errors import Corrupt, FinanceError, Refused
from schemas.topology.model import Topology

REASON_CHARS_MAX = 900
STDIN = 0


def run_process(
    name: str,
    settings: Settings,
    topology: Topology,
    *,
    stop_on_eof: bool = False,
    build: Callable[[PrometheusBackup], Service] | None = None,
) -> int:
    """Run one process until a signal stops it; return its exit code. `build` None: one of the topology's."""
    configure_logging(process=name, log_format=settings.log_format, level=settings.log_level)
    log = structlog.get_logger("process")
    stop = threading.Event()
    _stop_on_signals(stop)
    if stop_on_eof:
        stop_with_parent(stop)
    version = metadata.version("finance-ledger")
    spare_the_collector()
    health = Health(process=name, stall_seconds=settings.health_stall_seconds)
    watchdog = Watchdog(settings.hang_seconds, _end_hung)
    exporter = MetricExporter(process=name, version=version)
    metrics = PrometheusWork(exporter, health, beat=watchdog.beat)
    backup, door = PrometheusBackup(exporter, health), PrometheusDoor(exporter)
    server = _serve(name, settings, telemetry_routes(health, exporter.registry), door)
    watch = TlsWatch(door.certificate_expires)
    registry = RegistryWatch(settings.signers_path) if name in topology.access.signing.everybody else None
    watchdog.start()

    def build_anew() -> Service:
        watch.begin(settings.tls_sets(name))
        if registry is not None:
            registry.begin()
        return build(backup) if build else services.build_service(name, settings, topology, metrics)

    log.info(
        "telemetry.listening",
        url=f"http{'s' if server.tls else ''}://{settings.metrics_host}:{server.port}",
        version=version,
        env=settings.env,
        compiled=not any(source for source in HOT if not compiled(source).exists()),
    )
    try:
        return run_service(
            build_anew,
            stop=stop,
            metrics=metrics,
            backoff=services.backoff(topology),
            on_corrupt=lambda error: halt_posting(name, settings, error),
            renewed=lambda: watch.renewed() or (registry is not None and registry.changed()),
            beat=watchdog.beat,
        )
    finally:
        watchdog.stop()
        server.close()


def _end_hung(stacks: dict[str, list[str]]) -> None:
    """At once, without closing: closing is what may hang. Nothing is lost: every commit point is in Postgres."""
    remedy = "its supervisor starts it again; report where it hung"
    structlog.get_logger("process").critical("process.hung", stacks=stacks, remedy=remedy)
    os._exit(EXIT_UNAVAILABLE)


def spare_the_collector() -> None:
    """A batch makes tens of thousands of small objects and no cycles: the collector's passes over them took a seventh
    of the poster's time. It still runs, only seldom; what is loaded by now it need not visit again."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def _serve(name: str, settings: Settings, routes: Mapping[tuple[str, str], Route], metrics: PrometheusDoor) -> Door:
    port = settings.metrics_port(name)
    try:
        return open_door(
            settings,
            routes,
            host=settings.metrics_host,
            port=port,
            metrics=metrics,
            plaintext_in_production=True,  # facts and figures, and on loopback only
        )
    except OSError as error:
        raise Refused(
            f"{settings.metrics_host}:{port} cannot be listened on ({error})",
            remedy=f"set METRICS_HOST and {name.upper()}_METRICS_PORT to a free address, or 0 for any port",
        ) from error


def _stop_on_signals(stop: threading.Event) -> None:
    def on_signal(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def stop_with_parent(stop: threading.Event) -> None:
    """The parent holds the other end of stdin: when it is gone, however it went, there is nobody to stop us."""

    def wait() -> None:
        while os.read(STDIN, 1):  # not the buffered reader: its lock would outlive this daemon thread
            continue
        stop.set()

    threading.Thread(target=wait, name="parent", daemon=True).start()


def halt_posting(name: str, settings: Settings, error: Corrupt) -> None:
    """Nothing may be built on a record that contradicts itself. Failing to say so must not hide the failure itself."""
    log = structlog.get_logger("process")
    reason = "".join(c if c.isprintable() else " " for c in f"{name} found a contradiction: {error}")
    try:
        services.halt_posting(name, settings, reason[:REASON_CHARS_MAX])
    except FinanceError as failure:
        log.critical("process.halt_failed", detail=str(failure), remedy="run `finance halt` yourself, now")
    else:
        log.critical("process.halted_posting", reason=reason)
