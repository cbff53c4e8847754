"""What an event says of a key is taken only where the operator's own settings, or words, name the address too."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from finance.settings.deployment import Settings
from finance.signing.key_choice import outgoing, own_variables
from ledger_core.errors import Refused
from tests.unit.signing.test_key_file import CONNECTIONS, PRODUCTION, settings_of

KMS: Final = {"AUDIT_SIGNING_KIND": "kms", "AUDIT_SIGNING_KMS_KEY_ID": "alias/v2", "AUDIT_SIGNING_KID": "v2"}
THEIRS: Final = {"AUDIT_SIGNING_KIND": "proxy", "SIGNING_PROXY_URL": "https://evil.example", "AUDIT_SIGNING_KID": "v2"}
OURS: Final = {**THEIRS, "SIGNING_PROXY_URL": "https://p:8443"}
TABLE: Final = '[signing]\nkind = "proxy"\nkey = "https://p:8443"\nkid = "v1"\n'


@pytest.mark.parametrize("announced", [KMS, OURS, outgoing(OURS), {**KMS, **outgoing(OURS)}, {}])
def test_a_key_of_ours_is_taken_as_announced(tmp_path: Path, announced: dict[str, str]) -> None:
    assert own_variables(settings_of(tmp_path, TABLE), announced, ()) == announced
    plain = Settings.from_env({**PRODUCTION, **CONNECTIONS, "SIGNING_PROXY_URL": "https://p:8443"}, tmp_path)
    assert own_variables(plain, announced, ()) == announced


@pytest.mark.parametrize("announced", [THEIRS, outgoing(THEIRS), {**KMS, **outgoing(THEIRS)}])
def test_an_address_that_only_an_event_names_gets_no_credential(tmp_path: Path, announced: dict[str, str]) -> None:
    settings = settings_of(tmp_path, TABLE)
    with pytest.raises(Refused, match="and these settings do not"):
        own_variables(settings, announced, ())
    with pytest.raises(Refused, match="and these settings do not"):
        own_variables(settings, announced, ["https://p2:8443"])
    assert own_variables(settings, announced, ["https://evil.example"]) == announced, "the operator says so"


@pytest.mark.parametrize(
    "name",
    ["KMS_ENDPOINT", "TRANSIT_URL", "PKCS11_MODULE", "SIGNING_PROXY_CA_FILE", "SIGNING_KEYS_FILE", "DATABASE_URL"],
)
def test_an_event_sets_nothing_but_what_names_a_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match=f"sets {name}, which names no key"):
        own_variables(settings_of(tmp_path, TABLE), {**KMS, name: "https://evil.example"}, ["https://evil.example"])
