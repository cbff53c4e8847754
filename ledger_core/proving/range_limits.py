"""Where a range of a shard ends at the latest, whatever the entries are. Set by topology.yaml.

A range is the unit that others hold whole: the archiver seals it, a rebuild writes it in one transaction. So it is
bounded by what it weighs as well as by what it counts.
Does not: cut: `ledger_core.proving.open_range` does, by these limits and by the entries alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RangeLimits:
    """A range covers at most `offsets_max` settlement offsets (and so at most as many entries and verdicts), its
    entries lie within `window_seconds` of the first one's recorded_at, and it ends with the entry whose body makes them
    weigh `bytes_max`: whoever archives, verifies or rebuilds a range holds it whole. Raises ValueError when a limit is
    not positive."""

    offsets_max: int
    window_seconds: int
    bytes_max: int = 8 * 1024 * 1024  # of the entries' bodies

    def __post_init__(self) -> None:
        if self.offsets_max < 1 or self.window_seconds < 1 or self.bytes_max < 1:
            raise ValueError("range limits are positive")
