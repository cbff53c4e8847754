"""The key scan finds every kind of secret, planted at test time, and nothing that only looks like one."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import random
import string
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given
from hypothesis import strategies as st

from finance.guards.secret_rules import KINDS, find_secrets
from finance.workshop.guardrails.key_scan import ALLOWED, scan_keys
from ledger_core.errors import Refused

ROOT = Path(__file__).parents[3]
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PLAIN = s.NoEncryption()
LOCKED = s.BestAvailableEncryption(b"a passphrase")
LETTERS = string.ascii_letters + string.digits
CHANCE = random.Random()


@pytest.fixture(autouse=True)
def same_tokens() -> None:
    """The same tokens in each run: an unlucky one would fail one run of many."""
    CHANCE.seed("planted tokens")


def text(alphabet: str, length: int) -> str:
    """Random, with a digit and a letter of each case, as real tokens nearly always have."""
    return "".join(CHANCE.choice(alphabet) for _ in range(length - 3)) + "aZ7"


def hex16() -> str:
    return CHANCE.randbytes(16).hex()


def any_uuid() -> uuid.UUID:
    return uuid.UUID(int=CHANCE.getrandbits(128), version=4)


def pem(key: Any, form: s.PrivateFormat, lock: Any = PLAIN) -> bytes:
    return bytes(key.private_bytes(s.Encoding.PEM, form, lock))


def der(key: Any, form: s.PrivateFormat, lock: Any = PLAIN) -> bytes:
    return bytes(key.private_bytes(s.Encoding.DER, form, lock))


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


def jwk(kind: str) -> bytes:
    own = {"RSA": {"n": number(RSA.public_key().public_numbers().n), "d": number(RSA.private_numbers().d)},
           "EC": {"crv": "P-256", "d": number(EC.private_numbers().private_value)},
           "OKP": {"crv": "Ed25519", "d": number(int.from_bytes(ED.private_bytes_raw(), "big"))},
           "oct": {"k": number(CHANCE.getrandbits(256) | 1 << 255)}}[kind]  # fmt: skip
    return json.dumps({"keys": [{"kty": kind, "use": "sig", **own}]}).encode()


def java_store() -> bytes:
    return bytes.fromhex("feedfeed0000000200000001") + CHANCE.randbytes(300)


def openssh(lock: bool) -> bytes:
    """The format of RFC-less openssh-key-v1: only its armour matters here (encrypting one needs bcrypt)."""
    body = base64.encodebytes(b"openssh-key-v1\0" + (b"aes256-ctr" if lock else b"none") + CHANCE.randbytes(200))
    return b"-----BEGIN OPENSSH PRIVATE " + b"KEY-----\n" + body + b"-----END OPENSSH PRIVATE " + b"KEY-----\n"


P8, TRADITIONAL = s.PrivateFormat.PKCS8, s.PrivateFormat.TraditionalOpenSSL
PLANTED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "pem pkcs8": ("pem-private-key", lambda: pem(RSA, P8)),
    "pem pkcs8 encrypted": ("pem-private-key", lambda: pem(RSA, P8, LOCKED)),
    "pem rsa": ("pem-private-key", lambda: pem(RSA, TRADITIONAL)),
    "pem rsa encrypted": ("pem-private-key", lambda: pem(RSA, TRADITIONAL, LOCKED)),
    "pem ec": ("pem-private-key", lambda: pem(EC, TRADITIONAL)),
    "pem ed25519": ("pem-private-key", lambda: pem(ED, P8)),
    "pem openssh": ("pem-private-key", lambda: pem(ED, s.PrivateFormat.OpenSSH)),
    "pem openssh encrypted": ("pem-private-key", lambda: openssh(lock=True)),
    "pem in one line of json": ("pem-private-key", lambda: json.dumps({"key": pem(RSA, P8).decode()}).encode()),
    "pem in base64": ("pem-private-key", lambda: b"KEY=" + base64.b64encode(pem(RSA, P8))),
    "pem in utf-16": ("pem-private-key", lambda: pem(RSA, P8).decode().encode("utf-16")),
    "pgp": ("pem-private-key", lambda: b"-----BEGIN PGP PRIVATE " + b"KEY BLOCK-----\n\n" + CHANCE.randbytes(9)),
    "ssh2": ("ssh2-private-key", lambda: b"---- BEGIN SSH2 ENCRYPTED " + b"PRIVATE KEY ----\nP2/56wAAA"),
    "putty": ("putty-private-key", lambda: b"PuTTY-User-Key-" + b"File-3: ssh-ed25519\nEncryption: none\n"),
    "age": ("age-private-key", lambda: b"AGE-SECRET-" + b"KEY-1" + b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" + b"Q" * 26),
    "der pkcs8 rsa": ("der-pkcs8", lambda: der(RSA, P8)),
    "der pkcs8 ec": ("der-pkcs8", lambda: der(EC, P8)),
    "der pkcs8 ed25519": ("der-pkcs8", lambda: der(ED, P8)),
    "der pkcs8 after other bytes": ("der-pkcs8", lambda: CHANCE.randbytes(777) + der(RSA, P8)),
    "der pkcs8 in bare base64": ("der-pkcs8", lambda: b'{"key": "' + base64.b64encode(der(RSA, P8)) + b'"}'),
    "der pkcs8 in broken lines": ("der-pkcs8", lambda: base64.encodebytes(der(RSA, P8))),
    "der pkcs8 in base64url": ("der-pkcs8", lambda: base64.urlsafe_b64encode(der(EC, P8))),
    "der pkcs8 in hex": ("der-pkcs8", lambda: b"key = " + der(ED, P8).hex().encode()),
    "der encrypted": ("der-pkcs8-encrypted", lambda: der(RSA, P8, LOCKED)),
    "der rsa": ("der-pkcs1", lambda: der(RSA, TRADITIONAL)),
    "der ec": ("der-sec1", lambda: der(EC, TRADITIONAL)),
    "pkcs12": ("pkcs12", lambda: pkcs12.serialize_key_and_certificates(b"k", RSA, None, None, LOCKED)),
    "pkcs12 without a password": ("pkcs12", lambda: pkcs12.serialize_key_and_certificates(b"k", EC, None, None, PLAIN)),
    "java key store": ("java-keystore", java_store),
    **{f"jwk {kind}": ("jwk-private", lambda kind=kind: jwk(kind)) for kind in ("RSA", "EC", "OKP", "oct")},  # type: ignore[misc]
    "jwk escaped": ("jwk-private", lambda: json.dumps({"inner": jwk("EC").decode()}).encode()),
    "aws access key": ("aws-access-key", lambda: b"id: AKI" + b"A" + text("ABCDEFGHIJ234567", 19)[:16].encode()),
    "aws secret": ("aws-secret-key", lambda: f"aws_secret_access_key = {text(LETTERS + '/+', 40)}".encode()),
    "aws secret in python": ("aws-secret-key", lambda: f'S3_SECRET="{text(LETTERS + "/+", 40)}"'.encode()),
    "github": ("github-token", lambda: f"gh{'p'}_{text(LETTERS, 36)}".encode()),
    "github fine-grained": ("github-token", lambda: f"github{'_pat'}_{text(LETTERS, 60)}".encode()),
    "gitlab": ("gitlab-token", lambda: f"gl{'pat'}-{text(LETTERS, 20)}".encode()),
    "slack": ("slack-token", lambda: f"xo{'xb'}-{text(LETTERS, 40)}".encode()),
    "stripe": ("stripe-key", lambda: f"sk_{'live'}_{text(LETTERS, 24)}".encode()),
    "vault": ("vault-token", lambda: f"hv{'s'}.{text(LETTERS, 24)}".encode()),
    "google": ("google-api-key", lambda: f"AI{'za'}{text(LETTERS, 35)}".encode()),
    "google oauth": ("google-secret", lambda: f"GOC{'SPX'}-{text(LETTERS, 28)}".encode()),
    "google messaging": ("google-secret", lambda: f"{text(LETTERS, 11)}:APA{'91b'}{text(LETTERS, 134)}".encode()),
    "square": ("payment-key", lambda: f"sq0{'csp'}-{text(LETTERS, 43)}".encode()),
    "flutterwave": ("payment-key", lambda: f"FLW{'SECK'}-{hex16()}-X".encode()),
    "plaid": ("payment-key", lambda: f"access-{'production'}-{any_uuid()}".encode()),
    "braintree": ("payment-key", lambda: f"access_token${'production'}${'a1' * 8}${hex16()}".encode()),
    "adyen": ("payment-key", lambda: f"AQ{'E'}{text(LETTERS, 60)}".encode()),
    "alibaba": ("cloud-token", lambda: f"LT{'AI'}{text(LETTERS, 20)}".encode()),
    "new relic": ("cloud-token", lambda: f"NR{'AK'}-{'Z7' * 13}Q".encode()),
    "bitbucket": ("cloud-token", lambda: f"AT{'BB'}{text(LETTERS, 32)}".encode()),
    "planetscale": ("cloud-token", lambda: f"pscale{'_tkn'}_{text(LETTERS, 43)}".encode()),
    "discord": ("chat-webhook", lambda: f"https://discord.com/api/webhooks/{'1' * 18}/{text(LETTERS, 68)}".encode()),
    "npm": ("registry-token", lambda: f"np{'m'}_{text(LETTERS, 36)}".encode()),
    "jwt": ("jwt", lambda: ".".join([number(int.from_bytes(b'{"alg":"EdDSA"}', "big")),
                                     number(int.from_bytes(b'{"sub":"someone"}', "big")), text(LETTERS, 86)]).encode()),
    "password in address": ("password-in-address", lambda: f"postgresql://finance:{text(LETTERS, 12)}@db/x".encode()),
    "bearer": ("bearer-token", lambda: f"curl -H 'Authorization: Bearer {text(LETTERS, 32)}'".encode()),
    "api token in yaml": ("assigned-secret", lambda: f"  api_key: {text(LETTERS, 32)}\n".encode()),
    "token in python": ("assigned-secret", lambda: f'ADMIN_TOKEN = "{text(LETTERS, 24)}"'.encode()),
    "hex secret in json": ("assigned-secret", lambda: f'{{"client_secret": "{hex16()}"}}'.encode()),
    "password in an env file": ("assigned-secret", lambda: f"export DB_PASSWORD={text(LETTERS, 28)}\n".encode()),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_every_kind_of_secret_is_found(name: str) -> None:
    kind, make = PLANTED[name]
    assert kind in {secret.kind for secret in find_secrets(make())}


def test_every_kind_has_a_planted_sample() -> None:
    assert {kind for kind, _ in PLANTED.values()} == set(KINDS)


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "poster")])
    start = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    made = x509.CertificateBuilder(name, name, RSA.public_key(), 1, start, start.replace(year=2030))
    return made.sign(RSA, hashes.SHA256()).public_bytes(s.Encoding.PEM)


NEAR_MISSES: dict[str, Callable[[], bytes]] = {
    "public pem": lambda: RSA.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo),
    "public pkcs1": lambda: RSA.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.PKCS1),
    "public der": lambda: EC.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo),
    "certificate": certificate,
    "signature in base64": lambda: base64.b64encode(RSA.sign(b"x", padding.PKCS1v15(), hashes.SHA256())),
    "signature of ecdsa": lambda: EC.sign(b"x", ec.ECDSA(hashes.SHA256())),
    "hash pins": lambda: f"click==8.5.1 \\\n    --hash=sha256:{CHANCE.randbytes(32).hex()}\n".encode(),
    "jwk public": lambda: json.dumps({"kty": "EC", "x": number(EC.public_key().public_numbers().x)}).encode(),
    "a variable's name": lambda: b"AUDIT_SIGNING_KMS_KEY_ID=alias/finance-key\nS3_AUDIT_SECRET=${FROM_VAULT_1}\n",
    "an address without password": lambda: b"postgresql://finance_poster@db.internal:5432/finance?sslmode=verify-full",
    "a placeholder": lambda: b"postgresql://user:<password>@host/db\ntoken: your-token-goes-here-2025\n",
    "documentation": lambda: b"Authorization: Bearer <token>\nsecret = 'changeme-changeme-1'\n",
    "code": lambda: b"password = settings.needed('DATABASE_PASSWORD')\ntoken = tokens.next_token_of(stream)\n",
    "a file for the secret": lambda: b"SIGNING_PROXY_API_KEY_FILE=/run/secrets/signing_proxy_api_key\n",
    "prose about keys": lambda: b"The private key never leaves the HSM; BEGIN PRIVATE KEY is what a PEM would say.\n",
    "an aws key too short": lambda: b"AKIA" + b"ABCDEFGH2345",
}  # fmt: skip


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_only_looks_like_a_secret_is_left_alone(name: str) -> None:
    assert find_secrets(NEAR_MISSES[name]()) == []


@given(st.binary(max_size=400))
def test_any_bytes_can_be_scanned(data: bytes) -> None:
    assert all(secret.kind in KINDS and secret.line >= 1 for secret in find_secrets(data))


@given(before=st.binary(max_size=60), after=st.binary(max_size=60))
def test_a_key_is_found_whatever_stands_around_it(before: bytes, after: bytes) -> None:
    assert "der-pkcs8" in {secret.kind for secret in find_secrets(before + der(RSA, P8) + after)}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".ci").mkdir()
    (tmp_path / "ledger.p12").write_bytes(PLANTED["pkcs12"][1]())
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "notes é.txt").write_bytes(b"first line\n" + PLANTED["pem rsa"][1]())
    (tmp_path / "untracked.pem").write_bytes(PLANTED["pem ec"][1]())
    subprocess.run(["git", "add", "ledger.p12", "deep"], cwd=tmp_path, check=True)
    return tmp_path


def test_what_git_tracks_is_scanned_and_nothing_else(repository: Path) -> None:
    outcome = scan_keys(repository)
    assert sorted({fault.place for fault in outcome.faults}) == ["deep/notes é.txt:2", "ledger.p12:1"]
    assert outcome.word == "found"


def test_no_report_repeats_a_secret(repository: Path) -> None:
    (repository / "t.env").write_text("API_TOKEN=" + (planted := text(LETTERS, 32)))
    subprocess.run(["git", "add", "t.env"], cwd=repository, check=True)
    told = " ".join(str(fault) for fault in scan_keys(repository).faults)
    assert "t.env:1" in told
    assert planted not in told
    assert hashlib.sha256(planted.encode()).hexdigest() in told


def test_an_allowed_finding_is_silent_until_the_file_changes_then_the_entry_is_stale(repository: Path) -> None:
    subprocess.run(["git", "rm", "-q", "-f", "ledger.p12"], cwd=repository, check=True)
    entries = []
    for fault in scan_keys(repository).faults:
        kind, _, digest = fault.message.partition(", digest ")
        entries.append(f'[[allowed]]\npath = "deep/notes é.txt"\nkind = "{kind}"\ndigest = "{digest}"\n')
        entries.append('reason = "a sample for the scan itself"\n')
    (repository / ALLOWED).write_text("".join(entries))
    assert scan_keys(repository).faults == ()
    (repository / "deep/notes é.txt").write_text("mended")
    messages = [fault.message for fault in scan_keys(repository).faults]
    assert len(messages) == 2, "of our rules, and of the scanner"
    assert all("matches nothing any more" in message for message in messages)


@pytest.mark.parametrize(
    "entry", ["[[allowed]]\npath='a'", "[[allowed]]\npath='a'\nkind='pkcs12'\ndigest='0'\nreason='ok'", "["]
)
def test_an_allow_list_without_reasons_is_refused(repository: Path, entry: str) -> None:
    (repository / ALLOWED).write_text(entry)
    with pytest.raises(Refused):
        scan_keys(repository)


def test_this_repository_holds_no_secret() -> None:
    assert [str(fault) for fault in scan_keys(ROOT).faults] == []
