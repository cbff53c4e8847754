"""`finance topics`: create the topics of topology.yaml, check them, and show the schemas that travel on them."""

from __future__ import annotations

from dataclasses import asdict, replace

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, table
from finance.wiring import topics
from finance.wiring.topics import AclPlan, Action
from ledger_core.errors import Refused
from schemas.authority.kafka_acls import Acl, acl_of, acls_of
from schemas.wire.registry import import_requests, import_script, published


@click.group()
def command() -> None:
    """Create the topics and ACLs of topology.yaml, or check them; no topic is ever deleted or altered.

    \b
    Examples:
      finance topics apply
      finance topics check --json
      finance topics schemas
    """


@command.command()
@click.option(
    "--remove-acl",
    "removals",
    multiple=True,
    metavar="TEXT",
    help="Remove this ACL, written as `finance topics check` shows it.",
)
@json_option
def apply(removals: tuple[str, ...], as_json: bool) -> None:
    """Create the topics and ACLs that are missing; report what differs or is too much (exit 1), change none of it.

    ACLs are made where the cluster has an authorizer. One that is too much goes only when it is named, whole. Reads
    KAFKA_BROKERS, FINANCE_TOPOLOGY, FINANCE_TOPIC_PREFIX and, with TLS, the certificate of `admin`.

    \b
    Examples:
      finance topics apply
      finance topics apply --remove-acl "User:CN=old topic finance.journal READ"
    """
    settings = load_settings()
    unwanted = [_acl(text) for text in removals]
    topology = load_topology_of(settings)
    wanted = acls_of(topology, settings.topic_prefix)
    if any(acl in wanted for acl in unwanted):
        raise Refused("topology.yaml wants an ACL that --remove-acl names", remedy="change topology.yaml first")
    actions = topics.apply_topics(settings, topology)
    acls = topics.apply_acls(settings, wanted)
    removed = topics.remove_acls(settings, unwanted) if unwanted else 0
    left = replace(acls, extra=tuple(text for text in acls.extra if text not in removals))
    _report(actions, left, as_json, applied=True, removed=removed)


@command.command()
@json_option
def check(as_json: bool) -> None:
    """Compare topics and ACLs of the cluster with topology.yaml and change nothing; exit 1 when they differ.

    Reads KAFKA_BROKERS, FINANCE_TOPOLOGY, FINANCE_TOPIC_PREFIX and, with TLS, the certificate of `admin`.

    \b
    Example:
      finance topics check --json
    """
    settings = load_settings()
    topology = load_topology_of(settings)
    acls = topics.compare_acls(settings, acls_of(topology, settings.topic_prefix))
    _report(topics.compare_topics(settings, topology), acls, as_json, applied=False)


def _acl(text: str) -> Acl:
    found = acl_of(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not an ACL like 'User:CN=old topic finance.journal READ'")
    return found


def _report(actions: list[Action], acls: AclPlan, as_json: bool, *, applied: bool, removed: int = 0) -> None:
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
        _acl_words(console, acls, applied=applied, removed=removed)

    sound = not findings and not acls.extra and (applied or not acls.missing)
    told = [acl.text for acl in acls.missing]
    result = {
        "ok": sound,
        "created": [action.topic for action in created],
        "findings": [asdict(action) for action in findings],
        "acls": {
            "enforced": acls.enforced,
            "created": told if applied else [],
            "missing": [] if applied else told,
            "extra": acls.extra,
            "removed": removed,
        },
    }
    emit(as_json, result, words)
    if not sound:
        raise click.exceptions.Exit(1)


def _acl_words(console: Console, acls: AclPlan, *, applied: bool, removed: int) -> None:
    if not acls.enforced:
        console.print("the cluster has no authorizer: everybody may do everything, no ACL was compared")
        return
    for acl in acls.missing:
        console.print(f"{'allowed ' if applied else 'missing '} {acl.text}")
    for text in acls.extra:
        console.print(f"too much {text}")
        console.print(f'         finance topics apply --remove-acl "{text}"')
    if removed:
        console.print(f"removed  {removed} ACL(s)")
    if not acls.missing and not acls.extra:
        console.print("every ACL stands as topology.yaml wants it")


@command.command()
@click.option("--registry", metavar="URL", help="Print the script that puts them into this schema registry.")
@json_option
def schemas(registry: str | None, as_json: bool) -> None:
    """Show the published Avro schemas and their ids; a schema registry is not needed.

    With --registry, print a script for a Confluent-compatible registry, which makes it serve the same schemas under the
    same ids, in IMPORT mode. The script fails where the registry refuses, or does not keep our ids: Confluent's keeps
    them, and Redpanda's from 25.3; Karapace has no IMPORT mode. This command sends nothing. Reads FINANCE_TOPOLOGY,
    FINANCE_TOPIC_PREFIX.

    \b
    Examples:
      finance topics schemas
      finance topics schemas --registry http://registry:8081 | sh
    """
    topology = load_topology_of(load_settings())
    topic_of_schema: dict[str, str] = {topic.value: topic.name for topic in topology.topics.values()}
    known = [schema for schema in published() if schema.name in topic_of_schema]
    named = {schema.name: topic_of_schema[schema.name] for schema in known}
    requests = import_requests(named) if registry else []

    def words(console: Console) -> None:
        if registry is None:
            rows = [(s.key, s.schema_id, topic_of_schema[s.name]) for s in known]
            console.print(table(("schema", "id", "topic"), rows, right=("id",)))
            return
        click.echo(import_script(registry, named), nl=False)  # as it is: a shell reads it

    listed = [{"schema": s.key, "id": s.schema_id, "topic": topic_of_schema[s.name]} for s in known]
    emit(as_json, {"ok": True, "schemas": listed, "requests": [asdict(request) for request in requests]}, words)
