"""Options that the commands about payouts share; here, so that a hold or a role is decided without a Kafka client."""

from __future__ import annotations

import uuid
from typing import Final

import click

SHOWN_MAX: Final = 1_000


class RequestId(click.ParamType[str]):
    """A UUID in its lower-case spelling."""

    name = "uuid"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(uuid.UUID(str(value)))
        except ValueError:
            return self.fail(f"{value!r} is not a UUID", param, ctx)
