"""The rules of verdicts, said as simply as possible: what the poster must come to, one record after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """What the model knows of one record: event number, content variant, and what is wrong with it."""

    n: int | None
    variant: int = 0
    wrong: str = ""  # malformed, unbalanced, gap
    reverses: int | None = None


class Model:
    """`verdict` is asked once for each offset, in the order in which batches took effect."""

    def __init__(self) -> None:
        self.first: dict[int, tuple[str, int, int, bool]] = {}  # n -> verdict, shard, variant, well-formed

    def verdict(self, shard: int, said: Said) -> str:
        if said.wrong == "gap":
            return "no_record"
        if said.n is None:
            return "malformed"
        first = self.first.get(said.n)
        if said.wrong:
            if first is None:
                self.first[said.n] = (said.wrong, shard, said.variant, False)
            return said.wrong
        variant = said.variant + (100 if said.reverses is None else said.reverses * 1000)
        if first is not None:
            if first[0] == "posted":
                return "duplicate" if first[1:3] == (shard, variant) else "conflict"
            return first[0] if first[2:] == (variant, True) else "conflict"
        if said.reverses is not None and self.first.get(said.reverses, ("",))[:2] != ("posted", shard):
            self.first[said.n] = ("unknown_reversal", shard, variant, True)
            return "unknown_reversal"
        self.first[said.n] = ("posted", shard, variant, True)
        return "posted"
