"""Secrets from files: for each secret variable NAME, `NAME_FILE` names a file whose content is the value.

Guarantees: a variable given both ways, a file that cannot be read, that is empty or too long, or (outside dev) that
everybody on the host may read is Refused by name; one line end after the value does not belong to it.
Does not: watch the file: a process reads its secrets when it starts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ledger_core.errors import Refused
from schemas.read_file import open_file

SUFFIX: Final = "_FILE"
SECRET_BYTES_MAX: Final = 65_536


def secrets_from_files(environ: Mapping[str, str], names: Iterable[str], cwd: Path, *, guarded: bool) -> dict[str, str]:
    """The values of those of `names` whose NAME_FILE is set; `guarded`: refuse files that everybody may read. Raises
    Refused when a value is given twice, or a file cannot be used.
    """
    found = {}
    for name in names:
        path = environ.get(name + SUFFIX, "")
        if not path:
            continue
        if environ.get(name):
            raise Refused(f"{name} and {name}{SUFFIX} are both set", remedy="keep the one that is meant")
        found[name] = read_secret(name + SUFFIX, cwd / path, guarded=guarded)
    return found


def read_secret(variable: str, path: Path, *, guarded: bool) -> str:
    """The secret in a file that `variable` names. Raises Refused when the file cannot be used."""
    try:
        with open_file(path) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise Refused(f"{variable}: {path} cannot be read ({error.strerror})", remedy="name a readable file") from error
    if guarded and mode & stat.S_IROTH:
        raise Refused(f"{variable}: everybody may read {path}", remedy=f"chmod o= {path}")
    try:
        value = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise Refused(f"{variable}: {path} is not text", remedy="store the secret as text") from error
    if not value or len(data) > SECRET_BYTES_MAX:
        raise Refused(
            f"{variable}: {path} is empty or longer than {SECRET_BYTES_MAX} bytes", remedy="store the secret in it"
        )
    return value
