"""Each extra installs alone, in a fresh environment, from a wheel of this project, and does its job there.

The environments take their packages from wherever this machine's pip does. Nothing of the checkout is importable in
them: the interpreter runs isolated (-I), in a folder of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers.signing.pkcs11 import Pkcs11Key
from tests.support.hsm import Token, module
from tests.support.settlements import settlement, wire
from tests.support.signing import openssl_accepts_digest

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "schemas/examples"
DIGEST = bytes(range(32))
Environment = Callable[[str], Path]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("finance_ledger-*.whl")
    return built


@pytest.fixture
def environment(wheel: Path, tmp_path: Path) -> Environment:
    """A fresh environment with one extra (none: the bare library); its interpreter is the answer."""

    def make(extra: str) -> Path:
        made = tmp_path / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
        wanted = f"finance-ledger[{extra}]" if extra else "finance-ledger"
        pip("--python", str(made / "bin/python"), "install", f"{wanted} @ {wheel.as_uri()}")
        return made / "bin/python"

    return make


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def says(python: Path, code: str, **variables: str) -> Any:
    """What the program prints, as JSON."""
    command = [str(python), "-I", "-c", code]
    done = subprocess.run(
        command, cwd=python.parent, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def finance(python: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and all output of the `finance` command of that environment."""
    command = [str(python.with_name("finance")), *arguments]
    done = subprocess.run(command, cwd=python.parent, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


SALE = """
import datetime as dt, json
from ledger_core.sale import Sale, SellerShare, settlement_of
sale = Sale(
    settlement_id="st_1",
    order_id="or_1",
    occurred_at=dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC),
    currency="USD",
    paid_minor=100,
    shares=(SellerShare("s-1", gross_minor=100, fee_minor=10),),
    collected_in="asset:a",
)
event = settlement_of(sale)
"""
BARE = f"""{SALE}try:
    import producers.settlement_publisher
except ModuleNotFoundError as error:
    print(json.dumps([event.settlement_id, str(error)]))
"""


def test_the_bare_library_makes_settlements_and_says_what_else_needs(environment: Environment) -> None:
    python = environment("")
    settlement_id, message = says(python, BARE)
    assert settlement_id == "st_1"
    assert message.endswith("pip install 'finance-ledger[publisher]'")
    code, output = finance(python, "status")
    assert (code, output) == (
        3,
        "finance: refused: the package click is not installed. Remedy: pip install 'finance-ledger[service]'\n",
    )
    code, output = finance(python, "status", "--json")
    assert (code, json.loads(output)["error"]["remedy"]) == (3, "pip install 'finance-ledger[service]'")


PUBLISHER = f"""{SALE}
import importlib.metadata as metadata
from producers.settlement_publisher import SettlementPublisher
from schemas.wire.settlements import decode_settlement, encode_settlement
SettlementPublisher("127.0.0.1:1").publish(event)
print(json.dumps([
    decode_settlement(encode_settlement(event)).settlement_id,
    sorted(found.name.lower().replace("_", "-") for found in metadata.distributions()),
]))
"""


def test_the_publisher_makes_and_encodes_a_settlement_with_three_packages(environment: Environment) -> None:
    settlement_id, installed = says(environment("publisher"), PUBLISHER)
    assert settlement_id == "st_1"
    assert installed == ["confluent-kafka", "fastavro", "finance-ledger", "msgspec"]


SERVICE = """
import importlib, json, pkgutil, sys
from consumers.posting.decision import decide
from finance.settings.extras import missing_extra
from ledger_core.ports import Record
lacking = {}
for floor in ("ledger_core", "schemas", "producers", "consumers", "finance"):
    for found in pkgutil.walk_packages(importlib.import_module(floor).__path__, floor + "."):
        if not found.name.startswith(("finance.workshop", "finance.__main__")):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                room = found.name.rsplit(".", 1)[0]
                lacking.setdefault(missing_extra(error).remedy, set()).add(room)
record = Record("t", 0, 0, 1_762_000_000_000, b"st_1", bytes.fromhex("VALUE"), ())
print(json.dumps([
    type(decide(record).outcome).__name__, {remedy: sorted(rooms) for remedy, rooms in lacking.items()},
]))
"""


def test_the_service_decides_and_names_the_extra_of_what_it_lacks(environment: Environment) -> None:
    """Every other module of production can be imported there."""
    python = environment("service")
    decided, lacking = says(python, SERVICE.replace("VALUE", wire(settlement(1, settlement_id="st_1")).hex()))
    assert decided == "Draft"
    assert lacking == {
        "pip install 'finance-ledger[aws]'": ["producers.signing", "producers.storage"],
        "pip install 'finance-ledger[hsm]'": ["producers.signing"],
        "pip install 'finance-ledger[backup]'": [
            "finance.cli.recovery",
            "finance.recovery.backup",
            "finance.recovery.backup.base",
            "finance.recovery.backup.place",
            "finance.recovery.backup.streaming",
            "finance.recovery.drill",
        ],
    }
    assert finance(python, "--help")[0] == 0
    assert finance(python, "status", "--help")[0] == 0
    code, output = finance(python, "backup", "list")
    assert (code, "pip install 'finance-ledger[backup]'" in output) == (3, True)


AWS = """
import datetime as dt, json
from ledger_core.errors import Unavailable
from producers.signing.kms import KmsKey
from producers.signing.kms_client import KmsPlace
from producers.storage.archive_s3 import S3ArchiveStore
from producers.storage.s3_client import s3_client
nobody = "http://127.0.0.1:1"
client = s3_client(region="eu-west-1", endpoint=nobody, access_key="a", secret="s")
archive = S3ArchiveStore(client, "audit", clock=lambda: dt.datetime(2025, 1, 1, tzinfo=dt.UTC), mode="COMPLIANCE")
key = KmsKey("alias/finance", "ed25519", KmsPlace("eu-west-1", nobody, "a", "s"))
told = []
for ask in (lambda: archive.get("manifest"), key.public_key):
    try:
        ask()
    except Unavailable as error:
        told.append(error.what)
print(json.dumps(told))
"""


def test_aws_asks_s3_and_kms(environment: Environment) -> None:
    """Nobody listens there: an answer that both are away went through the whole of boto3."""
    assert says(environment("aws"), AWS) == ["s3", "signer"]


HSM = """
import json, sys
from producers.signing.pkcs11 import Pkcs11Key
key = Pkcs11Key("MODULE", "extras", "audit", "rsa-sha256", pin="PIN")
print(json.dumps([key.public_key().pem, key.sign_digest(bytes(range(32))).hex()]))
key.close()
"""


def test_hsm_signs_on_a_real_token(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> None:
    token = Token.make(tmp_path_factory.mktemp("hsm"), "extras")
    token.make_key("audit", "rsa-sha256")
    own: Pkcs11Key = token.key("audit", "rsa-sha256")
    pem, signature = says(environment("hsm"), HSM.replace("MODULE", module()).replace("PIN", token.pin))
    assert pem == own.public_key().pem
    assert openssl_accepts_digest(own.public_key(), DIGEST, bytes.fromhex(signature))


BACKUP = """
import json
from pyrage import x25519
from finance.recovery.backup.place.seal import pack, unpack
identity = x25519.Identity.generate()
sealed = pack(b"a page" * 1000, [identity.to_public()])
print(json.dumps([sealed[:21].decode(), unpack(sealed, [identity], "page", 10_000) == b"a page" * 1000]))
"""


def test_backup_seals_and_opens(environment: Environment) -> None:
    assert says(environment("backup"), BACKUP) == ["age-encryption.org/v1", True]
