"""Seeded mutations of a bundle: of the file's bytes, of one member, and of a member by a thief who signs with our key.

Each differs from the sound bundle in what somebody could check: members that say nothing of the ledger (page, programs,
sums) are changed without a signature alone, since a thief who signs may write others.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from ledger_core.archive import bundle_names
from tests.support.archive_factory import Key
from tests.support.bundle_factory import asked, bundle_of, contents_of, forged, resigned
from tests.support.opening_factory import shown_of, with_buyers
from tests.support.page_corpus import CHANGES

FREE = {bundle_names.README, bundle_names.VERIFY_SH, bundle_names.VERIFY_HTML, bundle_names.SUMS, bundle_names.SIGNERS}


def sound_bundle(key: Key, path: Path) -> Path:
    """Two hours of two shards, with neighbours, a list of what was asked for, and personal data."""
    accounts = ["liability:payable:seller-3", "revenue:fees"]
    bundle_of(with_buyers(key), key, path, 1, 3, asked(accounts=accounts), shown=shown_of())
    return path


def mutations(path: Path, key: Key, seed: int, count: int, out: Path) -> Iterator[str]:
    """Writes one forged bundle after the other to `out`; what was done to it."""
    chance, contents = random.Random(seed), contents_of(path)
    whole = path.read_bytes()
    while count:
        kind = chance.choice(("bytes", "member", "thief", "thief", "swapped", "dropped"))
        if kind == "bytes":
            words = chance.choice(("a bit flipped", "cut off"))
            out.write_bytes(CHANGES[words](chance, whole))
            name = "the file"
        else:
            names = sorted(set(contents) - (FREE | {bundle_names.STATEMENT} if kind != "member" else set()))
            name, other = chance.choice(names), chance.choice(names)
            words, changes = _changed(chance, kind, contents, name, other)
            if all(contents[it] == data for it, data in changes.items()):
                continue
            if kind == "member":
                forged(path, changes, out)
            else:
                resigned(path, changes, key, out)
        yield f"{kind}: {name}, {words}"
        count -= 1


def _changed(
    chance: random.Random, kind: str, contents: Mapping[str, bytes], name: str, other: str
) -> tuple[str, dict[str, bytes | None]]:
    if kind == "dropped":
        return "left out", {name: None}
    if kind == "swapped":
        return f"swapped with {other}", {name: contents[other], other: contents[name]}
    words = chance.choice(list(CHANGES))
    if not name.endswith(".gz"):
        return words, {name: CHANGES[words](chance, contents[name]) if contents[name] else b"x"}
    plain = gzip.decompress(contents[name])
    changed = CHANGES[words](chance, plain)
    packed = gzip.compress(changed, mtime=0)
    return words, {name: contents[name] if changed == plain else packed}
