"""What a consumer reports about its work, in a few words; `finance.telemetry.surfaces` turns them into Prometheus
metrics.

Guarantees: no method raises, blocks or does I/O, so that reporting never changes what is done. Durations are seconds.
Does not: keep history or decide health; `progress` and `lag` are the two facts that `/healthz` is decided from.
"""

from __future__ import annotations

from typing import Protocol


class Metrics(Protocol):
    """One process's words about its work. Counts are for the call (a batch), never totals."""

    def posted(self, shard: int, count: int, latency_seconds: float) -> None:
        """A batch of `count` entries is committed. `latency_seconds`: from the broker's append time of the batch's
        oldest record to the commit, so that no entry of the batch took longer."""
        ...

    def duplicates(self, shard: int, count: int) -> None:
        """`count` events had been posted before with the same content, and were answered so again."""
        ...

    def rejected(self, reason: str, count: int) -> None:
        """`count` records became dead letters; `reason` is a value of RejectReason."""
        ...

    def no_record(self, shard: int, count: int) -> None:
        """`count` offsets hold no record: aborted transactions and markers, each of which the log explains."""
        ...

    def relayed(self, shard: int, count: int) -> None:
        """`count` records were published to journal, outcomes and dead letters, and acknowledged."""
        ...

    def proof(self, seconds: float) -> None:
        """One range proof is signed, verified and stored; `seconds` from the closing of its range."""
        ...

    def checkpoint(self, shard: int, age_seconds: float) -> None:
        """For how long something of `shard` has been waiting for a live checkpoint; 0 when nothing does."""
        ...

    def exported(self) -> None:
        """One audit batch is stored under lock, read back and listed in its signed manifest."""
        ...

    def audited(self, count: int) -> None:
        """`count` audit events joined the signed chain."""
        ...

    def intents_refused(self, count: int) -> None:
        """`count` intents were kept apart, because they cannot be chained."""
        ...

    def personal(self, outcome: str, count: int) -> None:
        """What became of `count` records of personal data: received, kept, forgotten, or why they were refused."""
        ...

    def projected(self, shard: int, count: int) -> None:
        """`count` entries became rows of the projection."""
        ...

    def projection(self, shard: int, known_seconds: float, *, stands: bool) -> None:
        """The projection answers "as known at" up to `known_seconds` since 1970; `stands`: its journal is refused."""
        ...

    def lag(self, shard: int, records: int, seconds: float) -> None:
        """What waits on `shard` in front of this process: in records, and the age of the oldest in seconds (0 when
        nothing waits)."""
        ...

    def released(self, shard: int) -> None:
        """Another process owns `shard` now: its lag is no longer ours to report."""
        ...

    def halted(self, halted: bool) -> None:
        """Whether this process sees the halt flag set."""
        ...

    def rules(self, shard: int, number: int, *, known: bool) -> None:
        """Which posting rules are in force at the shard's head; whether this process knows them."""
        ...

    def stopped(self, shard: int, *, halted: bool, slowed: bool) -> None:
        """Whether this shard alone is halted; whether it posts slowly, as its dead-letter limit is near."""
        ...

    def unavailable(self, what: str) -> None:
        """A dependency did not answer (`what` of Unavailable): one try failed."""
        ...

    def signer_failed(self, reason: str) -> None:
        """A signature could not be made, or did not verify (a value of SignerFailure); nothing was published for it."""
        ...

    def signer_circuit(self, kid: str, state: str) -> None:
        """The circuit of the signer `kid` is closed, half_open or open."""
        ...

    def progress(self) -> None:
        """The process gets on: it finished a step without a failure, whether or not there was something to do, or a
        piece of what may take long (what a shard must do before it is owned)."""
        ...


class NullMetrics:
    """Says nothing: for tests, and for one-off commands that nobody scrapes."""

    def posted(self, shard: int, count: int, latency_seconds: float) -> None: ...

    def duplicates(self, shard: int, count: int) -> None: ...

    def rejected(self, reason: str, count: int) -> None: ...

    def no_record(self, shard: int, count: int) -> None: ...

    def relayed(self, shard: int, count: int) -> None: ...

    def proof(self, seconds: float) -> None: ...

    def checkpoint(self, shard: int, age_seconds: float) -> None: ...

    def exported(self) -> None: ...

    def audited(self, count: int) -> None: ...

    def intents_refused(self, count: int) -> None: ...

    def personal(self, outcome: str, count: int) -> None: ...

    def projected(self, shard: int, count: int) -> None: ...

    def projection(self, shard: int, known_seconds: float, *, stands: bool) -> None: ...

    def lag(self, shard: int, records: int, seconds: float) -> None: ...

    def released(self, shard: int) -> None: ...

    def halted(self, halted: bool) -> None: ...

    def rules(self, shard: int, number: int, *, known: bool) -> None: ...

    def stopped(self, shard: int, *, halted: bool, slowed: bool) -> None: ...

    def unavailable(self, what: str) -> None: ...

    def signer_failed(self, reason: str) -> None: ...

    def signer_circuit(self, kid: str, state: str) -> None: ...

    def progress(self) -> None: ...
