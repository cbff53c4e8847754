"""What every reader of Kafka asks of its client, group or not.

Guarantees: a record is delivered in its order or an error says why: nothing is reset, skipped or committed by itself.
Does not: say where the brokers are, or as whom to speak to them: that comes with the reader.
"""

from __future__ import annotations

from consumers.kafka.bounded_read import FETCH_LIMITS

# Where the record's own topic ends, a retention hole begins: `error` makes it loud (G3).
CONSUMER_DEFAULTS: dict[str, str | int | bool] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    # Markers and aborted records hold no record: only the broker's word on the end sets them apart from work.
    "enable.partition.eof": True,
    "check.crcs": True,
    "allow.auto.create.topics": False,
    "fetch.wait.max.ms": 50,
    **FETCH_LIMITS,
    "fetch.queue.backoff.ms": 50,
    # What a shard needs before it is read (publishing a lost journal again, reading far back on the audit topic) runs
    # inside one poll. A member that was put out for it would begin anew, for ever; one that hangs, our watchdog ends.
    "max.poll.interval.ms": 1_800_000,
    # Its connection failures come as Unavailable, logged once a try: librdkafka would print several lines a second.
    "log_level": 2,
    "reconnect.backoff.max.ms": 2000,  # found again soon after an outage
    # KIP-848: a second member has its share in half the time of the classic protocol (docs/PERFORMANCE.md).
    "group.protocol": "consumer",
}
# The new protocol leaves these to the broker and refuses them from a client.
CLASSIC_ONLY: dict[str, str | int | bool] = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 8000,
    "heartbeat.interval.ms": 1000,
}
