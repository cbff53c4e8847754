"""Messages of one client up to a count and a weight, whatever the topic holds.

A topic limits what a batch weighs compressed; a megabyte of it may unpack to a hundred. So a count of records bounds no
memory: 4,000 of them weigh 1 MB on an ordinary day, and 800 MB when somebody wants that.

Guarantees: reading ends once what was read weighs `bytes_max`: beyond it lie the few records of the last piece at most,
and a piece is small when the ones before were heavy. A record larger than the bound comes alone, or with few others.
Does not: bound what the client itself holds. Its settings do (`FETCH_LIMITS`), up to one batch of the topic, which it
unpacks whole: at most RECEIVE_BYTES_MAX, or it is Refused (`consumers.kafka.failures`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from confluent_kafka import Message

READ_BYTES_MAX: Final = 8 * 1024 * 1024  # in one read: value, key and headers of its records
PIECE_RECORDS_MAX: Final = 256  # taken from the client at once
RECEIVE_BYTES_MAX: Final = 100_000_000  # librdkafka's own default: what one batch may unpack to
FETCH_LIMITS: Final[dict[str, str | int | bool]] = {
    "queued.max.messages.kbytes": 8192,  # unpacked; nothing is fetched while more waits
    # Of one answer, packed. All its batches are unpacked at once, so it is this that bounds them; a batch that is
    # larger comes all the same, alone.
    "fetch.max.bytes": 8_192,
    "fetch.message.max.bytes": 8_192,
    "message.max.bytes": 8_192,  # fetch.max.bytes may not be less
    "receive.message.max.bytes": RECEIVE_BYTES_MAX,
}
HEADERS_UNREADABLE: Final[tuple[tuple[str, bytes | None], ...]] = (
    ("finance.headers", b"unreadable: a name is not UTF-8"),
)


def weight(message: Message) -> int:
    """Its bytes. The client counts values alone, and no headers."""
    size = len(message) + len(message.key() or b"")
    for name, value in headers_of(message):
        size += len(name) + len(value or b"")
    return size


def headers_of(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    """Headers are not content, and any publisher can send a name that is not UTF-8: the client fails on it for ever,
    and must not take the poster along."""
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError):
        return HEADERS_UNREADABLE
    return tuple(cast("list[tuple[str, bytes | None]]", headers)) if headers else ()


class BoundedRead:
    """`consume(count, seconds)` is the client's own. `seconds` is waited out unless the count is full."""

    def __init__(
        self,
        consume: Callable[[int, float], list[Message]],
        monotonic: Callable[[], float],
        bytes_max: int = READ_BYTES_MAX,
    ) -> None:
        self._consume = consume
        self._monotonic = monotonic
        self._bytes_max = bytes_max
        self._heaviest = 1  # of the newest piece
        self._taken: list[Message] = []

    def read(self, records_max: int, timeout_seconds: float) -> list[Message]:
        """The next messages, in the client's order; reports of an end or a failure count as such. Raises
        KafkaException."""
        deadline = self._monotonic() + timeout_seconds
        self._taken = []
        left = self._bytes_max
        while left > 0 and len(self._taken) < records_max:
            fits = max(1, min(PIECE_RECORDS_MAX, records_max - len(self._taken), left // self._heaviest))
            piece = self._consume(fits, 0)  # what waits there: nothing is fetched meanwhile
            if not piece:
                seconds = deadline - self._monotonic()
                if seconds <= 0:
                    break
                piece = self._consume(1, seconds)
                if not piece:
                    break
            self._taken += piece
            weights = [weight(message) for message in piece]
            self._heaviest = max(1, *weights)
            left -= sum(weights)
        taken, self._taken = self._taken, []
        return taken

    def forget(self, partitions: set[int]) -> None:
        """What was read of them in this call is dropped: they were taken away, or begin anew."""
        self._taken = [message for message in self._taken if message.partition() not in partitions]
