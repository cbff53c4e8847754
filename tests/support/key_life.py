"""One ledger whose keys change: its processes and commands run with whichever variables a test gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer

from finance.settings.key_file import KEYS_FILE
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from tests.support.command_line import Finance, quick_topology
from tests.support.kafka import client
from tests.support.key_tables import in_a_file
from tests.support.settlements import settlement, wire

Variables = dict[str, str]


def names_a_key(variable: str) -> bool:
    """Of any slot; connections and secrets stay as they are."""
    return "AUDIT_SIGNING_" in variable or variable.endswith("SIGNING_PROXY_URL")


class Life:
    """One ledger; `variables` are those that its processes run with."""

    def __init__(self, environ: Variables, folder: Path) -> None:
        self._keys = folder / "keys"
        self.signers = folder / "signers.json"
        self.signers.write_bytes(Path(environ["FINANCE_SIGNERS"]).read_bytes())
        topology = quick_topology(environ["FINANCE_TOPOLOGY"], folder)
        self.run = Finance({**environ, "FINANCE_TOPOLOGY": topology, "FINANCE_SIGNERS": str(self.signers)})
        self.posted = 0

    def post(self, count: int = 3) -> None:
        """Settlements that go the whole route, with whichever keys the variables name."""
        producer = Producer(client(self.run.environ["KAFKA_BROKERS"]))
        topic = self.run.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
        for n in range(self.posted + 1, self.posted + count + 1):
            fields = settlement(n)
            producer.produce(topic, key=fields.settlement_id.encode(), value=wire(fields), partition=0)
        assert producer.flush(300) == 0
        self.posted += count
        self.go()

    def go(self) -> None:
        assert self.run.json("run", "all", "--until-idle")["ok"] is True

    def rotate(self, *arguments: str, code: int = 0) -> Any:
        return self.run.json("rotate", *arguments, code=code)

    def signed(self, command: str, *arguments: str, code: int = 0, **environ: str) -> Any:
        return self.run.json("signers", command, *arguments, code=code, **environ)

    def with_variables(self, changed: Variables) -> None:
        """Run with the keys that variables of these names stand for: with a keys file."""
        kept = {n: v for n, v in self.run.environ.items() if not names_a_key(n)}
        self.run.environ = in_a_file({**kept, **changed}, self._keys)

    def with_keys(self, text: str) -> None:
        """Run with this as the keys file."""
        self._keys.mkdir(exist_ok=True)
        path = self._keys / f"deployed-{len(list(self._keys.iterdir()))}.toml"
        path.write_text(text)
        kept = {n: v for n, v in self.run.environ.items() if not names_a_key(n)}
        self.run.environ = {**kept, KEYS_FILE: str(path)}

    def kids(self, query: str) -> list[str]:
        with psycopg.connect(self.run.environ["DATABASE_URL"]) as connection:
            return [row[0] for row in connection.execute(query).fetchall()]

    def proof_kids(self) -> list[str]:
        column = "convert_from(proof, 'UTF8')::jsonb->>'signer_kid'"
        return self.kids(f"SELECT {column} FROM proofs WHERE shard = 0 ORDER BY range_no")

    def registered(self, kid: str) -> RegisteredSigner:
        return SignerRegistry.from_json(self.signers.read_bytes()).get(kid)

    def assert_sound(self) -> None:
        for what in ("ledger", "archive", "audit"):
            told = self.run.json("verify", what)
            assert told["findings"] == [], what
        assert self.signed("check", "--archive")["findings"] == []


def approve_by_two(life: Life, kid: str, chosen: tuple[str, ...]) -> None:
    """Two operators approve the emergency signer for two hours; until the second one does, it is refused."""
    asked = life.signed("emergency", *chosen, code=3)["error"]
    assert f"nobody approved {kid}" in asked["message"]
    fingerprint = asked["remedy"].partition("--fingerprint ")[2].split()[0]
    approval = (kid, "--fingerprint", fingerprint, "--reason", "KMS is down")
    other_key = (kid, "--fingerprint", "ab" * 32, "--reason", "KMS is down")
    assert life.signed("approve", *approval, "--hours", "2")["told"] is True
    for too_little in ((*approval, "--hours", "1"), (*other_key, "--hours", "2")):
        assert life.signed("approve", *too_little, FINANCE_OPERATOR="carol")["told"] is True
        assert "only you approved" in life.signed("emergency", *chosen, code=3)["error"]["message"]
    assert life.signed("approve", *approval, "--hours", "2", FINANCE_OPERATOR="carol")["told"] is True
    assert life.signed("approve", *approval, "--hours", "2", FINANCE_OPERATOR="carol")["told"] is False, "on record"
