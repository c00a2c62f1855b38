"""Results on disk: named, whole, never on top of another, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.model import UsageError
from harness.results import check_file, check_folder, save_document, write_file

DOCUMENT = {"started_at": "2026-11-25T04:21:52+00:00", "scenario": "./my_rule.py", "strategy": "redis-lock:no-token"}


def test_a_name_tells_when_and_what(tmp_path: Path) -> None:
    """Start, scenario and strategy are in the name; a script's path is not."""
    path = save_document(DOCUMENT, tmp_path)
    assert path == tmp_path / "runs" / "20261125T042152-my_rule-redis-lock-no-token.json"
    assert json.loads(path.read_text()) == DOCUMENT


def test_two_runs_of_one_second_are_both_kept(tmp_path: Path) -> None:
    """A second result of the same second gets a number."""
    first, second = save_document(DOCUMENT, tmp_path), save_document(DOCUMENT, tmp_path)
    assert (first.name[-9:], second.name[-11:]) == ("oken.json", "oken-2.json")
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file where the folder should be is told in one line."""
    place = tmp_path / "results"
    place.write_text("in the way")
    with pytest.raises(
        UsageError, match=f"^cannot write results folder {place}: Not a directory; --results chooses another$"
    ):
        check_folder(place)


def test_a_file_that_cannot_be(tmp_path: Path) -> None:
    """A missing folder and a folder in the place of a file are told before any load."""
    with pytest.raises(UsageError, match=r"missing/a\.json: No such file or directory$"):
        check_file(tmp_path / "missing" / "a.json")
    with pytest.raises(UsageError, match=r": it is a folder$"):
        check_file(tmp_path)


def test_a_full_disk() -> None:
    """No space is one line, too."""
    with pytest.raises(UsageError, match=r"^cannot write /dev/full: No space left on device$"):
        write_file(Path("/dev/full"), "x")


def test_checking_changes_nothing(tmp_path: Path) -> None:
    """A file that is there stays as it is until it is replaced, and an absent one stays absent."""
    there, absent = tmp_path / "there.json", tmp_path / "absent.json"
    there.write_text("old")
    check_file(there)
    check_file(absent)
    assert (there.read_text(), list(tmp_path.iterdir())) == ("old", [there])
    write_file(there, "new")
    assert there.read_text() == "new"
