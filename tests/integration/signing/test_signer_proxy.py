"""Signing proxies over real HTTPS, as they are in the field, and as they must not be."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger_core.errors import Refused, SignerFailure, SignerRefused, Unavailable
from ledger_core.ports import Algorithm
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from producers.signing.https_exchange import ANSWER_BYTES_MAX, HttpsExchange
from producers.signing.local import LocalKey
from producers.signing.proxy import ProxyKey
from producers.signing.verified_signer import VerifiedSigner
from tests.support.signing import NOW
from tests.support.signing_proxy import API_KEY, SigningProxy, serving
from tests.support.silent_server import address, connections, silent_server
from tests.support.throwaway_ca import ThrowawayCa

pytestmark = pytest.mark.services
DIGEST = hashlib.sha256(b"a range of the ledger").digest()
NOTE = b"example.com/finance/dev/ledger/0\n3\nAAAA\n"


@dataclass
class Place:
    """A running proxy, who trusts it, and who it trusts."""

    proxy: SigningProxy
    ca: ThrowawayCa

    def exchange(self, client: str | None = "prover", **options: object) -> HttpsExchange:
        files = None if client is None else self.ca.issue(client)
        pair = None if files is None else (files.cert, files.key)
        return HttpsExchange(self.proxy.url, **{"ca_file": self.ca.ca_file, "client_pair": pair, **options})  # type: ignore[arg-type]

    def key(self, exchange: HttpsExchange | None = None, *, api_key: str | None = API_KEY) -> ProxyKey:
        return ProxyKey(exchange or self.exchange(), self.proxy.key.algorithm, self.registry, api_key=api_key)

    @property
    def registry(self) -> SignerRegistry:
        key = self.proxy.key
        return SignerRegistry([RegisteredSigner("proxy-v1", key.algorithm, key.public_key(), NOW)])

    def signer(self) -> VerifiedSigner:
        return VerifiedSigner(self.key(), self.registry.get("proxy-v1"), now=NOW)


@pytest.fixture(params=["ed25519", "rsa-sha256"])
def algorithm(request: pytest.FixtureRequest) -> Algorithm:
    chosen: Algorithm = request.param
    return chosen


@pytest.fixture
def place(algorithm: Algorithm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    ca = ThrowawayCa(tmp_path_factory.mktemp("ca"))
    proxy = SigningProxy(LocalKey.generate(algorithm, env="dev"))
    with serving(proxy, ca.issue("127.0.0.1"), client_ca=ca.ca_file):
        yield Place(proxy, ca)


@pytest.mark.parametrize("reads", ["payload_b64", "hash", "digest_hex"])
@pytest.mark.parametrize("answers", [("signature_b64", "signer_kid"), ("signature", "signer_id")])
def test_every_spelling_of_the_field_is_understood(place: Place, reads: str, answers: tuple[str, str]) -> None:
    place.proxy.reads, place.proxy.answers = reads, answers
    signer = place.signer()
    signer.pin()
    assert signer.sign_digest(DIGEST) == place.proxy.key.sign_digest(DIGEST)


@pytest.mark.parametrize("kid_field", ["signerId", "kid"])
def test_a_proxy_that_shows_no_key_is_known_by_the_kid_it_has(place: Place, kid_field: str) -> None:
    place.proxy.answers, place.proxy.shows_key = ("signature", kid_field), False
    place.signer().pin()
    place.proxy.kid = "unheard-of"
    with pytest.raises(SignerRefused, match="not in the signer registry") as caught:
        place.signer().pin()
    assert caught.value.failure is SignerFailure.WRONG_KEY


def test_an_ed25519_note_travels_whole_and_an_rsa_note_as_its_digest(place: Place) -> None:
    assert place.signer().sign_text(NOTE) == place.proxy.key.sign_text(NOTE)
    sent = place.proxy.requests[-1]
    whole = place.proxy.key.algorithm == "ed25519"
    assert sent["kind"] == ("note" if whole else "digest")
    assert base64.b64decode(sent["payload_b64"]) == (NOTE if whole else hashlib.sha256(NOTE).digest())
    assert ("digest_hex" in sent) is not whole


def hashes_twice(key: LocalKey, message: bytes) -> bytes:
    return key.sign_digest(hashlib.sha256(message).digest())


def other_key(key: LocalKey, message: bytes) -> bytes:
    return LocalKey.generate(key.algorithm, env="dev").sign_digest(message)


def other_algorithm(key: LocalKey, message: bytes) -> bytes:
    other: Algorithm = "ed25519" if key.algorithm == "rsa-sha256" else "rsa-sha256"
    return LocalKey.generate(other, env="dev").sign_text(message)


def truncated(key: LocalKey, message: bytes) -> bytes:
    return key.sign_digest(message)[:-1]


def nothing(_key: LocalKey, _message: bytes) -> bytes:
    return b""


def cube_root(key: LocalKey, message: bytes) -> bytes:
    """The e = 3 forgery: a number whose cube begins like a padded DigestInfo, and ends in garbage."""
    block = b"\x00\x01\xff\x00" + bytes.fromhex("3031300d060960864801650304020105000420") + message
    target = int.from_bytes(block + bytes(256 - len(block)), "big")
    low, high = 0, 1 << (target.bit_length() // 3 + 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < target else (low, middle)
    return low.to_bytes(256, "big")


@pytest.mark.parametrize("lie", [hashes_twice, other_key, other_algorithm, truncated, nothing, cube_root])
def test_a_wrong_signature_never_gets_out(place: Place, lie: object) -> None:
    signer = place.signer()
    place.proxy.lie = lie  # type: ignore[assignment]
    for sign, message in ((signer.sign_digest, DIGEST), (signer.sign_text, NOTE)):
        with pytest.raises(SignerRefused, match="does not verify") as caught:
            sign(message)
        assert caught.value.failure is SignerFailure.NOT_VERIFIED
    with pytest.raises(Refused):
        signer.pin()


def test_a_proxy_that_changes_its_key_is_refused(place: Place) -> None:
    signer = place.signer()
    signer.pin()
    place.proxy.kid = "rotated-behind-our-back"
    with pytest.raises(SignerRefused, match="rotated-behind-our-back") as caught:
        signer.sign_digest(DIGEST)
    assert caught.value.failure is SignerFailure.WRONG_KEY


def test_a_key_whose_signatures_can_be_forged_is_refused(place: Place) -> None:
    cubic = rsa.generate_private_key(3, 2048).public_key()
    place.proxy.shown_pem = cubic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(SignerRefused, match="exponent 3"):
        place.signer().pin()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alg": "hmac-sha256"}, "signed with hmac-sha256"),
        ({"body": b"<html>"}, "another form"),
        ({"body": b'{"signature":"%%%","kid":"proxy-v1"}'}, "not base64"),
        ({"body": b'{"signature":"AAAA"}'}, "no kid"),
        ({"body": b'{"signature":"AAAA","kid":"proxy-v1","signer_id":"other"}'}, "other and proxy-v1"),
        ({"body": b" " * (ANSWER_BYTES_MAX + 1)}, "more than"),
        ({"status": 302}, "HTTP 302"),
        ({"status": 400}, "HTTP 400"),
        ({"status": 403}, "allow this caller"),
    ],
)
def test_an_answer_of_another_form_is_refused(place: Place, change: dict[str, object], said: str) -> None:
    for name, value in change.items():
        setattr(place.proxy, name, value)
    with pytest.raises(Refused, match=said):
        place.key().sign_digest(DIGEST)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_proxy_that_is_throttled_or_broken_is_unavailable(place: Place, status: int) -> None:
    place.proxy.status = status
    with pytest.raises(Unavailable, match=f"HTTP {status}"):
        place.signer().pin()
    place.proxy.status = None
    place.signer().pin()


def test_without_a_key_that_it_knows_the_proxy_signs_nothing(place: Place) -> None:
    for api_key in ("wrong", None):
        with pytest.raises(Refused, match="HTTP 401") as caught:
            place.key(api_key=api_key).sign_digest(DIGEST)
        assert "SIGNING_PROXY_API_KEY" in caught.value.remedy
        assert "wrong" not in str(caught.value)


def test_a_client_without_a_good_certificate_is_refused_by_the_proxy(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = ThrowawayCa(tmp_path_factory.mktemp("other"), "another CA").issue("prover")
    expired = place.ca.issue("expired", expired=True)
    for pair in (None, (stranger.cert, stranger.key), (expired.cert, expired.key)):
        # TLS 1.3 answers a bad certificate when the client is done: the alert may be lost in the end of the connection.
        with pytest.raises((Refused, Unavailable), match="client certificate"):
            place.key(place.exchange(None, client_pair=pair)).sign_digest(DIGEST)
    assert place.proxy.requests == []


def test_a_proxy_whose_certificate_is_not_of_our_ca_gets_no_digest(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = ThrowawayCa(tmp_path_factory.mktemp("other"), "another CA")
    with pytest.raises(Refused, match="certificate is not accepted"):
        place.key(place.exchange(ca_file=other.ca_file)).sign_digest(DIGEST)
    with pytest.raises(Refused, match="certificate files cannot be used"):
        place.key(place.exchange(ca_file="/nowhere.pem")).sign_digest(DIGEST)
    assert place.proxy.requests == []


def test_a_proxy_that_does_not_sign_notes_is_refused_with_the_remedy(place: Place) -> None:
    place.proxy.signs_notes = False
    if place.proxy.key.algorithm == "rsa-sha256":
        assert place.signer().sign_text(NOTE)
    else:
        with pytest.raises(Refused, match="RSA key behind it"):
            place.signer().sign_text(NOTE)


def test_a_proxy_that_hangs_is_unavailable_within_the_deadline() -> None:
    with silent_server() as silent:
        key = ProxyKey(
            HttpsExchange(f"https://{address(silent)}", timeout_seconds=0.3), "ed25519", SignerRegistry([]), api_key="k"
        )
        with pytest.raises(Unavailable, match="signing proxy"):
            key.sign_digest(DIGEST)
        assert connections(silent) == 1, "one try, no hidden retries"


def test_a_connection_that_ended_while_idle_is_opened_anew(place: Place) -> None:
    exchange = place.exchange()
    signer = VerifiedSigner(place.key(exchange), place.registry.get("proxy-v1"), now=NOW)
    before = signer.sign_digest(DIGEST)
    place.proxy.hang_up()
    assert signer.sign_digest(DIGEST) == before
    assert threading.active_count() < 50
