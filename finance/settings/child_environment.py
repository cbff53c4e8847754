"""The environment that a child process inherits: ours, without what would steer it elsewhere.

Settings never come from here: `finance.settings.deployment` reads the environment that a command hands it.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def inherited(left_out: Callable[[str], bool] = lambda _: False) -> dict[str, str]:
    """Our variables, but for those whose names `left_out` answers True to."""
    return {name: value for name, value in os.environ.items() if not left_out(name)}
