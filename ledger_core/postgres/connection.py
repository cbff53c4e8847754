"""The long-lived connection of a service, with a limit on everything that could block it or its successor.

A frozen owner inside an open transaction would block the next owner on the shard's row for ever, so the server ends a
transaction that sits idle, a lock that waits and a statement that runs too long. None of that ends a session in the
middle of COPY: whoever waits behind one ends it (`ledger_core.postgres.stalled`). TCP keep-alives and
`tcp_user_timeout` at both ends show the client a dead server, and the server a host that was cut off.
"""

from __future__ import annotations

from typing import Any

import psycopg

from ledger_core.postgres.session import CONNECT_TIMEOUT_SECONDS, SERVER_KEEPALIVES, check_own_session, translated
from ledger_core.postgres.stalled import StandingStill, WatchedConnection, watch

STATEMENT_TIMEOUT_MS = 60_000
LOCK_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
CHECK_CLIENT_EVERY_MS = 2000


@translated()
def connect(
    dsn: str,
    *,
    application_name: str,
    idle_in_transaction_timeout_ms: int = IDLE_IN_TRANSACTION_TIMEOUT_MS,
    idle_session_timeout_ms: int = 0,
) -> psycopg.Connection[Any]:
    """Open a connection in autocommit mode (transactions are explicit). Raises Unavailable and Refused.

    `idle_session_timeout_ms`: the server ends a session that says nothing for so long, and gives its locks free (0:
    never). For sessions that hold a lock beyond their transactions.
    """
    limits_ms = {
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": idle_in_transaction_timeout_ms,
        "idle_session_timeout": idle_session_timeout_ms,
        "client_connection_check_interval": CHECK_CLIENT_EVERY_MS,
    }
    connection = WatchedConnection.connect(
        dsn,
        autocommit=True,
        application_name=application_name,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=15_000,
        options=(
            # What waits for a lock must see what was committed meanwhile (G10), whatever the database's own default is.
            "-c default_transaction_isolation=read\\ committed "
            + " ".join(f"-c {name}={value}" for name, value in (*limits_ms.items(), *SERVER_KEEPALIVES))
        ),
    )
    try:
        check_own_session(connection, limits_ms)
    except BaseException:
        connection.close()
        raise
    watch(connection, dsn, StandingStill(application_name, idle_in_transaction_timeout_ms))
    return connection
