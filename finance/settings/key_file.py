"""Which keys sign, as one file: SIGNING_KEYS_FILE, TOML with a table for each of up to three keys.

Guarantees: what the file says is what signs: an unknown table or field, a field of another kind of key, a kind or
algorithm that cannot be, and a variable that names a key beside the file are Refused with the remedy. No secret is in
it: `api_key_file` names a file that contains one. Who writes the file writes what the reader reads (tested).
Does not: reach a key, or read the registry. Paths in the file are relative to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from finance.settings.secret_files import SUFFIX, read_secret
from finance.settings.variables import COSIGNER, KEY_VARIABLES, NAMES_A_KEY, OUTGOING, Kind
from ledger_core.errors import Refused
from ledger_core.ports import Algorithm
from schemas.read_file import SETTINGS_BYTES_MAX, read_file

Slot = Literal["", "OUTGOING_", "COSIGNER_"]

KEYS_FILE: Final = "SIGNING_KEYS_FILE"
API_KEY: Final = "SIGNING_PROXY_API_KEY"
VERSION: Final = "AUDIT_SIGNING_TRANSIT_KEY_VERSION"
TABLES: Final[dict[Slot, str]] = {"": "signing", OUTGOING: "outgoing", COSIGNER: "cosigner"}
FIELDS: Final = {
    "AUDIT_SIGNING_KIND": "kind",
    "AUDIT_SIGNING_KID": "kid",
    "AUDIT_SIGNING_ALG": "algorithm",
    **dict.fromkeys(KEY_VARIABLES.values(), "key"),
    VERSION: "key_version",
    API_KEY: "api_key_file",
}
MAC_KINDS: Final[tuple[Kind, ...]] = ("kms", "proxy")  # of a key for hmac-sha256
MAC_REMEDY: Final = (
    "name a key of KeySpec HMAC_256 and KeyUsage GENERATE_VERIFY_MAC in KMS (kind kms, or proxy before it), or use "
    "rsa-sha256 or ed25519"
)
REMEDIES: Final = {
    "kind": f"use one of {', '.join(KEY_VARIABLES)}",
    "key": "name the key: id, ARN or alias (kms), label (pkcs11), name (transit), URL (proxy), path of a PEM (local)",
    "kid": "give the signer_kid of the key in signers.json as a text, or leave it out",
    "algorithm": "use rsa-sha256, ed25519 or hmac-sha256",
    "key_version": "give a whole number from 1, or leave it out: the newest at the start",
    "api_key_file": "name a file that contains the bearer key for the signing proxy",
}
OTHERWISE: Final = (
    "write tables [signing], [outgoing], [cosigner], each with kind, key, and where they are known kid, algorithm, "
    "key_version (transit), api_key_file (proxy): docs/SIGNING.md"
)
_WORD = Annotated[str, msgspec.Meta(pattern=r"\S")]


class NamedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key, as a table of the file names it."""

    kind: Kind  # of the key service
    key: _WORD  # what the service calls it: id, label, name, URL, path
    kid: _WORD | None = None  # in the registry; None: the one key of that algorithm
    algorithm: Algorithm | None = None  # None: that of the registered kid, or rsa-sha256
    key_version: Annotated[int, msgspec.Meta(ge=1, le=999_999)] | None = None  # of a transit key; None: the newest
    api_key_file: _WORD | None = None  # for a proxy; None: as SIGNING_PROXY_API_KEY says, or the certificate


class KeysFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    signing: NamedKey  # signs what is new
    outgoing: NamedKey | None = None  # signs only what was written down for it before a rotation
    cosigner: NamedKey | None = None  # adds a second signature to proofs and checkpoints

    def of(self, slot: Slot) -> NamedKey | None:
        """The key of a slot, if the file names one."""
        return {"": self.signing, OUTGOING: self.outgoing, COSIGNER: self.cosigner}[slot]


def spelled(values: Mapping[str, str], slot: Slot, name: str) -> str:
    """Where an operator finds the value `name` of a slot: a field of a table of the keys file, or the variable."""
    if slot or values.get(KEYS_FILE):
        return f"`{FIELDS[name]}` of [{TABLES[slot]}] in {values.get(KEYS_FILE, KEYS_FILE)}"
    return name


def keys_given(environ: Mapping[str, str], cwd: Path, api_key: str, *, guarded: bool) -> dict[str, str]:
    """What the keys file of an environment says, by the names of the variables; OUTGOING_ and COSIGNER_ stand before
    those of the other two keys. Nothing without a file.

    `api_key` is SIGNING_PROXY_API_KEY; `guarded`: a secret that everybody may read is refused. Raises Refused.
    """
    _check_plain(environ)
    return _values_of(cwd / environ[KEYS_FILE], api_key, guarded=guarded) if environ.get(KEYS_FILE) else {}


def _check_plain(environ: Mapping[str, str]) -> None:
    """Raise Refused when variables name keys that a keys file alone names, or the same key as the file."""
    for slot in (OUTGOING, COSIGNER):
        for name in (*NAMES_A_KEY, API_KEY, API_KEY + SUFFIX):
            if environ.get(slot + name):
                raise Refused(
                    f"{slot + name} is set, and no variable names that key any more",
                    remedy=f"write the table [{TABLES[slot]}] in a file that {KEYS_FILE} names (docs/SIGNING.md)",
                )
    both = [name for name in NAMES_A_KEY if environ.get(name)] if environ.get(KEYS_FILE) else []
    if both:
        raise Refused(
            f"{KEYS_FILE} and {both[0]} are both set: which key signs is ambiguous",
            remedy=f"unset {', '.join(both)}, or {KEYS_FILE}",
        )


def _values_of(path: Path, api_key: str, *, guarded: bool) -> dict[str, str]:
    """See `keys_given`. Raises Refused."""
    keys = read_keys(path)
    if keys.signing.api_key_file is not None and api_key:
        raise Refused(
            f"{API_KEY} is set, and {path} names another with api_key_file of [signing]",
            remedy="keep the one that is meant",
        )
    found: dict[str, str] = {}
    for slot in TABLES:
        named = keys.of(slot)
        if named is not None:
            found |= {slot + name: value for name, value in _values(named, slot, path, guarded=guarded).items()}
    return found


def read_keys(path: Path) -> KeysFile:
    """The file, checked. Raises Refused with table, field and remedy."""
    try:
        keys = msgspec.toml.decode(read_file(path, SETTINGS_BYTES_MAX), type=KeysFile)
    except OSError as error:
        raise Refused(
            f"{KEYS_FILE}: {path} cannot be read ({error.strerror})", remedy="name a readable file"
        ) from error
    except msgspec.ValidationError as error:
        raise _wrong(path, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{KEYS_FILE}: {path} is not TOML ({error})", remedy=OTHERWISE) from error
    for slot, table in TABLES.items():
        named = keys.of(slot)
        for field, kind in (("key_version", "transit"), ("api_key_file", "proxy")):
            if named is not None and getattr(named, field) is not None and named.kind != kind:
                raise Refused(
                    f"{KEYS_FILE}: {path}, table [{table}], field {field}: it is for a key of kind {kind}, "
                    f"and this one is of kind {named.kind}",
                    remedy=f"take {field} away, or name a key of kind {kind}",
                )
    return keys


def named_key(values: Mapping[str, str], slot: Slot) -> NamedKey | None:
    """The key of a slot by the variables' names, as a table. None when they do not name one key, or one that cannot be.

    No API key is in it.
    """
    chosen: list[Kind] = [kind for kind, name in KEY_VARIABLES.items() if values.get(slot + name)]
    wanted = values.get(slot + "AUDIT_SIGNING_KIND")
    if wanted:
        chosen = [kind for kind in chosen if kind == wanted]
    if len(chosen) != 1:
        return None
    (kind,) = chosen
    fields = {
        "kind": kind,
        "key": values[slot + KEY_VARIABLES[kind]],
        "kid": values.get(slot + "AUDIT_SIGNING_KID") or None,
        "algorithm": values.get(slot + "AUDIT_SIGNING_ALG") or None,
    }
    try:
        version = int(values.get(slot + VERSION) or 0) if kind == "transit" else 0
        return msgspec.convert({**fields, "key_version": version or None}, NamedKey)
    except ValueError:  # msgspec's too
        return None


def to_toml(keys: KeysFile) -> str:
    """The text of the file."""
    tables = []
    for slot, table in TABLES.items():
        named = keys.of(slot)
        if named is not None:
            fields = {name: value for name in NamedKey.__struct_fields__ if (value := getattr(named, name)) is not None}
            tables.append("\n".join((f"[{table}]", *(f"{name} = {_literal(it)}" for name, it in fields.items()), "")))
    return "\n".join(tables)


def _literal(value: str | int) -> str:
    """A number, or a basic string: TOML escapes as JSON does, and DEL too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _values(named: NamedKey, slot: Slot, path: Path, *, guarded: bool) -> dict[str, str]:
    where = named.key if named.kind != "local" else str(path.parent / named.key)
    found = {"AUDIT_SIGNING_KIND": named.kind, KEY_VARIABLES[named.kind]: where}
    if named.kid is not None:
        found["AUDIT_SIGNING_KID"] = named.kid
    if named.algorithm is not None:
        found["AUDIT_SIGNING_ALG"] = named.algorithm
    if named.key_version is not None:
        found[VERSION] = str(named.key_version)
    if named.api_key_file is not None:
        whose = f"api_key_file of [{TABLES[slot]}] in {path}"
        found[API_KEY] = read_secret(whose, path.parent / named.api_key_file, guarded=guarded)
    return found


def _wrong(path: Path, said: str) -> Refused:
    """What msgspec says, with the table and the field."""
    problem, _, where = said.partition(" - at `$.")
    table, _, field = where.rstrip("`").partition(".")
    quoted = re.search(r"field `(.*)`", problem)
    if not field and quoted is not None and table:
        field = quoted[1]
    place = "".join((f", table [{table}]" if table else "", f", field {field}" if field else ""))
    return Refused(f"{KEYS_FILE}: {path}{place}: {problem}", remedy=REMEDIES.get(field, OTHERWISE))
