"""A file that is replaced whole.

Guarantees: at every moment, also after a crash or a loss of power, the name holds the whole old content or the whole
new one; a replacement that returned is durable, the name in its folder too. What fails leaves nothing beside the
file; what a killed process left there is written over by the next one.
Does not: lock. Two that replace the same file at once need a lock of their own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

APART: Final = ".new"


def replace_file(path: Path, data: bytes, *, mode: int | None = None, apart: Path | None = None) -> None:
    """Write `data` apart, sync it, rename it to `path`, sync the folder. Raises OSError.

    `mode`: the permissions of the file; None leaves them to the umask. `apart`: where it is written first, on the same
    file system; None is the path with `.new` at its end.
    """
    apart = apart or path.with_name(path.name + APART)
    handle = os.open(apart, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 if mode is None else mode)
    try:
        with os.fdopen(handle, "wb") as file:
            if mode is not None:
                os.fchmod(handle, mode)  # one that a killed process left may have another
            file.write(data)
            file.flush()
            os.fsync(handle)
        apart.replace(path)  # until here a crash leaves the old content, from here on the new one
    except BaseException:
        apart.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
