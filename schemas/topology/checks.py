"""What must be true between the parts of a topology, and what must never stand in one. Findings, not exceptions.

Each function gives every fault it finds as one line of text beginning with the path in the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from schemas.topology.model import UNPACKS_TIMES_MAX, Process, Topic, Topology

REQUIRED_TOPICS: Final = ("settlements", "dead_letters", "outcomes", "journal", "audit", "personal")
REQUIRED_PROCESSES: Final = ("poster", "prover", "archiver", "notary", "keeper", "projector")
UNPACKED_BYTES_MAX: Final = 64 * 2**20  # of one batch: a reader holds it whole, and librdkafka refuses 100 MB
DEAD_LETTER_HEADERS_BYTES: Final = 65_536  # a dead letter is the original plus headers that say why
_SECRETS: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), "a private key"),
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"), "an AWS access key"),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), "an address with a password"),
    (
        re.compile(r"\b(?=[A-Za-z0-9+/_-]*[0-9])(?=[A-Za-z0-9+/_-]*[A-Za-z])[A-Za-z0-9+/_-]{32,}={0,2}(?![\w.])"),
        "a token",
    ),
)
_SECRET_KEY: Final = re.compile(r"(password|passwd|secret|token|credential|private_key|access_key)", re.IGNORECASE)


def cross_faults(topology: Topology) -> list[str]:
    """Every broken relation between topics, processes and limits."""
    faults = [f"topics.{name}: is missing" for name in REQUIRED_TOPICS if name not in topology.topics]
    faults += [f"processes.{name}: is missing" for name in REQUIRED_PROCESSES if name not in topology.processes]
    faults += [f"stores.{name}: is missing" for name in ("archive",) if name not in topology.stores]
    if not topology.signers:
        faults.append("signers: at least one signer is wanted (G6: nothing unsigned leaves as a proof)")
    for name, topic in topology.topics.items():
        faults += _topic_faults(topology, name, topic)
    for name, process in topology.processes.items():
        faults += _process_faults(topology, name, process)
    faults += _access_faults(topology)
    faults += _shard_faults(topology)
    faults += _uniqueness_faults(topology)
    faults += _limit_faults(topology)
    return faults


def _topic_faults(topology: Topology, name: str, topic: Topic) -> Iterator[str]:
    path = f"topics.{name}"
    if topic.retention_days == 0:
        yield f"{path}.retention_days: wants -1 (for ever) or at least one day, not 0"
    if topic.cleanup == "compact" and (topic.retention_days != -1 or topic.key != "event_id"):
        yield f"{path}.cleanup: a compacted topic wants the key event_id, and retention_days -1"
    if (topic.value == "personal") != (topic.cleanup == "compact"):
        yield f"{path}.cleanup: personal data want compact, and nothing else does: proofs commit to records"
    if topic.value == "personal" and topic.readers:
        yield f"{path}.readers: nobody reads personal data but the process that keeps them"
    unpacked_max = topic.message_bytes_max * UNPACKS_TIMES_MAX[topic.compression]
    if unpacked_max > UNPACKED_BYTES_MAX:
        yield f"{path}.message_bytes_max: a batch may unpack to {unpacked_max} bytes, more than {UNPACKED_BYTES_MAX}"
    if topic.compression != "uncompressed" and {*topic.publishers} & {*topology.access.outsiders}:
        yield f"{path}.compression: wants uncompressed, as others than our processes publish it"
    if topic.dead_letters is not None:
        letters = topology.topics.get(topic.dead_letters)
        if letters is None:
            yield f"{path}.dead_letters: no topic is called {topic.dead_letters!r}"
        else:
            if letters.partitions != topic.partitions:
                yield f"{path}.dead_letters: wants {topic.partitions} partitions there, not {letters.partitions}"
            if letters.message_bytes_max < topic.message_bytes_max + DEAD_LETTER_HEADERS_BYTES:
                yield (
                    f"topics.{topic.dead_letters}.message_bytes_max: must hold an original of "
                    f"{topic.message_bytes_max} bytes and {DEAD_LETTER_HEADERS_BYTES} bytes of headers"
                )
    if not topic.publishers:
        yield f"{path}.publishers: nobody publishes this topic"
    for publisher in topic.publishers:
        process = topology.processes.get(publisher)
        if process is None and publisher not in topology.access.outsiders:
            yield f"{path}.publishers: {publisher!r} is neither a process nor one of access.outsiders"
        elif process is not None and name not in process.publishes:
            yield f"{path}.publishers: {publisher} does not list {name} under publishes"


def _access_faults(topology: Topology) -> Iterator[str]:
    """Everybody who may do something is a process, or named as one who holds a certificate."""
    access = topology.access
    known = {*topology.processes, *access.outsiders}
    named = {f"topics.{name}.readers": topic.readers for name, topic in topology.topics.items()}
    named |= {
        "access.archive_writers": access.archive_writers,
        "access.archive_readers": access.archive_readers,
        "access.backup_keepers": access.backup_keepers,
        "access.signing.ledger": access.signing.ledger,
        "access.signing.operators": access.signing.operators,
        "access.signing.backups": access.signing.backups,
    }
    for path, names in named.items():
        yield from (
            f"{path}: {name!r} is neither a process nor one of access.outsiders" for name in names if name not in known
        )
    for name in sorted({*access.outsiders, *access.operators} & {*topology.processes}):
        yield f"access: {name} is a process; outsiders and operators are not processes"
    for name in sorted({name for name in access.signing.everybody if access.signing.everybody.count(name) > 1}):
        yield f"access.signing: {name} is named for two keys"
    for name in sorted({*access.archive_writers} & {*access.archive_readers}):
        yield f"access.archive_readers: {name} is a writer already"


def _process_faults(topology: Topology, name: str, process: Process) -> Iterator[str]:
    path = f"processes.{name}"
    if process.consumes is not None and process.consumes not in topology.topics:
        yield f"{path}.consumes: no topic is called {process.consumes!r}"
    if (process.consumes is None) != (process.group is None):
        yield f"{path}.group: consumes and group come together"
    for key in process.also_consumes:
        if key not in topology.topics or key == process.consumes or process.consumes is None:
            yield f"{path}.also_consumes: {key!r} names nothing that this process can read beside its first topic"
    for published in process.publishes:
        topic = topology.topics.get(published)
        if topic is None:
            yield f"{path}.publishes: no topic is called {published!r}"
        elif name not in topic.publishers:
            yield f"{path}.publishes: {published} does not list {name} under publishers"


def _shard_faults(topology: Topology) -> Iterator[str]:
    """One partition of the settlements topic is one shard, and what a shard publishes keeps its number."""
    topics = topology.topics
    settlements = topics.get("settlements")
    if settlements is not None:
        if settlements.timestamp_type != "LogAppendTime":
            yield "topics.settlements.timestamp_type: wants LogAppendTime, or recorded_at would be the publisher's word"
        if settlements.key != "settlement_id":
            yield "topics.settlements.key: wants settlement_id"
        if settlements.dead_letters is None:
            yield "topics.settlements.dead_letters: is missing"
        for name in ("journal", "outcomes"):
            if name in topics and topics[name].partitions != settlements.partitions:
                yield (
                    f"topics.{name}.partitions: wants {settlements.partitions} as settlements has "
                    f"(partition = shard), not {topics[name].partitions}"
                )
        journal = topics.get("journal")
        if journal is not None and journal.message_bytes_max < settlements.message_bytes_max:
            yield "topics.journal.message_bytes_max: an entry can be as large as its settlement event"
    if "audit" in topics and topics["audit"].partitions != 1:
        yield f"topics.audit.partitions: wants 1 (one chain, one partition), not {topics['audit'].partitions}"


def _uniqueness_faults(topology: Topology) -> Iterator[str]:
    processes = topology.processes
    uses = {
        "topics: two topics are both named": [topic.name for topic in topology.topics.values()],
        "processes: two processes share the group": [g for p in processes.values() for g in p.consumed.values()],
        "processes: two processes share the database_role": [p.database_role for p in processes.values()],
        "processes: two processes share the variable": [
            name for p in processes.values() for name in (p.database_url_env, p.metrics_port_env)
        ],
    }
    for words, names in uses.items():
        yield from (f"{words} {name}" for name, count in Counter(names).items() if count > 1)


def _limit_faults(topology: Topology) -> Iterator[str]:
    limits = topology.limits
    if limits.retry_delay_ms_min > limits.retry_delay_ms_max:
        yield "limits.retry_delay_ms_min: is more than retry_delay_ms_max"
    if limits.poster_dead_letters_max > limits.poster_dead_letter_window_records:
        yield "limits.poster_dead_letters_max: is more than the window has records, so it would never halt"


def secret_faults(data: object, path: str = "") -> list[str]:
    """Every value that looks like a secret, and every key that promises one without being the name of a variable."""
    if isinstance(data, dict):
        faults = []
        for key, value in data.items():
            below = f"{path}.{key}" if path else str(key)
            if isinstance(value, str) and _SECRET_KEY.search(str(key)) and not str(key).endswith("_env"):
                faults.append(f"{below}: a secret does not belong here; name its variable in {key}_env")
            else:
                faults += secret_faults(value, below)
        return faults
    if isinstance(data, list):
        return [fault for index, item in enumerate(data) for fault in secret_faults(item, f"{path}[{index}]")]
    if isinstance(data, str):
        return [f"{path}: looks like {what}; name a variable instead" for form, what in _SECRETS if form.search(data)]
    return []
