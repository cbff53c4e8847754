"""An answer that speaks of our clock is waited for; one that speaks of credentials is refused, as before."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from ledger_core.errors import Refused, Unavailable
from producers.signing.kms_client import kms_failure
from producers.storage.s3_client import speaks_of_us, translated

SAID = {
    "RequestTimeTooSkewed": "The difference between the request time and the server's time is too large.",
    "RequestExpired": "Request has expired.",
    "RequestInTheFuture": "",
    "InvalidSignatureException": "Signature expired: 20150101T000000Z is now earlier than 20261129T000000Z",
    "SignatureDoesNotMatch": "Signature not yet current: 20350215T153218Z is still later than 20261129T000000Z",
}
OF_SECRETS = ["InvalidSignatureException", "SignatureDoesNotMatch", "AccessDenied"]


def answer(code: str, message: str) -> ClientError:
    said: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    return ClientError(said, "Sign")


def raised_by_s3(error: ClientError) -> Exception:
    with (
        pytest.raises((Unavailable, Refused)) as caught,
        translated("s3://b/k", what="s3", store="the store", remedy="check it"),
    ):
        raise error
    return caught.value


def raised_by_kms(error: ClientError) -> Exception:
    return kms_failure(error, what="signer", name="key 1", remedies={})


@pytest.mark.parametrize("service", [raised_by_s3, raised_by_kms])
@pytest.mark.parametrize("code", SAID)
def test_a_wrong_clock_is_waited_for(service: Any, code: str) -> None:
    found = service(answer(code, SAID[code]))
    assert isinstance(found, Unavailable)
    assert found.what == "clock"
    assert "set this machine's clock" in found.detail


@pytest.mark.parametrize("code", SAID)
def test_a_canary_is_not_safe_because_our_clock_is_wrong(code: str) -> None:
    """A store that turned the attack away for its time did not say that it locks."""
    assert speaks_of_us(answer(code, SAID[code]))


@pytest.mark.parametrize("service", [raised_by_s3, raised_by_kms])
@pytest.mark.parametrize("code", OF_SECRETS)
def test_a_wrong_secret_is_refused(service: Any, code: str) -> None:
    message = "The request signature we calculated does not match the signature you provided."
    assert isinstance(service(answer(code, message)), Refused)
