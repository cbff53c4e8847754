"""Log lines are one JSON object each, with what is needed to find them again; libraries' own lines too."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import logging, structlog
from finance.telemetry.log_lines import configure_logging
configure_logging(process="prover", log_format={format!r}, level={level!r})
log = structlog.get_logger("prover")
log.debug("range.looked_at")
with structlog.contextvars.bound_contextvars(trace_id="t1"):
    log.info("range.closed", shard=1, first_seq=5, last_seq=9, hash=b"\\x01")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("range.failed")
logging.getLogger("botocore").warning("slow %s", "answer")
logging.getLogger("botocore").info("not worth a line")
"""


def lines(log_format: str, level: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(format=log_format, level=level)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "", "stdout belongs to results"
    return done.stderr.splitlines()


def test_every_line_is_one_json_object_with_process_time_and_level() -> None:
    events = [json.loads(line) for line in lines("json", "info")]
    assert [event["event"] for event in events] == ["range.closed", "range.failed", "slow answer"]
    assert {event["process"] for event in events} == {"prover"}
    assert [event["level"] for event in events] == ["info", "error", "warning"]
    assert all(event["timestamp"].endswith("Z") for event in events)


def test_ids_to_correlate_are_fields_and_a_traceback_stays_in_its_line() -> None:
    closed, failed, _ = (json.loads(line) for line in lines("json", "info"))
    assert (closed["trace_id"], closed["shard"], closed["first_seq"], closed["last_seq"]) == ("t1", 1, 5, 9)
    assert "ZeroDivisionError" in failed["exception"]
    assert "trace_id" not in failed


def test_the_level_is_that_of_the_settings() -> None:
    assert json.loads(lines("json", "debug")[0])["event"] == "range.looked_at"
    assert [json.loads(line)["level"] for line in lines("json", "error")] == ["error"]


def test_without_a_terminal_auto_means_json_and_console_is_for_people() -> None:
    assert json.loads(lines("auto", "info")[0])["event"] == "range.closed"
    assert "range.closed" in lines("console", "info")[0]
    assert not lines("console", "info")[0].startswith("{")
