"""The same stack from containers: `pytest --services=containers`, for machines with Docker.

Guarantees: the interface of `Stack`, on loopback ports that stay the same over stop, kill and start.
Where it was written no public image could be pulled: it was run on images built there with the same interface as IMAGES
(entry points, `KAFKA_*` variables, arguments), given by `--image`. Without a reaper image to be had, set
TESTCONTAINERS_RYUK_DISABLED=true. In the suite only the refusal without Docker is covered.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import docker  # type: ignore[import-untyped]
from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.core.container import DockerContainer

from finance.workshop.devstack import SERVICES, ServiceStatus, Stack, kafka, kms, ports, postgres, s3
from finance.workshop.devstack.server import Say, Server, Site
from ledger_core.errors import Refused
from tests.support.waits import until

IMAGES = {
    "postgres": "postgres:18",
    "kafka": "apache/kafka:4.3.1",
    "s3": "chrislusf/seaweedfs:4.48",
    "kms": "ministackorg/ministack:latest",
}
_SERVERS: dict[str, Server] = {"postgres": postgres.Postgres(), "kafka": kafka.Kafka(), "s3": s3.S3(), "kms": kms.Kms()}


class ContainerStack(Stack):
    """A stack whose servers are containers of this process; they end with it."""

    def __init__(self, name: str, root: Path, say: Say) -> None:
        super().__init__(name, root, say)
        self._containers: dict[str, DockerContainer] = {}
        self._images: Mapping[str, str] = IMAGES

    @classmethod
    def up(
        cls,
        name: str,
        root: Path = Path(".finance"),
        services: Iterable[str] = SERVICES,
        say: Say = print,
        *,
        secure: bool = False,
        images: Mapping[str, str] | None = None,
    ) -> Self:
        """Start containers; `images` replaces some of IMAGES. Raises Refused when Docker does not answer."""
        require_docker()
        if secure:
            raise Refused("containers serve without TLS", remedy="leave out --services=containers, or --secure")
        stack = cls(name, root, say)
        stack.begin(services, {**IMAGES, **(images or {})})
        return stack

    def begin(self, services: Iterable[str], images: Mapping[str, str]) -> None:
        """Start the containers, or none."""
        self._images, self._state.services = images, list(services)
        try:
            for service in self._state.services:
                self._start_container(service)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        for container in self._containers.values():
            container.stop()
        self._containers.clear()

    def remove(self, *, keep_logs: bool = False) -> None:
        for service, container in self._containers.items():
            if keep_logs:
                self.place.logs.mkdir(parents=True, exist_ok=True)
                (self.place.logs / f"{service}.log").write_bytes(b"".join(container.get_logs()))
        self.down()
        super().remove(keep_logs=keep_logs)

    def stop(self, service: str) -> None:
        self._containers[service].get_wrapped_container().stop(timeout=300)

    def kill(self, service: str) -> None:
        self._containers[service].get_wrapped_container().kill()

    def start(self, service: str) -> None:
        self._containers[service].get_wrapped_container().start()
        self._wait(service)

    def status(self) -> list[ServiceStatus]:
        return [
            ServiceStatus(name, None, self._state.ports[name], None, None, _SERVERS[name].is_ready(self._state))
            for name in self._state.services
        ]

    def _start_container(self, service: str) -> None:
        server, choose = _SERVERS[service], random.SystemRandom()
        for name in server.port_names:
            self._state.ports[name] = ports.pick(set(self._state.ports.values()), choose)
        site = Site(self.place, self._state, self.say)
        container = _container(service, self._images[service], site)
        container.start()
        self._containers[service] = container
        self._wait(service)
        if server.provision(site):
            self.stop(service)
            self.start(service)

    def _wait(self, service: str) -> None:
        def said() -> str:
            return b"".join(self._containers[service].get_logs()).decode(errors="replace")[-4000:]

        until(f"the container of {service} is ready", lambda: _SERVERS[service].is_ready(self._state), told=said)


def require_docker() -> None:
    """Raises Refused, with what to do, when no Docker engine answers."""
    try:
        docker.from_env(timeout=300).ping()
    except DockerException as error:
        raise Refused(
            f"--services=containers needs Docker, which does not answer ({error})",
            remedy="start the Docker engine, or leave the option out: the servers then come from packages",
        ) from error


def _container(service: str, image: str, site: Site) -> DockerContainer:
    """A configured container; its ports are bound on 127.0.0.1, under the numbers of the state."""
    launch = _SERVERS[service].prepare(site) if service in ("s3", "kms") else None
    container = DockerContainer(image)
    state = site.state
    if service == "postgres":
        container.with_env("POSTGRES_HOST_AUTH_METHOD", "trust")
        container.with_command(["-c", "fsync=on", "-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"])
        return _bind(container, {5432: state.ports["postgres"]})
    if service == "kafka":
        for name, value in kafka.settings(state).items():
            everywhere = value.replace("127.0.0.1", "0.0.0.0") if name == "listeners" else value
            container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", everywhere)
        return _bind(container, {state.ports["kafka"]: state.ports["kafka"]})
    assert launch is not None
    if service == "s3":
        config = site.place.data("s3") / "s3.json"
        arguments = [part.replace(str(config), "/etc/finance/s3.json") for part in launch.command[1:]]
        arguments = ["-dir=/data" if part.startswith("-dir=") else part for part in arguments]
        container.with_command([part.replace("-ip.bind=127.0.0.1", "-ip.bind=0.0.0.0") for part in arguments])
        container.with_volume_mapping(config, "/etc/finance/s3.json")
        return _bind(container, {state.ports[name]: state.ports[name] for name in ("s3", "s3.master")})
    for name, value in launch.environment.items():
        container.with_env(name, {"BIND_HOST": "0.0.0.0", "STATE_DIR": "/tmp/state", "TMPDIR": "/tmp"}.get(name, value))
    return _bind(container, {state.ports["kms"]: state.ports["kms"]})


def _bind(container: DockerContainer, bound: dict[int, int]) -> DockerContainer:
    """Bind container port -> host port. The library's with_bind_ports opens them on every interface of the machine."""
    for inside, outside in bound.items():
        container.ports[f"{inside}/tcp"] = ("127.0.0.1", outside)  # type: ignore[assignment]  # docker-py takes the pair
    return container
