"""The signer registry's file: the trust that everything signed is checked against, read whole and replaced whole.

Guarantees: whoever reads the file sees the old registry or the new one, also after a crash or a loss of power; two
changes at once follow each other. A file that is not sound is refused, never mended.
Does not: decide what changes (`ledger_core.signing.registry_edit` does), or hold a private key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from finance.settings.deployment import Settings
from finance.settings.file_lock import lock_file
from ledger_core.errors import Refused
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.registry_edit import EMPTY
from producers.storage.whole_file import replace_file
from schemas.read_file import STATEMENT_BYTES_MAX, read_file

LOCK_SECONDS_MAX: Final = 10.0  # a change takes milliseconds


def read_registry(path: Path, *, foreign: bool = False) -> SignerRegistry:
    """The registry in a signers.json; `foreign`: others keep it too. Raises Refused when it cannot be read or is not
    sound."""
    try:
        return SignerRegistry.from_json(read_file(path, STATEMENT_BYTES_MAX), foreign=foreign)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def change_registry(path: Path, edit: Callable[[bytes], bytes], *, dry_run: bool = False) -> tuple[bytes, bytes]:
    """Replace the file by what `edit` makes of it; the bytes before and after. A file that is not there is empty.

    Raises Refused when the file or the change is not sound, or cannot be written.
    """
    path = path.resolve()  # a link stays one
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        lock_file(folder, f"another process changes {path}", seconds_max=LOCK_SECONDS_MAX)
        before = read_file(path, STATEMENT_BYTES_MAX) if path.exists() else EMPTY
        try:
            after = edit(before)
        except ValueError as error:
            raise unreadable(path, error) from error
        if after != before and not dry_run:
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            replace_file(path, after, mode=mode)
        return before, after
    except OSError as error:
        raise Refused(
            f"the signer registry {path} cannot be written ({error})",
            remedy="run this where the file may be changed, then bring it to where the processes read it",
        ) from error
    finally:
        os.close(folder)


def kernel_path(settings: Settings) -> Path | None:
    """Where Kernel's own copy of the registry is, as far as that is known."""
    given = settings.text("KERNEL_SIGNERS_FILE")
    return Path(given) if given else None


def check_copy(path: Path, signers: Iterable[RegisteredSigner]) -> None:
    """Raise Refused unless a published copy of the registry holds these signers, with these keys."""
    try:
        copy = SignerRegistry.from_json(read_file(path, STATEMENT_BYTES_MAX), foreign=True)
    except (OSError, ValueError) as error:
        raise Refused(
            f"the copy of the signer registry {path} cannot be read ({error})",
            remedy="name Kernel's own signers.json with --kernel or KERNEL_SIGNERS_FILE",
        ) from error
    for signer in signers:
        found = copy.find(signer.kid)
        if found is None or found.public_key != signer.public_key:
            what = "does not have" if found is None else "has another key for"
            raise Refused(
                f"{path} {what} {signer.kid}",
                remedy="publish it first: `finance signers publish --repo ...`, and have the branch merged",
            )


def unreadable(path: Path, error: Exception) -> Refused:
    return Refused(
        f"the signer registry {path} cannot be read ({error})",
        remedy="name a sound signers.json with FINANCE_SIGNERS (or --signers, where a command has it)",
    )
