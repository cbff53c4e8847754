"""Printing what a bench measured: a line a figure, or one JSON object. It measures nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping


def show(figures: Mapping[str, object], *, as_json: bool) -> None:
    """`figures` in their order, names left, values right."""
    if as_json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:34} {value:>12}")
