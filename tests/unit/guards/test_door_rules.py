"""The rules behind the door, without a socket: who is who, what a file may say, how much is too much."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finance.door import who
from finance.door.caller import PeerCertificate
from finance.door.exposure import check_exposure
from finance.door.gate import house_of
from finance.door.memory import TokenBuckets
from finance.door.problem import Problem
from finance.door.tokens import TokenKeys
from ledger_core.errors import Refused
from schemas.authority.door import DoorConfig, parse_door_config
from tests.support.doors import URI, door_yaml

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
CONFIG = parse_door_config(door_yaml("optional"), "door.yaml")


def certificate(*names: str, begins: dt.timedelta = -DAY, ends: dt.timedelta = DAY) -> PeerCertificate:
    return PeerCertificate(frozenset(names), NOW + begins, NOW + ends, "CN=ca", 255)


def test_a_caller_has_the_scopes_of_its_roles() -> None:
    caller = who.caller_of_certificate(CONFIG, certificate("subject:CN=x", f"URI:{URI}"), NOW)
    assert (caller.name, set(caller.scopes)) == ("prover", {"look", "change"})
    assert caller.principal == f"URI:{URI} serial ff"


@pytest.mark.parametrize(
    "name",
    ["subject:CN=Prover", "subject:CN=prover ", "subject:CN=prover,O=x", "DNS:prover", f"URI:{URI}/x", "URI:spiffe:"],
)
def test_a_name_is_compared_whole(name: str) -> None:
    with pytest.raises(Problem, match="CALLER_UNKNOWN"):
        who.caller_of_certificate(CONFIG, certificate(name), NOW)


@pytest.mark.parametrize("times", [(-2 * DAY, -DAY), (DAY, 2 * DAY)])
def test_the_times_of_a_certificate_are_looked_at_here_too(times: tuple[dt.timedelta, dt.timedelta]) -> None:
    with pytest.raises(Problem, match="CERTIFICATE_EXPIRED"):
        who.caller_of_certificate(CONFIG, certificate("subject:CN=prover", begins=times[0], ends=times[1]), NOW)


FAULTS = {
    "an unknown key": ("version: 1", "version: 1\ndoors: 2", "doors"),
    "a key twice": ("version: 1", "version: 1\nversion: 1", "twice"),
    "another version": ("version: 1", "version: 2", "version"),
    "a role that nobody defines": ("roles: [looker]", "roles: [admin]", "no role is called 'admin'"),
    "a principal of two callers": ("subject:CN=other", "subject:CN=looker", "'subject:CN=looker' stands there 2 times"),
    "a principal without a kind": ("subject:CN=other", "CN=other", "callers"),
    "a hash that is none": ("sha256: ", "sha256: x", "sha256"),
    "tokens without rules": ("tokens: {issuer", "#tokens: {issuer", "no section `tokens`"),
    "a limit of nothing": ("limits: {}", "limits: {body_bytes_max: 0}", "body_bytes_max"),
    "a key file elsewhere": ("keys: keys.json", "keys: ../keys.json", "keys"),
    "a caller that never comes in": (', certificates: ["subject:CN=looker"]', "", "never comes in"),
    "an end without a zone": ("2099-01-01T00:00:00Z", "2099-01-01T00:00:00", "zone"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_file_is_named(name: str) -> None:
    old, new, wanted = FAULTS[name]
    text = door_yaml("optional")
    assert old in text
    with pytest.raises(Refused, match=wanted):
        parse_door_config(text.replace(old, new, 1), "door.yaml")


def test_every_caller_needs_a_certificate_where_one_is_required() -> None:
    text = door_yaml().replace(', certificates: ["subject:CN=looker"]', ", tokens: [looker]")
    with pytest.raises(Refused, match=r"callers\.looker\.certificates: nobody comes in without"):
        parse_door_config(text, "door.yaml")


KEY = '{"kid":"a","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"%s}'
BAD_KEYS = {
    "a private key": '{"keys":[' + KEY % ',"d":"x"' + "]}",
    "a kid twice": '{"keys":[' + KEY % "" + "," + KEY % "" + "]}",
    "a shared secret": '{"keys":[{"kid":"a","kty":"oct","k":"c2VjcmV0"}]}',
    "RSA": '{"keys":[{"kid":"a","kty":"RSA","n":"AQAB","e":"AQAB"}]}',
    "no kid": '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}',
    "a point that is none": '{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519","x":"AA"}]}',
    "no JSON": "keys",
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_key_file_with_anything_but_public_keys_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        TokenKeys.from_json(BAD_KEYS[name].encode(), "keys.json")


@given(st.text(max_size=200))
@settings(deadline=None)
def test_no_text_is_a_token_by_chance(text: str) -> None:
    keys = TokenKeys.from_json(('{"keys":[' + KEY % "" + "]}").encode(), "keys.json")
    assert CONFIG.tokens is not None
    with pytest.raises(Problem):
        keys.check(text, CONFIG.tokens, NOW)


def test_a_token_that_is_unsigned_or_signed_by_our_own_public_key_is_refused() -> None:
    import jwt

    keys = TokenKeys.from_json(('{"keys":[' + KEY % "" + "]}").encode(), "keys.json")
    assert CONFIG.tokens is not None
    claims = {"iss": CONFIG.tokens.issuer, "aud": CONFIG.tokens.audience, "sub": "prover@example.com"}
    shared = b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    forged = [jwt.encode(claims, key, algorithm, {"kid": "a"}) for key, algorithm in (("", "none"), (shared, "HS256"))]
    for token in forged:
        with pytest.raises(Problem, match="TOKEN_BAD"):
            keys.check(token, CONFIG.tokens, NOW)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets = TokenBuckets()

    def wait(now: float) -> float:
        return buckets.wait_seconds("a", rate=2, burst=4, now=now)

    assert [wait(0) for _ in range(4)] == [0, 0, 0, 0]
    assert wait(0) == pytest.approx(0.5)
    assert wait(0.5) == 0
    assert wait(0.5) > 0
    assert buckets.wait_seconds("b", rate=2, burst=4, now=0.5) == 0


@given(st.lists(st.floats(0, 10), max_size=60))
@settings(deadline=None)
def test_a_bucket_never_lets_more_through_than_rate_and_burst(moments: list[float]) -> None:
    buckets = TokenBuckets()
    through = [at for at in sorted(moments) if buckets.wait_seconds("a", rate=3, burst=5, now=at) == 0]
    for start in range(len(through)):
        for end in range(start, len(through)):
            assert end - start + 1 <= 5 + 3 * (through[end] - through[start]) + 1e-6


def test_a_stranger_is_counted_by_its_house() -> None:
    assert house_of("192.0.2.7") == house_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert house_of("2001:db8::1") == house_of("2001:db8::ffff:1") != house_of("2001:db8:0:1::1")
    assert house_of("fe80::1%eth0") == house_of("fe80::2")
    assert house_of("no address") == "no address"


EXPOSED = [("dev", "0.0.0.0"), ("staging", "10.0.0.1"), ("production", "::"), ("dev", "finance.internal")]


@pytest.mark.parametrize(("env", "host"), EXPOSED)
def test_plaintext_is_on_loopback_only(env: str, host: str) -> None:
    with pytest.raises(Refused, match="not a loopback address") as caught:
        check_exposure(env, host, tls=False, callers=False, plaintext_in_production=True)
    assert "DOOR_TLS_DIR" in caught.value.remedy
    check_exposure(env, host, tls=True, callers=True, plaintext_in_production=False)


def test_in_production_nothing_that_changes_anything_is_in_plaintext() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure("production", host, tls=False, callers=False, plaintext_in_production=True)
        check_exposure("staging", host, tls=False, callers=False, plaintext_in_production=False)
        with pytest.raises(Refused, match="in production"):
            check_exposure("production", host, tls=False, callers=False, plaintext_in_production=False)


def test_one_of_certificates_and_callers_is_not_enough(tmp_path: Path) -> None:
    from finance.door.setup import open_door
    from finance.settings.deployment import Settings
    from tests.support.doors import CountedMetrics

    for name in ("DOOR_TLS_DIR", "DOOR_CONFIG"):
        settings = Settings.from_env({name: "x"}, tmp_path)
        with pytest.raises(Refused, match="come together"):
            open_door(settings, {}, host="127.0.0.1", port=0, metrics=CountedMetrics())


def test_the_example_in_the_docstring_is_a_door() -> None:
    import schemas.authority.door as module

    text = (module.__doc__ or "").partition("    version:")[2]
    found = parse_door_config("    version:" + text, "example")
    assert isinstance(found, DoorConfig)
    assert found.callers["prover"].signing_keys == ("finance-ed25519-v1",)
