"""A ledger whose range proofs carry a MAC alone, by a recorded waiver, comes back by every way: whoever restores asks
the key service. Without it nothing is put back that would rest on such a proof, and every way says what it needs.

The other statements (checkpoints, manifests, audit events) have a key of their own, which may sign no proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import pytest

from finance.settings.key_file import KeysFile, NamedKey, to_toml
from finance.workshop.devstack import Stack
from tests.support import databases
from tests.support.key_life import Life
from tests.support.replay_runs import empty_database
from tests.support.signing import kms_admin

pytestmark = pytest.mark.services
MAC, OTHERS = "finance-mac-v1", "no-proofs-v1"
WAIVER: Final = "Ada Byron: proofs are for ourselves"
KMS_ACCESS = ("KMS_REGION", "KMS_ENDPOINT", "AUDIT_SIGNING_KMS_KEY_ID", "SIGNING_KEYS_FILE", "AUDIT_SIGNING_ALG")
ENTRIES: Final = "SELECT string_agg(encode(entry_hash, 'hex'), ',' ORDER BY shard, seq) FROM entries"


@pytest.fixture(scope="module")
def stack_with_keys(stack: Stack) -> dict[str, str]:
    """A MAC key and one for everything else; ids by name."""
    kms = kms_admin(stack.env)
    mac = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    others = kms.create_key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    return {MAC: mac, OTHERS: others}


@pytest.fixture
def life(environ: dict[str, str], stack: Stack, stack_with_keys: dict[str, str], tmp_path: Path) -> Life:
    """Three entries; the range proof by MAC alone, with its waiver on the audit chain."""
    life = Life(environ, tmp_path)
    keys = stack_with_keys
    kid = next(it["signer_kid"] for it in life.signed("list")["signers"] if it["algorithm"] == "rsa-sha256")
    life.with_keys(to_toml(KeysFile(NamedKey(kind="kms", key=stack.env["KMS_KEY_RSA"], kid=kid))))
    named = ("--kind", "kms", "--key")
    life.signed("add", "--kid", MAC, *named, keys[MAC], "--alg", "hmac-sha256")
    signs = [option for kind in ("checkpoint", "manifest", "audit_event", "drill") for option in ("--signs", kind)]
    life.signed("add", "--kid", OTHERS, *named, keys[OTHERS], "--alg", "ed25519", *signs)
    mac, others = (NamedKey(kind="kms", key=keys[name], kid=name) for name in (MAC, OTHERS))
    life.with_keys(to_toml(KeysFile(mac, None, others)))
    life.run.environ["AUDIT_SIGNING_MAC_WAIVER"] = WAIVER
    life.post()
    assert set(life.proof_kids()) == {MAC}
    assert life.kids("SELECT DISTINCT (convert_from(proof, 'UTF8')::jsonb ? 'cosignatures')::text FROM proofs") == [
        "false"
    ]
    return life


@pytest.fixture
def target(stack: Stack, life: Life) -> Iterator[str]:
    name = f"mac_{abs(hash(life.run.environ['DATABASE_URL'])):x}"
    made = empty_database(stack.env["DATABASE_URL"], name)
    yield made
    databases.drop_database(stack.env["DATABASE_URL"], made)


def rebuilt(life: Life, target: str, code: int) -> Any:
    bucket = f"s3://{life.run.environ['S3_AUDIT_BUCKET']}"
    return life.run.json("rebuild", "--from", bucket, "--into", target, code=code)


def replayed(life: Life, target: str, code: int, beside: str) -> Any:
    return life.run.json("replay", "--from", "topic", "--into", target, "--compare", beside, code=code)


# How it is put back, and how that ends where no key service may be asked.
WAYS: Final[dict[str, tuple[Callable[[Life, str, int], Any], int]]] = {
    "rebuild": (rebuilt, 1),
    "replay beside the database": (lambda life, target, code: replayed(life, target, code, "database"), 1),
    "replay beside the archive": (lambda life, target, code: replayed(life, target, code, "archive"), 3),
}


def without_a_key_service(life: Life) -> dict[str, str]:
    kept = {name: value for name, value in life.run.environ.items() if name not in KMS_ACCESS}
    return {**kept, "FINANCE_STACK": "nowhere"}


def beside(life: Life, target: str) -> dict[str, str]:
    """The environment of processes that work on the database put back."""
    urls = {name: url for name, url in life.run.environ.items() if name.startswith("DATABASE_URL")}
    path = urlsplit(target).path
    return {**life.run.environ, **{name: urlunsplit(urlsplit(url)._replace(path=path)) for name, url in urls.items()}}


@pytest.mark.parametrize("way", WAYS)
def test_a_ledger_of_macs_alone_comes_back_and_goes_on(life: Life, target: str, way: str) -> None:
    """First where no key service is named: what stands in the target then is a prefix that the second run goes on with,
    or nothing."""
    entries, with_it = life.kids(ENTRIES), dict(life.run.environ)
    life.run.environ = without_a_key_service(life)
    put_back, ends_with = WAYS[way]
    told = put_back(life, target, ends_with)
    assert "needs the key service" in str(told), told
    assert "what was altered" not in str(told)
    life.run.environ = with_it
    assert put_back(life, target, 0)["ok"]
    life.run.environ = beside(life, target)
    assert life.kids(ENTRIES) == entries
    life.run.json("audit", "restore", "--from", "topic")
    life.post()
    assert life.kids("SELECT count(*)::text FROM entries") == ["6"]
    assert set(life.proof_kids()) == {MAC}
    life.assert_sound()


def test_a_ledger_of_macs_alone_can_be_drilled(life: Life, tmp_path: Path) -> None:
    life.run.json("audit", "export")
    for way in ("archive", "topic", "keys"):
        into = () if way == "keys" else ("--into", life.run.environ["DATABASE_URL"])
        told = life.run.json("drill", way, *into, "--report", str(tmp_path / "reports"))
        (result,) = told["ways"]
        assert result["sound"]
        assert "macs_unchecked" not in result["counts"]
    life.run.environ = {**without_a_key_service(life), "AUDIT_SIGNING_MAC_WAIVER": WAIVER}
    assert life.run.json("drill", "archive", "--into", life.run.environ["DATABASE_URL"], code=3)["error"]["remedy"]
