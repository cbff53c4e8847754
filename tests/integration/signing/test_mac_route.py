"""Range proofs with a MAC on the real servers: from rsa-sha256 to hmac-sha256 and back, and verified with the key
service and without. The MAC key is in the stack's KMS."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from finance.guards.probes import probe_signer
from finance.settings.deployment import Settings
from finance.settings.key_file import KeysFile, NamedKey, to_toml
from finance.workshop.devstack import Stack
from ledger_core.proving import checkpoint
from ledger_core.signing.registry import SignerRegistry
from schemas.topology.load import load_topology
from tests.support.command_line import ROOT
from tests.support.key_life import Life, Variables
from tests.support.proxy_process import proxy_process
from tests.support.signing import kms_admin

pytestmark = pytest.mark.services
PROVE = ("prove", "--shard", "0", "--first-seq", "1", "--last-seq", "1")
KMS_ACCESS = ("KMS_REGION", "KMS_ENDPOINT", "AUDIT_SIGNING_KMS_KEY_ID", "SIGNING_KEYS_FILE", "AUDIT_SIGNING_ALG")
MAC = "finance-mac-v1"


@pytest.fixture
def mac_key(stack: Stack) -> str:
    made = kms_admin(stack.env).create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    return made["KeyMetadata"]["KeyId"]


@pytest.fixture
def life(environ: Variables, tmp_path: Path) -> Life:
    return Life(environ, tmp_path)


def public_key(life: Life, stack: Stack) -> NamedKey:
    """The stack's RSA key, as it is registered."""
    kid = next(it.kid for it in registry(life).signers if it.algorithm == "rsa-sha256")
    return NamedKey(kind="kms", key=stack.env["KMS_KEY_RSA"], kid=kid)


def registry(life: Life) -> SignerRegistry:
    return SignerRegistry.from_json(life.signers.read_bytes())


def run_with(life: Life, signing: NamedKey, outgoing: NamedKey | None = None, cosigner: NamedKey | None = None) -> None:
    life.with_keys(to_toml(KeysFile(signing, outgoing, cosigner)))


def proofs(life: Life) -> list[dict[str, Any]]:
    return [json.loads(it) for it in life.kids("SELECT convert_from(proof, 'UTF8') FROM proofs ORDER BY range_no")]


def note_kids(life: Life) -> list[list[str]]:
    notes = life.kids("SELECT convert_from(note, 'UTF8') FROM checkpoints ORDER BY next_offset")
    return [[line.key_name for line in checkpoint.parse(note.encode()).signatures] for note in notes]


def without_a_key_service(life: Life) -> Variables:
    """An auditor's environment: no KMS is named in it, nor lent by a dev stack."""
    kept = {name: value for name, value in life.run.environ.items() if name not in KMS_ACCESS}
    return {**kept, "FINANCE_STACK": "nowhere"}


def test_from_rsa_to_a_mac_and_back(life: Life, stack: Stack, mac_key: str, tmp_path: Path) -> None:
    rsa = public_key(life, stack)
    mac = NamedKey(kind="kms", key=mac_key, kid=MAC)
    run_with(life, rsa)
    life.post()

    added = life.signed("add", "--kid", MAC, "--kind", "kms", "--key", mac_key, "--alg", "hmac-sha256")
    assert f'+      "mac_key_id": "{mac_key}"' in added["diff"]
    assert '+      "public_key' not in added["diff"]
    listed = next(it for it in life.signed("list")["signers"] if it["signer_kid"] == MAC)
    assert (listed["algorithm"], listed["mac_key_id"]) == ("hmac-sha256", mac_key)

    run_with(life, mac, outgoing=rsa, cosigner=rsa)
    life.post()
    run_with(life, mac, cosigner=rsa)
    life.post()
    run_with(life, rsa, outgoing=mac)
    life.post()

    assert life.proof_kids() == [rsa.kid, MAC, MAC, rsa.kid]
    assert [it["alg"] for it in proofs(life)] == ["rsa-sha256", "hmac-sha256", "hmac-sha256", "rsa-sha256"]
    assert ["cosignatures" in it for it in proofs(life)] == [False, True, True, False]
    assert note_kids(life) == [[rsa.kid]] * 4, "no MAC on a checkpoint"
    others = "SELECT DISTINCT signer_kid FROM audit_events UNION SELECT DISTINCT convert_from(manifest, 'UTF8')::jsonb"
    assert life.kids(f"{others}->>'signer_kid' FROM manifests") == [rsa.kid], "nor on events and manifests"
    life.assert_sound()
    assert life.run.json("verify", "ledger")["counts"].get("macs_unchecked") is None, "the key service was asked"

    life.run.environ = without_a_key_service(life)
    for what in ("ledger", "archive"):
        told = life.run.json("verify", what)
        assert (told["findings"], told["counts"]["macs_unchecked"]) == ([], 2), what

    retired = life.signed("retire", MAC, "--reason", "tried")
    assert '"retiredAt"' in retired["diff"]


def test_one_proof_with_the_key_service_and_without(life: Life, stack: Stack, mac_key: str, tmp_path: Path) -> None:
    rsa = public_key(life, stack)
    mac = NamedKey(kind="kms", key=f"alias/finance-mac-{mac_key[:8]}", kid=MAC)
    kms_admin(stack.env).create_alias(AliasName=mac.key, TargetKeyId=mac_key)
    run_with(life, rsa)
    life.signed("add", "--kid", MAC, "--kind", "kms", "--key", mac.key, "--alg", "hmac-sha256")
    assert life.registered(MAC).public_key.key_id == mac_key, "by its id, and not by the alias"  # type: ignore[union-attr]
    life.post()

    run_with(life, mac)  # an operator's proof needs no checkpoint, and outside production no cosigner
    alone = tmp_path / "alone.json"
    life.run("prove", "--shard", "0", "--first-seq", "1", "--last-seq", "3", "--out", str(alone))
    assert "cannot sign a checkpoint" in life.run("run", "prover", code=3)
    assert "cannot sign a manifest" in life.run("run", "archiver", code=3)
    assert "cannot sign an event of the audit chain" in life.run("run", "notary", code=3)
    run_with(life, mac, cosigner=rsa)
    cosigned = tmp_path / "cosigned.json"
    life.run("prove", "--shard", "0", "--first-seq", "1", "--last-seq", "3", "--out", str(cosigned))
    assert json.loads(cosigned.read_bytes())["cosignatures"][0]["signer_kid"] == rsa.kid, "without being asked for"
    forged = tmp_path / "forged.json"
    fields = json.loads(alone.read_bytes())
    forged.write_bytes(alone.read_bytes().replace(fields["signature"].encode(), b"A" * 43 + b"="))
    pem = tmp_path / "rsa.pem"
    pem.write_text(life.registered(str(rsa.kid)).public_pem)

    signers = ("--signers", str(life.signers))
    asked = [  # file, codes with the key service, codes and unchecked MACs without
        (alone, [], ["proof.mac"], 1),
        (cosigned, [], [], 1),
        (forged, ["proof.signature"], ["proof.mac"], 1),
    ]
    ours = dict(life.run.environ)
    for file, known, unknown, macs in asked:
        life.run.environ = ours
        told = life.run.json("verify", "proof", str(file), *signers, code=1 if known else 0)
        assert ([it["code"] for it in told["findings"]], told["counts"].get("macs_unchecked", 0)) == (known, 0), file
        life.run.environ = without_a_key_service(life)
        told = life.run.json("verify", "proof", str(file), *signers, code=1 if unknown else 0)
        assert ([it["code"] for it in told["findings"]], told["counts"]["macs_unchecked"]) == (unknown, macs), file
    words = life.run("verify", "proof", str(alone), *signers, code=1)
    assert "needs the key service" in words
    told = life.run.json("verify", "proof", str(cosigned), "--public-key", str(pem))
    assert (told["counts"]["signatures"], told["counts"]["macs_unchecked"]) == (1, 1)
    life.run.json("verify", "proof", str(alone), "--public-key", str(pem), code=1)


def test_no_other_key_passes_for_a_mac_key(life: Life, stack: Stack, mac_key: str) -> None:
    rsa = public_key(life, stack)
    run_with(life, rsa)
    for key, alg, said in (
        (stack.env["KMS_KEY_RSA"], "hmac-sha256", "for SIGN_VERIFY, and makes no hmac-sha256"),
        (mac_key, "rsa-sha256", "InvalidKeyUsage|UnsupportedOperation"),
    ):
        refused = life.signed("add", "--kid", "wrong", "--kind", "kms", "--key", key, "--alg", alg, code=3)["error"]
        assert any(it in refused["message"] for it in said.split("|")), refused
    signs = ("--signs", "proof", "--signs", "manifest")
    named = ("--kid", MAC, "--kind", "kms", "--key", mac_key, "--alg", "hmac-sha256")
    assert "may sign proof alone" in life.signed("add", *named, *signs, code=3)["error"]["message"]
    life.signed("add", *named)

    other = kms_admin(stack.env).create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    run_with(life, NamedKey(kind="kms", key=other, kid=MAC), cosigner=rsa)
    assert "is not the registered key" in life.run(*PROVE, code=3)
    run_with(life, NamedKey(kind="kms", key=mac_key, kid=rsa.kid), cosigner=rsa)
    assert "InvalidKeyUsage" in life.run(*PROVE, code=3)
    run_with(life, NamedKey(kind="kms", key=mac_key, kid=MAC), cosigner=rsa)
    chosen = ("--kid", "x", "--kind", "kms", "--key", stack.env["KMS_KEY_ED25519"], "--alg", "ed25519")
    assert "a MAC key" in life.rotate("begin", *chosen, code=3)["error"]["message"]


def test_a_waiver_stands_on_the_audit_chain_with_each_proof_that_it_is_for(
    life: Life, stack: Stack, mac_key: str
) -> None:
    rsa = public_key(life, stack)
    run_with(life, rsa)
    named = ("--kind", "kms", "--key")
    life.signed("add", "--kid", MAC, *named, mac_key, "--alg", "hmac-sha256")
    other = kms_admin(stack.env).create_key(KeySpec="ECC_NIST_EDWARDS25519", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    signs = [option for kind in ("checkpoint", "manifest", "audit_event") for option in ("--signs", kind)]
    life.signed("add", "--kid", "no-proofs-v1", *named, other["KeyId"], "--alg", "ed25519", *signs)
    mac = NamedKey(kind="kms", key=mac_key, kid=MAC)

    run_with(life, mac, cosigner=NamedKey(kind="kms", key=other["KeyId"], kid="no-proofs-v1"))
    refused = life.run("run", "prover", code=3)
    assert "no-proofs-v1 is registered for other statements than a range proof" in refused
    life.run.environ["AUDIT_SIGNING_MAC_WAIVER"] = waiver = "Ada Byron: proofs are for ourselves"
    life.post()
    life.run(*PROVE)
    life.go()

    assert life.proof_kids() == [MAC]
    assert [it["signer_kid"] for it in proofs(life)] == [MAC] * 2
    assert all("cosignatures" not in it for it in proofs(life))
    assert note_kids(life) == [["no-proofs-v1"]]
    column = "SELECT payload->>'mac_waiver' FROM audit_events WHERE event_type = 'proof.published'"
    assert life.kids(column) == [waiver] * 2
    settings = Settings.from_env(life.run.environ, ROOT)
    probed = probe_signer(settings, load_topology(settings.topology_path), "prover")
    assert f"proofs carry a MAC alone, waived by {waiver}" in probed.evidence
    life.assert_sound()
    life.run.environ = without_a_key_service(life)
    assert {it["code"] for it in life.run.json("verify", "ledger", code=1)["findings"]} == {"proof.mac"}


def test_a_mac_key_behind_the_signing_proxy(life: Life, stack: Stack, mac_key: str, tmp_path: Path) -> None:
    """The proxy has the MAC made; the process asks KMS whether it holds, and without KMS it uses none."""
    rsa = public_key(life, stack)
    run_with(life, rsa)
    life.signed("add", "--kid", MAC, "--kind", "kms", "--key", mac_key, "--alg", "hmac-sha256")
    life.post()
    run_with(life, NamedKey(kind="kms", key=mac_key, kid=MAC))
    with proxy_process({**life.run.environ, "SIGNING_PROXY_LOG": str(tmp_path / "proxy.log")}) as proxy:
        assert proxy.url, proxy.said
        behind = NamedKey(kind="proxy", key=proxy.url, kid=MAC, algorithm="hmac-sha256")
        run_with(life, behind, cosigner=rsa)
        life.run.environ["SIGNING_PROXY_API_KEY"] = "whoever"
        life.post()
        assert life.proof_kids() == [rsa.kid, MAC]
        told = life.run.json("verify", "ledger")
        assert (told["findings"], told["counts"]["macs_checked"]) == ([], 1)
        run_with(life, behind)
        life.run.environ = {**without_a_key_service(life), "SIGNING_KEYS_FILE": life.run.environ["SIGNING_KEYS_FILE"]}
        assert "needs the key service" in life.run(*PROVE, code=3)


def test_a_mac_key_is_not_published_to_others(life: Life, stack: Stack, mac_key: str, tmp_path: Path) -> None:
    rsa = public_key(life, stack)
    run_with(life, rsa)
    copy = tmp_path / "kernel" / "signers.json"
    copy.parent.mkdir()
    copy.write_bytes(life.signers.read_bytes())
    life.signed("add", "--kid", MAC, "--kind", "kms", "--key", mac_key, "--alg", "hmac-sha256")
    assert life.signed("check", "--kernel", str(copy))["findings"] == [], "Kernel's copy lacks it, as it must"
    copy.write_bytes(b'{"signers": []}\n')
    as_somebody = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    for command in (("init", "-q"), ("add", "."), (*as_somebody, "commit", "-qm", "registry")):
        subprocess.run(["git", "-C", str(copy.parent), *command], check=True)
    told = life.signed("publish", "--repo", str(copy.parent), "--file", "signers.json", "--dry-run")
    assert told["not_published"] == [MAC]
    assert str(rsa.kid) in told["diff"]
    assert MAC not in told["diff"]
