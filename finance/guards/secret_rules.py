"""What a secret looks like: private keys in every usual form, cloud keys, tokens, passwords in addresses.

Guarantees: pure; every kind of KINDS is found in a sample of it, plain, and (keys) as base64 or hex within a text
(tests plant samples made at test time). What is found is named by the SHA-256 of its text, so that a report never
repeats the secret.
Does not: judge by file name, open compressed files, or into the history of the repository.

The repository's own scan has a maintained scanner beside these rules (`finance.workshop.guardrails.scanner`), which
knows the tokens of many more services; these know keys in every form, and run where nothing else is installed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from finance.guards.der_keys import find_der_keys

ENTROPY_BITS_MIN: Final = 3.6  # a character, over the whole value: words have less, random base64 of 20 has about 4
HEX_ENTROPY_BITS_MIN: Final = 3.0

_QUOTE: Final = r"\\?[\"']"
_NAMED: Final = r"(?:secret|token|passw(?:or)?d|passphrase|api[_-]?key|access[_-]?key|private[_-]?key|credential)s?"
TEXT_RULES: Final[tuple[tuple[str, re.Pattern[str]], ...]] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("pem-private-key", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]{1,40000}-----END)?"),
        ("ssh2-private-key", r"---- BEGIN SSH2 ENCRYPTED[ ]PRIV[^-]{1,20000}"),
        ("putty-private-key", r"PuTTY-User-Key-File-[0-9]: *[a-z0-9-]+"),
        ("age-private-key", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
        ("aws-access-key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
        ("github-token", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})"),
        ("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
        ("slack-token", r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}"),
        ("stripe-key", r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{20,}"),
        ("vault-token", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
        ("google-api-key", r"\bAIza[A-Za-z0-9_-]{35}\b"),
        ("google-secret", r"\b(?:GOCSPX-[A-Za-z0-9_-]{28}|[A-Za-z0-9_-]{11}:APA91b[A-Za-z0-9_-]{100,})"),
        ("payment-key", r"\b(?:sq0csp-[A-Za-z0-9_-]{43}|FLWSECK-[0-9a-f]{32}-X|access-production-[0-9a-f-]{36}"
                        r"|access_token\$production\$[0-9a-z]{16}\$[0-9a-f]{32}|AQE[A-Za-z0-9+/=._-]{57,})"),
        ("cloud-token", r"\b(?:LTAI[A-Za-z0-9]{16,24}|NRAK-[A-Z0-9]{27}|ATBB[A-Za-z0-9]{32}|pscale_tkn_[\w-]{32,})\b"),
        ("chat-webhook", r"https://(?:discord|discordapp)\.com/api/webhooks/[0-9]{17,20}/[\w-]{60,}"),
        ("registry-token", r"\b(?:pypi-AgE[A-Za-z0-9_-]{40,}|npm_[A-Za-z0-9]{36})"),
        ("jwt", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
        ("password-in-address", r"[a-z][a-z0-9+.-]{2,20}://[^\s:/@\"'{}<>]{1,64}:[^\s/@\"'{}<>$]{6,128}@[A-Za-z0-9\[]"),
    )
)  # fmt: skip
# Values that count only when they are random enough: (kind, where, group 1 = the value)
ASSIGNED_RULES: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("bearer-token", re.compile(r"(?i)\bbearer[ =:]+([A-Za-z0-9._~+/=-]{20,})")),
    (
        "assigned-secret",
        re.compile(rf"(?i){_NAMED}(?:_id)?{_QUOTE}?\s*(?::|=|=>|:=)\s*{_QUOTE}([A-Za-z0-9._~+/=!@#%^&*-]{{16,}}){_QUOTE}"),
    ),
    (
        "assigned-secret",  # without quotes: shell, .env, ini, YAML
        re.compile(rf"(?im)^[ \t]*(?:export +)?[A-Z0-9_-]*{_NAMED} *[:=] *([A-Za-z0-9._~+/=!@#%^&*-]{{16,}})\s*?$"),
    ),
    (
        "aws-secret-key",
        re.compile(r"(?i)(?:aws|s3|secret)[^\n]{0,40}?(?<![A-Za-z0-9/+])([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"),
    ),
)  # fmt: skip
KINDS: Final = (
    *(kind for kind, _ in TEXT_RULES),
    *dict.fromkeys(kind for kind, _ in ASSIGNED_RULES),
    *("jwk-private", "der-pkcs8", "der-pkcs8-encrypted", "der-pkcs1", "der-sec1", "pkcs12", "java-keystore"),
)

_JWK: Final = re.compile(r"\{[^{}]{0,8000}?\\?\"kty\\?\"\s*:[^{}]{0,8000}\}")
_JWK_SECRET: Final = re.compile(r"\\?\"(?:d|k)\\?\"\s*:\s*\\?\"[A-Za-z0-9_-]{16,}")
_BASE64: Final = re.compile(
    r"(?:[A-Za-z0-9+/_-]{60,76}(?:\\n|\s)+){1,200}[A-Za-z0-9+/_-]{2,76}={0,2}|[A-Za-z0-9+/_-]{40,}={0,2}"
)
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}){40,}")
_WORDS: Final = re.compile(r"(?i)example|changeme|placeholder|dummy|your[_-]|xxxx|<|\$\{|\.\.\.")


@dataclass(frozen=True, slots=True)
class Secret:
    """One finding: its kind, the line it starts on (1 for binary data), and the SHA-256 (hex) of what was matched."""

    kind: str  # name of the rule that matched
    line: int  # from 1
    sha256: str  # hex


def find_secrets(data: bytes) -> list[Secret]:
    """Every secret in the bytes of one file, in the order of lines; each (kind, text) once."""
    found = [Secret(kind, 1, _digest(head)) for kind, _, head in find_der_keys(data)]
    text = data.decode("utf-8", "replace")
    if "\0" in text[:200] and text[1:200:2].count("\0") > len(text[:200]) // 3:
        text = data.decode("utf-16", "replace")  # what some shells write
    found += [Secret(kind, text.count("\n", 0, at) + 1, _digest(what)) for kind, at, what in _in_text(text)]
    seen: dict[tuple[str, str], Secret] = {}
    for secret in found:
        seen.setdefault((secret.kind, secret.sha256), secret)
    return sorted(seen.values(), key=lambda secret: (secret.line, secret.kind))


def _in_text(text: str) -> Iterator[tuple[str, int, bytes]]:
    armoured = []
    for kind, rule in TEXT_RULES:
        for match in rule.finditer(text):
            if kind == "pem-private-key":
                armoured.append(match.span())
            if kind == "pem-private-key" or not _WORDS.search(match.group()):
                yield kind, match.start(), match.group().encode()
    for kind, rule in ASSIGNED_RULES:
        for match in rule.finditer(text):
            if is_random(match.group(1)) and not _WORDS.search(match.group(1)):
                yield kind, match.start(1), match.group(1).encode()
    for match in _JWK.finditer(text):
        if _JWK_SECRET.search(match.group()):
            yield "jwk-private", match.start(), match.group().encode()
    for kind, at, what in _encoded(text):
        if not any(start <= at < end for start, end in armoured):  # the body of a PEM is that PEM
            yield kind, at, what


def _encoded(text: str) -> Iterator[tuple[str, int, bytes]]:
    """Keys as base64 or hex inside a text: the bare DER of a PEM, or a PEM encoded once more."""
    for match in _BASE64.finditer(text):
        decoded = _from_base64(match.group())
        for kind, _, head in find_der_keys(decoded):
            yield kind, match.start(), head
        pem = TEXT_RULES[0][1].search(decoded.decode("latin-1"))
        if pem:
            yield "pem-private-key", match.start(), match.group().encode()
    for match in _HEX.finditer(text):
        for kind, _, head in find_der_keys(bytes.fromhex(match.group())):
            yield kind, match.start(), head


def _from_base64(text: str) -> bytes:
    packed = re.sub(r"\\n|\s", "", text).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4))
    except binascii.Error:
        return b""


def is_random(value: str) -> bool:
    """Whether a value seems drawn by a machine: enough bits a character, letters and digits together.

    The estimate of a short text is low, so the bound is what random base64 of 20 characters reaches in 99 of 100 cases.
    """
    if re.fullmatch(r"[0-9a-fA-F-]{32,}", value):
        return entropy(value) >= HEX_ENTROPY_BITS_MIN
    mixed = (
        re.search(r"[0-9]", value)
        and re.search(r"[A-Za-z]", value)
        and not re.fullmatch(r"[a-z0-9]+([.:_/-][a-z0-9]+)+", value)
    )
    return bool(mixed) and entropy(value) >= ENTROPY_BITS_MIN


def entropy(value: str) -> float:
    """Shannon entropy in bits a character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def _digest(what: bytes) -> str:
    return hashlib.sha256(what).hexdigest()
