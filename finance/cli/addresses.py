"""Options that are addresses of Postgres."""

from __future__ import annotations

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict


class DatabaseAddress(click.ParamType[str]):
    """An option that is an address of Postgres, without a password: a command line is read by everybody on the machine,
    and kept by the shell."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            given = conninfo_to_dict(text)
        except psycopg.ProgrammingError:  # its words repeat what it could not read
            self.fail("it is not an address of Postgres: postgresql://user@host:port/database", param, ctx)
        if {"password", "sslpassword"} & given.keys():
            self.fail("it has a password in it: leave it out, and set PGPASSWORD or PGPASSFILE", param, ctx)
        return text
