"""Kafka's jars from Maven, resolved by jgo, kept in the user's cache: downloaded once per machine.

Besides the broker it takes one SLF4J binding, without which a broker that fails to start says nothing. The binding is
resolved on its own and only its own jar is taken: resolved together, its parent POM turns kafka-clients back to 3.9.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from finance.workshop.devstack.server import Say
from ledger_core.errors import Unavailable
from producers.storage.whole_file import replace_file

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"  # of the log4j-core that Kafka brings


def cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finance-devstack"


def classpath(say: Say) -> str:
    """The class path of the broker. Raises Unavailable("kafka") when the jars cannot be had."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    listing = cache / f"{KAFKA}.classpath".replace(":", "_")
    with (cache / "jars.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # stacks starting side by side download once
        if listing.exists():
            known = listing.read_text()
            if all(Path(jar).exists() for jar in known.split(os.pathsep)):
                return known
        say("downloading Kafka from Maven (45 jars, 44 MB; once on this machine)")
        jars = _resolve(cache)
        replace_file(listing, os.pathsep.join(jars).encode())
        return os.pathsep.join(jars)


def _resolve(cache: Path) -> list[str]:
    import jgo

    try:
        jars = list(jgo.build(KAFKA, cache_dir=cache / "jgo").all_jars)
        jars += [jar for jar in jgo.build(BINDING, cache_dir=cache / "jgo").all_jars if "slf4j-impl" in jar.name]
    except Exception as error:  # jgo lets errors of several libraries through
        raise Unavailable(
            "kafka", f"its jars cannot be had from Maven ({error}). Is the network, or ~/.m2/settings.xml, right?"
        ) from error
    return [str(jar.absolute()) for jar in jars]
