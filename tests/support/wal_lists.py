"""Signed lists of WAL for tests: each goes on from the one before it."""

from __future__ import annotations

import datetime as dt
from typing import Final

from finance.recovery.backup.place.keys import wal_key
from finance.recovery.backup.place.wal_list import WalList, WalListPayload
from ledger_core.signing.statements import assemble
from ledger_core.times import format_time
from tests.support.archive_factory import Key

SYSTEM: Final = "7"
SHA: Final = "0" * 64


def signed_list(key: Key, before: WalList | None, *, files: int, at: dt.datetime, files_at: dt.datetime) -> bytes:
    """The list after `before`, signed at `at`, of so many files that were stored at `files_at`."""
    start = 0 if before is None else before.count_at_end
    payload = WalListPayload(
        version=1,
        service="finance",
        statement="backup-wal",
        env="test",
        system_identifier=SYSTEM,
        list_no=str(1 if before is None else int(before.list_no) + 1),
        files_before=str(start),
        link_before=None if before is None else before.links()[-1],
        files=tuple(wal_key(SYSTEM, f"{start + n:024X}", files_at, SHA) for n in range(1, files + 1)),
        signed_at=format_time(at),
        signer_kid=key.kid,
        alg=key.algorithm,
    )
    return assemble(payload, WalList, key.sign_digest(payload.digest()))
