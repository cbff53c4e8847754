"""`python -m tests.support.schema_file --stack NAME`: write schema.txt anew, from a freshly migrated database.

For whoever adds a migration: look at the difference before committing it, it is what `finance verify ledger` will hold
every database against. Grants are decided by hand, in ledger_core/postgres/schema/authority.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import psycopg

from finance.workshop.devstack import Stack
from ledger_core.postgres.schema import guard
from tests.support import databases

ROOT: Final = Path(__file__).parents[2]
PATH: Final = ROOT / "ledger_core/postgres/schema/schema.txt"
HEAD: Final = """\
# What a freshly migrated database says of its guards, one line each; see guard.py.
# Written by `python -m tests.support.schema_file --stack NAME`; a test compares.
"""


def text_of(url: str) -> str:
    """The file's content, from a migrated database."""
    with psycopg.connect(url) as connection:
        return HEAD + "".join(f"{line}\n" for line in guard.describe(connection))


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", required=True)
    stack = Stack.up(parser.parse_args().stack, ROOT / ".finance")
    server = stack.env["DATABASE_URL"]
    url = databases.create_database(server, databases.ensure_template(server))
    try:
        PATH.write_text(text_of(url), "utf-8")
    finally:
        databases.drop_database(server, url)


if __name__ == "__main__":
    main()
