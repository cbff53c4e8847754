"""A retired, a revoked, an unknown key and a wrong algorithm stand before every reader of signed statements there is.

The table is `READERS`. Who makes a reader of signed statements enters it there: the last tests read the source, and
fail for one that asks by itself, or is not in the table.
"""

from __future__ import annotations

import ast
import copy
import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ledger_core.signing.counting import AuditPlace, ShardPlace, place_faults
from ledger_core.signing.purposes import PURPOSES
from ledger_core.signing.validity import NOTHING, Interval, Validity
from tests.support.archive_factory import NOW, Key
from tests.unit.signing.statement_readers import READERS, STATEMENTS
from tests.unit.signing.trials import AFTER, BEFORE, KEY, OTHER, RSA, SOUND, Reader, Trial, registry

ROOT: Final = Path(__file__).parents[3]


def declaring_rsa() -> Key:
    key = copy.copy(KEY)
    key.algorithm = "rsa-sha256"
    return key


NOWHERE = Validity({}, NOTHING)
CASES: Final = {
    "unknown": Trial(KEY, OTHER.registry),
    "wrong algorithm": Trial(KEY, registry(algorithm="rsa-sha256", public_key=RSA.public)),
    "declares another algorithm": Trial(declaring_rsa(), registry()),
    "retired before": Trial(KEY, registry(retired_at=BEFORE)),
    "retired before, and bounded": Trial(KEY, registry(retired_at=BEFORE, validity=NOWHERE)),
    "revoked before": Trial(KEY, registry(retired_at=AFTER, revoked_at=BEFORE)),
    "revoked, and dated back": Trial(
        KEY, registry(retired_at=AFTER, revoked_at=AFTER, validity=NOWHERE), AFTER + dt.timedelta(days=14)
    ),
    "revoked, dated back, and held by nothing": Trial(
        KEY, registry(retired_at=AFTER, revoked_at=AFTER, validity=NOWHERE), held=False
    ),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_sound_signature_counts(reader: Reader) -> None:
    assert reader.accepts(SOUND)
    assert reader.accepts(Trial(KEY, registry(), held=False)), "a key that counts needs nothing later"
    later = NOW + dt.timedelta(days=1)
    assert reader.accepts(Trial(KEY, registry(retired_at=later), held=False)), "nor does one that was retired since"
    revoked = registry(retired_at=later, revoked_at=later + dt.timedelta(days=1))
    assert reader.accepts(Trial(KEY, revoked)) != reader.is_last, "what a key signed before its end stands"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_no_reader_accepts_what_does_not_count(reader: Reader, case: str) -> None:
    if case not in reader.not_said:
        assert not reader.accepts(CASES[case])


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_key_counts_for_the_kinds_of_statement_that_it_is_registered_for(reader: Reader) -> None:
    assert reader.accepts(Trial(KEY, registry(signs=reader.says), held=not reader.is_last))
    for kind in reader.says:
        assert not reader.accepts(Trial(KEY, registry(signs=frozenset(PURPOSES) - {kind})))


# Who makes a signature, and verifies it before it goes on: there is no statement yet, only bytes and a key.
MAKERS: Final = frozenset(
    {
        "ledger_core.audit.events",
        "ledger_core.signing.counting",
        "ledger_core.signing.notes",
        "ledger_core.signing.pinned_signer",
        "producers.signing.verified_signer",
        "finance.signing_proxy.service",
    }
)
ASKING: Final = frozenset({"faults", "first_fault"})
IMPORTS: Final = re.compile(r"signing\.counting import .*\b(faults|first_fault)\b")
ROOMS: Final = ("ledger_core", "schemas", "producers", "consumers", "finance")
PARSERS: Final = frozenset(
    {
        *("parse_proof", "parse_manifest", "parse_report", "parse_bundle"),
        *("parse_backup_manifest", "parse_wal_list", "from_json"),
    }
)
# Who parses signed statements and does not ask: because it made them, or because of who asks for it.
ELSEWHERE: Final = {
    "ledger_core.archive.range_batch": "the archiver's own proof, of its database",
    "ledger_core.archive.archived_trees": "says where leaves stand; a checkpoint that is verified judges them",
    "ledger_core.audit.sources": "check_audit takes each event",
    "ledger_core.proving.range_proof": "compares two proofs",
    "ledger_core.proving.on_demand": "first_proof_fault asks",
    "ledger_core.verify.announced": "asks through fault_of of the event",
    "ledger_core.recovery.rebuild_checks": "plans by them; the oracle asks when it walks the archive",
    "ledger_core.verify.bundles.shard": "says where batches stand; the archive's walk asks of each manifest",
    "consumers.archive.manifest_lister": "its own proof and its own manifest",
    "consumers.audit.published_chain": "asks through fault_of of the event",
    "consumers.proving.published_topic": "asks through fault_of of the event",
    "consumers.reading.further_topics": "says where to look; whoever follows it verifies proof and object",
    "finance.cli.proving.bundle_making": "takes the times of events; the oracle asks when the bundle is checked",
    "finance.cli.proving.export": "the bundle that it has just signed, and that the oracle then checks",
    "finance.recovery.backup.place.catalogue": "reads through statement_fault",
    "finance.recovery.backup.base.create": "the manifest that it has just signed",
    "finance.recovery.backup.place.wal_list": "reads through statement_fault",
    "finance.recovery.backup.streaming.wal_signing": "the list that it has just signed",
    "finance.recovery.drill.run": "the report that it has just signed and verified",
    "finance.recovery.replay_checks": "takes the name of the environment from it",
    "finance.signing.check": "asks for its place; `finance verify` asks for its signature too",
    "finance.workshop.demo.leave": "leaves it to openssl",
}


def calls() -> Iterator[tuple[str, str, str]]:
    """(module, function, called name) of every call in the source."""
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield from _calls(ast.parse(path.read_text(encoding="utf-8")), module, "")


def _calls(node: ast.AST, module: str, function: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(node, ast.FunctionDef):
        function = function or node.name
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, module, function)
    if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
        name = node.id if isinstance(node, ast.Name) else node.attr
        if name != "from_json" or "AuditEvent" in ast.unparse(node):
            yield module, function, name


def test_only_who_makes_signatures_verifies_them_without_asking_whether_they_count() -> None:
    found = {module for module, _, name in calls() if name in ("verify_digest", "verify_text")}
    assert found - {"ledger_core.signing.signatures"} == MAKERS


def test_only_the_one_function_compares_a_signature_with_the_end_of_its_key() -> None:
    compared = {"ended_by", "shard_fault", "audit_fault"}
    assert {module for module, _, name in calls() if name in compared} == {"ledger_core.signing.counting"}
    asking = {module for module, _, name in calls() if name == "place_faults"}
    assert asking == {"finance.signing.check"}, "who has the statement asks of its signature too"


def test_a_record_of_who_signed_what_is_asked_place_by_place() -> None:
    ended = registry(validity=Validity({0: Interval(3, 5)}, Interval(2, 4)))
    places = (ShardPlace(0, 2), ShardPlace(0, 6), ShardPlace(1, 4), AuditPlace(1), AuditPlace(5))
    assert [fault.code for fault in place_faults(KEY.kid, places, ended)] == ["validity"] * 5
    inside = (ShardPlace(0, 3), ShardPlace(0, 5), ShardPlace(0, 1, chained=False), AuditPlace(2), AuditPlace(4))
    assert place_faults(KEY.kid, inside, ended) == ()
    assert place_faults(KEY.kid, places, registry()) == (), "a key without an end counts everywhere"
    assert [fault.code for fault in place_faults("nobody", inside, ended)] == ["signer"]


# Of a proof that does not parse, and by a key that is given: no registry is asked.
BY_ITSELF: Final = {f"{STATEMENTS}._diagnose", f"{STATEMENTS}._check_by_cosigner"}


def test_every_reader_that_asks_stands_in_the_table() -> None:
    counting = {path for path in ROOT.rglob("*.py") if IMPORTS.search(path.read_text(encoding="utf-8"))}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in counting}
    found = {f"{module}.{function}" for module, function, name in calls() if name in ASKING and module in modules}
    assert found == {reader.asks for reader in READERS.values()} | BY_ITSELF


def test_whoever_parses_a_signed_statement_asks_or_says_who_does() -> None:
    parsing = {module for module, function, name in calls() if name in PARSERS and not function.startswith("parse_")}
    asking = {reader.asks.rpartition(".")[0] for reader in READERS.values()}
    asking |= {module for module, _, name in calls() if name == "check_signature"}
    assert parsing - asking == set(ELSEWHERE)
