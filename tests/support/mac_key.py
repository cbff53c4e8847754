"""A MAC key whose service is in memory: who asks it is answered, and nobody sees the secret.

What a real service says is tested on the stack's KMS (tests/integration/signing/test_signer_mac.py).
"""

from __future__ import annotations

import hmac
from typing import Final

from ledger_core.ports import Algorithm, TreeHistory
from ledger_core.signing.mac_keys import CHECK_TEXT, MAC_ALGORITHM, CannotAsk, CheckMac, MacKey
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry

# The key of docs/FORMATS.md and of schemas/examples: everybody has it, so nothing real may be signed with it.
VECTOR_SECRET: Final = bytes(range(32))


class MacSecret:
    """A key with a way to sign, and its service's answer."""

    algorithm: Algorithm = MAC_ALGORITHM

    def __init__(self, kid: str = "test-mac-v1", secret: bytes = VECTOR_SECRET, key_id: str = "mac-key-1") -> None:
        self.kid, self._secret = kid, secret
        self.asked: list[bytes] = []
        self.public = MacKey(key_id, hmac.digest(secret, CHECK_TEXT, "sha256").hex())
        self.registry = SignerRegistry([RegisteredSigner(kid, MAC_ALGORITHM, self.public)])

    def sign_digest(self, digest: bytes) -> bytes:
        return hmac.digest(self._secret, digest, "sha256")

    def sign_text(self, text: bytes, history: TreeHistory | None = None) -> bytes:
        """What a service would make of a note, if it were asked; nothing of ours asks."""
        del history
        return hmac.digest(self._secret, text, "sha256")

    def pin(self) -> None: ...

    def close(self) -> None: ...

    @property
    def ask(self) -> CheckMac:
        def answer(key_id: str, digest: bytes, mac: bytes) -> bool:
            self.asked.append(digest)
            if key_id != self.public.key_id:
                raise CannotAsk(f"no key {key_id}")
            return hmac.compare_digest(hmac.digest(self._secret, digest, "sha256"), mac)

        return answer
