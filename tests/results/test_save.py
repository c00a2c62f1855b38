"""Files on disk: whole, never on top of another, refused in one line; runs under numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.model import UsageError
from harness.results import Shelf, check_file, write_file

DOCUMENT = {"started_at": "2026-11-25T04:21:52+00:00", "scenario": "./my_rule.py", "strategy": "redis-lock:no-token"}


def names(folder: Path) -> list[str]:
    """What lies in the folder of runs."""
    return sorted(path.name for path in (folder / "runs").iterdir())


def test_a_run_has_a_number_and_is_the_latest(tmp_path: Path) -> None:
    """Scenario and strategy are in the name; a script's path is not. A link leads to the last one."""
    first, second = (Shelf(tmp_path).keep({**DOCUMENT, "seed": seed}) for seed in (1, 2))
    assert first == tmp_path / "runs" / "0001-my_rule-redis-lock-no-token.json"
    assert json.loads(first.read_text()) == {**DOCUMENT, "seed": 1}
    assert names(tmp_path) == [first.name, second.name, "latest.json"]
    assert (tmp_path / "runs" / "latest.json").resolve() == second.resolve()


def test_a_schedule_has_the_number_of_its_run(tmp_path: Path) -> None:
    """Whatever was written first, and whatever ended meanwhile."""
    shelf = Shelf(tmp_path)
    schedule = shelf.keep_schedule(DOCUMENT)
    other = Shelf(tmp_path).keep(DOCUMENT)
    path = shelf.keep(DOCUMENT)
    assert [one.name.removeprefix("000") for one in (schedule, path, other)] == [
        "1.schedule.json",
        "1-my_rule-redis-lock-no-token.json",
        "2-my_rule-redis-lock-no-token.json",
    ]


def test_numbers_go_on_past_what_others_put_there(tmp_path: Path) -> None:
    """A timestamp is no number, five digits are one, and what was removed gets no second run."""
    runs = tmp_path / "runs"
    runs.mkdir()
    for name in ("20261125T042152-counter-lua.json", "9999-counter-lua.json", "notes.txt"):
        (runs / name).touch()
    assert Shelf(tmp_path).keep(DOCUMENT).name.startswith("10000-")
    assert Shelf(tmp_path).keep(DOCUMENT).name.startswith("10001-")


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A file where the folder should be is told in one line."""
    place = tmp_path / "results"
    place.write_text("in the way")
    with pytest.raises(
        UsageError, match=f"^cannot write results folder {place}: Not a directory; --results chooses another$"
    ):
        Shelf(place).check()


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
