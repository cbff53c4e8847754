"""Compiling the hot modules to C, in place: `python -m finance.workshop.compile`.

The modules of `HOT` (finance/settings/compiled.py) are plain typed Python and run as they are; mypyc compiles the very
same files, which makes decoding an event four times faster (docs/PERFORMANCE.md). Nothing depends on it but speed:
without a C compiler everything runs interpreted, and says so once here.

Guarantees: a compiled module of another source never goes unnoticed, although Python would prefer it: what was made
from what is recorded, `--clean` takes all of it away, compiling anew does so first, and processes and tests refuse to
start on a stale one (`stale`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from finance.settings.compiled import GROUP, HOT, RECORD, ROOT, group_library, twins, write_record


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m finance.workshop.compile", description="Compile the hot modules.")
    parser.add_argument("--clean", action="store_true", help="only take the compiled modules away")
    parser.add_argument("file", nargs="*", default=HOT, help="compile these instead (for `bench compiled`)")
    options = parser.parse_args(argv)
    clean()
    if options.clean:
        return 0
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if shutil.which(compiler) is None or not header.exists():
        sys.stderr.write(f"no C compiler ({compiler}) or no {header.name}: the hot modules run interpreted\n")
        return 0
    build(options.file)
    return 0


def build(sources: Sequence[str]) -> None:
    """Compile these modules and put each twin beside its source. Raises SystemExit with the compiler's words."""
    from mypyc.build import mypycify
    from setuptools import setup

    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        extensions = mypycify([*sources], opt_level="3", target_dir=scratch, group_name=GROUP)
        setup(
            name="finance-hot-modules",
            packages=[],
            ext_modules=list(extensions),  # type: ignore[arg-type]  # two names of one class
            script_args=["-q", "build_ext", "--inplace", "--build-temp", scratch, "--build-lib", scratch],
        )
    write_record(sources)


def clean() -> None:
    """Take every compiled twin away, and the library they share."""
    for twin in twins():
        twin.unlink()
    group_library().unlink(missing_ok=True)
    RECORD.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
