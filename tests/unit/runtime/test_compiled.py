"""A compiled module runs only when it was made from the source beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from finance.guards.model import Given
from finance.guards.settings_guards import compiled_modules_are_of_their_sources
from finance.settings import compiled
from finance.settings.variables import PROCESSES
from tests.support.guard_environments import sound

SOURCES = ("schemas/wire/avro.py", "schemas/wire/settlements.py")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources with their twins, as compiling leaves them."""
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    monkeypatch.setattr(compiled, "RECORD", tmp_path / "finance_hot.json")
    monkeypatch.setattr(compiled, "HOT", SOURCES)
    for package in compiled.PACKAGES:
        (tmp_path / package / "wire").mkdir(parents=True)
    for source in SOURCES:
        (tmp_path / source).write_text(f"# {source}\n")
        compiled.compiled(source).write_bytes(source.encode())
    compiled.group_library().write_bytes(b"the code of both")
    compiled.write_record(SOURCES)
    return tmp_path


def test_what_was_compiled_here_is_current_whatever_its_times_say(place: Path) -> None:
    assert compiled.stale() == []
    (place / SOURCES[0]).touch()
    assert compiled.stale() == []


def edit_source(place: Path) -> None:
    (place / SOURCES[0]).write_text("# another rule\n")


def edit_twin(place: Path) -> None:
    compiled.compiled(SOURCES[0]).write_bytes(b"of another checkout")


def edit_library(place: Path) -> None:
    compiled.group_library().write_bytes(b"of another checkout")


def lose_library(place: Path) -> None:
    compiled.group_library().unlink()


def lose_record(place: Path) -> None:
    (place / "finance_hot.json").unlink()


def spoil_record(place: Path) -> None:
    (place / "finance_hot.json").write_text("{")


def compile_one_more(place: Path) -> None:
    (place / "schemas" / "wire" / f"other{compiled.SUFFIX}").write_bytes(b"")


@pytest.mark.parametrize(
    "spoil",
    [edit_source, edit_twin, edit_library, lose_library, lose_record, spoil_record, compile_one_more],
    ids=lambda spoil: spoil.__name__,
)
def test_a_twin_of_another_source_is_stale(place: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(place)
    assert compiled.stale()


def test_without_twins_everything_runs_from_its_source(place: Path) -> None:
    for source in SOURCES:
        compiled.compiled(source).unlink()
    assert compiled.stale() == []


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("env", ["dev", "production"])
def test_no_process_starts_with_a_stale_twin(place: Path, process: str, env: str) -> None:
    given = Given.of(process, {**sound(place), "FINANCE_ENV": env}, place)
    assert list(compiled_modules_are_of_their_sources(given)) == []
    edit_source(place)
    (fault,) = compiled_modules_are_of_their_sources(given)
    assert "schemas/wire/avro" in fault.message
    assert "make compile" in fault.remedy
