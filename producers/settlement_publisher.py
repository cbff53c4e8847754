"""The publisher library: what a shop imports to publish settlement events.

    with SettlementPublisher("broker:9092") as publisher:
        publisher.publish(settlement_of(sale))

Guarantees: an event that the poster would reject for what stands in it is rejected here, with the same reason, before
it leaves the shop; records of one settlement keep their order; leaving the `with` block normally means that the brokers
acknowledged every record. Personal data go to a topic of their own, and are acknowledged before the event that has
their digest leaves. A failed delivery surfaces from the next call, never silently; publishing again is harmless,
because the same sale has the same event id.
Does not: return the verdict (it is on the outcomes topic), keep what was not acknowledged over a crash (the shop's own
outbox does), or serve several threads (make one publisher per thread).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final

from ledger_core.books.rule_versions import FIRST_RULES, rules_of
from ledger_core.books.settlements import SettlementEvent, record_from_event
from ledger_core.errors import FinanceError
from ledger_core.posting.rules import draft

try:
    from producers.kafka.publisher import KafkaPublisher
    from schemas.wire.personal import encode_personal
    from schemas.wire.settlements import encode_settlement
except ModuleNotFoundError as missing:
    if missing.name not in ("confluent_kafka", "fastavro"):
        raise
    remedy = f"the package {missing.name} is not installed: pip install 'finance-ledger[publisher]'"
    raise ModuleNotFoundError(remedy, name=missing.name) from missing

DEFAULT_TOPIC: Final = "finance.settlements"
HELD_EVENTS_MAX: Final = 1_000  # before their data are waited for
FLUSH_SECONDS_MAX: Final = 30.0
_BY_KEY: Final = -1  # librdkafka's own partitioner decides: murmur2, where Java's default puts the same key
_POLL_EVERY_RECORDS: Final = 512


class SettlementPublisher:
    """Publishes settlement events to one topic, and personal data to the one beside it. `options` are librdkafka
    settings (TLS, SASL) over the defaults.

    `rules` is the version of the posting rules that events are checked by: the one in force in every shard, as the
    ledger's operators say (`finance rules list`); 1 unless they said another.
    `on_progress(count)` is called now and then with the number of records queued since the last call. Every method may
    raise Unavailable("kafka") or Refused (with the remedy); after that this publisher is done, make a new one.
    """

    def __init__(
        self,
        brokers: str,
        topic: str = DEFAULT_TOPIC,
        *,
        personal_topic: str | None = None,
        options: Mapping[str, str | int | bool] | None = None,
        on_progress: Callable[[int], None] | None = None,
        rules: int = FIRST_RULES,
    ) -> None:
        self.topic = topic
        self.personal_topic = personal_topic or topic.removesuffix("settlements") + "personal"
        self._held: list[tuple[bytes, bytes]] = []  # encoded events, behind their personal data
        self.published = 0  # records queued so far; all of them acknowledged after flush
        self._reported = 0
        self._rules = rules_of(rules)
        self._on_progress = on_progress
        self._publisher = KafkaPublisher(brokers, options)

    def publish(self, event: SettlementEvent) -> None:
        """Check and queue one event, and its personal data before it; waits while the queue is full. Raises Rejected
        when the poster would."""
        key = event.settlement_id.encode()
        draft(record_from_event(event), key, self._rules)
        if event.pii is not None and event.pii_salt is not None:
            data = encode_personal(event.event_id, event.pii, event.pii_salt)
            self._publisher.publish(self.personal_topic, _BY_KEY, key=event.event_id.encode(), value=data)
        elif not self._held:
            self.publish_encoded(key, encode_settlement(event))
            return
        self._held.append((key, encode_settlement(event)))  # and what comes behind it: settlements keep their order
        if len(self._held) >= HELD_EVENTS_MAX:
            self._let_go(FLUSH_SECONDS_MAX)

    def publish_and_wait(self, event: SettlementEvent) -> None:
        """Publish one event, and its personal data before it; both are acknowledged when this returns. Raises Rejected
        when the poster would."""
        self.publish(event)
        self.flush()

    def publish_all(self, events: Iterable[SettlementEvent]) -> int:
        """Publish every event of a stream; the number of them. Flush, or leave the `with` block, afterwards."""
        before = self.published
        for event in events:
            self.publish(event)
        return self.published - before

    def publish_encoded(self, key: bytes, value: bytes) -> None:
        """Queue bytes that were encoded before, unchecked: replay, dead letters sent again, load tests."""
        self._publisher.publish(self.topic, _BY_KEY, key=key, value=value)
        self.published += 1
        if self.published % _POLL_EVERY_RECORDS == 0:
            self._publisher.poll()
            self._report()

    def flush(self, timeout_seconds: float = FLUSH_SECONDS_MAX) -> None:
        """Wait until the brokers acknowledged everything published so far."""
        if self._held:
            self._let_go(timeout_seconds)
        self._publisher.flush(timeout_seconds)
        self._report()

    def _let_go(self, timeout_seconds: float) -> None:
        """The events that wait for their personal data: these are acknowledged first. A crash in between leaves data
        without an event, which are erased after a time, and never an event without its data."""
        self._publisher.flush(timeout_seconds)
        held, self._held = self._held, []
        for key, value in held:
            self.publish_encoded(key, value)

    def close(self) -> None:
        """Let go, dropping what was not acknowledged; `flush` first to drop nothing."""
        self._publisher.close()

    def __enter__(self) -> SettlementPublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Flush, also when a rejected event or the shop's own error ended the block: that error is what is raised."""
        try:
            if error is None:
                self.flush()
            elif isinstance(error, Exception):
                with suppress(FinanceError):
                    self.flush()
        finally:
            self.close()

    def _report(self) -> None:
        if self._on_progress is not None and self.published > self._reported:
            self._on_progress(self.published - self._reported)
            self._reported = self.published
