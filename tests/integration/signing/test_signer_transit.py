"""The real transit engine: the shared suite is test_signer_conformance.py, here is what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger_core.errors import Refused, Unavailable
from producers.signing.https_exchange import HttpsExchange
from producers.signing.transit import TransitKey
from producers.signing.verified_signer import pin
from tests.support.signing import NOW, openssl_accepts_digest, register
from tests.support.throwaway_ca import ThrowawayCa
from tests.support.transit_server import TransitServer, transit_server

pytestmark = pytest.mark.services
DIGEST = bytes(range(32))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransitServer]:
    with transit_server(tmp_path_factory.mktemp("transit")) as running:
        running.make_key("rsa", "rsa-2048")
        running.make_key("ed", "ed25519")
        yield running


def test_rotating_the_key_in_the_engine_changes_no_signature_before_its_version_is_pinned(
    server: TransitServer,
) -> None:
    server.make_key("rotated", "ed25519")
    first = TransitKey(HttpsExchange(server.address), "rotated", "ed25519", token=server.token)
    signer = pin(first, register(first, "rotated-v1"), now=NOW)
    before = signer.sign_digest(DIGEST)
    assert server.call("POST", "transit/keys/rotated/rotate", {})[0] in (200, 204)
    assert signer.sign_digest(DIGEST) == before
    pinned = TransitKey(HttpsExchange(server.address), "rotated", "ed25519", token=server.token, key_version=1)
    assert pinned.sign_digest(DIGEST) == before
    newest = TransitKey(HttpsExchange(server.address), "rotated", "ed25519", token=server.token)
    assert newest.public_key() != signer.registered.public_key
    with pytest.raises(Refused, match="not in the signer registry"):
        pin(newest, register(first, "rotated-v1"), now=NOW)


def test_the_engine_signs_over_mutual_tls_and_for_nobody_without_a_certificate(tmp_path: Path) -> None:
    ca, strangers = ThrowawayCa(tmp_path / "ca"), ThrowawayCa(tmp_path / "strangers")
    mine, stranger = ca.issue("prover"), strangers.issue("prover")
    with transit_server(tmp_path, ca) as server:
        server.make_key("ed", "ed25519")
        address = f"https://127.0.0.1:{server.tls_port}"

        def key(ca_file: str, pair: tuple[str, str] | None) -> TransitKey:
            exchange = HttpsExchange(address, ca_file=ca_file, client_pair=pair)
            return TransitKey(exchange, "ed", "ed25519", token=server.token)

        known = key(ca.ca_file, (mine.cert, mine.key))
        assert openssl_accepts_digest(known.public_key(), DIGEST, known.sign_digest(DIGEST))
        for pair in (None, (stranger.cert, stranger.key)):
            with pytest.raises((Refused, Unavailable), match=r"client certificate|our side of TLS"):
                key(ca.ca_file, pair).sign_digest(DIGEST)
        with pytest.raises(Refused, match="its certificate is not accepted"):
            key(strangers.ca_file, (mine.cert, mine.key)).sign_digest(DIGEST)


def test_the_engine_left_alone_signs_another_scheme_which_is_refused(server: TransitServer) -> None:
    """PSS instead of PKCS#1 v1.5, or the digest hashed again: both sign without an error, and neither verifies."""
    key = TransitKey(HttpsExchange(server.address), "rsa", "rsa-sha256", token=server.token)
    public_key = key.public_key()
    assert openssl_accepts_digest(public_key, DIGEST, key.sign_digest(DIGEST))
    plain_pss = TransitKey(HttpsExchange(server.address), "rsa", "ed25519", token=server.token, key_version=1)
    assert not openssl_accepts_digest(public_key, DIGEST, plain_pss.sign_digest(DIGEST))


@pytest.mark.parametrize(
    ("name", "algorithm", "version", "remedy"),
    [
        ("missing", "ed25519", None, "name a key that exists"),
        ("ed", "rsa-sha256", None, "AUDIT_SIGNING_ALG"),
        ("ed", "ed25519", 7, "pin a version"),
    ],
)
def test_a_wrong_key_is_refused_with_the_remedy(
    server: TransitServer, name: str, algorithm: str, version: int | None, remedy: str
) -> None:
    key = TransitKey(HttpsExchange(server.address), name, algorithm, token=server.token, key_version=version)  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        key.public_key()
    assert remedy in caught.value.remedy


def test_a_token_that_may_not_is_refused(server: TransitServer) -> None:
    with pytest.raises(Refused) as caught:
        TransitKey(HttpsExchange(server.address), "ed", "ed25519", token="s.wrong", key_version=1).sign_digest(DIGEST)
    assert "token" in caught.value.remedy


def test_a_sealed_or_missing_server_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    with transit_server(tmp_path_factory.mktemp("sealed")) as own:
        own.make_key("ed", "ed25519")
        key = TransitKey(HttpsExchange(own.address), "ed", "ed25519", token=own.token)
        signer = pin(key, register(key, "sealed-v1"), now=NOW)
        assert own.call("PUT", "sys/seal", {})[0] in (200, 204)
        with pytest.raises(Unavailable, match="signer"):
            signer.sign_digest(DIGEST)
    with pytest.raises(Unavailable, match="signer"):
        signer.sign_digest(DIGEST)


def test_something_else_at_that_address_is_not_believed(server: TransitServer) -> None:
    elsewhere = TransitKey(
        HttpsExchange(server.address), "x", "ed25519", token=server.token, mount="sys", key_version=1
    )
    with pytest.raises(Refused):
        elsewhere.sign_digest(DIGEST)
    with pytest.raises(Refused, match="is not a URL"):
        HttpsExchange("localhost:8200")
