"""Keys files for tests: what a test says by the names of the variables, written as a file that a process reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from finance.settings.key_file import API_KEY, KEYS_FILE, TABLES, KeysFile, NamedKey, Slot, named_key, to_toml
from finance.settings.variables import COSIGNER, NAMES_A_KEY, OUTGOING
from tests.support.backups import finance
from tests.support.signing import kms_admin


def in_a_file(values: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The same environment, with the keys of all slots in a new file in `folder`, and no variable that names one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"keys-{len(list(folder.glob('keys-*.toml')))}.toml"
    named = {slot: _table(values, slot, path) for slot in TABLES}
    signing = named[""]
    assert signing is not None, "no key signs"
    path.write_text(to_toml(KeysFile(signing, named[OUTGOING], named[COSIGNER])))
    gone = {slot + name for slot in TABLES for name in NAMES_A_KEY} | {OUTGOING + API_KEY, COSIGNER + API_KEY}
    return {**{name: value for name, value in values.items() if name not in gone}, KEYS_FILE: str(path)}


def with_a_mac(
    kms: Mapping[str, str], environ: Mapping[str, str], beside: Mapping[str, str], folder: Path, kid: str
) -> dict[str, str]:
    """A new MAC key, registered, signs range proofs; the key `beside` it signs all else, and the proofs, too."""
    made = kms_admin(dict(kms)).create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    mac = {"AUDIT_SIGNING_ALG": "hmac-sha256", "AUDIT_SIGNING_KMS_KEY_ID": made["KeyMetadata"]["KeyId"]}
    named = ("--key", mac["AUDIT_SIGNING_KMS_KEY_ID"], "--alg", "hmac-sha256")
    finance({**environ, **beside}, "signers", "add", "--kid", kid, "--kind", "kms", *named)
    return in_a_file({**environ, **mac, **{COSIGNER + name: value for name, value in beside.items()}}, folder)


def _table(values: Mapping[str, str], slot: Slot, path: Path) -> NamedKey | None:
    named, secret = named_key(values, slot), values.get(slot + API_KEY)
    if named is None or not slot or secret is None:
        return named
    file = path.with_suffix(f".{TABLES[slot]}-api-key")
    file.write_text(secret)
    file.chmod(0o600)
    return msgspec.structs.replace(named, api_key_file=file.name)
