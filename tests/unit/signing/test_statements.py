"""Every signed statement is one payload with a hash and a signature beside it: there is one base, and no second way."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import msgspec
import pytest

from finance.recovery.backup.place.manifest import BackupManifest, BackupPayload
from finance.recovery.backup.place.wal_list import WalList, WalListPayload
from finance.recovery.drill.report import DrillPayload, DrillReport
from ledger_core.archive.manifest import Manifest, ManifestPayload
from ledger_core.bundle.statement import Bundle, BundlePayload
from ledger_core.posting.activation import RulesPayload, RulesStatement
from ledger_core.proving.range_proof import ProofPayload, RangeProof
from ledger_core.signing.statements import Payload, check_signed

ROOT: Final = Path(__file__).parents[3]
KINDS: Final[dict[type[msgspec.Struct], type[Payload]]] = {
    RangeProof: ProofPayload,
    Manifest: ManifestPayload,
    BackupManifest: BackupPayload,
    WalList: WalListPayload,
    DrillReport: DrillPayload,
    RulesStatement: RulesPayload,
    Bundle: BundlePayload,
}
# What stands in it and is not signed.
BESIDE: Final[dict[type[msgspec.Struct], set[str]]] = {RangeProof: {"cosignatures"}}
# Signed, and of another form: Kernel's, and one key more over the same hash.
OTHERS: Final = {"ledger_core.audit.events.AuditEvent", "ledger_core.signing.statements.Cosignature"}


def signed_classes() -> dict[str, ast.ClassDef]:
    """Every class of the core and the front doors that declares a signature next to a signer or a hash."""
    found = {}
    for path in sorted(
        path for room in ("ledger_core", "consumers", "finance") for path in (ROOT / room).rglob("*.py")
    ):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                fields = {ast.unparse(it.target) for it in node.body if isinstance(it, ast.AnnAssign)}
                if "signature" in fields and fields & {"hash", "signer_kid"}:
                    found[f"{module}.{node.name}"] = node
    return found


def test_whatever_is_signed_is_of_the_one_base() -> None:
    assert signed_classes().keys() == {f"{kind.__module__}.{kind.__name__}" for kind in KINDS} | OTHERS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_signed_statement_is_its_payload_and_a_hash_and_a_signature(kind: type[msgspec.Struct]) -> None:
    payload = KINDS[kind]
    assert payload.__bases__ == (Payload,)
    assert issubclass(kind, payload)
    added = set(kind.__struct_fields__) - set(payload.__struct_fields__)
    assert added == {"hash", "signature"} | BESIDE.get(kind, set())
    for shared in ("to_bytes", "digest", "stated_at"):
        assert getattr(kind, shared) is getattr(Payload, shared), "hashed and signed in one way"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_signed_statement_can_be_built_without_its_hash(kind: type[msgspec.Struct]) -> None:
    (node,) = (it for name, it in signed_classes().items() if name == f"{kind.__module__}.{kind.__name__}")
    (built,) = (it for it in node.body if isinstance(it, ast.FunctionDef) and it.name == "__post_init__")
    assert f"{check_signed.__name__}(self)" in ast.unparse(built)
