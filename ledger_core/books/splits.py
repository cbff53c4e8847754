"""Amounts cut into parts without losing or inventing a minor unit. Pure integers: no float, no decimal context.

Guarantees: the parts add up to the whole, in every currency, whatever its decimals; each part is its exact share,
rounded down or up by less than one minor unit; the same input gives the same parts, since a tie goes to the part that
stands first; a negative whole gives the mirror image; a part never exceeds its weight while the whole does not exceed
the sum of the weights.
Does not: know currencies or accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BASIS_POINTS: Final = 10_000  # of a whole: one is a hundredth of a percent


def by_weights(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Largest remainder: every share is rounded down, and what is left goes to the largest remainders, one unit each.

    Raises ValueError for a negative weight, or when all of them are zero.

    >>> by_weights(100, [1, 1, 1])
    [34, 33, 33]
    """
    whole = sum(weights)
    if any(weight < 0 for weight in weights):
        raise ValueError(f"weights: must not be negative, {min(weights)} is")
    if whole == 0:
        raise ValueError("weights: need one above zero")
    if total_minor < 0:
        return [-part for part in by_weights(-total_minor, weights)]
    parts = [total_minor * weight // whole for weight in weights]
    remainders = [total_minor * weight % whole for weight in weights]
    first_served = sorted(range(len(weights)), key=lambda at: -remainders[at])  # stable: the first of equals
    for at in first_served[: total_minor - sum(parts)]:
        parts[at] += 1
    return parts


def by_basis_points(total_minor: int, basis_points: Sequence[int]) -> list[int]:
    """The same by percentages, in basis points that come to a whole. Raises ValueError when they do not.

    >>> by_basis_points(999, [9_710, 290])
    [970, 29]
    """
    if sum(basis_points) != BASIS_POINTS:
        raise ValueError(f"basis_points: must come to {BASIS_POINTS}, not to {sum(basis_points)}")
    return by_weights(total_minor, basis_points)
