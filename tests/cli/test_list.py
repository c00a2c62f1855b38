"""race list: what there is by group, and what is claimed of each cell."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.results.schema import schema_text
from harness.strategy.loader import find_scenario, scenarios, sentences, strategies

STORES = {"redis", "postgres", "process", "own", ""}
"""What tells where state is kept, and not how it is protected."""
Race = Callable[..., Any]

ROOT = Path(__file__).resolve().parents[2]


def test_list(race: Race) -> None:
    """Scenarios and strategies in 80 columns; with a scenario, the claims for it."""
    everything, claims = race("list"), race("list", "double-submit")
    assert "  double-submit" in everything.stdout
    assert "  pg-read-committed   BEGIN" in everything.stdout
    assert "  mutex               breaks: each process has a lock of its own" in claims.stdout
    assert max(map(len, (everything.stdout + claims.stdout).splitlines())) <= 80
    names = [entry["name"] for entry in json.loads(race("list", "--json").stdout)["strategies"]]
    assert names[:3] == ["naive", "atomic", "lua"]


def test_groups(race: Race) -> None:
    """Scenarios stand together by what goes wrong and strategies by family, as each says of itself."""
    lines = race("list").stdout.splitlines()
    document = json.loads(race("list", "--json").stdout)
    for kind, group in (("scenarios", "goes_wrong"), ("strategies", "family")):
        for row in document[kind]:
            head = lines.index(f" {row[group] or 'others'}")
            below = list(itertools.takewhile(lambda line: line.startswith("  "), lines[head + 1 :]))
            assert any(line.startswith(f"  {row['name']:<20}") for line in below), row["name"]


def test_what_is_often_said(race: Race) -> None:
    """The four sentences, each with a command that there is, and the README says the same."""
    lines = race("list").stdout.splitlines()
    place = lines.index("Often said instead of a fix, and what shows where each stops helping")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for line, (says, shown_by) in zip(lines[place + 1 :], sentences().items(), strict=False):
        assert line.split() == [*says.split(), *shown_by.split()]
        _race, command, scenario, *options = shown_by.split()
        assert (command, f"`{shown_by}`" in readme) == ("compare", True)
        found = find_scenario(scenario)()
        if "--table" in options:
            assert options[1] in found.all_tables()
        assert {*options} <= {"--table", "--flow", "--rules", "all", *found.all_tables()}
    assert len(sentences()) == 4


def test_every_scenario_says_how_it_is_noticed() -> None:
    """And belongs to a group; every strategy belongs to one, and says where it stops helping."""
    assert [kind.name for kind in scenarios() if not (kind.symptoms and kind.goes_wrong)] == []
    assert [kind.name for kind in strategies() if not kind.stops_helping or kind.family in STORES] == []
    known = {kind.name for kind in scenarios()}
    assert {kind.earns_its_cost for kind in strategies()} <= {"", *known}


ALIKE = """
from harness.strategy.loader import find_scenario
class Alike(find_scenario("counter")):
    name = "alike"
    not_shown = ("a counter that is read by a job of the night",)
"""


def test_what_is_not_shown(race: Race) -> None:
    """It is said where the scenario is listed; of a bundled one on the page where people look for their bug, too."""
    Path("alike.py").write_text(ALIKE, encoding="utf-8")
    listed = " ".join(race("list", "./alike.py").stdout.split())
    assert "not shown a counter that is read by a job of the night" in listed
    page = " ".join((ROOT / "docs" / "your-bug.md").read_text(encoding="utf-8").split())
    for kind in scenarios():
        assert all(f"* `{kind.name}`: {sentence}." in page for sentence in kind.not_shown)


def test_why_a_rule_has_no_native_form(race: Race) -> None:
    """It breaks anyway, or only its caller differs: nobody is told just that there is none."""
    for name in (kind.name for kind in scenarios()):
        cells = json.loads(race("list", name, "--json").stdout)["cells"]
        assert [cell for cell in cells if "has no native form" in cell["reason"]] == []


def test_list_a_strategy(race: Race) -> None:
    """Its variants and its cells: with every variant where that is asked for; a script's as a bundled one's."""
    shown = race("list", "redis-lock").stdout
    assert "  :no-token           released by DEL, whoever holds it" in shown
    assert "  counter             holds: one holder, while no pause outlasts the lease; not" in shown
    cells = json.loads(race("list", "redis-lock", "--variants", "--json").stdout)["cells"]
    assert {cell["strategy"] for cell in cells if cell["scenario"] == "counter"} >= {
        "redis-lock",
        "redis-lock:no-lease",
    }
    assert race("list", "mutex-ordered").stdout.startswith("mutex: ")  # another name by which people look for it
    Path("mine.py").write_text((ROOT / "examples" / "fix.py").read_text())
    assert race("list", "mine.py").stdout.startswith("compare-and-set\n")


def test_a_screen_is_wide_enough(race: Race) -> None:
    """However many rules a scenario has, and whatever their names."""
    for name in (kind.name for kind in scenarios()):
        assert [line for line in race("list", name).stdout.splitlines() if len(line) > 80] == []


def test_rules_that_always_break(race: Race) -> None:
    """They are told once, and not again for every strategy; the document has every cell."""
    shown, document = race("list", "webhook").stdout, json.loads(race("list", "webhook", "--json").stdout)
    assert shown.count("breaks under every strategy: ") == 2
    assert "  lua                 holds: a script is one step" in shown
    cells = {(cell["strategy"], cell["rule"]): cell["claim"] for cell in document["cells"]}
    assert cells["lua", "guarded"] == "holds"
    assert cells["lua", "blind"] == "breaks"


@pytest.mark.parametrize(
    ("words", "last"),
    [
        ((), {"kind": "strategy", "name": "pg-queue"}),
        (("double-submit",), {"scenario": "double-submit", "strategy": "pg-queue", "rule": "replace"}),
        (("redis-lock", "--variants"), {"scenario": "text", "strategy": "redis-lock:reentrant"}),
    ],
)
def test_every_format(race: Race, words: tuple[str, ...], last: dict[str, str]) -> None:
    """The same data as JSON that follows its schema, CSV, Markdown and a page, with the command that makes it."""
    forms = ("json", "csv", "markdown", "html")
    ended = race("list", *words, "--json", *itertools.chain(*((f"--export-{form}", f"it.{form}") for form in forms)))
    document = json.loads(ended.stdout)
    Draft202012Validator(json.loads(schema_text("library"))).validate(document)
    assert (ended.code, json.loads(Path("it.json").read_text())) == (0, document)
    rows = list(csv.DictReader(Path("it.csv").read_text().splitlines()))
    assert last.items() <= rows[-1].items()
    assert len(rows) == len(document.get("cells") or [*document["scenarios"], *document["strategies"]])
    for form in ("markdown", "html"):
        text = unescape(Path(f"it.{form}").read_text())
        assert " ".join(["race", "list", *words]) in text
        assert all(row["strategy" if "strategy" in row else "name"] in text for row in rows)


def test_a_file_that_cannot_be_written(race: Race) -> None:
    """One line, before anything is printed."""
    ended = race("list", "--export-csv", "none/it.csv")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
