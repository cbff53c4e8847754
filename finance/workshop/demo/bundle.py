"""The month as one file for an auditor: made, checked by three programs, and forged in front of each of them.

Guarantees: each program checks the file alone, beside the published signers.json: `finance verify bundle`, verify.sh
(sh, openssl, zcat, sha256sum) and verify.html in Chromium, where that is installed. The forgery is one entry of one
batch, made dearer and packed again, in a ZIP file that is sound by itself.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from finance.cli.proving.bundle_file import write_zip
from finance.settings import clock
from finance.workshop.browser import Browser, chromium
from finance.workshop.demo.cheat import EXIT_FINDINGS, check, words_of
from finance.workshop.demo.cheats_files import edit_entry
from finance.workshop.demo.leave import SIGNERS, Left
from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.demo.model import Cheat, DemoCheck
from ledger_core.archive import bundle_names

BUNDLE: Final = "bundle.zip"
FORGED: Final = f"forged-{BUNDLE}"
TRIED: Final = "an entry of the bundle is made $100 dearer, its batch and the ZIP file packed again"
SCRIPT_SECONDS_MAX: Final = 1_800


def make(ledger: DemoLedger, left: Left) -> DemoCheck:
    """The bundle of everything that the demo posted. Raises Unavailable."""
    today, day = clock.utc_now().date(), dt.timedelta(days=1)
    path = left.folder / BUNDLE
    window = ("--from", str(today - day), "--to", str(today + day))
    answer = ledger.finance("export", "auditor", *window, "--out", str(path))
    said = answer.told.error.message if answer.told.error else f"{path.stat().st_size:,} bytes" if path.exists() else ""
    return DemoCheck(answer.command, answer.exit_code, said)


def checks(ledger: DemoLedger, left: Left) -> list[DemoCheck]:
    """What each program says of the bundle."""
    path = left.folder / BUNDLE
    asked: list[Callable[[], DemoCheck]] = [
        lambda: check(ledger, "bundle", str(path), "--signers", str(left.folder / SIGNERS)),
        lambda: _by_script(left, path),
    ]
    if has_browser():
        asked.append(lambda: _by_browser(left, path))
    with ThreadPoolExecutor(len(asked)) as beside:
        return [it.result() for it in [beside.submit(each) for each in asked]]


def forge(left: Left) -> Path:
    """The same file with an edited entry."""
    with zipfile.ZipFile(left.folder / BUNDLE) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    name = next(filter(bundle_names.is_batch_member, contents))
    contents[name] = edit_entry(contents[name])
    write_zip(left.folder / FORGED, {name: partial(bytes, data) for name, data in contents.items()})
    return left.folder / FORGED


def cheats(ledger: DemoLedger, left: Left) -> Iterator[Cheat]:
    """The forged bundle before each program; the copy is removed again."""
    path = forge(left)
    try:
        answer = ledger.finance("verify", "bundle", str(path), "--signers", str(left.folder / SIGNERS))
        found = [words_of(finding) for finding in answer.told.findings] or ["no finding"]
        caught = answer.exit_code == EXIT_FINDINGS
        yield Cheat(TRIED, "finance verify bundle", answer.exit_code, found[0], caught)
        script = _by_script(left, path, "--no-chain")
        yield Cheat(
            TRIED, bundle_names.VERIFY_SH, script.exit_code, script.looked_at, script.exit_code == EXIT_FINDINGS
        )
        if has_browser():
            page = _by_browser(left, path)
            yield Cheat(TRIED, bundle_names.VERIFY_HTML, None, page.looked_at, page.exit_code == EXIT_FINDINGS)
    finally:
        path.unlink()


def has_browser() -> bool:
    """Whether Chromium is installed."""
    try:
        chromium()
    except RuntimeError:
        return False
    return True


def _by_script(left: Left, path: Path, *options: str) -> DemoCheck:
    with tempfile.TemporaryDirectory(prefix="finance-bundle-") as folder:
        with zipfile.ZipFile(path) as file:
            file.extractall(folder)
        words = ["sh", f"{folder}/{bundle_names.VERIFY_SH}", str((left.folder / SIGNERS).absolute()), *options]
        done = subprocess.run(words, capture_output=True, text=True, timeout=SCRIPT_SECONDS_MAX, check=False)
    lines = (done.stdout or done.stderr).splitlines() or ["it said nothing"]
    shown = next((line for line in lines if line.startswith(("FINDING", "checked"))), lines[-1])
    return DemoCheck(f"sh {bundle_names.VERIFY_SH} {SIGNERS}", done.returncode, shown)


def _by_browser(left: Left, path: Path) -> DemoCheck:
    """verify.html, out of the bundle that the demo made, in Chromium."""
    with tempfile.TemporaryDirectory(prefix="finance-page-") as folder:
        page = Path(folder) / bundle_names.VERIFY_HTML
        with zipfile.ZipFile(left.folder / BUNDLE) as file:
            page.write_bytes(file.read(bundle_names.VERIFY_HTML))
        browser = Browser(page)
        try:
            files = {SIGNERS: (left.folder / SIGNERS).read_bytes(), path.name: path.read_bytes()}
            answer = browser.verify(files)
        finally:
            browser.close()
    told = answer["results"][-1] if answer["results"] else {"counts": {}, "findings": []}
    counted = ", ".join(f"{number:,} {what}" for what, number in told["counts"].items())
    found = [f"{it['code']}: {it['message']} (in {it['object']})" for it in told["findings"]]
    return DemoCheck(
        f"{bundle_names.VERIFY_HTML} in Chromium",
        0 if answer["sound"] else EXIT_FINDINGS,
        counted if answer["sound"] else (found or ["nothing could be checked"])[0],
    )
