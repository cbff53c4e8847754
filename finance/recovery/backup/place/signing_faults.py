"""Where the signatures over WAL have a hole: lists that were lost or cut back, files that none signs for. Pure.

Guarantees: what is found is named. Only the newest files of a timeline may wait for their signature: a signer that is
away does not stop the stream.
"""

from __future__ import annotations

from collections.abc import Iterable

from finance.recovery.backup import wal
from finance.recovery.backup.place.catalogue import Catalogue
from finance.recovery.backup.place.keys import WalFile
from finance.recovery.backup.place.manifest import BackupManifest


def list_faults(catalogue: Catalogue, backups: Iterable[BackupManifest]) -> list[str]:
    """What the lists lack, by themselves and against what the backups' manifests say of them."""
    listed = catalogue.listed
    if catalogue.list_faults:
        return list(catalogue.list_faults)
    faults = []
    for backup in backups:
        count = int(backup.wal_files)
        if count > listed.count:
            faults.append(
                f"the lists of WAL were cut back: {listed.count} files, and {count} when backup {backup.backup_id} "
                "was taken"
            )
        elif count in listed.links and listed.links[count] != backup.wal_link:
            faults.append(f"the lists of WAL are not those beside which backup {backup.backup_id} was taken")
    return faults


def unsigned_within(catalogue: Catalogue, files: Iterable[WalFile]) -> list[str]:
    """Those of the files that no list signs for, though lists sign for later ones of the same timeline."""
    newest: dict[str, str] = {}
    for name in catalogue.listed.keys:
        if wal.SEGMENT_NAME.fullmatch(name):
            newest[name[:8]] = max(name, newest.get(name[:8], ""))
    unsigned = {file.key for file in catalogue.unsigned}
    return [
        f"WAL segment {file.name} is signed for by no list, and later ones are"
        for file in files
        if file.key in unsigned and file.name < newest.get(file.name[:8], "")
    ]
