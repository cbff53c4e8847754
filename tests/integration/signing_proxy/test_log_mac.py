"""The MAC key in the stack's KMS, and the signing proxy's log sealed with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from finance.signing_proxy.request_log import parse_line
from finance.workshop.devstack import Stack
from ledger_core.canonical import encode
from ledger_core.chain import link
from ledger_core.errors import Refused, Unavailable
from producers.signing.kms_mac import KmsMac
from tests.support.command_line import Finance
from tests.support.proxy_process import proxy_process
from tests.support.signing import kms_admin, kms_place
from tests.support.topics import TOPOLOGY

MESSAGE = b"the head of a log\n"


def hmac_key(stack: Stack) -> str:
    made = kms_admin(stack.env).create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    return made["KeyMetadata"]["KeyId"]


@pytest.fixture
def mac(stack: Stack) -> Iterator[KmsMac]:
    made = KmsMac(hmac_key(stack), kms_place(stack.env))
    yield made
    made.close()


def test_a_mac_holds_for_its_message_and_its_key_only(stack: Stack, mac: KmsMac) -> None:
    made = mac.make(MESSAGE)
    assert len(made) == 32
    assert made == mac.make(MESSAGE)
    assert mac.verify(MESSAGE, made)
    assert not mac.verify(MESSAGE + b"x", made)
    assert not mac.verify(MESSAGE, bytes(32))
    other = KmsMac(hmac_key(stack), kms_place(stack.env))
    assert other.make(MESSAGE) != made
    assert not other.verify(MESSAGE, made)
    other.close()


def test_a_key_that_makes_no_mac_is_refused_with_the_remedy(stack: Stack, mac: KmsMac) -> None:
    place = kms_place(stack.env)
    for key_id, remedy in ((stack.env["KMS_KEY_ED25519"], "HMAC_256"), ("alias/no-such-key", "LOG_MAC_KEY")):
        wrong = KmsMac(key_id, place)
        with pytest.raises(Refused) as making:
            wrong.make(MESSAGE)
        with pytest.raises(Refused) as checking:
            wrong.verify(MESSAGE, bytes(32))
        assert remedy in making.value.remedy == checking.value.remedy
        wrong.close()
    kms_admin(stack.env).disable_key(KeyId=mac.key_id)
    with pytest.raises(Refused, match="isabled"):
        mac.make(MESSAGE)


def test_a_kms_that_is_away_is_unavailable(stack: Stack) -> None:
    mac = KmsMac("any", dataclasses.replace(kms_place(stack.env), endpoint="http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="mac"):
        mac.make(MESSAGE)
    with pytest.raises(Unavailable, match="mac"):
        mac.verify(MESSAGE, bytes(32))
    mac.close()


def written_anew(log: Path) -> None:
    """The whole log with one principal changed, and every link and number as it must be."""
    previous: bytes | None = None
    lines = []
    for line in log.read_bytes().splitlines():
        record = parse_line(line)
        assert record is not None
        body: dict[str, object] = {k: v for k, v in record.items() if k not in ("hash", "prev_hash")}
        body["version"] = "another"
        if previous is not None:
            body["prev_hash"] = previous.hex()
        previous = link(encode(body), previous)
        lines.append(encode({**body, "hash": previous.hex()}) + b"\n")
    log.write_bytes(b"".join(lines))


def test_a_sealed_log_cannot_be_written_anew_by_who_holds_the_file(stack: Stack, tmp_path: Path) -> None:
    log, key_id = tmp_path / "proxy.log", hmac_key(stack)
    environ = {
        **stack.env,
        "FINANCE_TOPOLOGY": str(TOPOLOGY),
        "SIGNING_PROXY_LOG": str(log),
        "SIGNING_PROXY_LOG_MAC_KEY": key_id,
    }
    finance = Finance(environ)
    for records in (3, 5):  # a stop seals what is left; a start goes on from there
        with proxy_process(environ) as proxy:
            assert proxy.url, proxy.said
        assert proxy.exit_code == 0
        told = finance.json("signing-proxy", "log", "verify", "--mac-key", key_id, str(log))
        assert (told["records"], told["sealed_seq"], told["mac_checked"]) == (records, str(records - 1), True)
    true_log = log.read_bytes()

    written_anew(log)
    assert finance.json("signing-proxy", "log", "verify", str(log), code=1)["findings"], "seals are over other heads"
    with proxy_process(environ) as proxy:
        assert proxy.exit_code == 3, proxy.said
    assert "begin a new one" in "".join(proxy.said)

    log.write_bytes(true_log)
    assert finance.json("signing-proxy", "log", "verify")["mac_checked"] is True
    other = finance.json("signing-proxy", "log", "verify", "--mac-key", hmac_key(stack), code=1)
    assert "was not made by that key" in orjson.dumps(other["findings"]).decode()
    with proxy_process({**environ, "SIGNING_PROXY_LOG_MAC_KEY": hmac_key(stack)}) as proxy:
        assert proxy.exit_code == 3, proxy.said
