"""Files that somebody hostile hands over, by kind; and a child that reads them with little memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).parents[2]
MEMORY_BYTES_MAX: Final = 3 * 2**30  # of addresses; libraries take half of them, an unbounded read wants more
PLACE: Final = "FILE"  # in a command: where the hostile file goes
GIB: Final = 2**30


def bomb(path: Path) -> None:
    """Four MB of gzip that open to 4 GiB without a line end."""
    pack = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    piece = bytes(16 * 2**20)
    with path.open("wb") as file:
        for _ in range(256):
            file.write(pack.compress(piece))
        file.write(pack.flush())


def sparse(path: Path) -> None:
    """One line of 4 GiB, which takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(4 * GIB)


def half_a_gzip(path: Path) -> None:
    pack = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    whole = pack.compress(os.urandom(100_000) + b"\n") + pack.flush()
    path.write_bytes(whole[:-1000])


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


MAKERS: Final[Mapping[str, Callable[[Path], object]]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "device": device,
    "empty": lambda path: path.write_bytes(b""),
    "half a gzip": half_a_gzip,
    "gzip bomb": bomb,
    "line of 4 GiB": sparse,
    "lists in lists": lambda path: path.write_bytes(b"[" * 200_000 + b"]" * 200_000 + b"\n"),
    "objects in objects": lambda path: path.write_bytes(b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"\n"),
    "a million bad lines": lambda path: path.write_bytes(b"no line of ours\n" * 1_000_000),
    "noise": lambda path: path.write_bytes(os.urandom(100_000)),
}


def make_all(folder: Path) -> dict[str, Path]:
    """One file of each kind."""
    made = {kind: folder / f"hostile-{number}" for number, kind in enumerate(MAKERS)}
    for kind, path in made.items():
        MAKERS[kind](path)
    return made


def outcomes(
    command: Sequence[str], files: Mapping[str, Path], environ: Mapping[str, str], seconds_max: float
) -> dict[str, Any]:
    """What `finance COMMAND --json` says to each file: kind -> exit code and its output. Raises TimeoutExpired."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile_files"],
        input=json.dumps({"command": command, "files": {kind: str(path) for kind, path in files.items()}}),
        env=dict(environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds_max,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _main() -> None:
    """The child: every file, one after the other, in its own output."""
    import contextlib
    import io

    from finance.cli.main import run

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    asked = json.load(sys.stdin)
    told = {}
    for kind, path in asked["files"].items():
        out = io.TextIOWrapper(io.BytesIO())
        with contextlib.redirect_stdout(out):
            code = run([path if word == PLACE else word for word in asked["command"]] + ["--json"])
            out.flush()
        told[kind] = [code, out.buffer.getvalue().decode()[:4000]]
    print(json.dumps(told))


if __name__ == "__main__":
    _main()
