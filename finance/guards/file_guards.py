"""Who but us may write to the files that steer a process: its registry, topology, keys, secrets, callers, certificates.

Whoever can write to one of them, or put another in its place, decides whom the process trusts and where it goes.
Guarantees: outside dev each such file that is named is judged, and the folder in which it really lies, for every
process and command. Root, the user of the process and its groups may write; a folder of everybody's will do where
nobody may replace the files of another (sticky). Does not: judge the folders above.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from finance.guards.model import Given, GuardFault


def configuration_is_ours(given: Given) -> Iterator[GuardFault]:
    """Who can change a file that steers us steers us."""
    for path in given.files if given.guarded else ():
        for place in dict.fromkeys((path, path.resolve(), path.resolve().parent)):
            if who := others_that_write(place):
                yield GuardFault(
                    f"{place} can be written to by {who}", "let whoever deploys the process alone write there"
                )


def others_that_write(path: Path) -> str:
    """Who but its owner, root and our own groups may write to a file or folder; empty: nobody."""
    try:
        found = path.stat()
    except OSError:
        return ""
    who = []
    if found.st_uid not in (0, os.geteuid()):
        who.append(f"user {found.st_uid}, whose it is")
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return " and ".join(who)
    if found.st_mode & stat.S_IWOTH:
        who.append("everybody")
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid(), *os.getgroups()):
        who.append(f"group {found.st_gid}")
    return " and ".join(who)
