"""What a running dev stack lends to the settings: its `env.json`. In dev alone; what is set goes before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from finance.settings.variables import VARIABLES
from ledger_core.errors import Refused
from schemas.read_file import SETTINGS_BYTES_MAX, read_text

_NAMES: Final = frozenset(variable.name for variable in VARIABLES)


def values_lent(path: Path) -> dict[str, str]:
    """What the stack sets; nothing when there is none. Only names of VARIABLES are taken. Raises Refused."""
    try:
        found = json.loads(read_text(path, SETTINGS_BYTES_MAX))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refused(
            f"{path} cannot be read ({error})", remedy="run `finance dev down` and `finance dev up`"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Refused(f"{path} is not an object of texts", remedy="run `finance dev down` and `finance dev up`")
    return {name: value for name, value in found.items() if name in _NAMES and value != ""}
