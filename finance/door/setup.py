"""A door from settings, and the rule where plaintext may be.

Guarantees: without TLS a door opens on a loopback address only; in production only where the surface says that loopback
will do (metrics), never for one that signs or changes anything; with TLS there are callers. Else Refused.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Mapping

from finance.door.gate import Gate
from finance.door.problem import DoorMetrics, Route
from finance.door.server import Door
from finance.door.tls import DoorFiles, TlsContexts
from finance.settings import Settings
from ledger_core.errors import Refused


def open_door(
    settings: Settings,
    routes: Mapping[tuple[str, str], Route],
    *,
    host: str,
    port: int,
    metrics: DoorMetrics,
    plaintext_in_production: bool = False,
) -> Door:
    """Listen. Raises Refused; OSError when the address cannot be had."""
    folder, config = settings.door_tls_dir, settings.door_config
    check_exposure(settings.env, host, tls=folder is not None, plaintext_in_production=plaintext_in_production)
    if (folder is None) != (config is None):
        raise Refused(
            "DOOR_TLS_DIR and DOOR_CONFIG come together: certificates without callers let nobody in, and callers "
            "cannot be told apart in plaintext",
            remedy="set both (docs/SIGNING_PROXY.md has an example), or neither",
        )
    gate = Gate(config, metrics=metrics, clock=lambda: dt.datetime.now(dt.UTC))
    contexts = None
    if folder is not None and gate.config is not None:
        required = gate.config.client_certificate == "required"
        contexts = TlsContexts(DoorFiles(folder), certificate_required=required, metrics=metrics)
    return Door(routes, gate, contexts, host=host, port=port, metrics=metrics)


def check_exposure(env: str, host: str, *, tls: bool, plaintext_in_production: bool) -> None:
    """Raise Refused where plaintext, which knows no caller, must not be."""
    if tls:
        return
    if not _is_loopback(host):
        raise Refused(
            f"{host} is no loopback address, and DOOR_TLS_DIR is not set: everybody could come in",
            remedy="set DOOR_TLS_DIR and DOOR_CONFIG, or listen on 127.0.0.1",
        )
    if env == "production" and not plaintext_in_production:
        raise Refused(
            "in production this is not served in plaintext, on no address",
            remedy="set DOOR_TLS_DIR and DOOR_CONFIG",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
