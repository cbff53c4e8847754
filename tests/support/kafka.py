"""Kafka clients of tests, on a plain and on a secure stack alike: there they show the administrator's certificate."""

from __future__ import annotations

from collections.abc import Mapping

_secure: dict[str, dict[str, str]] = {}


def know(env: Mapping[str, str]) -> None:
    """Remember a stack, so that its brokers are met by TLS where they want it."""
    folder = env.get("FINANCE_TLS_DIR")
    if folder:
        _secure[env["KAFKA_BROKERS"]] = tls_of(folder, "admin")


def tls_of(folder: str, name: str) -> dict[str, str]:
    """librdkafka's settings with the certificate of a principal of the stack."""
    return {
        "security.protocol": "ssl",
        "ssl.ca.location": f"{folder}/ca.crt",
        "ssl.certificate.location": f"{folder}/{name}/tls.crt",
        "ssl.key.location": f"{folder}/{name}/tls.key",
    }


def tls(brokers: str) -> dict[str, str]:
    """What a client of these brokers wants besides their address; nothing on a plain stack."""
    return dict(_secure.get(brokers, {}))


def client(brokers: str) -> dict[str, str | int | float | bool]:
    """The address of these brokers and what they want. Log level 5: an admin client that is let go says on level 6
    (BGQUEUE) that some answer came too late for anybody."""
    return {"bootstrap.servers": brokers, "log_level": "5", **tls(brokers)}
