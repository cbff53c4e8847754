"""The class path of Kafka's broker: its jars from Maven, downloaded once per machine.

Besides the broker it takes one SLF4J binding, without which a broker that fails to start says nothing.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from finance.workshop.devstack.jars import BINDING, KAFKA, cache_directory, check_jars, jars_of
from finance.workshop.devstack.server import Say
from ledger_core.errors import Refused, Unavailable
from producers.storage.whole_file import replace_file


def classpath(say: Say) -> str:
    """The class path of the broker. Raises Unavailable("kafka") when the jars cannot be had, Refused for other jars."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    listing = cache / f"{KAFKA}.classpath".replace(":", "_")
    with (cache / "jars.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # stacks starting side by side download once
        if listing.exists():
            known = listing.read_text()
            if all(Path(jar).exists() for jar in known.split(os.pathsep)):
                check_jars(Path(jar) for jar in known.split(os.pathsep))
                return known
        say("downloading Kafka from Maven (45 jars, 44 MB; once on this machine)")
        jars = _resolve()
        replace_file(listing, os.pathsep.join(jars).encode())
        return os.pathsep.join(jars)


def _resolve() -> list[str]:
    try:
        return [str(jar) for coordinate in (KAFKA, BINDING) for jar in jars_of(coordinate)]
    except Refused:
        raise
    except Exception as error:  # jgo lets errors of several libraries through
        raise Unavailable(
            "kafka", f"its jars cannot be had from Maven ({error}). Is the network, or ~/.m2/settings.xml, right?"
        ) from error
