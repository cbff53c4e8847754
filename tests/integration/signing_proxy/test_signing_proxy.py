"""The signing proxy over real TLS: every spelling is served, every refusal on record, nothing signed off record."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger_core.signing.signatures import decode_signature, verify_digest, verify_text
from tests.support.certificates import write_whole
from tests.support.doors import Reply
from tests.support.proxies import DIGEST, KIDS, TestProxy, b64, proxy_yaml, running_proxy
from tests.support.signing import openssl_accepts_digest, openssl_accepts_text

RSA, ED = KIDS
MESSAGE = b'{"amount":"12.50","currency":"USD"}'
NOTE = b"example.com/finance/dev/ledger/0\n3\n" + b64(DIGEST).encode() + b"\n"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[TestProxy]:
    with running_proxy(tmp_path) as running:
        yield running
        assert running.report().findings == []


SPELLINGS = [
    {"payload_b64": b64(DIGEST)},
    {"hash": DIGEST.hex()},
    {"digest_hex": DIGEST.hex()},
    {"payload_b64": b64(DIGEST), "hash": DIGEST.hex(), "digest_hex": DIGEST.hex(), "kind": "digest"},
    {"data": b64(MESSAGE)},
    {"canonical": MESSAGE.decode()},
    {"canonical": {"amount": "12.50", "currency": "USD"}},
]
NAMES = ["payload_b64", "hash", "digest_hex", "all", "data", "canonical", "an object"]


@pytest.mark.parametrize("kid", KIDS)
@pytest.mark.parametrize("spelling", SPELLINGS, ids=NAMES)
def test_every_spelling_is_signed_and_answered_in_every_spelling(
    proxy: TestProxy, kid: str, spelling: dict[str, object]
) -> None:
    digest = hashlib.sha256(MESSAGE).digest() if spelling.keys() & {"data", "canonical"} else DIGEST
    told = proxy.post(body={**spelling, "signer_kid": kid, "alg": proxy.registered[kid].algorithm}).json
    signature = decode_signature(told["signature_b64"])
    assert openssl_accepts_digest(proxy.registered[kid].public_key, digest, signature)
    assert told["ok"] is True
    assert told["signature"] == told["signature_b64"]
    assert {told[name] for name in ("signer_id", "signer_kid", "signerId", "kid")} == {kid}
    assert told["alg"] == proxy.registered[kid].algorithm
    assert told["ts"].endswith("Z")
    assert proxy.events() == ["asked", "signed"]
    asked, signed = proxy.records()
    assert (asked["digest"], asked["kid"], asked["caller"], asked["by"]) == (digest.hex(), kid, "prover", "certificate")
    assert signed["signature_sha256"] == hashlib.sha256(signature).hexdigest()
    assert told["log_hash"] == signed["hash"]


@pytest.mark.parametrize("kid", KIDS)
@pytest.mark.parametrize("name", ["payload_b64", "note_b64"])
def test_a_note_is_signed_as_its_text(proxy: TestProxy, kid: str, name: str) -> None:
    told = proxy.post(body={name: b64(NOTE), "kind": "note", "kid": kid}).json
    signature = decode_signature(told["signature"])
    assert openssl_accepts_text(proxy.registered[kid].public_key, NOTE, signature)
    assert proxy.records()[0]["digest"] == hashlib.sha256(NOTE).hexdigest()


BAD_BODIES: dict[str, object] = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": [1],
    "not UTF-8": b'{"hash":"\xff"}',
    "a key twice": f'{{"hash":"{DIGEST.hex()}","hash":"{bytes(32).hex()}"}}'.encode(),
    "a number that is none": b'{"hash": NaN}',
    "too deep": b"[" * 30_000,
    "nothing to sign": {},
    "31 bytes": {"payload_b64": b64(bytes(31))},
    "33 bytes": {"payload_b64": b64(bytes(33))},
    "no bytes": {"payload_b64": ""},
    "hex of 31 bytes": {"digest_hex": "00" * 31},
    "upper-case hex": {"hash": DIGEST.hex().upper()},
    "base64 with stray bits": {"payload_b64": b64(DIGEST)[:-2] + "1="},
    "base64url": {"payload_b64": b64(b"\xff" * 32).replace("/", "_")},
    "a number for a text": {"hash": 12},
    "two digests": {"hash": DIGEST.hex(), "digest_hex": bytes(32).hex()},
    "a digest and another message": {"hash": DIGEST.hex(), "data": b64(MESSAGE), "kid": ED},
    "a message and another one": {"canonical": "x", "data": b64(MESSAGE), "kid": ED},
    "an object without a canonical form": {"canonical": {"amount": 1.5}, "kid": ED},
    "a number as an object": {"canonical": 7, "kid": ED},
    "half a character": b'{"canonical": "\\ud800", "kid": "' + ED.encode() + b'"}',
    "data that is no base64": {"data": "***", "kid": ED},
    "a message that AWS would sign as it is": {"data": b64(MESSAGE), "kid": ED, "algorithm": "ED25519_SHA_512"},
    "a message as a note": {"data": b64(MESSAGE), "kind": "note", "kid": ED},
    "an algorithm that nobody has": {"data": b64(MESSAGE), "kid": RSA, "algorithm": "RSASSA_PSS_SHA_256"},
    "two keys": {"hash": DIGEST.hex(), "kid": RSA, "signer_kid": ED},
    "an unknown kind": {"hash": DIGEST.hex(), "kind": "raw"},
    "a digest as a note": {"payload_b64": b64(DIGEST), "kind": "note", "kid": ED},
    "a hash as a note": {"hash": DIGEST.hex(), "kind": "note", "kid": ED},
    "a note as a digest": {"note_b64": b64(NOTE), "kind": "digest", "kid": ED},
    "a note that is too long": {"note_b64": b64(b"x" * 4097), "kid": ED},
    "another algorithm": {"hash": DIGEST.hex(), "kid": ED, "alg": "rsa-sha256"},
    "no key named of two": {"hash": DIGEST.hex()},
    "a short nonce": {"hash": DIGEST.hex(), "kid": ED, "nonce": "abc"},
    "a size that is none": {"hash": DIGEST.hex(), "kid": ED, "old_size": "-1"},
    "a proof that is none": {"hash": DIGEST.hex(), "kid": ED, "consistency": ["AA=="]},
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_is_not_right_is_refused_on_record_and_the_key_is_not_asked(proxy: TestProxy, name: str) -> None:
    asked = {kid: key.asked for kid, key in proxy.keys.items()}
    reply = proxy.post(body=BAD_BODIES[name])
    assert reply.status == 400
    assert proxy.events() == [f"refused:{reply.code}"]
    assert {kid: key.asked for kid, key in proxy.keys.items()} == asked


def test_who_may_not_use_a_key_does_not_get_it(proxy: TestProxy) -> None:
    other = proxy.door.authority.issue("other")
    assert proxy.post(body={"hash": DIGEST.hex(), "kid": ED}, pair=other).code == "KEY_NOT_ALLOWED"
    looker = proxy.door.authority.issue("looker")
    assert proxy.post(body={"hash": DIGEST.hex(), "kid": ED}, pair=looker).code == "SCOPE_MISSING"
    assert proxy.sign("no-such-key").code == "KEY_NOT_ALLOWED"
    assert proxy.events() == ["refused:KEY_NOT_ALLOWED", "refused:KEY_NOT_ALLOWED"]


def test_a_token_opens_the_proxy_once(proxy: TestProxy) -> None:
    token = proxy.door.issuer.token(scope="sign", jti="sign-once-1")
    body = {"hash": DIGEST.hex(), "kid": ED}
    assert proxy.post(body=body, pair=None, bearer=token).status == 200
    assert proxy.post(body=body, pair=None, bearer=token).code == "TOKEN_REPLAYED"
    assert proxy.records()[0]["principal"] == "token of prover@example.com"


def test_a_nonce_works_once_also_after_a_restart(tmp_path: Path) -> None:
    with running_proxy(tmp_path) as first:
        assert first.sign(nonce="nonce-0001").status == 200
        reply = first.sign(nonce="nonce-0001")
        assert (reply.status, reply.code) == (409, "REPLAYED")
    with running_proxy(tmp_path) as again:
        assert again.sign(nonce="nonce-0001").code == "REPLAYED"
        assert again.sign(nonce="nonce-0002").status == 200
        assert again.report().sound


def test_a_token_works_once_also_after_a_restart_and_at_a_proxy_beside(tmp_path: Path) -> None:
    body = {"hash": DIGEST.hex(), "kid": ED}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    shared = tmp_path / "used"
    with running_proxy(tmp_path / "one", used=shared) as first, running_proxy(tmp_path / "two", used=shared) as second:
        write_whole(second.door.folder / "keys.json", (first.door.folder / "keys.json").read_bytes())
        token = first.door.issuer.token(scope="sign", jti="sign-once-2")
        assert first.post(body=body, pair=None, bearer=token).status == 200
        assert second.post(body=body, pair=None, bearer=token).code == "TOKEN_REPLAYED"
        other = first.door.issuer.token(scope="sign", jti="sign-once-3")
        assert second.post(body=body, pair=None, bearer=other).status == 200
        assert first.post(body=body, pair=None, bearer=other).code == "TOKEN_REPLAYED"
        assert second.sign(nonce="nonce-0003").status == 200
        assert first.sign(nonce="nonce-0003").code == "REPLAYED"
        keys = first.door.issuer
    with running_proxy(tmp_path / "one", used=shared) as again:
        keys.write(again.door.folder / "keys.json")
        for used in (token, other):
            assert again.post(body=body, pair=None, bearer=used).code == "TOKEN_REPLAYED"


def test_a_memory_that_cannot_be_written_signs_nothing(proxy: TestProxy) -> None:
    assert proxy.sign(nonce="nonce-0004").status == 200
    folder = proxy.door.folder / "used"
    for name in ("prover", ".since"):
        os.rename(folder / name, folder / f"{name}.gone")
    (folder / "prover").write_text("no folder")
    reply = proxy.sign(nonce="nonce-0005")
    assert (reply.status, reply.code) == (503, "UNAVAILABLE")
    assert proxy.sign().status == 200, "without a nonce there is nothing to remember"


@pytest.mark.parametrize(
    ("path", "kid", "body"),
    [
        ("/sign/hash", ED, {"digest_hex": hashlib.sha256(MESSAGE).hexdigest()}),
        ("/sign/canonical", RSA, {"canonical": MESSAGE.decode()}),
        ("/sign", RSA, {"data": b64(MESSAGE), "algorithm": "RSASSA_PKCS1_V1_5_SHA_256"}),
        ("/sign", ED, {"payload_b64": b64(hashlib.sha256(MESSAGE).digest()), "algorithm": "ED25519_SHA_512"}),
    ],
)
def test_the_dialects_of_neighbours_are_signed_by_the_same_rules(
    proxy: TestProxy, path: str, kid: str, body: dict[str, str]
) -> None:
    asked = {**body, "kid": kid}
    told = proxy.post(path, asked).json
    digest = hashlib.sha256(MESSAGE).digest()
    assert openssl_accepts_digest(proxy.registered[kid].public_key, digest, decode_signature(told["signature"]))
    assert proxy.post("/verify", {**asked, "signature": told["signature"]}).json["verified"] is True
    assert proxy.post(path, asked, pair=proxy.door.authority.issue("looker")).code == "SCOPE_MISSING"
    token = proxy.door.issuer.token(scope="sign", jti="sign-once-1")
    assert proxy.post(path, asked, pair=None, bearer=token).status == 200
    assert proxy.post(path, asked, pair=None, bearer=token).code == "TOKEN_REPLAYED"


@pytest.mark.parametrize("name", ["ok", "verified", "valid"])
def test_no_client_takes_a_forged_signature_for_a_good_one(proxy: TestProxy, name: str) -> None:
    """Whichever of the fields it reads."""
    body = {"digest_hex": DIGEST.hex(), "kid": ED, "signature": proxy.sign().json["signature"]}
    assert proxy.post("/verify", body).json[name] is True
    assert proxy.post("/verify", {**body, "digest_hex": bytes(32).hex()}).json[name] is False
    assert proxy.post("/verify", {**body, "signature": b64(bytes(64))}).json[name] is False


def test_verify_says_whether_and_is_on_record(proxy: TestProxy) -> None:
    signature = proxy.sign().json["signature"]
    body = {"digest_hex": DIGEST.hex(), "kid": ED, "signature": signature}
    assert proxy.post("/verify", body).json["valid"] is True
    assert proxy.post("/verify", {**body, "digest_hex": bytes(32).hex()}).json["valid"] is False
    assert proxy.post("/verify", {**body, "signature_b64": b64(bytes(64))}).code == "BAD_REQUEST"
    assert proxy.post("/verify", {**body, "signature": "AAA"}).code == "BAD_REQUEST"
    assert proxy.events()[2:] == ["verified:VALID", "verified:INVALID", "refused:BAD_REQUEST", "refused:BAD_REQUEST"]


def test_the_public_key_is_the_registered_one(proxy: TestProxy) -> None:
    for kid in KIDS:
        told = proxy.door.ask(path=f"/public-key?kid={kid}").json
        assert told["public_key_pem"] == told["publicKeyPem"] == proxy.registered[kid].public_pem
        assert told["signer_kid"] == kid
    assert proxy.door.ask(path="/public-key").code == "KEY_NOT_NAMED"


def test_health_tells_key_and_log_head(proxy: TestProxy) -> None:
    proxy.sign()
    told = proxy.door.ask(path="/health").json
    assert (told["ok"], told["keys"], told["witness"]) == (True, [RSA, ED], False)
    assert told["log_hash"] == proxy.records()[-1]["hash"]


def test_no_body_makes_the_proxy_fail(proxy: TestProxy) -> None:
    """Mutations of good bodies: each is answered, none with a fault, and whatever was signed verifies."""
    chance = random.Random(11)
    seeds = [
        b'{"payload_b64":"%s","kid":"%s"}' % (b64(DIGEST).encode(), ED.encode()),
        b'{"note_b64":"%s","kid":"%s","old_size":"1","consistency":[]}' % (b64(NOTE).encode(), ED.encode()),
        b'{"hash":"%s","kid":"%s","alg":"ed25519","nonce":"12345678"}' % (DIGEST.hex().encode(), ED.encode()),
    ]
    replies: list[Reply] = []
    for _ in range(120):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(0, 3)):
            data[chance.randrange(len(data))] = chance.choice(b'{}[]",:0aA=+/\\\x00\xff')
        replies.append(proxy.post(chance.choice(["/sign", "/verify"]), bytes(data)))
    assert {reply.status for reply in replies} <= {200, 400, 403, 409, 422}
    assert any(reply.status == 200 for reply in replies)
    records = proxy.records()
    assert len([record for record in records if record["event"] != "asked"]) == len(replies)


def test_callers_in_parallel_get_their_own_signatures(proxy: TestProxy) -> None:
    from concurrent.futures import ThreadPoolExecutor

    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(24)]
    with ThreadPoolExecutor(6) as pool:
        bodies = [{"digest_hex": digest.hex(), "kid": KIDS[n % 2]} for n, digest in enumerate(digests)]
        replies = list(pool.map(lambda body: proxy.post(body=body), bodies))
    for number, (digest, reply) in enumerate(zip(digests, replies, strict=True)):
        key = proxy.registered[KIDS[number % 2]].public_key
        verify_digest(key, digest, decode_signature(reply.json["signature"]))
    assert proxy.report().records == 48
    assert proxy.told == {"asked": 24, "signed": 24}


def test_a_caller_is_bounded_by_its_rate(tmp_path: Path) -> None:
    text = proxy_yaml(limits="{requests_per_second_max: 0.5}")
    with running_proxy(tmp_path, text=text) as slow:
        replies = [slow.sign() for _ in range(4)]
        assert [reply.status for reply in replies].count(429) >= 2
        assert slow.events().count("signed") == [reply.status for reply in replies].count(200)


def test_a_note_verifies_as_a_note_only(proxy: TestProxy) -> None:
    told = proxy.post(body={"note_b64": b64(NOTE), "kid": ED}).json
    verify_text(proxy.registered[ED].public_key, NOTE, decode_signature(told["signature"]))
    body = {"note_b64": b64(NOTE), "kid": ED, "signature": told["signature"]}
    assert proxy.post("/verify", body).json["valid"] is True
    as_digest = {"hash": hashlib.sha256(NOTE).hexdigest(), "kid": ED, "signature": told["signature"]}
    assert proxy.post("/verify", as_digest).json["valid"] is False
