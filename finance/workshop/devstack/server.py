"""What every server of the stack has in common: how it is started, asked, prepared and stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from finance.workshop.devstack.processes import Launch
from finance.workshop.devstack.state import StackPlace, State

Say = Callable[[str], None]
"""Where progress goes: one short line of text."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server stands: its stack's directory, what the stack remembers, and what to call with progress."""

    place: StackPlace
    state: State
    say: Say


class Server(Protocol):
    """One kind of server. Instances hold no state of their own: everything lies in the Site."""

    name: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals]
    stop_seconds_max: ClassVar[float]
    ready_seconds_max: ClassVar[float]

    def prepare(self, site: Site, /) -> Launch:
        """Write the configuration, make the data directory on first start; how to start it."""
        ...

    def is_ready(self, state: State, /) -> bool:
        """Does it do its work? One cheap question, answered within about two seconds; never raises."""
        ...

    def provision(self, site: Site, /) -> bool:
        """Make what Finance needs in it (database, bucket, keys), once. True asks for a clean restart."""
        ...

    def sweep(self, site: Site, /) -> None:
        """Remove what an ended server leaves behind (lock files, sockets). Called only when it does not run."""
        ...
