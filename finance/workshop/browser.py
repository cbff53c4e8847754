"""A real browser, for tests and the demo: headless Chromium with one page, driven by DevTools' protocol over a pipe.

`Browser.open(path)` starts it with a profile of its own and loads a local file; `ask` runs an expression in the page
and waits for what it promises. Nothing listens on a port. `close` ends the process that was started, and nothing else.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
)
END = b"\0"
START = 'exec "$@" 3<&"$READ" 4>&"$WRITE"'  # where Chromium expects its pipe


def chromium() -> str:
    """The browser's program. Raises RuntimeError where there is none: `make hsm` installs it."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("Chromium is not installed: run tests/support/install-chromium")
    return found


class Browser:
    """One page in one browser."""

    def __init__(self, page: Path) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="finance-browser-", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, 20) for each in (theirs_in, theirs_out)]
        os.close(theirs_in)
        os.close(theirs_out)
        environ = {**os.environ, "READ": str(high[0]), "WRITE": str(high[1])}
        command = [chromium(), "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}", *OPTIONS]
        quiet = subprocess.DEVNULL
        started = ["bash", "-c", START, "bash", *command, "about:blank"]
        self._process = subprocess.Popen(started, pass_fds=high, env=environ, stdout=quiet, stderr=quiet)  # noqa: S603
        for each in high:
            os.close(each)
        self._number, self._rest = 0, b""
        self._session = ""  # of the page; none while the browser itself is spoken to
        self.requests: list[str] = []  # every address that the page asked for
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self._call(f"{domain}.enable")
        self._call("Page.navigate", url=page.resolve().as_uri())
        self.ask(
            "new Promise(done => { const again = () => "
            "window.financeVerify ? done(true) : setTimeout(again, 20); again() })"
        )

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + END
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._read()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while END not in self._rest:
            data = os.read(self._in, 1 << 16)
            if not data:
                raise RuntimeError("the browser ended")
            self._rest += data
        message, self._rest = self._rest.split(END, 1)
        read: dict[str, Any] = json.loads(message)
        return read

    def ask(self, expression: str) -> Any:
        """What an expression gives, once its promise is kept. Raises RuntimeError with what the page threw."""
        answer = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def verify(self, files: Mapping[str, bytes]) -> dict[str, Any]:
        """What the page finds in these files."""
        given = [[name, base64.b64encode(data).decode()] for name, data in files.items()]
        unpacked = "new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))])"
        listed = f"{json.dumps(given)}.map(([name, data]) => ({{ name, blob: {unpacked} }}))"
        found: dict[str, Any] = self.ask(f"window.financeVerify({listed})")
        return found

    def close(self) -> None:
        """End the browser."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait()
        self._profile.cleanup()
