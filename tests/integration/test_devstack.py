"""The development stack is real: its servers sync, lock, sign, listen on loopback only, and come back."""

from __future__ import annotations

import psycopg

from finance.devstack import Stack
from tests.support.buckets import s3_client
from tests.support.databases import role_url


def test_environ_reaches_all_four_services(stack: Stack, environ: dict[str, str]) -> None:
    with psycopg.connect(environ["DATABASE_URL_POSTER"]) as connection:
        row = connection.execute("SELECT current_user, halted FROM control").fetchone()
    assert row == ("finance_poster", False)
    lock = s3_client(environ).get_object_lock_configuration(Bucket=environ["S3_AUDIT_BUCKET"])
    assert lock["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    assert all(status.healthy for status in stack.status())


def test_each_test_gets_an_empty_database(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    with psycopg.connect(role_url(database_url, "finance_auditor")) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("finance_auditor",)
