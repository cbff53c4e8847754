"""Reading the signer registry from its file: the trust that everything signed is checked against."""

from __future__ import annotations

from pathlib import Path

from ledger_core.errors import Refused
from ledger_core.signers import SignerRegistry


def read_registry(path: Path) -> SignerRegistry:
    """The registry in a signers.json. Raises Refused when it cannot be read or is not sound."""
    try:
        return SignerRegistry.from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Refused(
            f"the signer registry {path} cannot be read ({error})",
            remedy="name a sound signers.json with FINANCE_SIGNERS (or --signers, where a command has it)",
        ) from error
