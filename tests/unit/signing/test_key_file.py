"""A keys file names up to three keys; what it cannot mean is refused with table, field and remedy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finance.cli.signing.key_options import keys_file
from finance.settings.deployment import Settings
from finance.settings.key_file import (
    FIELDS,
    REMEDIES,
    KeysFile,
    NamedKey,
    named_key,
    read_keys,
    to_toml,
)
from finance.settings.signing import (
    KmsKeySettings,
    LocalKeySettings,
    ProxySettings,
    cosigner_of,
    outgoing_of,
    signing_of,
)
from finance.settings.variables import COSIGNER, KEY_VARIABLES, NAMES_A_KEY, OUTGOING, Kind
from finance.signing.key_choice import current_variables, keys_to_deploy, outgoing
from ledger_core.errors import Refused
from tests.unit.runtime.test_settings import write_stack

PRODUCTION: Final = {"FINANCE_ENV": "production", "FINANCE_DOMAIN": "a.org"}
CONNECTIONS: Final = {
    "PKCS11_MODULE": "lib.so",
    "PKCS11_TOKEN": "t",
    "PKCS11_PIN": "1234",
    "TRANSIT_URL": "https://vault:8200",
    "TRANSIT_TOKEN": "t0ken",
    "SIGNING_PROXY_API_KEY": "k3y",
}
KEYS: Final = {"kms": "alias/a", "pkcs11": "finance", "transit": "finance", "proxy": "https://p:8443", "local": "k.pem"}
SOUND: Final = '[signing]\nkind = "kms"\nkey = "alias/new"\n'


def settings_of(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "keys.toml").write_text(text)
    return Settings.from_env({**PRODUCTION, **CONNECTIONS, "SIGNING_KEYS_FILE": "keys.toml", **environ}, folder)


def secret(folder: Path, text: str) -> str:
    (folder / "api-key").write_text(text)
    (folder / "api-key").chmod(0o600)
    return "api-key"


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_is_named_in_every_table(tmp_path: Path, kind: Kind) -> None:
    named = NamedKey(kind, KEYS[kind], "finance-v2", "ed25519")
    settings = settings_of(tmp_path, to_toml(KeysFile(named, named, named)))
    for key_of in (signing_of, outgoing_of, cosigner_of):
        signing = key_of(settings)
        assert signing is not None
        assert (signing.kind, signing.kid, signing.algorithm) == (kind, "finance-v2", "ed25519")


def test_three_keys_are_three_and_one_is_enough(tmp_path: Path) -> None:
    text = (
        SOUND + '[outgoing]\nkind = "local"\nkey = "old.pem"\n[cosigner]\nkind = "transit"\nkey = "b"\nkey_version = 3'
    )
    settings = settings_of(tmp_path, text)
    signing, leaving, cosigner = signing_of(settings), outgoing_of(settings), cosigner_of(settings)
    assert isinstance(signing.key, KmsKeySettings)
    assert (signing.key.key_id, signing.kid, signing.algorithm) == ("alias/new", None, "rsa-sha256")
    assert leaving is not None
    assert leaving.key == LocalKeySettings(str(tmp_path / "old.pem")), "relative to the keys file"
    assert cosigner is not None
    assert settings.number(COSIGNER + "AUDIT_SIGNING_TRANSIT_KEY_VERSION", 0, 9) == 3
    alone = settings_of(tmp_path, SOUND)
    assert (outgoing_of(alone), cosigner_of(alone)) == (None, None)


WRONG: Final = (
    ("", "missing required field `signing`", "[signing]"),
    ('[outgoing]\nkind = "kms"\nkey = "a"', "missing required field `signing`", "[signing]"),
    (SOUND + '[incoming]\nkind = "kms"\nkey = "a"', "unknown field `incoming`", "[outgoing]"),
    ("signing = 3", "table [signing]: Expected `object`", "[signing]"),
    ("[signing]\nkind = kms", "is not TOML", "[signing]"),
    (SOUND + SOUND, "is not TOML", "[signing]"),
    ('[signing]\nkey = "a"', "table [signing], field kind: Object missing", "kms, pkcs11, transit, proxy, local"),
    ('[signing]\nkind = "kms"', "table [signing], field key: Object missing", "id, ARN or alias"),
    ('[signing]\nkind = "kms"\nkey = "  "', "table [signing], field key", "id, ARN or alias"),
    (
        '[signing]\nkind = "paper"\nkey = "a"',
        "table [signing], field kind: Invalid enum value 'paper'",
        "use one of kms",
    ),
    (SOUND + 'keyid = "a"', "table [signing], field keyid: Object contains unknown", "kind, key"),
    (SOUND + 'api_key = "s3cr3t"', "table [signing], field api_key: Object contains unknown", "api_key_file"),
    (SOUND + "kid = 3", "table [signing], field kid", "signer_kid"),
    (
        SOUND + 'algorithm = "RSA-SHA256"',
        "field algorithm: Invalid enum value 'RSA-SHA256'",
        "use rsa-sha256, ed25519 or hmac-sha256",
    ),
    (SOUND + 'algorithm = "HMAC_SHA_256"', "field algorithm: Invalid enum value 'HMAC_SHA_256'", "or hmac-sha256"),
    (SOUND + "key_version = 2", "field key_version: it is for a key of kind transit", "take key_version away"),
    (SOUND + 'api_key_file = "f"', "field api_key_file: it is for a key of kind proxy", "take api_key_file away"),
    ('[signing]\nkind = "transit"\nkey = "a"\nkey_version = 0', "table [signing], field key_version", "from 1"),
    ('[signing]\nkind = "transit"\nkey = "a"\nkey_version = "2"', "table [signing], field key_version", "from 1"),
    ('[signing]\nkind = "proxy"\nkey = "https://p"\napi_key_file = 3', "field api_key_file", "bearer key"),
    (SOUND + '[outgoing]\nkind = "proxy"', "table [outgoing], field key", "URL (proxy)"),
    (SOUND + '[cosigner]\nkind = "ms"\nkey = "a"', "table [cosigner], field kind", "use one of kms"),
)


@pytest.mark.parametrize(("text", "said", "remedy"), WRONG)
def test_what_a_file_cannot_mean_is_refused_with_its_place_and_the_remedy(
    tmp_path: Path, text: str, said: str, remedy: str
) -> None:
    with pytest.raises(Refused) as caught:
        settings_of(tmp_path, text)
    assert said in caught.value.message
    assert str(tmp_path / "keys.toml") in caught.value.message
    assert remedy in caught.value.remedy
    assert "s3cr3t" not in caught.value.message


def test_every_field_has_a_remedy_and_every_variable_a_field() -> None:
    assert set(REMEDIES) == set(NamedKey.__struct_fields__) == set(FIELDS.values())
    assert {*NAMES_A_KEY, "SIGNING_PROXY_API_KEY"} == set(FIELDS)
    assert set(get_args(Kind)) == set(KEY_VARIABLES)


@pytest.mark.parametrize("data", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "keys.toml").write_bytes(data)
    with pytest.raises(Refused, match=r"SIGNING_KEYS_FILE: .*keys.toml (cannot be read|is not TOML)"):
        Settings.from_env({"SIGNING_KEYS_FILE": "keys.toml"}, tmp_path)


# --- beside variables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES_A_KEY)
def test_a_file_and_a_variable_that_names_a_key_are_ambiguous(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match=f"SIGNING_KEYS_FILE and {name} are both set") as caught:
        settings_of(tmp_path, SOUND, **{name: "a"})
    assert f"unset {name}" in caught.value.remedy


@pytest.mark.parametrize("slot", [OUTGOING, COSIGNER])
@pytest.mark.parametrize("name", [*NAMES_A_KEY, "SIGNING_PROXY_API_KEY", "SIGNING_PROXY_API_KEY_FILE"])
def test_the_variables_of_other_slots_are_refused_with_and_without_a_file(tmp_path: Path, slot: str, name: str) -> None:
    for environ in ({"AUDIT_SIGNING_KMS_KEY_ID": "a"}, {"SIGNING_KEYS_FILE": "keys.toml"}):
        (tmp_path / "keys.toml").write_text(SOUND)
        with pytest.raises(Refused, match=f"{slot}{name} is set, and no variable names that key") as caught:
            Settings.from_env({**environ, slot + name: "a"}, tmp_path)
        assert "SIGNING_KEYS_FILE" in caught.value.remedy


def test_the_key_that_a_dev_stack_lends_gives_way_to_the_file(tmp_path: Path) -> None:
    write_stack(tmp_path, "dev", {"AUDIT_SIGNING_KMS_KEY_ID": "stack", "AUDIT_SIGNING_ALG": "ed25519"})
    (tmp_path / "keys.toml").write_text('[signing]\nkind = "local"\nkey = "k.pem"')
    signing = signing_of(Settings.from_env({"SIGNING_KEYS_FILE": "keys.toml"}, tmp_path))
    assert (signing.kind, signing.algorithm) == ("local", "rsa-sha256")


# --- API keys of proxies -------------------------------------------------------------------------------------------


def proxy_key(settings: Settings, slot: str = "") -> str | None:
    signing = outgoing_of(settings) if slot else signing_of(settings)
    assert signing is not None
    assert isinstance(signing.key, ProxySettings)
    return signing.key.api_key


PROXY: Final = '[signing]\nkind = "proxy"\nkey = "https://p:8443"\n'


def test_one_proxy_with_two_keys_knows_us_by_one_api_key_and_another_proxy_never_hears_it(tmp_path: Path) -> None:
    same = settings_of(tmp_path, PROXY + '[outgoing]\nkind = "proxy"\nkey = "https://p:8443"')
    assert proxy_key(same) == proxy_key(same, OUTGOING) == "k3y"
    other = PROXY + '[outgoing]\nkind = "proxy"\nkey = "https://other:8443"\n'
    with pytest.raises(Refused, match=r"`api_key_file` of \[outgoing\] in .*keys.toml is not set"):
        outgoing_of(settings_of(tmp_path, other))
    own = settings_of(tmp_path, other + f'api_key_file = "{secret(tmp_path, "0ther")}"')
    assert (proxy_key(own), proxy_key(own, OUTGOING)) == ("k3y", "0ther")
    assert "0ther" not in repr(own)


def test_an_api_key_is_in_a_file_of_its_own_that_not_everybody_may_read(tmp_path: Path) -> None:
    text = PROXY + f'api_key_file = "{secret(tmp_path, "0wn")}"'
    assert proxy_key(settings_of(tmp_path, text, SIGNING_PROXY_API_KEY="")) == "0wn"
    with pytest.raises(Refused, match=r"SIGNING_PROXY_API_KEY is set, and .* names another"):
        settings_of(tmp_path, text)
    (tmp_path / "api-key").chmod(0o644)
    with pytest.raises(Refused, match=r"api_key_file of \[signing\] in .*everybody may read"):
        settings_of(tmp_path, text, SIGNING_PROXY_API_KEY="")


def test_a_proxy_in_plaintext_is_refused_by_its_place_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"`key` of \[signing\] in .*keys.toml is 'http://p'"):
        signing_of(settings_of(tmp_path, '[signing]\nkind = "proxy"\nkey = "http://p"'))


# --- written and read ----------------------------------------------------------------------------------------------

WORDS = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() != "")
ALGORITHMS = st.none() | st.sampled_from(["rsa-sha256", "ed25519"])


@st.composite
def named_keys(draw: st.DrawFn) -> NamedKey:
    kind = draw(st.sampled_from(list(KEYS)))
    version = draw(st.none() | st.integers(1, 999_999)) if kind == "transit" else None
    file = draw(st.none() | WORDS) if kind == "proxy" else None
    fields = {"kind": kind, "key": draw(WORDS), "kid": draw(st.none() | WORDS), "algorithm": draw(ALGORITHMS)}
    return msgspec.convert({**fields, "key_version": version, "api_key_file": file}, NamedKey)


@given(st.builds(KeysFile, named_keys(), st.none() | named_keys(), st.none() | named_keys()))
def test_what_is_written_is_read_again(keys: KeysFile) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.toml"
        path.write_bytes(to_toml(keys).encode())
        assert read_keys(path) == keys


def test_variables_that_name_no_single_key_make_no_table() -> None:
    both = {"AUDIT_SIGNING_KMS_KEY_ID": "a", "SIGNING_PROXY_URL": "https://p"}
    assert named_key({}, "") is None
    assert named_key(both, "") is None
    assert named_key({**both, "AUDIT_SIGNING_KIND": "proxy"}, "") == NamedKey("proxy", "https://p")
    assert named_key({"AUDIT_SIGNING_KMS_KEY_ID": "a", "AUDIT_SIGNING_ALG": "HMAC_SHA_256"}, "") is None


def test_what_a_rotation_deploys_keeps_the_cosigner_and_the_files_of_api_keys(tmp_path: Path) -> None:
    text = PROXY + f'api_key_file = "{secret(tmp_path, "0wn")}"\n[cosigner]\nkind = "kms"\nkey = "second"'
    settings = settings_of(tmp_path, text, SIGNING_PROXY_API_KEY="")
    new = {"AUDIT_SIGNING_KIND": "kms", "AUDIT_SIGNING_KMS_KEY_ID": "alias/new", "AUDIT_SIGNING_KID": "v2"}
    old = current_variables(settings, "v1")
    assert old == {"AUDIT_SIGNING_KIND": "proxy", "SIGNING_PROXY_URL": "https://p:8443", "AUDIT_SIGNING_KID": "v1"}
    keys = keys_to_deploy(settings, {**new, **outgoing(old)})
    assert keys == KeysFile(
        NamedKey("kms", "alias/new", "v2"),
        NamedKey("proxy", "https://p:8443", "v1", api_key_file=str(tmp_path / "api-key")),
        NamedKey("kms", "second"),
    )
    deployed = settings_of(tmp_path, to_toml(keys), SIGNING_PROXY_API_KEY="")
    assert proxy_key(deployed, OUTGOING) == "0wn"
    assert keys_to_deploy(deployed, {**new, **outgoing(old)}) == keys, "asked for again, the same"


def test_an_emergency_key_makes_the_regular_key_the_outgoing_one(tmp_path: Path) -> None:
    new = {"AUDIT_SIGNING_KIND": "pkcs11", "AUDIT_SIGNING_PKCS11_KEY": "emergency", "AUDIT_SIGNING_KID": "e1"}
    plain = Settings.from_env({**PRODUCTION, "AUDIT_SIGNING_KMS_KEY_ID": "a", "AUDIT_SIGNING_ALG": "ed25519"}, tmp_path)
    keys = keys_to_deploy(plain, new)
    assert keys == KeysFile(NamedKey("pkcs11", "emergency", "e1"), NamedKey("kms", "a", algorithm="ed25519"))
    assert keys_to_deploy(settings_of(tmp_path, to_toml(keys)), new) == keys, "asked for again, the same"


def test_the_file_is_written_where_the_operator_says_and_not_in_a_dry_run(tmp_path: Path) -> None:
    settings, out = settings_of(tmp_path, SOUND), tmp_path / "out.toml"
    new = {"AUDIT_SIGNING_KIND": "kms", "AUDIT_SIGNING_KMS_KEY_ID": "alias/next", "AUDIT_SIGNING_KID": "v2"}
    assert keys_file(settings, {}, out, dry_run=False) is None
    text = keys_file(settings, new, out, dry_run=True)
    assert not out.exists()
    assert keys_file(settings, new, out, dry_run=False) == text == out.read_text()
    assert read_keys(out) == KeysFile(NamedKey("kms", "alias/next", "v2"), NamedKey("kms", "alias/new"))
    with pytest.raises(Refused, match="cannot be written"):
        keys_file(settings, new, tmp_path / "nowhere" / "keys.toml", dry_run=False)
