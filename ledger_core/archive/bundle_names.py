"""How the members of a bundle are called: computed here, read back here, and nowhere else. Pure.

    README.html  SHA256SUMS  bundle.json  signers.json  verify.html  verify.sh
    audit/seqs-<first>-<last>.jsonl.gz     pii/openings.jsonl
    shards/00003/batches/offsets-<first>-<next>.seqs-<first>-<last>.jsonl.gz
    shards/00003/manifests/<manifest_no>.json   shards/00003/proofs/<range_no>.json
    shards/00003/checkpoints/first.note         shards/00003/checkpoints/last.note
    shards/00003/consistency.json                   shards/00003/matching.jsonl

Guarantees: a name is ASCII without blanks, `..`, `\\` or a leading `/`; numbers are padded as in the archive, so that
names sort in the order of the chain. What is not one of these names is nobody's member.
Does not: say that what stands under a name is what the name says: `ledger_core.verify.bundles.whole` compares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

README: Final = "README.html"
SUMS: Final = "SHA256SUMS"
STATEMENT: Final = "bundle.json"
SIGNERS: Final = "signers.json"
VERIFY_SH: Final = "verify.sh"
VERIFY_HTML: Final = "verify.html"
AUDIT_FOLDER: Final = "audit/"
OPENINGS: Final = "pii/openings.jsonl"
ALWAYS: Final = (README, SUMS, STATEMENT, SIGNERS, VERIFY_HTML, VERIFY_SH)

_BATCH: Final = re.compile(r"offsets-[0-9]{19}-[0-9]{19}\.seqs-[0-9]{19}-[0-9]{19}\.jsonl\.gz\Z")
_MEMBER: Final = re.compile(
    r"(README\.html|SHA256SUMS|bundle\.json|signers\.json|verify\.html|verify\.sh"
    r"|audit/seqs-[0-9]{19}-[0-9]{19}\.jsonl\.gz|pii/openings\.jsonl"
    r"|shards/[0-9]{5,10}/(batches/offsets-[0-9]{19}-[0-9]{19}\.seqs-[0-9]{19}-[0-9]{19}\.jsonl\.gz"
    r"|(manifests|proofs)/[0-9]{19}\.json|checkpoints/(first|last)\.note|consistency\.json|matching\.jsonl))\Z"
)


def is_member_name(name: str) -> bool:
    """Whether a member of a bundle may be called so."""
    return _MEMBER.match(name) is not None


def shard_folder(shard: int) -> str:
    """Where the members of one shard stand."""
    return f"shards/{shard:05d}/"


def batch_member(shard: int, key: str) -> str:
    """The member of a batch with that object name. Raises ValueError when it is not one."""
    name = key.rpartition("/")[2]
    if _BATCH.match(name) is None:
        raise ValueError(f"{key!r} is not the name of a batch")
    return f"{shard_folder(shard)}batches/{name}"


def is_batch_member(name: str) -> bool:
    """Whether this member is a batch."""
    return is_member_name(name) and _BATCH.match(name.rpartition("/")[2]) is not None


def manifest_member(shard: int, manifest_no: int) -> str:
    """The member of one manifest."""
    return f"{shard_folder(shard)}manifests/{manifest_no:019d}.json"


def proof_member(shard: int, range_no: int) -> str:
    """The member of the proof of one range."""
    return f"{shard_folder(shard)}proofs/{range_no:019d}.json"


def first_note(shard: int) -> str:
    """The member with the checkpoint before the first batch."""
    return f"{shard_folder(shard)}checkpoints/first.note"


def last_note(shard: int) -> str:
    """The member with the checkpoint behind the last batch."""
    return f"{shard_folder(shard)}checkpoints/last.note"


def consistency_member(shard: int) -> str:
    """The member with the proof that the second tree continues the first."""
    return f"{shard_folder(shard)}consistency.json"


def matching_member(shard: int) -> str:
    """The member with the entries that match a filter."""
    return f"{shard_folder(shard)}matching.jsonl"


def audit_member(key: str) -> str:
    """The member of an export of the audit chain with that object name."""
    return AUDIT_FOLDER + key.rpartition("/")[2]


def sums_of(digests: Mapping[str, str]) -> bytes:
    """SHA256SUMS: what `sha256sum -c` reads, of every member but bundle.json and itself, in order of name."""
    names = sorted(name for name in digests if name not in (SUMS, STATEMENT))
    return "".join(f"{digests[name]}  {name}\n" for name in names).encode("ascii")
