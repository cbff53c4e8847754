"""Which environment a database belongs to: written once by `finance migrate`, asked by every process at its start.

Guarantees: what was bound stays bound; a database of another environment or domain is Refused, so that staging never
posts into production's ledger and no checkpoint carries a wrong origin.
"""

from __future__ import annotations

from ledger_core.errors import Refused
from ledger_core.postgres.session import Session

READ = "SELECT env, domain FROM deployment"


def read_deployment(connection: Session) -> tuple[str, str] | None:
    """(env, domain) of the database; None while it is not bound."""
    row = connection.execute(READ).fetchone()
    return None if row is None else (row[0], row[1])


def bind_deployment(connection: Session, env: str, domain: str) -> bool:
    """Bind a database that is not bound yet. True: bound now. Needs the owner. Raises Refused on another's database."""
    made = connection.execute(
        "INSERT INTO deployment (env, domain) VALUES (%s, %s) ON CONFLICT DO NOTHING", (env, domain)
    )
    found = read_deployment(connection)
    if found != (env, domain):
        raise Refused(
            f"this database belongs to {found}, and the settings say {(env, domain)}",
            remedy="set FINANCE_ENV, FINANCE_DOMAIN and DATABASE_URL of one and the same environment",
        )
    return made.rowcount == 1
