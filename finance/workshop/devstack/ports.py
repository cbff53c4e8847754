"""Free loopback ports that a stack keeps for life, so that a restart serves the same addresses.

Ports come from below the kernel's ephemeral range: there no client connection can take one while its server is down.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Container

from ledger_core.errors import Refused

_FIRST, _LAST = 17000, 31999
_ATTEMPTS_MAX = 2000


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what every server here does: TIME_WAIT is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def pick(taken: Container[int], choose: random.Random) -> int:
    """A port nobody listens on and that is not `taken`. Chosen at random: two stacks starting at once do not meet.
    Raises Refused when none is free.
    """
    for _ in range(_ATTEMPTS_MAX):
        port = choose.randint(_FIRST, _LAST)
        if port not in taken and is_free(port):
            return port
    raise Refused(
        f"no free loopback port between {_FIRST} and {_LAST}", remedy="stop other stacks: finance dev down --all"
    )
