"""What a partition's log has at some offsets, batch by batch: records, aborted records, or a transaction's marker.

A client library shows records only: a marker, and an offset from which a record was lost, are the same silence to it.
So this asks as the library does, by Kafka's own Fetch request (version 4, which every broker from 0.11 to 4.x answers),
and reads the batches' headers, where both stand.

Guarantees: changes nothing and joins nothing; an answer comes within TIMEOUT_SECONDS, or Unavailable. It is understood
whole or is Unavailable: never taken for an empty log.
Does not: read the records themselves, or speak SASL (as the whole of Finance: `Settings.kafka_options`).
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec
from confluent_kafka import KafkaError

from consumers.kafka.failures import LastComplaint, read_failure
from ledger_core.errors import Unavailable

TIMEOUT_SECONDS: Final = 5.0
ANSWER_BYTES_MAX: Final = 64 * 2**20  # a batch comes whole, whatever was asked for
FETCH, VERSION, READ_COMMITTED = 1, 4, 1
_TRANSACTIONAL, _CONTROL = 0x10, 0x20  # bits of a batch's attributes

Leader = Callable[[str, int], tuple[str, int]]
"""(topic, partition) -> host and port of the broker that leads it. Raises Unavailable, Refused."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """A run of offsets that the log has. Records that compaction took out of a batch still count as its offsets."""

    first: int  # offset, inclusive
    last: int  # inclusive
    kind: Literal["records", "aborted", "marker"]  # marker: the end of a transaction, no record for anybody


def batches_of(data: bytes, aborted: Sequence[tuple[int, int]]) -> Iterator[Batch]:
    """The whole batches of a Fetch answer, in order. `aborted`: (first offset, producer id) of each transaction that
    was aborted and reaches into them. Raises ValueError for batches of another format than version 2."""
    waiting, open_aborted = sorted(aborted), set()
    at = 0
    while at + 61 <= len(data):
        first, length, _epoch, magic, _crc, attributes, delta = struct.unpack_from(">qiibIhi", data, at)
        (producer,) = struct.unpack_from(">q", data, at + 43)
        if magic != 2:
            raise ValueError(f"a batch of format {magic}")
        at += 12 + length
        if at > len(data):
            return  # the answer ends inside it
        last = first + delta
        while waiting and waiting[0][0] <= last:
            open_aborted.add(waiting.pop(0)[1])
        kind: Literal["records", "aborted", "marker"] = "records"
        if attributes & _CONTROL:
            kind = "marker"
            open_aborted.discard(producer)
        elif attributes & _TRANSACTIONAL and producer in open_aborted:
            kind = "aborted"
        yield Batch(first, last, kind)


class LogBatches:
    """One connection, kept for the next question. `options`: the client's, of which TLS is used here."""

    def __init__(self, leader: Leader, options: Mapping[str, str] | None = None) -> None:
        self._leader = leader
        self._options = options or {}
        self._socket: socket.socket | None = None
        self._place: tuple[str, int] | None = None  # topic and partition whose leader is connected

    def read(self, topic: str, partition: int, offset: int, bytes_max: int) -> list[Batch]:
        """The batches from the one that reaches `offset` on, at least one; none where the log does not have the offset.

        Raises Unavailable, and Refused for what waiting cannot mend."""
        try:
            answer = self._asked(topic, partition, _request(topic, partition, offset, bytes_max))
            error, aborted, data = _parsed(answer)
            found = [] if error else list(batches_of(data, aborted))
        except (OSError, ValueError, struct.error) as failure:
            self.close()
            raise Unavailable("kafka", f"{topic} [{partition}]: its log at offset {offset}: {failure}") from failure
        if error == KafkaError.OFFSET_OUT_OF_RANGE:
            return []
        if error:
            self.close()
            raise read_failure(topic, KafkaError(error), LastComplaint())
        return found

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._place = None

    def _asked(self, topic: str, partition: int, request: bytes) -> bytes:
        if self._place != (topic, partition):
            self.close()
        if self._socket is None:
            host, port = self._leader(topic, partition)
            self._socket = _connected(host, port, self._options)
            self._place = topic, partition
        self._socket.sendall(request)
        (length,) = struct.unpack(">i", _exactly(self._socket, 4))
        if not 0 <= length <= ANSWER_BYTES_MAX:
            raise ValueError(f"an answer of {length} bytes")
        return _exactly(self._socket, length)


def _request(topic: str, partition: int, offset: int, bytes_max: int) -> bytes:
    name = topic.encode()
    body = struct.pack(">hhih7s", FETCH, VERSION, 1, 7, b"finance")
    # No replica; answered at once with what there is.
    body += struct.pack(">iiiibi", -1, 0, 0, bytes_max, READ_COMMITTED, 1)
    body += struct.pack(f">h{len(name)}siiqi", len(name), name, 1, partition, offset, bytes_max)
    return struct.pack(">i", len(body)) + body


def _parsed(answer: bytes) -> tuple[int, list[tuple[int, int]], bytes]:
    """Error code, aborted transactions and batches of the one partition asked for."""
    _correlation, _throttle_ms, topics, name_length = struct.unpack_from(">iiih", answer)
    at = 14 + name_length
    partitions, _partition, error, _high, _stable, count = struct.unpack_from(">iihqqi", answer, at)
    if (topics, partitions) != (1, 1):
        raise ValueError("an answer to another question")
    at += 30
    aborted = []
    for _ in range(max(0, count)):
        producer, first = struct.unpack_from(">qq", answer, at)
        aborted.append((first, producer))
        at += 16
    (size,) = struct.unpack_from(">i", answer, at)
    return error, aborted, answer[at + 4 : at + 4 + max(0, size)]


def _connected(host: str, port: int, options: Mapping[str, str]) -> socket.socket:
    plain = socket.create_connection((host, port), TIMEOUT_SECONDS)
    if options.get("security.protocol") != "ssl":
        return plain
    try:
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"))
        if "ssl.certificate.location" in options:
            context.load_cert_chain(options["ssl.certificate.location"], options.get("ssl.key.location"))
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _exactly(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = connection.recv(min(length, 65_536))
        if not part:
            raise ConnectionError("the broker closed the connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
