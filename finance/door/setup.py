"""A door from settings.

Guarantees: it opens only where `exposure.py` lets it; with TLS there are callers, read from their file. Else Refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from finance.door.exposure import check_exposure
from finance.door.gate import Gate
from finance.door.problem import DoorMetrics, Route
from finance.door.server import Door
from finance.door.tls import DoorFiles, TlsContexts
from finance.door.used_once import UsedOnce
from finance.settings import clock
from finance.settings.deployment import Settings


def open_door(
    settings: Settings,
    routes: Mapping[tuple[str, str], Route],
    *,
    host: str,
    port: int,
    metrics: DoorMetrics,
    used: UsedOnce | None = None,
    plaintext_in_production: bool = False,
) -> Door:
    """Listen. Raises Refused; OSError when the address cannot be had."""
    folder, config = settings.door_tls_dir, settings.door_config
    check_exposure(
        settings.env,
        host,
        tls=folder is not None,
        callers=config is not None,
        plaintext_in_production=plaintext_in_production,
    )
    gate = Gate(config, metrics=metrics, clock=clock.utc_now, used=used)
    contexts = None
    if folder is not None and gate.config is not None:
        required = gate.config.client_certificate == "required"
        contexts = TlsContexts(DoorFiles(folder), certificate_required=required, metrics=metrics, clock=clock.utc_now)
    return Door(routes, gate, contexts, host=host, port=port, metrics=metrics)
