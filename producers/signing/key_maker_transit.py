"""Making a key in the transit engine of OpenBao or Vault: one request, and the key is read back.

Guarantees: neither exportable nor in plaintext backups, and not deletable, with one version: a new key is a new name,
so that no signer changes its key without a new kid. Needs create and read on keys/<name>, and no right to sign.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from ledger_core.errors import Refused
from producers.signing.key_maker import KeySpec, MadeKey, check_made
from producers.signing.transit import TransitKey

VERSION = 1


class _Terms(msgspec.Struct):
    type: str
    latest_version: int
    exportable: bool = False
    allow_plaintext_backup: bool = False
    deletion_allowed: bool = False
    derived: bool = False
    imported_key: bool = False


class _Answer(msgspec.Struct):
    data: _Terms


class TransitKeyMaker(TransitKey):
    """A KeyMaker for one name. The key that is pinned afterwards is its version 1."""

    def make(self, spec: KeySpec) -> MadeKey:
        """Make the key, or find it. Raises Unavailable("signer") and Refused."""
        path = f"/v1/{self._mount}/keys/{quote(self._key_name, safe='')}"
        wanted = f"rsa-{spec.bits}" if spec.bits else "ed25519"
        found = self._terms(path)
        made = found is None
        if made:
            closed = {"exportable": False, "allow_plaintext_backup": False, "derived": False}
            body = msgspec.json.encode({"type": wanted, **closed})
            status, answer = self._exchange.ask(self.name, "POST", path, body, self._headers)
            if status not in (200, 204):
                raise self._failure(status, answer)
            found = self._terms(path)
        terms = _Terms(type=wanted, latest_version=VERSION)
        check_made(self.name, msgspec.structs.asdict(terms), {} if found is None else msgspec.structs.asdict(found))
        self._version = VERSION
        return MadeKey(self.public_key(), f"{self._mount}/{self._key_name}", made)

    def _terms(self, path: str) -> _Terms | None:
        status, answer = self._exchange.ask(self.name, "GET", path, None, self._headers)
        if status == 404:
            return None
        if status != 200:
            raise self._failure(status, answer)
        try:
            return msgspec.json.decode(answer, type=_Answer).data
        except msgspec.DecodeError as error:
            raise Refused(
                f"{self.name}: an answer of another form ({error})", remedy="check which server answers at that address"
            ) from error
