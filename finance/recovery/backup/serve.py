"""A restored data directory, served on a socket of its own, in the epoch that says it was restored.

Guarantees: whoever gets a `Served` meets a promoted server whose newest epoch is `restore`; on any failure the server
is stopped, and the directory stays for whoever wants to inspect it.
Does not: replace the lost server (see `finance.recovery.backup.base.cluster`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from finance.recovery.backup.assembly import tools_of
from finance.recovery.backup.base import cluster
from finance.recovery.backup.base.restore import RestoredCluster
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.errors import Refused
from ledger_core.postgres.recovery.epochs import Epoch, begin_epoch
from ledger_core.postgres.session import session

WAIT_SECONDS_MAX: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Served:
    """A server that was started here. `dsn`: the database as its owner, by a socket, without a password."""

    server: cluster.Cluster  # runs until it is stopped
    dsn: str
    epoch: Epoch  # that the restore began


def serve(
    settings: Settings, restored: RestoredCluster, lost: str, *, actor_id: str, reason: str, owner: str | None = None
) -> Served:
    """Start it, wait until it is promoted, begin the epoch. `lost`: the lost server's address, as the owner if that has
    no address of its own .

    Raises Unavailable with the end of the server's log, Refused.
    """
    server = cluster.start(tools_of(settings), restored.directory, cluster.server_owner())
    dsn = cluster.dsn_at(lost, server.sockets, owner)
    try:
        cluster.wait_promoted(server, dsn, WAIT_SECONDS_MAX)
        epoch = adopt(dsn, f"backup {restored.backup.backup_id}", actor_id=actor_id, reason=reason)
    except BaseException:
        server.stop()
        raise
    return Served(server, dsn, epoch)


def adopt(dsn: str, source: str, *, actor_id: str, reason: str) -> Epoch:
    """Begin the epoch `restore`; `source` says where the database comes from. Raises Refused while the server recovers
    or is a standby."""
    with session(dsn, application_name="finance backup") as connection:
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row is None or row[0]:
            raise Refused("the server is still in recovery", remedy="wait until it is promoted, then try again")
        return begin_epoch(
            connection,
            kind="restore",
            epoch_id=clock.new_id(),
            actor_id=actor_id,
            reason=f"{reason} ({source})",
            trace_id=clock.new_trace_id(),
        )
