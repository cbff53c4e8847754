"""The prover's tables in memory, its store and a signer, each able to fail at any call.

For simulations of the service's own logic only; what Postgres, Kafka and a KMS really do is tested on the real ones.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger_core.audit.admission import admission_fault
from ledger_core.errors import Corrupt
from ledger_core.ports import Algorithm, AuditIntent, TreeHistory
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.open_range import ShardPosition
from ledger_core.proving.range_proof import same_proof
from ledger_core.proving.tiles import Growth, LiveCheckpoint, ReadTile, TreeName
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import PublicKey
from tests.simulator.faults import Faults
from tests.support.journal_factory import TinyShard


@dataclass
class MemoryProofs:
    """What Postgres would hold for the prover. Every shard is complete from the start."""

    shards: dict[int, TinyShard]
    ranges: dict[int, list[ClosedRange]] = field(default_factory=dict)
    proofs: dict[tuple[int, int], bytes] = field(default_factory=dict)
    checkpoints: dict[tuple[int, int], bytes] = field(default_factory=dict)
    intents: list[AuditIntent] = field(default_factory=list)
    epoch_no: int = 1
    accepted: dict[int, dt.datetime] = field(default_factory=dict)  # shard -> up to which time its records may be dated
    tiles: dict[tuple[int, TreeName, int, int], bytes] = field(default_factory=dict)  # full ones, and edges
    live: dict[int, LiveCheckpoint] = field(default_factory=dict)
    announced: set[str] | None = None  # proof hashes that audit events announced; None: of every range, at once


class MemoryProverStore:
    def __init__(self, world: MemoryProofs, faults: Faults, clock: Callable[[], dt.datetime]) -> None:
        self._world = world
        self._clock = clock
        self._faults = faults

    def position(self, shard: int) -> ShardPosition | None:
        return self._faults.call("postgres", self._position, shard)

    def positions(self, shards: Sequence[int]) -> dict[int, ShardPosition]:
        found = {shard: self._faults.call("postgres", self._position, shard) for shard in shards}
        return {shard: position for shard, position in found.items() if position is not None}

    def last_range(self, shard: int) -> ClosedRange | None:
        return self._faults.call("postgres", self._last_range, shard)

    def now(self) -> dt.datetime:
        return self._clock()

    def accepted_until(self, shard: int) -> dt.datetime | None:
        return self._world.accepted.get(shard)

    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]:
        return self._faults.call("postgres", self._world.shards[shard].verdict_lines, first_offset, next_offset)

    def close_range(self, closed: ClosedRange, intent: AuditIntent, epoch_no: int | None) -> bool:
        return self._faults.call("postgres", self._close_range, closed, intent, epoch_no)

    def unsigned(self, shard: int, limit: int) -> list[ClosedRange]:
        return self._faults.call("postgres", self._unsigned, shard, limit)

    def range_below(self, shard: int, size: int) -> ClosedRange | None:
        return self._faults.call("postgres", self._range_below, shard, size)

    def publish_proof(self, closed: ClosedRange, proof_id: str, proof: bytes, note: bytes, intent: AuditIntent) -> bool:
        return self._faults.call("postgres", self._publish_proof, closed, proof, note, intent)

    def close(self) -> None: ...

    def _position(self, shard: int) -> ShardPosition | None:
        return self._world.shards[shard].position() if shard in self._world.shards else None

    def _last_range(self, shard: int) -> ClosedRange | None:
        ranges = self._world.ranges.get(shard)
        return ranges[-1] if ranges else None

    def _close_range(self, closed: ClosedRange, intent: AuditIntent, epoch_no: int | None) -> bool:
        if epoch_no not in (None, self._world.epoch_no):
            return False
        ranges = self._world.ranges.setdefault(closed.shard, [])
        if closed.range_no != len(ranges) + 1:
            return False
        ranges.append(closed)
        assert admission_fault(intent) is None, admission_fault(intent)  # as the outbox does
        self._world.intents.append(intent)
        return True

    def _unsigned(self, shard: int, limit: int) -> list[ClosedRange]:
        ranges = self._world.ranges.get(shard, [])
        return [closed for closed in ranges if (shard, closed.range_no) not in self._world.proofs][:limit]

    def _range_below(self, shard: int, size: int) -> ClosedRange | None:
        return next((it for it in reversed(self._world.ranges.get(shard, [])) if it.last_seq <= size), None)

    def _publish_proof(self, closed: ClosedRange, proof: bytes, note: bytes, intent: AuditIntent) -> bool:
        key = (closed.shard, closed.range_no)
        if key in self._world.proofs:
            if not same_proof(self._world.proofs[key], proof):
                raise Corrupt("another proof")
            return False
        self._world.proofs[key] = proof
        self._world.checkpoints[closed.shard, closed.next_offset] = note
        assert admission_fault(intent) is None, admission_fault(intent)  # as the outbox does
        self._world.intents.append(intent)
        return True


class MemoryTileStore:
    def __init__(self, world: MemoryProofs, faults: Faults) -> None:
        self._world = world
        self._faults = faults

    def live(self, shard: int) -> LiveCheckpoint | None:
        return self._world.live.get(shard)

    def kept(self, shard: int, tree: TreeName) -> int:
        lowest = [(it, held) for it, held in self._world.tiles.items() if it[:3] == (shard, tree, 0)]
        return max((place[3] * 256 + len(held) // 32 for place, held in lowest), default=0)

    def reader(self, shard: int, tree: TreeName) -> ReadTile:
        def read(level: int, number: int, width: int) -> bytes:
            hashes = self._world.tiles.get((shard, tree, level, number), b"")
            if len(hashes) < width * 32:
                raise ValueError("not kept")
            return hashes[: width * 32]

        return read

    def keep(self, shard: int, grown: Sequence[Growth], live: LiveCheckpoint | None, epoch_no: int | None) -> bool:
        return self._faults.call("postgres", self._keep, shard, grown, live, epoch_no)

    def _keep(self, shard: int, grown: Sequence[Growth], live: LiveCheckpoint | None, epoch_no: int | None) -> bool:
        for it in grown:
            for tile in (*it.tiles, *it.edges):
                place = shard, it.tree, tile.level, tile.number
                held = self._world.tiles.get(place, b"")
                assert held.startswith(tile.hashes) or tile.hashes.startswith(held), "a tile only grows"
                self._world.tiles[place] = max(held, tile.hashes, key=len)
        if live is None:
            return True
        before = self._world.live.get(shard)
        if epoch_no not in (None, self._world.epoch_no) or (before and before.next_offset >= live.next_offset):
            return False
        self._world.live[shard] = live
        return True


class MemoryHeld:
    """`consumers.proving.published_guard.HeldRanges`."""

    def __init__(self, world: MemoryProofs) -> None:
        self._world = world

    def newest(self, shard: int) -> int:
        return len(self._world.ranges.get(shard, []))

    def newest_proved(self, shard: int) -> int:
        return sum(1 for proved_shard, _ in self._world.proofs if proved_shard == shard)

    def is_announced(self, proof_hash: str) -> bool:
        return self._world.announced is None or proof_hash in self._world.announced

    def proof_hash(self, shard: int, range_no: int) -> str | None:
        held = self._world.ranges.get(shard, [])
        return held[range_no - 1].hash.hex() if 1 <= range_no <= len(held) else None

    def epoch_no(self) -> int:
        return self._world.epoch_no


class MemorySigner:
    """An Ed25519 key made from a name; fails as planned."""

    def __init__(self, faults: Faults, name: str = "test") -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self._faults = faults
        self.kid = f"{name}-ed25519"
        self.algorithm: Algorithm = "ed25519"

    @property
    def registry(self) -> SignerRegistry:
        public_key = PublicKey.from_key(self._key.public_key())
        return SignerRegistry([RegisteredSigner(self.kid, self.algorithm, public_key)])

    def pin(self) -> None: ...

    def close(self) -> None: ...

    def sign_digest(self, digest: bytes) -> bytes:
        return self._faults.call("signer", self._key.sign, digest)

    def sign_text(self, text: bytes, history: TreeHistory | None = None) -> bytes:
        return self._faults.call("signer", self._key.sign, text)
