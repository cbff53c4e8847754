"""Files that somebody else may have made are read by `schemas.read_file` alone: bounded, and regular files only.

Each other place that opens a file stands here, with whose file it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
FLOORS = ("ledger_core", "schemas", "producers", "consumers", "finance")
APART = ("finance/workshop/",)  # development only: its own files
READS = {"read_bytes", "read_text", "open", "fdopen"}
OURS = {
    "schemas/read_file.py": "the one way",
    "schemas/wire/registry.py": "a part of the package",
    "ledger_core/postgres/schema/guard.py": "a part of the package",
    "ledger_core/postgres/schema/migrate.py": "a part of the package",
    "ledger_core/postgres/reading/projection_places.py": "a part of the package",
    "finance/settings/compiled.py": "a part of the package",
    "finance/settings/file_lock.py": "the kernel's list of locks and processes",
    "finance/verifier_page/assemble.py": "a part of the package",
    "finance/cli/proving/bundle_file.py": "makes a new file; what it reads is opened by open_file",
    "finance/cli/proving/bundle_making.py": "a part of the package",
    "finance/cli/proving/bundle_openings.py": "makes a new file; it is read by read_file",
    "finance/cli/proving/verify_page.py": "makes a new file, and reads none",
    "producers/storage/whole_file.py": "writes, and syncs folders",
    "finance/door/used_once.py": "makes empty files, and syncs folders",
    "finance/wiring/registry_file.py": "locks a folder; the file is read by read_file",
    "finance/cli/reading/shown.py": "makes a new file, and reads none",
    "finance/cli/main.py": "opens the null device",
    "finance/signing_proxy/log_file.py": "its own log, held by a lock, in a folder that the guards check",
    "finance/signing_proxy/request_log.py": "its own log, as log_file",
    "finance/recovery/drill/leftovers.py": "its own lock and its own server's pid file, below a folder of its own",
    "finance/recovery/backup/streaming/spool.py": "its own spool, held by a lock; segments that pg_receivewal wrote",
    "finance/recovery/backup/streaming/receiver.py": "the kernel's list of processes",
    "finance/recovery/backup/streaming/unsigned.py": "its own list, in the spool",
    "finance/recovery/backup/failures.py": "appends to its own count; it is read by read_file",
    "finance/recovery/backup/base/cluster.py": "the log of a server that it started",
}


def opened(tree: ast.Module) -> Iterator[int]:
    """Lines of calls that open or read a file: path.open(), open(), os.open(), gzip.open(); no open() of our own."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            yield node.lineno
        if isinstance(node.func, ast.Attribute) and node.func.attr in READS:
            yield node.lineno


CLIENTS = {  # what opens something else than a file
    "producers/signing/kms.py",  # a client of KMS
    "producers/signing/kms_mac.py",
    "producers/signing/kms_mac_key.py",
    "producers/signing/pkcs11.py",  # a session of a token
    "finance/recovery/backup/base/create.py",  # a tar that streams from the server's own tool
    "finance/recovery/backup/base/restore.py",  # a tar that streams, bounded by the signed manifest
}


def test_a_file_of_others_is_read_in_one_way() -> None:
    found = set()
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(APART) and next(opened(ast.parse(path.read_text("utf-8"))), None) is not None:
                found.add(name)
    assert found - set(OURS) - CLIENTS == set(), "read it by schemas.read_file, or say here whose file it is"
    assert set(OURS) | CLIENTS <= found | {"schemas/read_file.py"}, "it opens nothing any more"


def test_a_call_that_reads_a_file_is_seen_however_it_is_spelled() -> None:
    source = "p.read_bytes()\nopen(p)\np.open('rb')\ngzip.open(p)\nos.open(p, 0)\nx.opened()\nread_file(p, 1)\n"
    assert list(opened(ast.parse(source))) == [1, 2, 3, 4, 5]
