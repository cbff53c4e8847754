"""The maintained scanner finds the secrets of other services, planted at test time, and fails when it cannot run."""

from __future__ import annotations

import base64
import json
import random
import string
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from finance.workshop.guardrails import scanner
from finance.workshop.guardrails.key_scan import ALLOWED, scan_keys
from finance.workshop.guardrails.scanner import scan_by_tool
from ledger_core.errors import Refused

L, A, D = string.ascii_letters, string.ascii_letters + string.digits, string.digits
H, U, W = "0123456789abcdef", string.ascii_uppercase + string.digits, string.ascii_letters + string.digits + "_-"


CHANCE = random.Random()


@pytest.fixture(autouse=True)
def same_tokens() -> None:
    """The same tokens in each run: an unlucky one (it ends in a hyphen, its entropy is low) is none to the scanner."""
    CHANCE.seed("tokens of other services")


def r(alphabet: str, length: int) -> str:
    return "".join(CHANCE.choice(alphabet) for _ in range(length))


def b64(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


SENTRY = {"iat": 1700000000.1, "url": "https://sentry.io", "region_url": "https://us.sentry.io", "org": "acme"}
AZURE = "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={};EndpointSuffix=core.windows.net"
SERVICES: dict[str, Callable[[], str]] = {
    "openai": lambda: f"OPENAI_API_KEY=sk-proj-{r(W,74)}T3BlbkFJ{r(W,74)}",
    "anthropic": lambda: f"key: sk-ant-api03-{r(W,93)}AA",
    "huggingface": lambda: f"HF_TOKEN=hf_{r(L,34)}",
    "sendgrid": lambda: f"SG.{r(W,22)}.{r(W,43)}",
    "twilio": lambda: f"twilio SK{r(H,32)}",
    "mailgun": lambda: f"mailgun_token = key-{r(H,32)}",
    "mailchimp": lambda: f"MAILCHIMP_API_KEY={r(H,32)}-us12",
    "slack webhook": lambda: f"https://hooks.slack.com/services/T{r(U,9)}/B{r(U,9)}/{r(A,24)}",
    "slack app": lambda: f"xapp-1-A{r(U,10)}-{r(D,13)}-{r(H,64)}",
    "telegram": lambda: f"TELEGRAM_BOT_TOKEN={r('123456789',1)}{r(D,9)}:AA{r(W,33)}",
    "gitlab deploy": lambda: f"gldt-{r(W,20)}",
    "gitlab runner": lambda: f"glrt-{r(W,20)}",
    "github app": lambda: f"ghs_{r(A,36)}",
    "atlassian": lambda: f"ATATT3xFfGF0{r(W,180)}={r('0123456789ABCDEF',8)}",
    "digitalocean": lambda: f"dop_v1_{r(H,64)}",
    "heroku": lambda: f"HEROKU_API_KEY=HRKU-AA{r(W,58)}",
    "heroku uuid": lambda: f"heroku_api_key = {uuid.UUID(int=CHANCE.getrandbits(128), version=4)}",
    "cloudflare": lambda: f"CLOUDFLARE_API_TOKEN={r(W,40)}",
    "fastly": lambda: f"FASTLY_API_TOKEN={r(W,32)}",
    "sentry": lambda: f"sntrys_{b64(SENTRY).rstrip('=')}_{r(A + '+/', 43)}",
    "grafana cloud": lambda: "glc_" + b64({"o": "123456", "n": "stack", "k": r(A, 24), "m": {"r": "us"}}),
    "grafana sa": lambda: f"glsa_{r(A,32)}_{r(H,8)}",
    "pagerduty": lambda: f"PAGERDUTY_API_KEY = u+{r(W,18)}",
    "npm": lambda: f"npm_{r(A,36)}",
    "pypi": lambda: f"pypi-AgEIcHlwaS5vcmc{r(W,120)}",
    "rubygems": lambda: f"rubygems_{r(H,48)}",
    "docker": lambda: f"dckr_pat_{r(W,27)}",
    "terraform cloud": lambda: f"{r(A,14)}.atlasv1.{r(W,67)}",
    "vault": lambda: f"hvs.CAESI{r(W,90)}",
    "doppler": lambda: f"dp.pt.{r(A,43)}",
    "1password": lambda: f"ops_eyJ{r(A,260)}",
    "stripe restricted": lambda: f"rk_live_{r(A,99)}",
    "square": lambda: f"EAAA{r(W,60)}",
    "shopify": lambda: f"shpat_{r(H,32)}",
    "azure storage": lambda: AZURE.format(base64.b64encode(CHANCE.randbytes(64)).decode()),
    "aws bedrock": lambda: f"ABSK{base64.b64encode(CHANCE.randbytes(99)).decode()}",
    "databricks": lambda: f"dapi{r(H,32)}",
    "linear": lambda: f"lin_api_{r(A,40)}",
    "notion": lambda: f"ntn_{r(D,11)}{r(A,35)}",
    "postman": lambda: f"PMAK-{r(H,24)}-{r(H,34)}",
    "figma": lambda: f"figd_{r(W,40)}",
    "airtable": lambda: f"pat{r(A,14)}.{r(H,64)}",
    "okta": lambda: f"OKTA_API_TOKEN=00{r(W,40)}",
    "age": lambda: f"AGE-SECRET-KEY-1{r('QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L',58)}",
    "easypost": lambda: f"EZAK{r(A,54)}",
    "supabase": lambda: f"sbp_{r(H,40)}",
    "perplexity": lambda: f"pplx-{r(A,48)}",
    "groq": lambda: f"gsk_{r(A,52)}",
    "xai": lambda: f"xai-{r(A,80)}",
}  # fmt: skip


def test_secrets_of_other_services_are_found_all_in_one_scan(tmp_path: Path) -> None:
    for name, make in SERVICES.items():
        (tmp_path / name).write_text(make() + "\n")
    found = list(scan_by_tool(tmp_path, list(SERVICES)))
    assert {one.path for one in found} == set(SERVICES)
    assert all(one.line == 1 and one.kind and one.digest for one in found)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".ci").mkdir()
    (tmp_path / "-notes.txt").write_text(f"{SERVICES['sendgrid']()}  # kingfisher:ignore\n")
    subprocess.run(["git", "add", "--", "-notes.txt"], cwd=tmp_path, check=True)
    return tmp_path


def test_a_comment_does_not_silence_it_and_an_entry_with_a_reason_does(repository: Path) -> None:
    (fault,) = scan_keys(repository).faults
    assert fault.place == "-notes.txt:1"
    kind, _, digest = fault.message.partition(", digest ")
    entry = f'[[allowed]]\npath = "-notes.txt"\nkind = "{kind}"\ndigest = "{digest}"\nreason = "a sample of the scan"\n'
    (repository / ALLOWED).write_text(entry)
    assert scan_keys(repository).faults == ()


@pytest.mark.parametrize("script", ["exit 1", "echo '{}'; exit 200", "echo '{\"findings\": []}'; exit 200", "echo no"])
def test_a_scanner_that_does_not_answer_is_not_taken_for_nothing_found(
    repository: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    tool = repository / "tool"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(scanner, "TOOL", tool)
    with pytest.raises(Refused, match="kingfisher cannot be run"):
        scan_keys(repository)


def test_without_the_scanner_nothing_is_sound(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "TOOL", repository / "missing")
    with pytest.raises(Refused, match=r"requirements\.lock"):
        scan_keys(repository)
