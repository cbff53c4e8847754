"""Making keys in the real services: for signing alone, never to come out, and the same one when asked again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from finance.workshop.devstack import Stack
from ledger_core.errors import Refused, Unavailable
from producers.signing.https_exchange import HttpsExchange
from producers.signing.key_maker import KeyMaker, KeySpec, MadeKey, check_public_key
from producers.signing.key_maker_kms import KmsKeyMaker
from producers.signing.key_maker_pkcs11 import Pkcs11KeyMaker
from producers.signing.key_maker_transit import TransitKeyMaker
from producers.signing.transit import TransitKey
from producers.signing.verified_signer import KeyService, VerifiedSigner
from tests.support.hsm import Token, module
from tests.support.signing import NOW, held, kms_admin, kms_key, kms_place, register
from tests.support.transit_server import TransitServer, transit_server
from tests.support.waits import PATIENCE_SECONDS

pytestmark = pytest.mark.services

ED25519, RSA = KeySpec("ed25519"), KeySpec("rsa-sha256", 3072)
SPECS = [ED25519, RSA, KeySpec("rsa-sha256", 2048)]


@dataclass
class Service:
    """One key service: how a key is made under a name, and how one signs with it."""

    maker: Callable[[str, KeySpec], KeyMaker]
    signer: Callable[[str, KeySpec], KeyService]

    def make(self, name: str, spec: KeySpec) -> MadeKey:
        maker = self.maker(name, spec)
        try:
            return maker.make(spec)
        finally:
            maker.close()


def kms_maker(stack: Stack, name: str, spec: KeySpec) -> KmsKeyMaker:
    return KmsKeyMaker(name, spec.algorithm, kms_place(stack.env))


@pytest.fixture(scope="module")
def transit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransitServer]:
    with transit_server(tmp_path_factory.mktemp("transit")) as running:
        yield running


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    return Token.make(tmp_path_factory.mktemp("hsm"), "makers")


@pytest.fixture(params=["kms", "transit", "pkcs11"])
def service(request: pytest.FixtureRequest) -> Service:
    if request.param == "kms":
        stack: Stack = request.getfixturevalue("stack")
        return Service(
            lambda name, spec: kms_maker(stack, name, spec), lambda name, spec: kms_key(stack.env, spec.algorithm, name)
        )
    if request.param == "transit":
        server: TransitServer = request.getfixturevalue("transit")
        return Service(
            lambda name, spec: TransitKeyMaker(
                HttpsExchange(server.address), name.replace("/", "-"), spec.algorithm, token=server.token
            ),
            lambda name, spec: TransitKey(
                HttpsExchange(server.address), name.replace("/", "-"), spec.algorithm, token=server.token, key_version=1
            ),
        )
    token: Token = request.getfixturevalue("token")
    return Service(
        lambda name, spec: Pkcs11KeyMaker(
            module(), token.label, name, spec.algorithm, pin=token.pin, timeout_seconds=PATIENCE_SECONDS
        ),
        lambda name, spec: token.key(name, spec.algorithm),
    )


@pytest.fixture
def name() -> str:
    return f"alias/finance-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_key_that_was_made_signs_and_is_the_same_one_when_asked_again(
    service: Service, name: str, spec: KeySpec
) -> None:
    first = service.make(name, spec)
    assert first.made
    check_public_key(name, spec, first)
    signing = service.signer(name, spec)
    VerifiedSigner(signing, register(signing, "new-v1").get("new-v1"), now=NOW).pin()
    again = service.make(name, spec)
    assert (again.made, again.public_key, again.key_id) == (False, first.public_key, first.key_id)


def test_a_name_that_is_taken_by_another_key_is_refused_and_nothing_is_changed(service: Service, name: str) -> None:
    first = service.make(name, ED25519)
    with pytest.raises(Refused) as refused:
        service.make(name, RSA)
    assert refused.value.remedy
    assert service.make(name, ED25519) == MadeKey(first.public_key, first.key_id, made=False)


@pytest.mark.parametrize("bits", [0, 1024, 2047, 8192])
def test_a_key_that_is_too_small_or_of_no_kind_cannot_be_asked_for(bits: int) -> None:
    with pytest.raises(ValueError, match="bits"):
        KeySpec("rsa-sha256", bits)
    with pytest.raises(ValueError, match="bits"):
        KeySpec("ed25519", bits or 256)


def test_a_kms_key_whose_alias_was_never_set_is_found_and_named(
    stack: Stack, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = kms_admin(stack.env)

    def cut_off(**_: object) -> None:
        raise Unavailable("signer", "killed between the two steps")

    place = held(kms_place(stack.env))
    maker = KmsKeyMaker(name, ED25519.algorithm, place)
    with monkeypatch.context() as patched:
        patched.setattr(place.client, "create_alias", cut_off)
        with pytest.raises(Unavailable):
            maker.make(ED25519)
    (left,) = [key for key in all_keys(admin) if key["Description"].endswith(name)]
    made = kms_maker(stack, name, ED25519).make(ED25519)
    assert made.made
    assert made.key_id == left["Arn"], "no second key was made"
    assert [left["KeyId"]] == [key["KeyId"] for key in all_keys(admin) if key["Description"].endswith(name)]
    assert (left["KeyUsage"], left["Origin"]) == ("SIGN_VERIFY", "AWS_KMS")


def all_keys(admin: object) -> list[dict[str, str]]:
    pages = admin.get_paginator("list_keys").paginate()  # type: ignore[attr-defined]
    ids = [key["KeyId"] for page in pages for key in page["Keys"]]
    return [admin.describe_key(KeyId=key_id)["KeyMetadata"] for key_id in ids]  # type: ignore[attr-defined]


@pytest.mark.parametrize("key_id", ["finance-v2", "alias/aws/finance"])
def test_kms_makes_a_key_under_an_alias_of_ours_alone(stack: Stack, key_id: str) -> None:
    with pytest.raises(Refused, match="is not an alias"):
        kms_maker(stack, key_id, ED25519).make(ED25519)


def test_a_kms_key_for_another_use_or_disabled_is_never_taken(stack: Stack, name: str) -> None:
    admin = kms_admin(stack.env)
    made = kms_maker(stack, name, RSA).make(RSA)
    admin.disable_key(KeyId=made.key_id)
    with pytest.raises(Refused, match="KeyState is Disabled"):
        kms_maker(stack, name, RSA).make(RSA)
    other = admin.create_key(KeySpec="RSA_3072", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    admin.create_alias(AliasName=name + "-e", TargetKeyId=other)
    with pytest.raises(Refused, match="KeyUsage is ENCRYPT_DECRYPT"):
        kms_maker(stack, name + "-e", RSA).make(RSA)


def test_the_key_s_policy_is_the_one_that_was_given(stack: Stack, name: str) -> None:
    policy = json.loads(Path("deploy/kms/key-policy-ledger.json").read_text("utf-8"))
    maker = kms_maker(stack, name, ED25519)
    maker.policy = json.dumps(policy)
    made = maker.make(ED25519)
    held = kms_admin(stack.env).get_key_policy(KeyId=made.key_id, PolicyName="default")["Policy"]
    assert json.loads(held) == policy


def test_a_transit_key_that_may_come_out_is_never_taken(transit: TransitServer) -> None:
    for field in ("exportable", "allow_plaintext_backup"):
        status, answer = transit.call("POST", f"transit/keys/open-{field}", {"type": "ed25519", field: True})
        assert status in (200, 204), answer
        maker = TransitKeyMaker(HttpsExchange(transit.address), f"open-{field}", "ed25519", token=transit.token)
        with pytest.raises(Refused, match=f"{field} is True"):
            maker.make(ED25519)
    maker = TransitKeyMaker(HttpsExchange(transit.address), "twice", "ed25519", token=transit.token)
    maker.make(ED25519)
    transit.call("POST", "transit/keys/twice/rotate", {})
    with pytest.raises(Refused, match="latest_version is 2"):
        maker.make(ED25519)


def test_a_token_s_key_never_leaves_it_and_another_s_is_never_taken(token: Token) -> None:
    maker = Pkcs11KeyMaker(module(), token.label, "made", "rsa-sha256", pin=token.pin, timeout_seconds=PATIENCE_SECONDS)
    maker.make(RSA)
    with token.open() as session:
        (private,) = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: "made"})
        with pytest.raises(pkcs11.PKCS11Error):
            _ = private[Attribute.PRIVATE_EXPONENT]
        assert not private[Attribute.EXTRACTABLE]
    maker.close()
    token.make_key("decrypts", "rsa-sha256", may_sign=False, bits=3072)
    with pytest.raises(Refused, match="SIGN is False"):
        Pkcs11KeyMaker(
            module(), token.label, "decrypts", "rsa-sha256", pin=token.pin, timeout_seconds=PATIENCE_SECONDS
        ).make(RSA)
    for _ in range(2):
        token.make_key("twice", "ed25519")
    with pytest.raises(Refused, match="2 private and 2 public"):
        Pkcs11KeyMaker(module(), token.label, "twice", "ed25519", pin=token.pin, timeout_seconds=PATIENCE_SECONDS).make(
            ED25519
        )
