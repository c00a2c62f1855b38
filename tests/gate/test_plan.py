"""The file of a gate: what it means, and one line with file and line for what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.gate import find_plan, read_plan, write_first
from harness.gate.measuring import seconds_for
from harness.model import UsageError

CELL = '[[cells]]\nscenario = "counter"\nstrategy = "lua"\n'


def written(tmp_path: Path, text: str, name: str = "race.toml") -> Path:
    """A file with that text."""
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_cell_that_says_no_more_must_hold(tmp_path: Path) -> None:
    """Under load and in every order; what is asked for alone is measured alone."""
    (plain, explored, cost) = read_plan(
        written(tmp_path, CELL + CELL + 'explored = "proved"\n' + CELL + 'thresholds = "p(99) < 5ms"\n')
    ).cells
    assert (plain.verdict, plain.explored) == ("held", "bounded")
    assert (explored.verdict, explored.explored) == ("", "proved")
    assert [sorted(seconds_for(cell)) for cell in (plain, explored, cost)] == [
        ["explored", "load"],
        ["explored"],
        ["cost"],
    ]
    assert [sum(seconds_for(cell).values()) for cell in (plain, explored, cost)] == [30, 30, 30]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    """Where a cell begins, for annotations."""
    plan = read_plan(written(tmp_path, "seed = 3\n\n" + CELL + "\n[[ cells ]]\n" + CELL.split("\n", 1)[1]))
    assert ([cell.line for cell in plan.cells], plan.seed) == ([3, 7], 3)


def test_pyproject(tmp_path: Path) -> None:
    """A table of pyproject.toml means the same; race.toml comes first; a project without the table is none of ours."""
    text = '[project]\nname = "x"\n\n[tool.race]\nbudget = 4\n' + CELL.replace("cells", "tool.race.cells")
    written(tmp_path, text, "pyproject.toml")
    plan = find_plan(None, tmp_path)
    assert (plan.path.name, plan.cells[0].line, plan.cells[0].budget_s) == ("pyproject.toml", 6, 4)
    written(tmp_path, CELL)
    assert find_plan(None, tmp_path).path.name == "race.toml"


def test_no_file(tmp_path: Path) -> None:
    """How to begin."""
    written(tmp_path, '[project]\nname = "x"\n', "pyproject.toml")
    with pytest.raises(UsageError, match="race check --init"):
        find_plan(None, tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cells = 3", "`cells` must be tables"),
        ("cel = []", "unknown key 'cel'; did you mean cells"),
        (CELL + "stratgy = 1", "race.toml:1: unknown key 'stratgy' of a cell; did you mean strategy"),
        (CELL + 'verdict = "proved"', "race.toml:1: `verdict` is one of held, violated; not 'proved'"),
        ('[[cells]]\nscenario = "counter"', "race.toml:1: a cell needs `strategy`"),
        (CELL + "\n" + CELL + "bursts = 0", "race.toml:5: `bursts` must be a whole number of 1 or more, not 0"),
        (CELL + "bursts = 1.5", "a whole number"),
        (CELL + "bursts = true", "a whole number"),
        (CELL + "budget = inf", "a number of 1 or more"),
        (CELL + 'explored = "proved"\nfaults = ["flood"]', "unknown fault 'flood'; there are: crash"),
        (CELL + 'verdict = "held"\nfaults = ["crash"]', "`faults` is for exploring: say what `explored` must be"),
        (CELL + 'thresholds = ["p(99) < 5kg"]', "race.toml:1: 'p"),
        (CELL + "thresholds = [5]", "`thresholds` must be a list of texts"),
        (CELL + 'name = ""', "`name` must be a text"),
        ("[[cells", "is no TOML"),
    ],
)
def test_refused(tmp_path: Path, text: str, says: str) -> None:
    """What is wrong, where, and what would be right."""
    with pytest.raises(UsageError, match=says) as refused:
        read_plan(written(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_the_first_file(tmp_path: Path) -> None:
    """It can be read, asks for both verdicts and for a cell that breaks; it is written over nothing."""
    write_first(tmp_path / "race.toml")
    cells = read_plan(tmp_path / "race.toml").cells
    assert [(cell.explored, cell.verdict) for cell in cells] == [("proved", "held"), ("violated", "")]
    with pytest.raises(UsageError, match="is there already"):
        write_first(tmp_path / "race.toml")
