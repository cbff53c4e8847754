"""Days and times of options: a day ends a stretch of time with its own end, a time is exact."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import click
import pytest

from finance.cli.common import EndMoment, Moment
from finance.cli.main import COMMANDS, cli
from finance.cli.recovery.restore import TargetType


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("2025-11-30", utc(2025, 11, 30), utc(2025, 12, 1)),
        ("2024-02-28", utc(2024, 2, 28), utc(2024, 2, 29)),
        ("20251130", utc(2025, 11, 30), utc(2025, 12, 1)),
        ("2025-11-30T00:00:00Z", utc(2025, 11, 30), utc(2025, 11, 30)),
        ("2025-11-30T00:00", utc(2025, 11, 30), utc(2025, 11, 30)),
        ("2025-11-30T01:30:00+02:00", utc(2025, 11, 29, 23, 30), utc(2025, 11, 29, 23, 30)),
    ],
)
def test_a_day_as_an_end_is_included_and_a_time_is_exact(text: str, begins: dt.datetime, ends: dt.datetime) -> None:
    assert Moment().convert(text, None, None) == begins
    assert EndMoment().convert(text, None, None) == ends


@pytest.mark.parametrize("text", ["9999-12-31", "yesterday", "2025-13-01", ""])
def test_what_ends_nothing_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter):
        EndMoment().convert(text, None, None)


def test_a_restore_needs_a_moment_of_the_day() -> None:
    with pytest.raises(click.BadParameter, match=r"2025-11-01T12:00:00Z"):
        TargetType().convert("2025-11-01", None, None)


def options(command: click.Command) -> Iterator[click.Option]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from options(found)
    else:
        yield from (param for param in command.params if isinstance(param, click.Option))


def test_every_option_that_ends_a_stretch_of_time_includes_its_day() -> None:
    times = [option for name in COMMANDS for option in options(cli.get_command(click.Context(cli), name) or cli)]
    times = [option for option in times if isinstance(option.type, Moment)]
    ends = {option.opts[0] for option in times if isinstance(option.type, EndMoment)}
    begins = {option.opts[0] for option in times} - ends
    assert (begins, ends) == ({"--from", "--since"}, {"--to", "--until", "--to-time"})
