"""Log lines: to stderr, as JSON one a line (or in colour on a terminal), each with time, level, process and whatever is
bound to the context (trace_id, shard, seq range).

Guarantees: logging never raises and never waits.
Does not: log per event; consumers log one line a batch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import orjson
import structlog

from finance.settings.deployment import LogFormat


def configure_logging(*, process: str, log_format: LogFormat, level: str) -> None:
    """Set up structlog, and the libraries' own logging behind it, for the whole interpreter."""
    lowest = logging.getLevelNamesMapping()[level.upper()]
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    render: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_name(process),
    ]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, *render]))
    logging.basicConfig(handlers=[handler], level=max(lowest, logging.WARNING), force=True)


def log_to_stderr() -> None:
    """For commands and their workers: what they log on their way is not their result, and stdout is for that alone.

    Where logging is configured already, it stays as it is.
    """
    if not structlog.is_configured():
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def _process_name(process: str) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return add


def _dumps(event: object, default: Callable[[Any], Any] | None = None, **_: object) -> str:
    return orjson.dumps(event, default=default or repr).decode()
