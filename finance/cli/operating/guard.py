"""`finance guard`: guards for pipelines."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import click

from finance.cli.common import emit, json_option, load_topology_of

PREFIXES: Final = re.compile(r"(refs/|heads/|remotes/|origin/)+")  # as pipelines spell the name of a branch
PROTECTED: Final = re.compile(r"main|release/.+")
# What a merge queue builds becomes the protected branch: gh-readonly-queue/main/pr-12-0123abc, and the like.
QUEUED: Final = re.compile(r"(.+/)?[^/]*(queue|train|bors)[^/]*/(.+/)?(main|release)(/.+)?")


@click.group()
def command() -> None:
    """Guards for pipelines.

    \b
    Example:
      finance guard branch --branch release/1.4
    """


def is_protected(branch: str) -> bool:
    """Whether what is built is a protected branch, or becomes one."""
    name = PREFIXES.sub("", branch.strip(), count=1) if PREFIXES.match(branch.strip()) else branch.strip()
    return PROTECTED.fullmatch(name) is not None or QUEUED.fullmatch(name) is not None


@command.command()
@click.option("--branch", required=True, help="The branch that is built, as the pipeline says.")
@json_option
def branch(branch: str, as_json: bool) -> None:
    """On main and release/*: a signing path is required, configured, and answers.

    REQUIRE_KMS or REQUIRE_SIGNING_PROXY must be true, and the key it stands for makes a signature that the registered
    public key verifies. A merge queue's branch for one of them counts as it. Other branches pass unasked. Exit 0:
    passed; 3: refused, with every fault; 4: no answer.

    \b
    Examples:
      finance guard branch --branch main
      finance guard branch --branch release/1.4 --json
    """
    from finance.guards.model import Given, StartRefused, missing
    from finance.guards.settings_guards import (
        key_is_one_that_is_required,
        settings_can_be_read,
        signing_path_is_required,
        truths_are_spelled,
    )

    if not is_protected(branch):
        emit(
            as_json, {"ok": True, "branch": branch, "protected": False}, lambda c: c.print(f"{branch} is not protected")
        )
        return
    given = Given.of("prover", os.environ, Path.cwd())
    faults = [
        f
        for guard in (settings_can_be_read, truths_are_spelled, signing_path_is_required, key_is_one_that_is_required)
        for f in guard(given)
    ]
    if not (given.is_true("REQUIRE_KMS") or given.is_true("REQUIRE_SIGNING_PROXY")) and not faults:
        faults += missing(
            given, ("REQUIRE_KMS",), f"{branch} is protected: REQUIRE_KMS or REQUIRE_SIGNING_PROXY must be true"
        )
    if faults or given.settings is None:
        raise StartRefused(f"a build of {branch}", faults)
    from finance.guards.probes import probe_signer

    probed = probe_signer(given.settings, load_topology_of(given.settings), "prover")
    if probed.faults:
        raise StartRefused(f"a build of {branch}", probed.faults)
    told = {"ok": True, "branch": branch, "protected": True, "evidence": probed.evidence}
    emit(as_json, told, lambda console: console.print(f"{branch}: {probed.evidence}", markup=False))
