"""How archive objects are called: computed here, read back here, and nowhere else. Pure.

    <env>/batches/shard-00003/offsets-<first>-<next>.seqs-<first>-<last>.jsonl.gz
    <env>/manifests/shard-00003/<manifest_no>.json
    <env>/tlog/shard-00003/<entries or verdicts>/tile/<level>/<number>
    <env>/audit/seqs-<first>-<last>.jsonl.gz
    <env>/bundles/<hash of the statement>.zip

Guarantees: a name is a function of environment, shard and range; numbers are zero padded to 19 digits (a shard's to 5),
so that names sort in the order of the chain.
Does not: say that what stands under a name is what the name says: the oracle compares.
"""

from __future__ import annotations

import re
from typing import Final

from ledger_core.proving.range_proof import ShardRange
from ledger_core.proving.tiles import TreeName, tile_path

_SHARD: Final = re.compile(r"/(?:batches|manifests)/shard-([0-9]{5,10})/")
_LOCKABLE: Final = re.compile(
    r"/(?:batches/shard-[0-9]{5,10}/offsets-[0-9]{19}-[0-9]{19}\.|audit/)seqs-[0-9]{19}-[0-9]{19}\.jsonl\.gz\Z"
)
_LAST_SEQ: Final = re.compile(r"/audit/seqs-[0-9]{19}-([0-9]{19})\.jsonl\.gz\Z")
_OFFSETS: Final = re.compile(r"/offsets-([0-9]{19})-[0-9]{19}\.seqs-")


def batches_folder(env: str) -> str:
    """Where the batches of an environment stand, of all shards."""
    return f"{env}/batches/"


def batch_key(env: str, part: ShardRange) -> str:
    """The object name of a range's batch."""
    offsets = f"{int(part.source.first_offset):019d}-{int(part.source.next_offset):019d}"
    seqs = f"{int(part.first_seq):019d}-{int(part.last_seq):019d}"
    return f"{batches_folder(env)}{_shard_folder(part.shard)}offsets-{offsets}.seqs-{seqs}.jsonl.gz"


def manifests_folder(env: str, shard: int | None = None) -> str:
    """Where the manifests of an environment stand, or those of one shard."""
    folder = f"{env}/manifests/"
    return folder if shard is None else folder + _shard_folder(shard)


def manifest_key(env: str, shard: int, manifest_no: int) -> str:
    """The object name of one manifest of a shard's chain."""
    return f"{manifests_folder(env, shard)}{manifest_no:019d}.json"


def tiles_folder(env: str, shard: int, tree: TreeName) -> str:
    """Where the tiles of one tree of a shard stand: the root of a static log (C2SP tlog-tiles)."""
    return f"{env}/tlog/{_shard_folder(shard)}{tree}/"


def tile_key(env: str, shard: int, tree: TreeName, level: int, number: int) -> str:
    """The object name of a full tile."""
    return tiles_folder(env, shard, tree) + tile_path(level, number)


def exports_folder(env: str) -> str:
    """Where the exports of the audit chain stand."""
    return f"{env}/audit/"


def export_key(env: str, first_seq: int, last_seq: int) -> str:
    """The object name of an export of the audit chain: events first_seq..last_seq, inclusive."""
    return f"{exports_folder(env)}seqs-{first_seq:019d}-{last_seq:019d}.jsonl.gz"


def exports_from(env: str, first_seq: int) -> str:
    """What the name of an export that begins with this event begins with."""
    return f"{exports_folder(env)}seqs-{first_seq:019d}-"


def bundle_key(env: str, statement_hash: str) -> str:
    """The object name of an auditor's bundle that was stored, by the hash of its statement."""
    return f"{env}/bundles/{statement_hash}.zip"


def last_seq_of(key: str) -> int | None:
    """The last event that an export's name speaks of; None when it is not the name of an export."""
    last_seq = _LAST_SEQ.search(key)
    return None if last_seq is None else int(last_seq[1])


def is_lockable_key(key: str, env: str) -> bool:
    """Whether this is the name of a batch or of an export: the objects whose lock is counted from a time of their
    own."""
    return key.startswith((batches_folder(env), exports_folder(env))) and _LOCKABLE.search(key) is not None


def shard_of(key: str) -> int | None:
    """The shard that the name of a manifest or batch speaks of; None when it names none."""
    shard = _SHARD.search(key)
    return None if shard is None else int(shard[1])


def manifest_no_of(key: str, env: str, shard: int) -> int | None:
    """The number of that shard's manifest; None when this is not the name of one."""
    number = key.rpartition("/")[2].removesuffix(".json")
    return int(number) if number.isdigit() and key == manifest_key(env, shard, int(number)) else None


def first_offset_of(key: str) -> int | None:
    """The first offset that a batch's name speaks of; None when it is not the name of a batch."""
    offset = _OFFSETS.search(key)
    return None if offset is None else int(offset[1])


def _shard_folder(shard: int) -> str:
    return f"shard-{shard:05d}/"
