"""Fixtures of the whole suite: one stack of real servers a run, started when the first test asks for it.

`--stack NAME` uses a stack that `finance dev up --name NAME` left running: it saves the start of every run.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

from finance.settings.compiled import stale
from finance.workshop.devstack import Stack, names
from tests.support import buckets, databases, kafka, topics

# How long an example takes says how busy the machine is, and nothing of what it tests.
hypothesis.settings.register_profile("finance", deadline=None)
hypothesis.settings.load_profile("finance")

STATE_ROOT = Path(__file__).parents[1] / ".finance"
# Variables of the developer's own shell must not steer a test.
_SETTINGS = re.compile(r"(FINANCE|DATABASE_URL|KAFKA|S3_AUDIT|AUDIT_SIGNING|KMS|AWS|BACKUP)(_|$)")


def pytest_configure() -> None:
    """Python would run a compiled module that is older than its source: then nothing here means anything."""
    # A shell starts a background job with SIGINT ignored, and every child inherits that: ours answer the one we send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if stale():
        pytest.exit(f"compiled modules were made from other sources: {', '.join(stale())}. Run `make compile`", 3)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("finance")
    group.addoption(
        "--services",
        choices=("packages", "containers"),
        default="packages",
        help="where the servers come from: Python and Maven packages (default), or Docker images",
    )
    group.addoption(
        "--image",
        action="append",
        default=[],
        metavar="SERVICE=IMAGE",
        help="with --services=containers: another image for postgres, kafka, s3 or kms (a mirror's, or one built here)",
    )
    group.addoption(
        "--outage-seconds",
        type=float,
        default=10.0,
        help="how long tests/fault/runtime/test_outages.py takes each server away (60 by hand, before a release)",
    )
    group.addoption("--secure", action="store_true", help="a stack with mutual TLS on every port, and ACLs")
    group.addoption(
        "--page-mutations", type=int, default=400, help="how many changed files both verifiers read (20000 by hand)"
    )
    group.addoption("--bundle-mutations", type=int, default=60, help="how many forged bundles both verifiers read")
    group.addoption("--stack", metavar="NAME", help="use the stack of `finance dev up --name NAME`, leave it up")


@pytest.fixture(autouse=True, scope="session")
def _own_environment() -> None:
    for name in [name for name in os.environ if _SETTINGS.match(name)]:
        del os.environ[name]


@pytest.fixture(scope="session")
def stack(session_stack: Stack) -> Stack:
    """The stack of this run; a file may have one of its own under this name."""
    return session_stack


@pytest.fixture(scope="session")
def session_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack of this run. Tests share it: whoever stops a server starts it again."""
    given = request.config.getoption("--stack")
    if given:
        found = Stack.up(given, STATE_ROOT, say=_say, secure=request.config.getoption("--secure"))
        kafka.know(found.env)
        yield found
        return
    _remove_abandoned()
    name = f"test-{os.getpid()}"
    if request.config.getoption("--services") == "containers":
        from tests.support.containers import ContainerStack

        images = dict(given.split("=", 1) for given in request.config.getoption("--image"))
        own: Stack = ContainerStack.up(name, STATE_ROOT, say=_say, images=images)
    else:
        own = Stack.up(name, STATE_ROOT, say=_say, secure=request.config.getoption("--secure"))
    kafka.know(own.env)
    try:
        yield own
    finally:
        own.remove(keep_logs=request.session.testsfailed > 0)


def another_stack(request: pytest.FixtureRequest, purpose: str) -> Iterator[Stack]:
    """A stack of one module alone, as secure as the run's, so that others' tests keep their servers."""
    own = Stack(f"test-{os.getpid()}-{purpose}", STATE_ROOT)
    try:
        up = Stack.up(own.name, STATE_ROOT, secure=request.config.getoption("--secure"))
        kafka.know(up.env)
        yield up
    finally:
        own.remove()


@pytest.fixture(scope="session")
def secure_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Mutual TLS on every port: the run's own stack with --secure, else one more, started when first asked for."""
    if request.config.getoption("--secure"):
        yield request.getfixturevalue("session_stack")
        return
    own = Stack(f"test-{os.getpid()}-secure", STATE_ROOT)
    try:
        yield Stack.up(own.name, STATE_ROOT, say=_say, secure=True)
    finally:
        own.remove(keep_logs=request.session.testsfailed > 0)


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    """The name of the migrated template database."""
    return databases.ensure_template(stack.env["DATABASE_URL"])


@pytest.fixture
def other_database(stack: Stack, database_template: str) -> Iterator[str]:
    """A second migrated database, for what is compared with the first; its superuser DSN."""
    url = databases.create_database(stack.env["DATABASE_URL"], database_template)
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


@pytest.fixture
def database_url(stack: Stack, database_template: str) -> Iterator[str]:
    """A fresh, migrated database; superuser DSN. `role_url(database_url, "finance_poster")` is a role's."""
    url = databases.create_database(stack.env["DATABASE_URL"], database_template)
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


@pytest.fixture
def topic_prefix(stack: Stack) -> Iterator[str]:
    """A prefix under which every topic of topology.yaml exists, empty."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    created = topics.create_topics(stack.env["KAFKA_BROKERS"], prefix)
    yield prefix
    topics.delete_topics(stack.env["KAFKA_BROKERS"], created)


@pytest.fixture
def bucket(stack: Stack) -> str:
    """A fresh Object-Lock bucket."""
    return buckets.create_bucket(stack.env)


@pytest.fixture
def environ(stack: Stack, database_url: str, topic_prefix: str, bucket: str) -> dict[str, str]:
    """Every setting for the three above: for Settings.from_env, or for a subprocess `python -m finance ...`."""
    inherited = {name: value for name, value in os.environ.items() if not _SETTINGS.match(name)}
    roles = {
        name: databases.role_url(database_url, f"finance_{name.removeprefix('DATABASE_URL_').lower()}")
        for name in stack.env
        if name.startswith("DATABASE_URL_")
    }
    return {
        **inherited,
        **stack.env,
        **roles,
        "DATABASE_URL": database_url,
        "FINANCE_TOPIC_PREFIX": topic_prefix,
        "FINANCE_TOPOLOGY": str(topics.TOPOLOGY),
        "S3_AUDIT_BUCKET": bucket,
    }


def _remove_abandoned() -> None:
    """Stacks of test runs that were killed: their name holds the pid of a process that is gone."""
    for name in names(STATE_ROOT):
        owner = re.fullmatch(r"test-(\d+)(-.+)?", name)
        if owner and not psutil.pid_exists(int(owner[1])):
            _say(f"removing {name}, left by a killed test run")
            Stack(name, STATE_ROOT).remove()


def _say(message: str) -> None:
    print(f"[stack] {message}", file=sys.stderr)
