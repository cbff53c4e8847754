"""Programs that tests run and the project does not ship: found, or installed from the distribution's packages."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

INSTALL: Final = Path(__file__).with_name("install-tool")


def installed(name: str, package: str) -> str:
    """Where the program stands; its package is installed when it does not stand there yet."""
    done = subprocess.run([INSTALL, name, package], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()
