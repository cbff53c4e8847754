"""Each error code of AWS KMS becomes the failure that says what to do. The service itself is in tests/integration."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError, ReadTimeoutError
from botocore.stub import Stubber

from ledger_core.errors import FinanceError, Refused, Unavailable
from ledger_core.ports import Algorithm
from producers.signing.kms import KmsKey
from producers.signing.kms_client import KmsPlace
from tests.support.signing import HeldPlace, held


@pytest.fixture
def place() -> HeldPlace:
    return held(KmsPlace("us-east-1", access_key="x", secret="x"))


@pytest.fixture
def key(place: HeldPlace) -> KmsKey:
    return KmsKey("alias/x", "rsa-sha256", place)


@pytest.mark.parametrize(
    ("code", "status", "failure"),
    [
        ("ThrottlingException", 400, Unavailable),
        ("LimitExceededException", 400, Unavailable),
        ("KMSInternalException", 500, Unavailable),
        ("DependencyTimeoutException", 503, Unavailable),
        ("KeyUnavailableException", 500, Unavailable),
        ("SomethingNobodyKnows", 502, Unavailable),
        ("SomethingNobodyKnows", 429, Unavailable),
        ("SomethingNobodyKnows", 400, Refused),
        ("AccessDeniedException", 400, Refused),
        ("DisabledException", 409, Refused),
        ("KMSInvalidStateException", 409, Refused),
        ("NotFoundException", 404, Refused),
        ("InvalidKeyUsageException", 400, Refused),
        ("ExpiredTokenException", 403, Refused),
        ("UnrecognizedClientException", 403, Refused),
    ],
)
def test_a_service_error_says_whether_waiting_helps(
    place: HeldPlace, key: KmsKey, code: str, status: int, failure: type[FinanceError]
) -> None:
    for operation, call in (("sign", lambda: key.sign_digest(bytes(32))), ("get_public_key", key.public_key)):
        with Stubber(place.client) as stub:
            stub.add_client_error(operation, service_error_code=code, service_message="no", http_status_code=status)
            with pytest.raises(failure, match="alias/x") as caught:
                call()
        assert isinstance(caught.value.__cause__, ClientError)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectTimeoutError(endpoint_url="http://kms"), Unavailable),
        (ReadTimeoutError(endpoint_url="http://kms"), Unavailable),
        (NoCredentialsError(), Refused),
    ],
)
def test_a_time_out_passes_and_missing_credentials_do_not(
    place: HeldPlace, key: KmsKey, error: Exception, failure: type[FinanceError]
) -> None:
    def fail(**_: object) -> None:
        raise error

    place.client.meta.events.register("before-call.kms.Sign", fail)
    with pytest.raises(failure):
        key.sign_digest(bytes(32))


@pytest.mark.parametrize(
    ("algorithm", "scheme", "message_type", "text_bytes"),
    [("rsa-sha256", "RSASSA_PKCS1_V1_5_SHA_256", "DIGEST", 32), ("ed25519", "ED25519_SHA_512", "RAW", 5)],
)
def test_the_request_names_the_one_right_scheme(
    place: HeldPlace, algorithm: Algorithm, scheme: str, message_type: str, text_bytes: int
) -> None:
    key = KmsKey("k", algorithm, place)
    fixed = {"KeyId": "k", "MessageType": message_type, "SigningAlgorithm": scheme}
    with Stubber(place.client) as stub:
        stub.add_response("sign", {"Signature": b"s"}, {**fixed, "Message": bytes(32)})
        assert key.sign_digest(bytes(32)) == b"s"
        sent: list[bytes] = []
        place.client.meta.events.register(
            "provide-client-params.kms.Sign", lambda params, **_: sent.append(params["Message"])
        )
        stub.add_response("sign", {"Signature": b"t"})
        assert key.sign_text(b"note\n") == b"t"
    assert [len(message) for message in sent] == [text_bytes]
