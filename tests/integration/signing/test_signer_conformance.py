"""Any signer, same bytes: what every key service must do, judged by openssl. A new signer is one line in SERVICES."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from ledger_core.errors import Refused, SignerFailure, SignerRefused
from ledger_core.ports import Algorithm
from ledger_core.proving.checkpoint import note_text
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature, verify_digest
from producers.signing.https_exchange import HttpsExchange
from producers.signing.local import LocalKey
from producers.signing.proxy import ProxyKey
from producers.signing.transit import TransitKey
from producers.signing.verified_signer import TEXT_BYTES_MAX, KeyService, VerifiedSigner, pin
from tests.support.hsm import Token
from tests.support.proxies import running_proxy
from tests.support.signing import NOW, kms_admin, kms_key, openssl_accepts_digest, openssl_accepts_text, register
from tests.support.signing_proxy import SigningProxy, serving
from tests.support.throwaway_ca import ThrowawayCa
from tests.support.transit_server import TransitServer, transit_server

if TYPE_CHECKING:
    from mypy_boto3_kms.literals import KeySpecType

pytestmark = pytest.mark.services

SERVICES: dict[str, Callable[[Callable[[str], Any]], KeyService]] = {  # given the fixture of a name
    "local-rsa": lambda _: LocalKey.generate("rsa-sha256", env="dev"),
    "local-ed25519": lambda _: LocalKey.generate("ed25519", env="dev"),
    "kms-rsa": lambda fixture: kms_key(fixture("stack").env, "rsa-sha256"),
    "kms-ed25519": lambda fixture: kms_key(fixture("stack").env, "ed25519"),
    "transit-rsa": lambda fixture: transit_key(fixture("transit"), "rsa-sha256"),
    "transit-ed25519": lambda fixture: transit_key(fixture("transit"), "ed25519"),
    "transit-rsa-3072": lambda fixture: transit_key(fixture("transit"), "rsa-sha256", "rsa-3072"),
    "kms-rsa-3072": lambda fixture: kms_key(fixture("stack").env, "rsa-sha256", new_kms_key(fixture, "RSA_3072")),
    "kms-rsa-4096": lambda fixture: kms_key(fixture("stack").env, "rsa-sha256", new_kms_key(fixture, "RSA_4096")),
    "hsm-rsa": lambda fixture: fixture("token").key("rsa-sha256", "rsa-sha256"),
    "hsm-ed25519": lambda fixture: fixture("token").key("ed25519", "ed25519"),
    "proxy-rsa": lambda fixture: proxy_key(fixture("proxies")["rsa-sha256"]),
    "proxy-ed25519": lambda fixture: proxy_key(fixture("proxies")["ed25519"]),
}
REFERENCE = ("hsm-rsa", "hsm-ed25519", "transit-rsa", "transit-ed25519")  # behind `finance signing-proxy`
SERVICES |= {
    f"reference-proxy-{name}": partial(lambda name, fixture: fixture("reference")(name), name) for name in REFERENCE
}
BYTES = {"rsa-3072": 384, "rsa-4096": 512, "rsa": 256, "ed25519": 64}
ALGORITHMS: tuple[Algorithm, ...] = ("rsa-sha256", "ed25519")
DIGEST = hashlib.sha256(b"a range of the ledger").digest()
NOTE = note_text("example.com/finance/dev/ledger/0", 3, DIGEST, ["an extension of Zoë's"])
LONGEST = NOTE + b"x" * (TEXT_BYTES_MAX - len(NOTE) - 1) + b"\n"


@pytest.fixture(scope="module")
def transit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransitServer]:
    with transit_server(tmp_path_factory.mktemp("transit")) as running:
        running.make_key("rsa-sha256", "rsa-2048")
        running.make_key("rsa-3072", "rsa-3072")
        running.make_key("ed25519", "ed25519")
        yield running


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    made = Token.make(tmp_path_factory.mktemp("hsm"), "conformance")
    made.make_key("rsa-sha256", "rsa-sha256")
    made.make_key("ed25519", "ed25519")
    return made


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[SigningProxy, ThrowawayCa]]]:
    ca = ThrowawayCa(tmp_path_factory.mktemp("ca"))
    server = ca.issue("127.0.0.1")
    rsa, ed25519 = (SigningProxy(LocalKey.generate(algorithm, env="dev")) for algorithm in ALGORITHMS)
    with serving(rsa, server, client_ca=ca.ca_file), serving(ed25519, server, client_ca=ca.ca_file):
        yield {"rsa-sha256": (rsa, ca), "ed25519": (ed25519, ca)}


@pytest.fixture(scope="module")
def reference(
    token: Token, transit: TransitServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], ProxyKey]]:
    """Our own signing proxy, in front of the HSM and the transit engine, over mutual TLS."""

    def fixture(name: str) -> Any:
        return {"token": token, "transit": transit}[name]

    behind = {name: SERVICES[name](fixture) for name in REFERENCE}
    with running_proxy(tmp_path_factory.mktemp("reference"), services=behind) as proxy:

        def key(name: str) -> ProxyKey:
            client = proxy.door.client
            exchange = HttpsExchange(
                f"https://127.0.0.1:{proxy.door.door.port}",
                ca_file=str(proxy.door.authority.path),
                client_pair=(str(client.certificate), str(client.key)),
            )
            return ProxyKey(exchange, behind[name].algorithm, SignerRegistry([]), api_key=None, kid=name)

        yield key
        report = proxy.report()
        assert report.findings == []
        assert report.unfinished == set()


def transit_key(server: TransitServer, algorithm: Algorithm, name: str | None = None) -> TransitKey:
    return TransitKey(HttpsExchange(server.address), name or algorithm, algorithm, token=server.token)


def proxy_key(running: tuple[SigningProxy, ThrowawayCa]) -> ProxyKey:
    """Over mutual TLS and with the API key. It knows the proxy's kid as whatever the test registers."""
    proxy, ca = running
    client = ca.issue("finance-prover")
    exchange = HttpsExchange(proxy.url, ca_file=ca.ca_file, client_pair=(client.cert, client.key))
    return ProxyKey(exchange, proxy.key.algorithm, SignerRegistry([]), api_key=proxy.api_key)


def new_kms_key(fixture: Callable[[str], Any], spec: KeySpecType) -> str:
    made = kms_admin(fixture("stack").env).create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")
    return made["KeyMetadata"]["KeyId"]


@pytest.fixture(params=sorted(SERVICES))
def service(request: pytest.FixtureRequest) -> Iterator[KeyService]:
    made = SERVICES[request.param](request.getfixturevalue)
    yield made
    made.close()


@pytest.fixture
def signer(service: KeyService) -> VerifiedSigner:
    return pin(service, register(service, "conformance-v1"), now=NOW)


def test_openssl_accepts_the_signature_of_a_digest(signer: VerifiedSigner, request: pytest.FixtureRequest) -> None:
    signature = signer.sign_digest(DIGEST)
    key = signer.registered.public_key
    assert len(signature) == next(size for kind, size in BYTES.items() if kind in request.node.name)
    assert openssl_accepts_digest(key, DIGEST, signature)
    assert not openssl_accepts_digest(key, hashlib.sha256(DIGEST).digest(), signature), "the digest was hashed again"
    assert not openssl_accepts_digest(key, bytes(32), signature)


def test_openssl_accepts_the_signature_of_a_note(signer: VerifiedSigner) -> None:
    signature = signer.sign_text(NOTE)
    key = signer.registered.public_key
    assert openssl_accepts_text(key, NOTE, signature)
    assert not openssl_accepts_text(key, NOTE + b"\n", signature)


def test_signing_again_gives_the_same_bytes(signer: VerifiedSigner) -> None:
    assert signer.sign_digest(DIGEST) == signer.sign_digest(DIGEST)
    assert signer.sign_text(NOTE) == signer.sign_text(NOTE)


def test_an_rsa_note_is_signed_as_its_digest_and_an_ed25519_note_as_itself(signer: VerifiedSigner) -> None:
    same = signer.sign_text(NOTE) == signer.sign_digest(hashlib.sha256(NOTE).digest())
    assert same is (signer.algorithm == "rsa-sha256")


@pytest.mark.parametrize("size", [0, 20, 31, 33, 64])
def test_only_32_bytes_are_a_digest(signer: VerifiedSigner, size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        signer.sign_digest(bytes(size))


def test_the_longest_note_is_signed_and_a_longer_one_is_not(signer: VerifiedSigner) -> None:
    assert len(LONGEST) == TEXT_BYTES_MAX
    assert signer.sign_text(LONGEST)
    with pytest.raises(ValueError, match="at most"):
        signer.sign_text(b"x" + LONGEST)


def test_the_public_key_is_the_same_at_every_question(service: KeyService) -> None:
    assert service.public_key() == service.public_key()
    assert service.public_key().algorithm == service.algorithm


def test_the_kid_comes_from_the_registry(service: KeyService) -> None:
    signer = pin(service, register(service, "named-by-the-registry"), now=NOW)
    assert signer.kid == (service.claimed_kid or "named-by-the-registry")
    assert signer.algorithm == service.algorithm


def test_a_key_that_is_not_registered_may_not_sign(service: KeyService) -> None:
    stranger = LocalKey.generate(service.algorithm, env="dev")
    with pytest.raises(Refused, match="not in the signer registry") as caught:
        pin(service, register(stranger, "another-key"), now=NOW)
    assert "signers.json" in caught.value.remedy


def test_a_retired_key_may_not_sign_but_its_history_verifies(service: KeyService) -> None:
    signature = service.sign_digest(DIGEST)
    registry = register(service, "retired-v1", retired_at=NOW)
    with pytest.raises(Refused, match="retired"):
        pin(service, registry, now=NOW)
    verify_digest(registry.signers[0].public_key, DIGEST, signature)


def test_a_signature_of_another_key_is_never_returned(service: KeyService) -> None:
    other = LocalKey.generate(service.algorithm, env="dev")
    registered = RegisteredSigner("pinned-to-another-key", service.algorithm, other.public_key(), NOW)
    signer = VerifiedSigner(service, registered, now=NOW)
    with pytest.raises(Refused, match="does not verify"):
        signer.sign_digest(DIGEST)
    with pytest.raises(Refused, match="does not verify"):
        signer.sign_text(NOTE)
    with pytest.raises(SignerRefused, match="is not the registered key") as caught:
        signer.pin()
    assert caught.value.failure is SignerFailure.WRONG_KEY


def test_a_registry_written_and_read_again_pins_the_same_key(service: KeyService) -> None:
    registry = SignerRegistry.from_json(register(service, "round-trip").to_json())
    signature = pin(service, registry, now=NOW).sign_digest(DIGEST)
    with pytest.raises(BadSignature):
        verify_digest(registry.signers[0].public_key, bytes(32), signature)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_key_in_four_places_signs_the_same_bytes(
    algorithm: Algorithm,
    token: Token,
    transit: TransitServer,
    proxies: dict[str, tuple[SigningProxy, ThrowawayCa]],
) -> None:
    """Both schemes are deterministic: whatever holds the key, a retry anywhere gives the same signature."""
    proxy, _ = proxies[algorithm]
    token.store_key(f"twin-{algorithm}", proxy.key.private_key)
    transit.import_key(f"twin-{algorithm}", "ed25519" if algorithm == "ed25519" else "rsa-2048", proxy.key.private_key)
    services: list[KeyService] = [
        proxy.key,
        proxy_key(proxies[algorithm]),
        token.key(f"twin-{algorithm}", algorithm),
        transit_key(transit, algorithm, f"twin-{algorithm}"),
    ]
    assert len({service.public_key().fingerprint for service in services}) == 1
    assert len({service.sign_digest(DIGEST) for service in services}) == 1
    assert len({service.sign_text(NOTE) for service in services}) == 1
