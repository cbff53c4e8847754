"""`finance signing-proxy` as its users run it: a process of its own, stopped by SIGTERM."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

SECONDS_MAX = 30


@dataclass(slots=True)
class ProxyProcess:
    """What runs: `url` once it listens, and `exit_code` once it ended; `said` are the lines of its log."""

    url: str = ""
    exit_code: int | None = None
    said: list[str] = field(default_factory=list)


@contextmanager
def proxy_process(environ: Mapping[str, str], *options: str) -> Iterator[ProxyProcess]:
    """Until it listens, or has ended; SIGTERM afterwards."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "finance", "signing-proxy", *options],
        env={**inherited, **environ, "SIGNING_PROXY_PORT": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    found, listening = ProxyProcess(), threading.Event()

    def listen() -> None:
        for line in process.stderr or ():
            found.said.append(line)
            match = re.search(r"https?://[^\s\"]+:\d+", line) if "signing_proxy.listening" in line else None
            if match is not None:
                found.url = match[0]
                listening.set()
        listening.set()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        assert listening.wait(SECONDS_MAX), "".join(found.said)
        if not found.url:
            found.exit_code = process.wait(SECONDS_MAX)
        yield found
    finally:
        process.terminate()
        found.exit_code = process.wait(SECONDS_MAX)
        reader.join()
        if process.stderr is not None:
            process.stderr.close()
