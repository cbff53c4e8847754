"""A second independent reading of the audit chain: hashlib, json, base64 and the openssl command, nothing of ours.

    python tests/interop/kernel_verify.py ROWS.jsonl SIGNERS.json [--partial]

The same input, findings and exit codes as kernel_verify.mjs, for machines without Node.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def openssl_verifies(pem: str, algorithm: str, message: bytes, digest: bytes, signature: bytes) -> bool:
    """RSA: PKCS#1 v1.5 SHA-256 over the message. Ed25519: over the 32 bytes of the digest."""
    with tempfile.TemporaryDirectory() as folder:
        key, data, sig = (Path(folder) / name for name in ("key.pem", "data", "sig"))
        key.write_text(pem)
        sig.write_bytes(signature)
        command: list[str | Path]
        if algorithm == "rsa-sha256":
            data.write_bytes(message)
            command = ["openssl", "dgst", "-sha256", "-verify", key, "-signature", sig, data]
        elif algorithm == "ed25519":
            data.write_bytes(digest)
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", data, "-sigfile", sig]
        else:
            return False
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def findings_of(rows: list[dict[str, Any]], signers: dict[str, dict[str, Any]], partial: bool = False) -> list[str]:
    """What is wrong with the rows, given newest first; empty when the chain is sound."""
    findings = [] if rows else ["the chain is empty"]
    previous = None
    for row in reversed(rows):
        canonical = json.dumps(row["payload"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        message = canonical.encode() + bytes.fromhex(row["prev_hash"] or "")
        digest = hashlib.sha256(message).digest()
        if digest.hex() != row["hash"]:
            findings.append(f"{row['id']}: hash is not SHA256(canonical(payload) || prev_hash)")
        signer, text = signers.get(row["signer_kid"]), row["signature"]
        signature = bytes.fromhex(text) if re.fullmatch("[0-9a-fA-F]+", text) else base64.b64decode(text)
        if signer is None:
            findings.append(f"{row['id']}: unknown signer {row['signer_kid']}")
        elif not openssl_verifies(signer["public_key_pem"], signer["algorithm"], message, digest, signature):
            findings.append(f"{row['id']}: signature does not verify")
        if previous is None and (row["prev_hash"] or int(row.get("seq", 1)) != 1) and not partial:
            findings.append(f"{row['id']}: the chain does not begin at genesis")
        if previous is not None and row["prev_hash"] != previous["hash"]:
            findings.append(f"{row['id']}: prev_hash is not the hash of {previous['id']}")
        if previous is not None and "created_at" in row and not previous["created_at"] < row["created_at"]:
            findings.append(f"{row['id']}: created_at does not increase")
        if previous is not None and "seq" in row and int(row["seq"]) != int(previous["seq"]) + 1:
            findings.append(f"{row['id']}: seq is not the next one")
        for column in ("id", "seq", "event_type", "actor_id", "created_at"):
            if column in row and str(row[column]) != row["payload"].get(column):
                findings.append(f"{row['id']}: {column} is not what the payload says")
        previous = row
    return findings


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.split("\n") if line]  # not splitlines: U+2028 may stand in a string
    registry = {signer["signer_kid"]: signer for signer in json.loads(Path(sys.argv[2]).read_text())["signers"]}
    found = findings_of(lines, registry, "--partial" in sys.argv)
    print("\n".join([*found, f"{len(lines)} events, {len(found)} findings"]))
    sys.exit(1 if found else 0)
