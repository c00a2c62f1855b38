"""race check: what it does with a file, from the first one to a failure that is kept until it passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from junitparser import JUnitXml

from harness.cli import check_command
from harness.results.schema import schema_text

Race = Callable[..., Any]

CELL = '[[cells]]\nscenario = "counter"\nstrategy = "naive"\n'


def test_the_first_file_passes_when_explored(race: Race) -> None:
    """--init writes it, --dry-run says what it would do; nothing is started for that."""
    assert race("check", "--init").stdout == "wrote race.toml; next: race check\n"
    again = race("check", "--init")
    assert (again.code, again.stderr) == (2, "race: race.toml is there already: edit it, or remove it first\n")
    foretold = race("check", "--dry-run")
    assert (foretold.code, foretold.stderr) == (0, "")
    assert "double-submit under lua, on embedded Valkey\n" in foretold.stdout
    assert "load       500 bursts of 4, 2 processes, at most 12 s\n" in foretold.stdout
    assert foretold.stdout.endswith("at most 60 s in all, seed 1\n")
    where = race("check", "--dry-run", "--redis-url", "redis://:secret@127.0.0.1:1")
    assert "double-submit under lua, on Redis at 127.0.0.1:1\n" in where.stdout
    assert "secret" not in where.stdout
    document = json.loads(race("check", "--dry-run", "--json").stdout)
    Draft202012Validator(json.loads(schema_text("plan"))).validate(document)
    assert [cell["name"] for cell in document["cells"]] == ["double-submit under lua", "double-submit under naive"]


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_the_first_file_passes(race: Race) -> None:
    """As it is written."""
    race("check", "--init")
    ended = race("check")
    assert (ended.code, ended.stderr) == (0, ""), ended.stdout
    assert "PASSED        4 of 4 rules passed" in ended.stdout


def test_a_failure_is_kept_until_it_passes(race: Race, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn, saved and replayed first; the document follows its schema; the fix makes it go."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path("race.toml").write_text(
        CELL + 'explored = "proved"\n' + CELL.replace("naive", "lua") + 'explored = "proved"\n'
    )
    failed = race("check", "--junit", "report.xml", "--json")
    document = json.loads(failed.stdout)
    Draft202012Validator(json.loads(schema_text("check"))).validate(document)
    assert (failed.code, document["outcome"], document["counts"]) == (
        1, "failed", {"passed": 1, "failed": 1, "unclear": 0},
    )  # fmt: skip
    (kept,) = Path(".race/failures").iterdir()
    assert document["cells"][0]["file"] == str(kept)
    assert failed.stderr.startswith("::error file=race.toml,line=1,title=race%3A counter under naive::explored")
    assert "```text" in Path("summary.md").read_text()
    assert JUnitXml.fromfile("report.xml").failures == 1
    monkeypatch.delenv("GITHUB_ACTIONS")

    assert race("replay", str(kept)).code == 1
    again = race("check")
    assert (again.code, again.stderr) == (1, "")
    assert again.stdout.startswith("Failed before, replayed first\n  FAIL  .race/failures/counter-naive-")
    assert kept.is_file()

    # Broken is what this cell is for now: that it still breaks is no failure, and is none again once it must hold.
    Path("race.toml").write_text(CELL + 'explored = "violated"\n')
    assert str(kept) not in race("check", "--dry-run").stdout
    passed = race("check")
    assert (passed.code, kept.is_file()) == (0, True), passed.stdout
    Path("race.toml").write_text(CELL + 'explored = "proved"\n')
    assert race("check").stdout.startswith("Failed before, replayed first\n")


def test_a_kept_failure_goes_with_the_fix(race: Race) -> None:
    """A fix that does other things: the old schedule says nothing about it, its cell does."""
    Path("race.toml").write_text('[[cells]]\nscenario = "counter"\nstrategy = "fix.py"\nexplored = "bounded"\n')
    source = (Path(__file__).parents[2] / "strategies" / "naive.py").read_text()
    Path("fix.py").write_text(source)
    assert race("check").code == 1
    (kept,) = Path(".race/failures").iterdir()
    _forget_scripts()
    Path("fix.py").write_text((Path(__file__).parents[2] / "strategies" / "watch.py").read_text())
    ended = race("check")
    assert (ended.code, kept.exists()) == (0, False), ended.stdout
    assert "it no longer fits, and its cell passed" in " ".join(ended.stdout.split())


def _forget_scripts() -> None:
    """As a new process would."""
    from harness.strategy import loader

    loader._execute.cache_clear()
    loader._definitions.cache_clear()


def test_saved_schedules(race: Race) -> None:
    """Each that the file names is replayed; one that still breaks fails the gate."""
    race("explore", "counter", "--strategy", "naive", "--save", "it.json", "--seed", "1", "--quiet")
    Path("race.toml").write_text('schedules = ["*.json"]\n')
    ended = race("check")
    assert (ended.code, "it still breaks" in ended.stdout) == (1, True)
    saved = json.loads(Path("it.json").read_text())
    Path("it.json").write_text(json.dumps({**saved, "strategy": "lua"}))
    ended = race("check")
    assert (ended.code, "INCONCLUSIVE" in ended.stdout) == (3, True)


@pytest.mark.load
@pytest.mark.xdist_group("load")
def test_costs_and_baseline(race: Race) -> None:
    """A threshold that is missed fails; a baseline of this machine is compared with, by however much it differs."""
    limits = 'thresholds = ["p(99) < 10s", "violations == 0", "relative_throughput > 9"]\nbudget = 8\nbursts = 40\n'
    Path("race.toml").write_text("tolerance = 0.99\n" + CELL.replace("naive", "lua") + limits)
    ended = race("check", "--save-baseline", "base.json", "--export-markdown", "check.md")
    assert (ended.code, "FAIL  relative_throughput > 9" in ended.stdout) == (1, True), ended.stdout
    assert "race compare counter --strategies lua,atomic,watch" in " ".join(ended.stdout.split())
    assert Path("check.md").read_text().startswith("## race check: failed")
    again = json.loads(race("check", "--baseline", "base.json", "--json").stdout)
    marks = {one["rule"].split(" ")[0]: one["mark"] for one in again["cells"][0]["rules"]}
    # How fast it was both times is the machine's affair, and no test's.
    assert marks.keys() == {"p(99)", "violations", "relative_throughput", "throughput"}
    assert (marks["violations"], marks["relative_throughput"]) == ("passed", "failed")
    assert {marks["p(99)"], marks["throughput"]} <= {"passed", "failed"}


def test_nothing_ran(race: Race) -> None:
    """A gate without anything to guard is no pass."""
    Path("race.toml").write_text("seed = 1\n")
    ended = race("check")
    assert (ended.code, ended.stderr) == (
        3, "race: race.toml names no cells and no schedules: nothing ran, so nothing was shown\n",
    )  # fmt: skip
    assert race("check", "--dry-run").code == 3


def test_a_store_that_is_not_there(race: Race) -> None:
    """No verdict, and no pass: exit 3, with the reason at each rule."""
    Path("race.toml").write_text(CELL.replace("naive", "lua") + 'explored = "proved"\n')
    ended = race("check", "--redis-url", "redis://127.0.0.1:1")
    assert (ended.code, "Redis at 127.0.0.1:1 does not answer" in ended.stdout) == (3, True)
    assert "Again         race check --redis-url redis://127.0.0.1:1 " in ended.stdout
    secret = race("check", "--redis-url", "redis://:secret@127.0.0.1:1", "--exit-zero")
    assert (secret.code, "secret" in secret.stdout) == (3, False)
    assert 'Again         race check --redis-url "$RACE_REDIS_URL" ' in secret.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ()),
        ("[[cells]]\nscenario = 'counter'\nstrategy = 'nave'\n", ()),
        ("[[cells]]\nscenario = 'double-submit'\nstrategy = 'nothing.py'\n", ()),
        ("schedules = ['none.json']\n", ()),
        (CELL, ("--baseline", "none.json")),
        (CELL, ("--junit", "nowhere/report.xml")),
        (CELL, ("--config", "none.toml")),
        (CELL + "against = ['nobody']\nthresholds = ['med < 1s']\n", ()),
        (CELL + "against = ['nobody']\nthresholds = ['med < 1s']\n", ("--dry-run",)),
    ],
)
def test_bad_input(race: Race, text: str | None, words: tuple[str, ...]) -> None:
    """One line, exit 2, before anything is started."""
    if text is not None:
        Path("race.toml").write_text(text)
    ended = race("check", *words)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("x = (", "::error file=fix.py,line=1,title=race check::counter under fix.py: fix.py:1: SyntaxError"),
        (None, "::error title=race check::counter under fix.py: script fix.py not found"),
    ],
)
def test_what_is_refused_on_github(race: Race, script: str | None, says: str) -> None:
    """Before anything ran: one annotation, where there is a line to point at, beside the one line."""
    Path("race.toml").write_text(CELL.replace("naive", "fix.py"))
    if script is not None:
        Path("fix.py").write_text(script)
    ended = race("check", "--github")
    annotation, line = ended.stderr.splitlines()
    assert (ended.code, annotation.startswith(says), line.startswith("race: ")) == (2, True, True), ended.stderr


@pytest.mark.parametrize("complete", [True, False])
def test_half_a_baseline_replaces_none(tmp_path: Path, *, complete: bool) -> None:
    """An interrupted check measured less than the file that is there."""
    path = tmp_path / "base.json"
    path.write_text("before")
    check_command._written({"complete": complete}, {"junit": None, "save_baseline": path})
    assert (path.read_text() == "before") is not complete
