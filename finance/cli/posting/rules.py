"""`finance rules`: which versions of the posting rules there are, which is in force where, and putting one in force."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import click
from rich.console import Console

from finance.cli.common import emit, for_the_chain, json_option, load_settings, load_topology_of, operator, table
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.books.rule_versions import FIRST_RULES, NEWEST_RULES, VERSIONS, rules_of
from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent, Publisher
from ledger_core.postgres.audit.outbox import append_intents
from ledger_core.postgres.posting.rules_in_force import activations, rejection_of, rules_in_force
from ledger_core.postgres.session import Session, session
from ledger_core.posting.activation import RulesPayload, assemble_rules
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.times import format_time

FLUSH_TIMEOUT_SECONDS = 20.0
LOOK_SECONDS = 0.2


@click.group()
def command() -> None:
    """Versions of the posting rules: list them, and put the next one in force.

    \b
    Examples:
      finance rules list
      finance rules activate 2 --all --reason "refunds of sales in BGN"
    """


@command.command(name="list")
@json_option
def list_(as_json: bool) -> None:
    """The versions that this finance knows, what each changes, and which is in force in each shard since when.

    Reads DATABASE_URL_API.

    \b
    Example:
      finance rules list --json
    """
    settings = load_settings()
    with session(settings.database_url("api"), application_name="finance rules", read_only=True) as connection:
        in_force = rules_in_force(connection)
        since = {shard: activations(connection, shard) for shard in in_force}

    def words(console: Console) -> None:
        console.print(table(("rules", "what is new"), [(it.number, it.changes) for it in VERSIONS.values()]))
        rows = [(shard, rules, _since(since[shard]), _known(rules)) for shard, rules in in_force.items()]
        console.print(table(("shard", "rules", "from offset", "known here"), rows, right=("shard", "from offset")))

    told = {
        "ok": all(rules in VERSIONS for rules in in_force.values()),
        "versions": [{"rules": it.number, "unicode": it.unicode, "changes": it.changes} for it in VERSIONS.values()],
        "shards": [
            {
                "shard": shard,
                "rules": rules,
                "known": rules in VERSIONS,
                "activations": [{"offset": str(offset), "rules": number} for offset, number in since[shard]],
            }
            for shard, rules in in_force.items()
        ],
    }
    emit(as_json, told, words)
    if not told["ok"]:
        raise click.exceptions.Exit(1)


def _since(found: Sequence[tuple[int, int]]) -> int:
    return found[-1][0] + 1 if found else 0


def _known(rules: int) -> str:
    return "yes" if rules in VERSIONS else f"no: this version knows {FIRST_RULES} to {NEWEST_RULES}"


@dataclass(slots=True)
class _Asked:
    """One shard of an activation, and what became of it."""

    shard: int
    state: str  # in force already, in force, published, or rejected
    value: bytes = b""
    detail: str = ""

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.value).digest()


@command.command()
@click.argument("version", type=click.IntRange(FIRST_RULES + 1))
@click.option("--shard", "shards", type=click.IntRange(0), multiple=True, help="Only this shard; may be repeated.")
@click.option("--all", "all_shards", is_flag=True, help="Every shard of the topology.")
@click.option("--reason", required=True, callback=for_the_chain, help="Why, for the record and the audit chain.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, 600),
    default=30.0,
    show_default=True,
    help="How many seconds to wait for the posters.",
)
@json_option
def activate(
    version: int, shards: tuple[int, ...], all_shards: bool, reason: str, wait_seconds: float, as_json: bool
) -> None:
    """Put posting rules VERSION in force: a signed control record into the partition of each shard.

    What stands before it keeps its verdict, what stands behind it is judged by the new rules, for ever. Install a
    finance that knows VERSION on every host first: a process without it waits with that shard. A shard in which VERSION
    is in force already is left alone, so an interrupted run is run again; a record that is published twice is rejected
    the second time. The audit intent is on record before anything is published. Exits 1 when a poster rejected a
    record, or has not judged it yet.

    Reads DATABASE_URL_API, KAFKA_BROKERS, FINANCE_SIGNERS, FINANCE_OPERATOR, and the settings of a key that signs
    `rules`.

    \b
    Examples:
      finance rules activate 2 --shard 0 --reason "first one shard"
      finance rules activate 2 --all --reason "refunds of sales in BGN" --json
    """
    if bool(shards) == all_shards:
        raise click.UsageError("name --shard, or --all")
    rules_of(version)
    settings = load_settings()
    topology = load_topology_of(settings)
    topic = topology.topics["settlements"]
    wanted = sorted(set(shards)) or list(range(topic.partitions))
    if wanted[-1] >= topic.partitions:
        raise click.UsageError(f"{topic.name} has shards 0 to {topic.partitions - 1}")
    with session(settings.database_url("api"), application_name="finance rules") as connection:
        asked = _not_yet(connection, wanted, version)
        todo = [it for it in asked if it.state == "published"]
        if todo:
            _sign_and_publish(settings, connection, todo, version, reason)
            _wait(connection, todo, version, wait_seconds)
    _tell(asked, version, as_json)


def _not_yet(connection: Session, wanted: Sequence[int], version: int) -> list[_Asked]:
    in_force = rules_in_force(connection)
    asked = []
    for shard in wanted:
        rules = in_force.get(shard, FIRST_RULES)
        if rules < version - 1:
            raise Refused(
                f"rules {rules} are in force in shard {shard}: only {rules + 1} can follow",
                remedy=f"activate {rules + 1} first",
            )
        asked.append(_Asked(shard, "in force already" if rules >= version else "published"))
    return asked


def _sign_and_publish(
    settings: Settings, connection: Session, todo: Sequence[_Asked], version: int, reason: str
) -> None:
    """Every record is signed, then every intent is written, then all is published."""
    from finance.wiring.kafka import open_publisher
    from finance.wiring.registry_file import read_registry
    from finance.wiring.signers import open_signer

    topology = load_topology_of(settings)
    actor_id, trace_id, topic = operator(settings), clock.new_trace_id(), topology.topics["settlements"].name
    signer = open_signer(settings, topology, read_registry(settings.signers_path), signs=["rules"])
    intents = []
    try:
        signer.pin()
        for asked in todo:
            payload = _payload(settings, signer, topic, asked.shard, version, (actor_id, reason, trace_id))
            asked.value = assemble_rules(payload, signer.sign_digest(payload.digest()))
            intents.append(_intent(payload))
    finally:
        signer.close()
    with connection.transaction(), connection.cursor() as cursor:
        append_intents(cursor, intents)
    publisher: Publisher = open_publisher(settings)
    try:
        for asked in todo:
            publisher.publish(topic, asked.shard, key=None, value=asked.value)
        publisher.flush(FLUSH_TIMEOUT_SECONDS)
    finally:
        publisher.close()


def _payload(
    settings: Settings, signer: PinnedSigner, topic: str, shard: int, version: int, told: tuple[str, str, str]
) -> RulesPayload:
    return RulesPayload(
        says="finance.rules.v1",
        env=settings.env,
        topic=topic,
        shard=shard,
        rules=version,
        actor_id=told[0],
        reason=told[1],
        trace_id=told[2],
        ts=format_time(clock.utc_now()),
        signer_kid=signer.kid,
        alg=signer.registered.algorithm,
    )


def _intent(payload: RulesPayload) -> AuditIntent:
    told: dict[str, object] = {
        "shard": payload.shard,
        "rules": payload.rules,
        "statement_hash": payload.digest().hex(),
        "signer_kid": payload.signer_kid,
        "reason": payload.reason,
    }
    return AuditIntent("rules.activation_signed", payload.actor_id, told, payload.trace_id)


def _wait(connection: Session, todo: Sequence[_Asked], version: int, seconds: float) -> None:
    """Until each record has its verdict, or the time is over."""
    end = time.monotonic() + seconds
    while True:
        in_force = rules_in_force(connection)
        for asked in todo:
            if in_force.get(asked.shard, FIRST_RULES) >= version:
                asked.state = "in force"
            elif (detail := rejection_of(connection, asked.shard, asked.digest)) is not None:
                asked.state, asked.detail = "rejected", detail
        if all(asked.state != "published" for asked in todo) or time.monotonic() >= end:
            return
        time.sleep(LOOK_SECONDS)


def _tell(asked: Sequence[_Asked], version: int, as_json: bool) -> None:
    ok = all(it.state.startswith("in force") for it in asked)

    def words(console: Console) -> None:
        for it in asked:
            console.print(f"shard {it.shard}: rules {version} {it.state}{': ' * bool(it.detail)}{it.detail}")
        if any(it.state == "published" for it in asked):
            console.print("published, and not judged yet: see `finance rules list` and `finance status`")

    told = [{"shard": it.shard, "state": it.state, "detail": it.detail or None} for it in asked]
    emit(as_json, {"ok": ok, "rules": version, "shards": told}, words)
    if not ok:
        raise click.exceptions.Exit(1)
