"""Bundles made by hand from archives made by hand, and what a forger does to them.

`forged` changes members of a bundle and writes the ZIP anew, in its one spelling; `resigned` also brings the statement
up to date and signs it, as a thief of the key would.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import cast

import msgspec

from finance.cli.proving.bundle_file import write_zip
from finance.cli.proving.bundle_making import BundleMaker, BundleTerms
from finance.cli.proving.bundle_openings import Ask, OpeningsFile
from ledger_core.archive import bundle_names
from ledger_core.bundle.statement import BundleFile, BundleFilter, BundlePayload, assemble_bundle, parse_bundle
from ledger_core.findings import Report
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import format_time
from ledger_core.verify.oracle import verify_bundle
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import START, TinyShard

HOUR = 3600.0


def hours_of(shard: TinyShard, hours: int, entries_an_hour: int) -> list[tuple[int, int]]:
    """Post so many entries in each hour, with an offset that posted nothing behind them; the cuts, one an hour."""
    cuts = []
    for hour in range(hours):
        shard.post(entries_an_hour, seconds=hour * HOUR).silence(1)
        cuts.append((len(shard.entries), shard.next_offset))
    return cuts


def two_shards(key: Key, hours: int = 6) -> MemoryStore:
    """An archive of two shards with a range an hour."""
    store = MemoryStore()
    for number, entries in ((0, 5), (1, 3)):
        shard = TinyShard(number)
        archive_of(shard, hours_of(shard, hours, entries), key, store)
    return store


EVERYTHING = BundleFilter(accounts=(), settlements=(), shards=())


def asked(**said: object) -> BundleFilter:
    """A filter of these accounts, settlements, shards."""
    return msgspec.convert({"accounts": [], "settlements": [], "shards": [], **said}, BundleFilter)


def bundle_of(
    store: MemoryStore,
    key: Key,
    path: Path,
    first_hour: int = 2,
    end_hour: int = 4,
    asked: BundleFilter = EVERYTHING,
    shown: Ask | None = None,
) -> BundleMaker:
    """A bundle of these hours, at `path`; `shown`: with the personal data that this answers."""
    moments = [format_time(START + dt.timedelta(hours=hour)) for hour in (first_hour, end_hour)]
    terms = BundleTerms(ENV, moments[0], moments[1], asked, 2, "1")
    openings = None if shown is None else OpeningsFile(path.with_name("openings.jsonl"), shown)
    maker = BundleMaker(store, key.registry, terms, openings)
    maker.gather()
    assert maker.found.report().findings == ()
    maker.sign(cast(PinnedSigner, key))
    write_zip(path, maker.contents)
    return maker


def verified(path: Path, registry: SignerRegistry) -> Report:
    """What the oracle says of the file."""
    data = path.read_bytes()
    return verify_bundle(lambda at, count: data[at : at + count], len(data), registry)


def contents_of(path: Path) -> dict[str, bytes]:
    """The members, as an ordinary reader of ZIP files gives them."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as file:
        return {name: file.read(name) for name in file.namelist()}


def forged(path: Path, changes: Mapping[str, bytes | None], out: Path) -> Path:
    """The bundle with other members (None: without it), in a sound ZIP file."""
    contents: dict[str, bytes | None] = {**contents_of(path), **changes}
    write_zip(out, {name: partial(bytes, data) for name, data in contents.items() if data is not None})
    return out


def resigned(path: Path, changes: Mapping[str, bytes | None], key: Key, out: Path, **said: object) -> Path:
    """The same by somebody who holds the key: sums and statement fit what is inside. `said`: other fields of it."""
    contents: dict[str, bytes | None] = {**contents_of(path), **changes}
    whole = {name: data for name, data in contents.items() if data is not None}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in whole.items()}
    whole[bundle_names.SUMS] = bundle_names.sums_of(digests)
    digests[bundle_names.SUMS] = hashlib.sha256(whole[bundle_names.SUMS]).hexdigest()
    bundle = parse_bundle(whole[bundle_names.STATEMENT])
    fields = {name: getattr(bundle, name) for name in BundlePayload.__struct_fields__}
    files = tuple(
        BundleFile(path=name, sha256=digests[name], size_bytes=str(len(whole[name])))
        for name in sorted(whole)
        if name != bundle_names.STATEMENT
    )
    payload = msgspec.convert({**fields, "files": files, **said}, BundlePayload)
    whole[bundle_names.STATEMENT] = assemble_bundle(payload, key.sign_digest(payload.digest()))
    write_zip(out, {name: partial(bytes, data) for name, data in whole.items()})
    return out
