"""Where HTTP may be in plaintext.

Guarantees: without TLS a door opens on a loopback address only; in production only where the surface says that loopback
will do (metrics), never for one that signs or changes anything. Pure: also the start-up guards ask it.
"""

from __future__ import annotations

import ipaddress

from ledger_core.errors import Refused


def check_exposure(env: str, host: str, *, tls: bool, callers: bool, plaintext_in_production: bool) -> None:
    """Raise Refused where plaintext, which knows no caller, must not be; and for certificates without callers."""
    if tls != callers:
        raise Refused(
            "DOOR_TLS_DIR and DOOR_CONFIG come together: certificates without callers let nobody in, and "
            "plaintext identifies no caller",
            remedy="set both (docs/SIGNING_PROXY.md has an example), or neither",
        )
    if tls:
        return
    if not _is_loopback(host):
        raise Refused(
            f"{host} is not a loopback address, and DOOR_TLS_DIR is not set: everybody could come in",
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
