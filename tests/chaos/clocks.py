"""A wall clock of its own for each process that a run starts, to be set while it runs (`stepped_clock.c`).

Guarantees: only the wall clock steps, as when an operator or NTP sets a machine's clock; what a process waits for by a
wall clock is waited for as long as it asked. Needs a C compiler.
"""

from __future__ import annotations

import struct
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("stepped_clock.c")


def compiled(folder: Path) -> Path:
    """The library that steps clocks, made in `folder`. Raises CalledProcessError when no compiler makes it."""
    library = folder / "stepped_clock.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


class SteppedClock:
    """`environ` starts a process by this clock; `step` sets it, in seconds ahead of the machine's."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self._file.write_bytes(bytes(8))
        self.environ: Mapping[str, str] = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(file)}

    def step(self, ahead_seconds: int) -> None:
        with self._file.open("r+b") as opened:
            opened.write(struct.pack("=q", ahead_seconds))
