"""The door over real TLS: who is let in, who is not, and what each is told."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.certificates import HOUR, Pair, TestAuthority
from tests.support.doors import API_KEY, TestDoor, door_yaml, open_test_door, tls_client
from tests.support.waits import until


@pytest.fixture
def door(tmp_path: Path) -> Iterator[TestDoor]:
    opened = open_test_door(tmp_path)
    yield opened
    opened.door.close()


@pytest.fixture
def open_door(tmp_path: Path) -> Iterator[TestDoor]:
    """One where a certificate is optional."""
    opened = open_test_door(tmp_path, door_yaml("optional"))
    yield opened
    opened.door.close()


def eventually(holds: Callable[[], bool]) -> None:
    """The other side may hear of it before we count it."""
    until("the door has counted it", holds)


def gets_nothing(door: TestDoor, pair: Pair | None, context: ssl.SSLContext | None = None) -> None:
    """TLS itself refuses: no byte of HTTP comes back."""
    with pytest.raises((OSError, http.client.RemoteDisconnected)):
        door.ask(pair=pair, context=context)
    eventually(lambda: door.metrics.turned_away["HANDSHAKE"] == 1)
    assert not door.metrics.answers


def test_a_known_certificate_is_its_caller(door: TestDoor) -> None:
    reply = door.ask(path="/look?a=1&b=2")
    assert (reply.status, reply.json["caller"], reply.json["by"]) == (200, "prover", "certificate")
    assert reply.json["query"] == {"a": "1", "b": "2"}
    assert reply.headers["Cache-Control"] == "no-store"
    assert door.metrics.answers == {200: 1}


def test_without_a_certificate_nobody_gets_a_word(door: TestDoor) -> None:
    gets_nothing(door, None)


def test_a_certificate_of_another_authority_gets_nothing(door: TestDoor, tmp_path: Path) -> None:
    gets_nothing(door, TestAuthority(tmp_path / "other").issue("prover"))


@pytest.mark.parametrize("times", [(-3 * HOUR, -HOUR), (HOUR, 2 * HOUR)], ids=["expired", "not yet valid"])
def test_a_certificate_that_is_not_of_now_gets_nothing(door: TestDoor, times: tuple[timedelta, timedelta]) -> None:
    gets_nothing(door, door.authority.issue("prover", begins=times[0], ends=times[1]))


def test_a_certificate_for_servers_is_no_client(door: TestDoor) -> None:
    gets_nothing(door, door.authority.issue("prover", server=True))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_below_1_2_is_not_spoken(door: TestDoor) -> None:
    context = tls_client(door.authority.path, door.client)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    gets_nothing(door, None, context)


def test_tls_1_2_will_do(door: TestDoor) -> None:
    context = tls_client(door.authority.path, door.client)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert door.ask(context=context).status == 200


def test_a_certificate_of_nobody_known_is_told_only_that(door: TestDoor) -> None:
    stranger = door.authority.issue("stranger")
    for path in ("/look", "/no-such-path"):
        reply = door.ask(path=path, pair=stranger)
        assert (reply.status, reply.code) == (401, "CALLER_UNKNOWN")
        assert "look" not in reply.json["message"]


def test_a_certificate_that_names_two_callers_is_nobody(door: TestDoor) -> None:
    from tests.support.doors import URI

    reply = door.ask(pair=door.authority.issue("looker", uri=URI))
    assert (reply.status, reply.code) == (401, "CALLER_UNKNOWN")


def test_a_revoked_certificate_is_refused_from_the_next_request_on(door: TestDoor) -> None:
    """Also on a connection that is open, and while another of the same caller goes on."""
    door.authority.write_crl(door.folder / "tls" / "crl.pem")
    successor = door.authority.issue("prover")
    connection = http.client.HTTPSConnection(
        "127.0.0.1", door.door.port, timeout=300, context=tls_client(door.authority.path, door.client)
    )
    connection.request("GET", "/look")
    assert connection.getresponse().read()
    door.authority.write_crl(door.folder / "tls" / "crl.pem", door.client)
    connection.request("GET", "/look")
    answer = connection.getresponse()
    assert (answer.status, b"CERTIFICATE_REVOKED" in answer.read()) == (401, True)
    gets = door.ask(pair=successor)
    assert gets.status == 200
    with pytest.raises(OSError, match=r"(?i)revoked|alert|reset|EOF"):
        door.ask()
    connection.close()


def test_a_revocation_list_that_is_too_old_lets_nobody_in(door: TestDoor) -> None:
    door.authority.write_crl(door.folder / "tls" / "crl.pem", ends=-HOUR)
    gets_nothing(door, door.client)
    assert door.metrics.expiry["door_crl"] > 0


def test_a_revocation_list_that_vanishes_stays_in_force(door: TestDoor) -> None:
    crl = door.folder / "tls" / "crl.pem"
    door.authority.write_crl(crl, door.client)
    gets_nothing(door, door.client)
    crl.unlink()
    with pytest.raises(OSError, match=r"(?i)revoked|alert|reset|EOF"):
        door.ask()
    assert door.metrics.failures["certificates"] == 1


def test_a_caller_without_the_scope_may_not(door: TestDoor) -> None:
    looker = door.authority.issue("looker")
    assert door.ask(pair=looker).status == 200
    reply = door.ask("POST", "/change", pair=looker, body=b"x")
    assert (reply.status, reply.code) == (403, "SCOPE_MISSING")
    assert "door.yaml" in reply.json["remedy"]


def test_what_is_not_there_and_what_takes_another_method(door: TestDoor) -> None:
    assert door.ask(path="/other").code == "NOT_FOUND"
    reply = door.ask("POST", "/look", body=b"")
    assert (reply.status, reply.code, reply.headers["Allow"]) == (405, "METHOD_NOT_ALLOWED", "GET")


def test_a_fault_tells_nothing_of_itself(door: TestDoor) -> None:
    reply = door.ask(path="/fault")
    assert (reply.status, reply.code) == (500, "FAULT")
    assert b"secret" not in reply.body


def test_a_caller_that_asks_too_fast_waits_and_others_do_not(door: TestDoor) -> None:
    other = door.authority.issue("other")
    replies = [door.ask(pair=other) for _ in range(6)]
    assert [reply.status for reply in replies[:2]] == [200, 200]
    late = [reply for reply in replies if reply.status == 429]
    assert late
    assert late[0].code == "TOO_MANY_REQUESTS"
    assert int(late[0].headers["Retry-After"]) >= 1
    assert door.ask().status == 200


def test_callers_change_without_a_restart_and_a_broken_file_changes_nothing(door: TestDoor) -> None:
    looker = door.authority.issue("looker")
    assert door.ask(pair=looker).status == 200
    door.configure(door_yaml().replace('"subject:CN=looker"', '"subject:CN=someone-else"'))
    assert door.ask(pair=looker).code == "CALLER_UNKNOWN"
    door.configure(door_yaml() + "\nnonsense: 1\n")
    assert door.ask(pair=looker).code == "CALLER_UNKNOWN", "the last good one stands"
    assert door.ask().status == 200
    assert door.metrics.failures["callers"] == 1
    door.configure(door_yaml())
    assert door.ask(pair=looker).status == 200


def test_a_token_will_do_where_a_certificate_is_optional(open_door: TestDoor) -> None:
    for kid in ("ed", "ec"):
        reply = open_door.ask(pair=None, bearer=open_door.issuer.token(kid))
        assert (reply.status, reply.json["caller"], reply.json["by"]) == (200, "prover", "token")
    assert open_door.ask(pair=None, bearer=API_KEY).json["by"] == "api key"
    assert open_door.ask(pair=None).code == "NO_CREDENTIAL"
    assert open_door.ask(pair=open_door.authority.issue("stranger"), bearer=API_KEY).status == 200


BAD_TOKENS = {
    "another audience": ({"aud": "someone-else"}, "TOKEN_AUDIENCE"),
    "another issuer": ({"iss": "https://evil.example.com/"}, "TOKEN_ISSUER"),
    "expired": ({"lived": 1000}, "TOKEN_EXPIRED"),
    "not yet valid": ({"lived": -600}, "TOKEN_NOT_YET"),
    "nbf ahead": ({"nbf": 4_000_000_000}, "TOKEN_NOT_YET"),
    "made for a year": ({"life": 31_536_000}, "TOKEN_LIFE"),
    "without an end": ({"exp": None}, "TOKEN_BAD"),
    "an end that is no number": ({"exp": "tomorrow"}, "TOKEN_BAD"),
    "without a subject": ({"sub": None}, "TOKEN_BAD"),
    "of nobody": ({"sub": "stranger@example.com"}, "CALLER_UNKNOWN"),
    "without the scope": ({"scope": "change"}, "SCOPE_MISSING"),
    "without any scope": ({"scope": None}, "SCOPE_MISSING"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_token_that_is_not_right_is_refused_with_the_reason(open_door: TestDoor, name: str) -> None:
    changes, code = BAD_TOKENS[name]
    reply = open_door.ask(pair=None, bearer=open_door.issuer.token(**changes))  # type: ignore[arg-type]
    assert (reply.status, reply.code) == (403 if code == "SCOPE_MISSING" else 401, code)


def test_clocks_may_differ_a_little(open_door: TestDoor) -> None:
    assert open_door.ask(pair=None, bearer=open_door.issuer.token(lived=-20)).status == 200
    assert open_door.ask(pair=None, bearer=open_door.issuer.token(lived=310, life=300)).status == 200


def test_a_token_of_a_key_that_is_taken_out_opens_no_more(open_door: TestDoor) -> None:
    token = open_door.issuer.token()
    assert open_door.ask(pair=None, bearer=token).status == 200
    del open_door.issuer.keys["ed"]
    open_door.issuer.write(open_door.folder / "keys.json")
    assert open_door.ask(pair=None, bearer=token).code == "TOKEN_KEY_UNKNOWN"


def test_a_token_that_changes_something_works_once(open_door: TestDoor) -> None:
    token = open_door.issuer.token(jti="only-once-1")
    assert open_door.ask("POST", "/change", pair=None, bearer=token, body=b"x").status == 200
    reply = open_door.ask("POST", "/change", pair=None, bearer=token, body=b"x")
    assert (reply.status, reply.code) == (401, "TOKEN_REPLAYED")
    without = open_door.issuer.token(jti=None)
    assert open_door.ask("POST", "/change", pair=None, bearer=without, body=b"x").code == "TOKEN_WITHOUT_JTI"
    before = open_door.issuer.token(lived=120)
    os.utime(open_door.folder / "used" / ".since")  # as of a folder that was made this moment
    assert open_door.ask("POST", "/change", pair=None, bearer=before, body=b"x").code == "TOKEN_BEFORE_START"
    assert open_door.ask(pair=None, bearer=before).status == 200


def test_an_api_key_that_is_unknown_or_expired_opens_nothing(open_door: TestDoor) -> None:
    assert open_door.ask(pair=None, bearer="y" * 40).code == "CALLER_UNKNOWN"
    assert open_door.ask(pair=None, bearer="x" * 40).code == "API_KEY_EXPIRED"
    assert open_door.ask(pair=None, headers={"Authorization": "Basic abc"}).code == "UNAUTHENTICATED"


def test_a_certificate_and_a_token_of_two_callers_do_not_mix(open_door: TestDoor) -> None:
    other = open_door.authority.issue("other")
    assert open_door.ask(pair=other, bearer=open_door.issuer.token()).code == "CALLERS_DIFFER"
    both = open_door.ask("POST", "/change", bearer=open_door.issuer.token(scope="look"), body=b"x")
    assert both.code == "SCOPE_MISSING", "the token narrows what the certificate may do"


def test_where_a_certificate_is_required_a_token_does_not_replace_it(door: TestDoor) -> None:
    gets_nothing(door, None)
    stranger = door.authority.issue("stranger")
    assert door.ask(pair=stranger, bearer=door.issuer.token()).code == "CALLER_UNKNOWN"
