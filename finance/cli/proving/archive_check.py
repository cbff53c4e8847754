"""What `finance verify archive` does: it asks the oracle about the archive, then puts the audit topic beside it.

Guarantees: the archive is judged from the store alone, whether or not Kafka answers; whether its proofs were compared
with what was announced, and why not, is part of what is said.
Does not: print (`finance.cli.proving.verify` does), or judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from finance.cli.common import load_topology_of
from finance.settings.deployment import Settings
from ledger_core.errors import Refused, Unavailable
from ledger_core.findings import Report
from ledger_core.ports import StoredObject
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import (
    AnnouncedCheck,
    ArchivedProofs,
    ArchiveHead,
    ArchiveReader,
    verify_announced,
    verify_archive,
)


@dataclass(frozen=True, slots=True)
class ArchiveQuestion:
    """What to check."""

    folder: Path | None  # a bundle; None: S3
    env: str | None  # None: FINANCE_ENV
    shards: tuple[int, ...]  # empty: all of them
    with_database: bool  # whether it says where the manifests must reach
    with_topic: bool | None  # whether the audit topic is asked; None: if it can be


@dataclass(frozen=True, slots=True)
class ArchiveAnswer:
    """What the oracle found, and what came of the comparison; `why_not`: the reason why there was none."""

    report: Report  # of the archive, and of the comparison
    compared_with: str | None  # name of the topic; None: nothing was compared
    why_not: str | None  # the reason; None: it was compared
    waiting: tuple[tuple[int, int, int], ...]  # shard, first and last range: announced, and not archived yet

    def to_json(self) -> dict[str, object]:
        """For `--json`, beside the report."""
        waiting = [
            {"shard": shard, "first_range_no": str(first), "last_range_no": str(last)}
            for shard, first, last in self.waiting
        ]
        return {
            "announced": {"compared_with": self.compared_with, "why_not": self.why_not, "not_archived_yet": waiting}
        }

    def words(self, console: Console) -> None:
        """For people, behind the report."""
        if self.compared_with is None:
            console.print(f"not compared with the audit topic: {self.why_not}")
            return
        console.print(f"compared with {self.compared_with}: each range as it was announced, or a finding says so")
        for shard, first, last in self.waiting:
            ranges = f"range {first}" if first == last else f"ranges {first} to {last}"
            console.print(f"announced and not archived yet: {ranges} of shard {shard}")


class _Watched:
    """An archive reader that moves the progress bar for each object read."""

    def __init__(self, reader: ArchiveReader, advance: Callable[[int], None]) -> None:
        self._reader = reader
        self._advance = advance

    def get(self, key: str, version_id: str | None = None) -> bytes:
        self._advance(1)
        return self._reader.get(key, version_id)

    def versions(self, prefix: str) -> Sequence[StoredObject]:
        return self._reader.versions(prefix)


def check_archive_of(
    settings: Settings, registry: SignerRegistry, asked: ArchiveQuestion, advance: Callable[[int], None]
) -> ArchiveAnswer:
    """Raises Unavailable and Refused, those of Kafka only where the topic must be asked."""
    env, why_not = asked.env or settings.env, _why_not(settings, asked)
    expected = _heads(settings, asked.shards) if asked.with_database else []
    proofs = ArchivedProofs(asked.shards or None) if why_not is None else None
    reader = _Watched(_reader(asked.folder, settings), advance)
    report = verify_archive(reader, env, registry, shards=asked.shards or None, expected=expected, proofs=proofs)
    if proofs is None:
        return ArchiveAnswer(report, None, why_not, ())
    try:
        compared, topic = _compared(settings, registry, proofs, env)
    except (Unavailable, Refused) as error:
        if asked.with_topic:
            raise
        return ArchiveAnswer(report, None, str(error), ())
    if compared.report.sound and "announcements" not in compared.report.counts:
        return ArchiveAnswer(report, None, f"{topic} holds no announcement", ())
    return ArchiveAnswer(report.joined(compared.report), topic, None, compared.waiting)


def _why_not(settings: Settings, asked: ArchiveQuestion) -> str | None:
    """Why the topic is not to be asked; None: it is. Raises Refused."""
    if asked.with_topic is not None:
        if asked.with_topic and asked.env not in (None, settings.env):
            raise Refused(
                f"the brokers are those of {settings.env}, and the archive is to be read as {asked.env}",
                remedy="set FINANCE_ENV and KAFKA_BROKERS of that environment, or leave out --with-topic",
            )
        return None if asked.with_topic else "--without-topic"
    if asked.folder is not None:
        return "a directory is read without a network; --with-topic asks for it"
    if asked.env not in (None, settings.env):
        return f"the brokers are those of {settings.env}"
    return None if settings.values.get("KAFKA_BROKERS") else "KAFKA_BROKERS is not set"


def _compared(
    settings: Settings, registry: SignerRegistry, proofs: ArchivedProofs, env: str
) -> tuple[AnnouncedCheck, str]:
    from finance.wiring.audit_chain import topic_lines

    topic = load_topology_of(settings).topics["audit"].name
    lines: Iterator[bytes] = topic_lines(settings, topic)
    return verify_announced(proofs, lines, registry, env, topic=topic), topic


def _reader(folder: Path | None, settings: Settings) -> ArchiveReader:
    from finance.wiring import services

    return services.open_archive_folder(folder) if folder else services.open_archive(settings)


def _heads(settings: Settings, shards: tuple[int, ...]) -> list[ArchiveHead]:
    from finance.wiring.oracle import archive_heads

    return [head for head in archive_heads(settings) if not shards or head.shard in shards]
