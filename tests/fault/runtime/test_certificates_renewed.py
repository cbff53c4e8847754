"""Certificates are renewed while processes run: each takes up its own, between two steps, and the route goes on."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path

import psycopg
from cryptography import x509

from finance.workshop.devstack import Stack
from finance.workshop.devstack.authority import Authority
from tests.integration.guards.test_secure_stack import finance, stack
from tests.support.command_line import Finance
from tests.support.route import PROCESSES, Ledger, Running
from tests.support.waits import until

__all__ = ["finance", "stack"]  # fixtures: the secure stack of that file


def serials_in_use(database_url: str) -> dict[str, set[int]]:
    """Role -> serial numbers of the certificates that its sessions showed."""
    query = (
        "SELECT usename, client_serial FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename LIKE 'finance%'"
    )
    found: dict[str, set[int]] = {}
    with psycopg.connect(database_url) as connection:
        for role, serial in connection.execute(query).fetchall():
            found.setdefault(role.removeprefix("finance_"), set()).add(int(serial))
    return found


def tells_end(process: Running, unix_seconds: float) -> bool:
    sample = 'finance_certificate_expiry_timestamp_seconds{certificate="client"}'
    return abs(process.metric(sample) - unix_seconds) < 5


def test_processes_take_up_renewed_certificates_and_go_on(stack: Stack, finance: Finance, tmp_path: Path) -> None:
    environ = {**finance.environ, "FINANCE_LOG_FORMAT": "json"}
    ledger = Ledger(environ, tmp_path, {"range_idle_seconds": 1})
    try:
        running = ledger.start_all()
        before = int(ledger.ask("SELECT coalesce(sum(posted), 0) FROM shards")[0])
        now, authority = dt.datetime.now(dt.UTC), Authority(stack.place.tls)
        serials = {}
        for name in PROCESSES:
            pair = authority.principal(name)
            authority.issue(pair, name, now - dt.timedelta(minutes=5), now + dt.timedelta(days=9))
            serials[name] = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
        for process in running.values():
            process.wait_said("service.renewing")
            assert process.running, process.tail()
            until("the metric tells the new end", partial(tells_end, process, now.timestamp() + 9 * 86400))
        finance("publish", "--synthetic", "200", "--seed", "77")
        until("posted", lambda: int(ledger.ask("SELECT sum(posted) FROM shards")[0]) == before + 200)
        ledger.wait_finished()
        used = serials_in_use(stack.env["DATABASE_URL"])
        assert {name: used[name] for name in PROCESSES} == {name: {serial} for name, serial in serials.items()}
        assert all(not process.said("service.refused") for process in running.values())
    finally:
        ledger.end()
    assert finance.json("verify", "ledger")["ok"] is True
    assert finance.json("verify", "audit")["ok"] is True
