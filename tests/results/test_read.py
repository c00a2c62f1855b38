"""Kept documents, read again: by number, latest or file; what is not as promised is told in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.model import UsageError
from harness.results import Shelf, result_document
from harness.results.read import find_document, kept_files, read_document
from harness.results.runs import runs_document
from tests import measurements

OLD = Path(__file__).parent / "old"
"""Documents as earlier versions wrote them."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder with three runs, seeds 1 to 3, and a schedule."""
    for seed in (1, 2, 3):
        shelf = Shelf(tmp_path)
        if seed == 3:
            shelf.keep_schedule({"schema": "race.schedule/1", "scenario": "counter"})
        shelf.keep({**document(), "seed": seed})
    return tmp_path


def document() -> dict[str, Any]:
    """A result as this version writes it."""
    return result_document(measurements.violated(), reproduce="race run double-submit --strategy naive")


@pytest.mark.parametrize(
    ("name", "seed"),
    [("1", 1), ("0002", 2), ("3", 3), ("latest", 3), ("latest.json", 3), ("latest~0", 3), ("latest~2", 1)],
)
def test_a_run_is_found(folder: Path, name: str, seed: int) -> None:
    """By its number, with or without noughts, or counted from the end."""
    path, found = find_document(name, folder)
    assert (path.name[:4], found["seed"]) == (f"000{seed}", seed)


@pytest.mark.parametrize("name", ["4", "0", "latest~3"])
def test_a_run_is_not_there(folder: Path, name: str) -> None:
    """One line that says how to see what is."""
    with pytest.raises(UsageError, match=f"^no run {name} in {folder}/runs; race report list shows what is there$"):
        find_document(name, folder)


def test_a_file_is_found(folder: Path) -> None:
    """Any file of ours, wherever it lies."""
    path = kept_files(folder)[0]
    assert find_document(str(path), Path("elsewhere")) == (path, read_document(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is no JSON: "),
        ("[1]", "is no document of race"),
        ('{"schema": 7}', "is no document of race"),
        ('{"schema": "race.schedule/1"}', "is a race.schedule/1, which is no result"),
        ('{"schema": "race.result/2"}', "is a race.result/2: this version of race reads race.result/1"),
        ('{"schema": "race.result/1"}', "is no race.result/1: 'scenario' is a required property"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, problem: str) -> None:
    """Why, with the file's name before it."""
    path = tmp_path / "0001-x.json"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_document(path)
    assert str(raised.value).startswith(f"{path} {problem}")


def test_a_wrong_value_is_told_with_its_place(tmp_path: Path) -> None:
    """Inside of lists, too, and without the whole of a long value."""
    wrong = document()
    wrong["counterexample"]["steps"][0]["step"] = "one" * 100
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(wrong))
    with pytest.raises(UsageError) as raised:
        read_document(path)
    told = str(raised.value).removeprefix(f"{path} is no race.result/1 at counterexample.steps[0].step: ")
    assert (told[:6], told[-31:], len(told) < 170) == ("'oneon", "oneone' is not of type 'integer'"[-31:], True)


def test_the_list_names_what_cannot_be_read(folder: Path) -> None:
    """Schedules are no runs, an unreadable one does not hide the others, older ones are counted."""
    (folder / "runs" / "0004-cut.json").write_text("{")
    (folder / "runs" / "0000-schedule.json").write_text('{"schema": "race.schedule/1"}')
    found = runs_document(folder, 3)
    assert [line["run"] for line in found["runs"]] == [2, 3]
    assert [Path(one["file"]).name for one in found["unreadable"]] == ["0004-cut.json"]
    assert found["before"] == 2
    assert found["runs"][0]["what"] == "run double-submit naive"


@pytest.mark.parametrize("path", sorted(OLD.glob("*.json")), ids=lambda path: path.stem)
def test_old_documents_are_read(path: Path) -> None:
    """What an earlier version kept is as good as new."""
    assert read_document(path)["schema"].endswith("/1")
