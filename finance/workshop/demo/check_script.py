"""The lines by which a stranger checks what the demo left, and CHECK.sh, which is those lines.

Guarantees: bash, coreutils, sed, findutils, gzip and openssl (3.0 or later) are all they need: a plain Debian. What is
compared stands in the files themselves, so the same lines check any range of any ledger; every line ends above 0 when
something is not sound. They trust signers.json and nothing else: keep your own copy of it.
Does not: recompute the tree root from the entries (`finance verify batch` does), or see what lies outside the files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Step = tuple[str, tuple[str, ...]]
"""What is shown, and the command lines that show it."""

HEAD: Final = """\
#!/usr/bin/env bash
# Checks the files beside it with bash, coreutils, sed, gzip and openssl alone. Ends 0 when everything is sound.
set -euo pipefail
cd "$(dirname "$0")"
rm -rf work && mkdir work
"""

# Hex digits on stdin become raw bytes on stdout; nothing stays nothing.
_TO_BYTES = r"sed 's/../\\x&/g' | xargs -r -d '\n' printf"


def steps(kid: str, algorithm: str) -> tuple[Step, ...]:
    """The checks for a range that `kid` signed."""
    key = f"keys/{kid}.pem"
    verify = _verify_digest(algorithm, key)
    return (
        (
            f"the key is the one that the registry holds for {kid}",
            (
                rf"""sed -n '/"signer_kid": "{kid}"/,/}}/s/.*"public_key_pem": "\(.*\)",*$/\1/p' signers.json"""
                f" | xargs -d '\\n' printf '%b' | cmp - {key}",
            ),
        ),
        (
            "the proof is what was hashed, and the hash is what was signed",
            _statement("proof", "prev_proof_hash", verify),
        ),
        ("the manifest likewise", _statement("manifest", "prev_manifest_hash", verify)),
        (
            "the batch is the object that the manifest pins, as stored and unpacked, and ends with the proof",
            (
                _digest("stored_sha256", "batch.jsonl.gz") + " manifest.json | sha256sum -c",
                _digest("sha256", "-") + " manifest.json > work/batch.sha256",
                "zcat batch.jsonl.gz | sha256sum -c work/batch.sha256",
                "zcat batch.jsonl.gz > work/batch.jsonl",
                "tail -n 1 work/batch.jsonl | cmp - proof.json",
            ),
        ),
        ("every entry chains to the one before it, up to the head in the proof", _CHAIN),
        ("debits equal credits, and are the totals of the proof (of a range in one currency)", _TOTALS),
        (
            "the checkpoint is signed, is the tree head that the proof names, and stands in the manifest",
            _checkpoint(algorithm, key),
        ),
        ("every audit event chains to the one before it, and is signed", _audit(verify)),
    )


def script(kid: str, algorithm: str) -> str:
    """CHECK.sh: every step announced, then run."""
    parts = [HEAD]
    for title, lines in steps(kid, algorithm):
        parts.append(f"echo '== {title}'\n" + "\n".join(lines) + "\n")
    parts.append("rm -rf work\necho 'everything is sound'\n")
    return "\n".join(parts)


def _field(name: str) -> str:
    return rf"""sed -n 's/.*[{{,]"{name}":"\([^"]*\)".*/\1/p'"""


def _digest(name: str, file: str) -> str:
    """A line for `sha256sum -c` from a hex field of a JSON file."""
    return rf"""sed -n 's/.*[{{,]"{name}":"\([0-9a-f]*\)".*/\1  {file.replace("/", chr(92) + "/")}/p'"""


def _statement(name: str, prev: str, verify: Callable[[str], str]) -> tuple[str, ...]:
    """hash = SHA256(payload || previous hash); the canonical file without hash and signature *is* the payload."""
    file, payload = f"{name}.json", f"work/{name}.payload"
    return (
        rf"""sed 's/,"hash":"[0-9a-f]*"//; s/,"signature":"[^"]*"//' {file} | tr -d '\n' > {payload}""",
        f"{_field(prev)} {file} | {_TO_BYTES} >> {payload}",
        f"{_digest('hash', payload)} {file} | sha256sum -c",
        f"openssl dgst -sha256 -binary {payload} > work/{name}.digest",
        f"{_field('signature')} {file} | base64 -d > work/{name}.signature",
        verify(f"work/{name}"),
    )


def _verify_digest(algorithm: str, key: str) -> Callable[[str], str]:
    """A signature over 32 digest bytes: Ed25519 takes them as the message, RSA as the digest (PKCS#1 v1.5)."""
    option = "-rawin" if algorithm == "ed25519" else "-pkeyopt digest:sha256"
    return lambda stem: (
        f"openssl pkeyutl -verify -pubin -inkey {key} {option} -in {stem}.digest -sigfile {stem}.signature"
    )


# The hash in `head` as `printf %b` turns it into bytes. Without a process of its own: there is one for each entry.
_ESCAPED: Final = 'prev=; for ((i = 0; i < 64; i += 2)); do prev+="\\x${head:i:2}"; done'

_CHAIN: Final = (
    f"head -n 1 work/batch.jsonl | {_field('count')} > work/count",
    'sed -n "2,$(($(cat work/count) + 1))p" work/batch.jsonl > work/entries',
    rf"""prev=$(head -n 1 work/batch.jsonl | {_field("prev_hash")} | sed 's/../\\x&/g')""",
    "while IFS= read -r entry; do",
    """  printf '%s%b' "$entry" "$prev" > work/entry""",
    "  head=$(sha256sum work/entry); head=${head%% *}",
    f"  {_ESCAPED}",
    "done < work/entries",
    r"""grep -o "\"head_hash\":\"$head\"" proof.json""",
)


def _side(side: str) -> str:
    return (
        rf"""grep -o '"amount_minor":"[0-9]*","currency":"[A-Z]*"[^}}]*"side":"{side}"' work/entries"""
        r""" | cut -d'"' -f4 | awk '{ sum += $1 } END { printf "%.0f", sum }' > work/"""
        f"{side}s"
    )


_TOTALS: Final = (
    _side("debit"),
    _side("credit"),
    r"""grep -o "{\"credits\":\"$(cat work/credits)\",\"debits\":\"$(cat work/debits)\"}" proof.json""",
    "cmp work/debits work/credits",
)


def _checkpoint(algorithm: str, key: str) -> tuple[str, ...]:
    """C2SP signed note: the text before the blank line is signed; 4 bytes of key id stand before the signature."""
    verify = (
        f"openssl pkeyutl -verify -pubin -inkey {key} -rawin -in work/note -sigfile work/note.signature"
        if algorithm == "ed25519"
        else f"openssl dgst -sha256 -verify {key} -signature work/note.signature work/note"
    )
    return (
        "sed '/^$/,$d' checkpoint.txt > work/note",
        "tail -n 1 checkpoint.txt | cut -d' ' -f3 | base64 -d | tail -c +5 > work/note.signature",
        verify,
        r"""grep -o "\"tree_size\":\"$(sed -n 2p checkpoint.txt)\"" proof.json""",
        r"""grep -o "\"root\":\"$(sed -n 3p checkpoint.txt | base64 -d | od -An -v -tx1 | tr -d ' \n')\"" proof.json""",
        f"{_field('checkpoint')} manifest.json | xargs -d '\\n' printf '%b' | cmp - checkpoint.txt",
    )


def _audit(verify: Callable[[str], str]) -> tuple[str, ...]:
    """The fields around the payload are cut off at both ends; what is left is the canonical payload."""
    before = '"actor_id":"[^"]*","created_at":"[^"]*","event_type":"[^"]*","hash":"([0-9a-f]{64})","id":"[^"]*"'
    after = '"prev_hash":[^,]*,"seq":"[0-9]*","signature":"([^"]*)","signer_kid":"[^"]*"'
    return (
        f"""form='^\\{{{before},"payload":(\\{{.*\\}}),{after}\\}}$'; prev=""",
        "while IFS= read -r event; do",
        "  [[ $event =~ $form ]]; head=${BASH_REMATCH[1]}",
        """  printf '%s%b' "${BASH_REMATCH[2]}" "$prev" > work/event""",
        """  echo "$head  work/event" | sha256sum -c --status""",
        f"  {_ESCAPED}",
        """  printf '%b' "$prev" > work/event.digest""",
        """  base64 -d <<< "${BASH_REMATCH[3]}" > work/event.signature""",
        f"  {verify('work/event')} > work/verified",
        "done < audit_events.jsonl",
        """echo "$(wc -l < audit_events.jsonl) events, the newest has hash $head\"""",
    )
