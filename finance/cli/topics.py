"""`finance topics`: create the topics of topology.yaml, check them, and show the schemas that travel on them."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, table
from producers import topics_kafka
from producers.topics_kafka import Action
from schemas.registry import import_requests, published


@click.group()
def command() -> None:
    """Create the topics of topology.yaml, or check them; nothing is ever deleted or altered.

    \b
    Examples:
      finance topics apply
      finance topics check --json
      finance topics schemas
    """


@command.command()
@json_option
def apply(as_json: bool) -> None:
    """Create the topics that are missing; report the ones that differ (exit 1), change none of them.

    Reads KAFKA_BROKERS, FINANCE_TOPOLOGY, FINANCE_TOPIC_PREFIX.

    \b
    Example:
      finance topics apply
    """
    settings = load_settings()
    _report(topics_kafka.apply(load_topology_of(settings), settings.kafka_brokers), as_json, applied=True)


@command.command()
@json_option
def check(as_json: bool) -> None:
    """Compare the cluster with topology.yaml and change nothing; exit 1 when they differ.

    Reads KAFKA_BROKERS, FINANCE_TOPOLOGY, FINANCE_TOPIC_PREFIX.

    \b
    Example:
      finance topics check --json
    """
    settings = load_settings()
    _report(topics_kafka.check(load_topology_of(settings), settings.kafka_brokers), as_json, applied=False)


def _report(actions: list[Action], as_json: bool, *, applied: bool) -> None:
    created = [action for action in actions if applied and action.kind == "create"]
    findings = [action for action in actions if action not in created]

    def words(console: Console) -> None:
        for action in created:
            console.print(f"created  {action.topic}: {action.wanted}")
        for action in findings:
            console.print(f"differs  {action.topic}: {action.setting} is {action.found}, wants {action.wanted}")
            console.print(f"         {action.remedy}")
        if not actions:
            console.print("every topic stands as topology.yaml wants it")

    result = {
        "ok": not findings,
        "created": [action.topic for action in created],
        "findings": [asdict(action) for action in findings],
    }
    emit(as_json, result, words)
    if findings:
        raise click.exceptions.Exit(1)


@command.command()
@click.option("--registry", metavar="URL", help="Show the requests that put them into this schema registry, as curl.")
@json_option
def schemas(registry: str | None, as_json: bool) -> None:
    """Show the published Avro schemas and their ids; a schema registry is not needed.

    With --registry, print what to send to a Confluent-compatible registry, in IMPORT mode, so that it serves the same
    schemas under the same ids. Nothing is sent. Reads FINANCE_TOPOLOGY, FINANCE_TOPIC_PREFIX.

    \b
    Examples:
      finance topics schemas
      finance topics schemas --registry http://registry:8081
    """
    topology = load_topology_of(load_settings())
    topic_of_schema: dict[str, str] = {topic.value: topic.name for topic in topology.topics.values()}
    known = [schema for schema in published() if schema.name in topic_of_schema]
    requests = import_requests({schema.name: topic_of_schema[schema.name] for schema in known}) if registry else []

    def words(console: Console) -> None:
        if registry is None:
            rows = [(s.key, s.schema_id, topic_of_schema[s.name]) for s in known]
            console.print(table(("schema", "id", "topic"), rows, right=("id",)))
        for request in requests:
            body = request.body.replace("'", "'\\''")
            console.print(
                f"curl -sS -X {request.method} -H 'Content-Type: application/vnd.schemaregistry.v1+json' "
                f"--data '{body}' {(registry or '').rstrip('/')}{request.path}",
                markup=False,
            )

    listed = [{"schema": s.key, "id": s.schema_id, "topic": topic_of_schema[s.name]} for s in known]
    emit(as_json, {"ok": True, "schemas": listed, "requests": [asdict(request) for request in requests]}, words)
