"""The manifest of the monthly drill: it runs a command there is, with variables there are.

Schema-free: the package that carries Kubernetes' schemas weighs 22 MB, so what matters here is named one by one.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from finance.cli.main import cli
from finance.settings.secret_files import SUFFIX
from finance.settings.variables import VARIABLES

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "deploy/kubernetes/drill-cronjob.yaml").read_text()))


@pytest.fixture
def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"])


def test_it_runs_monthly_once_and_is_never_tried_away(manifest: dict[str, Any]) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "CronJob")
    spec = manifest["spec"]
    minute, hour, day, month, weekday = spec["schedule"].split()
    assert (0 <= int(minute) < 60, 0 <= int(hour) < 24, 1 <= int(day) <= 28, month, weekday) == (
        True,
        True,
        True,
        "*",
        "*",
    )
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert set(spec) <= {
        "schedule", "timeZone", "concurrencyPolicy", "startingDeadlineSeconds", "suspend", "jobTemplate",
        "successfulJobsHistoryLimit", "failedJobsHistoryLimit",
    }  # fmt: skip


def test_its_command_and_variables_exist(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    words = shlex.split(shlex.join(container["args"]))
    assert words[:2] == ["finance", "drill"]
    command = cli.get_command(click.Context(cli), "drill")
    assert command is not None
    values, _, _ = command.make_parser(click.Context(command)).parse_args(words[2:])
    assert values["way"] == "all"
    known = {variable.name for variable in VARIABLES}
    names = {item["name"] for item in container["env"]}
    assert {name for name in names if not {name, name.removesuffix(SUFFIX)} & known} == set()


def test_every_mount_has_its_volume_and_only_reports_and_scratch_are_written(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert {name for name, read_only in mounts.items() if not read_only} == {"reports", "scratch", "temporary"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert (pod["restartPolicy"], pod["securityContext"]["runAsNonRoot"]) == ("Never", True)
