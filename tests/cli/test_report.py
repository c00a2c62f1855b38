"""race report: what was kept, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.report import forms_of
from harness.report.kept import run_line, runs_screen
from harness.results import Shelf, comparison_document, result_document
from harness.results.schema import schema_text
from tests import measurements
from tests.report import documents

Race = Callable[..., Any]


def keep() -> None:
    """A few runs in the current folder, one of them unreadable."""
    documents = [
        result_document(measurements.violated(), reproduce="race run double-submit --strategy naive"),
        result_document(measurements.held(), reproduce="race run double-submit --strategy lua"),
        comparison_document(measurements.compared(), measurements.held().load, reproduce="race compare double-submit"),
    ]
    for document in documents:
        document["environment"]["commit"] = "3fa2c91b7d04-dirty"
        Shelf(Path("results")).keep(document)
    Path("results/runs/0004-counter-lua.json").write_text('{"schema": "race.result/2"}')


def test_the_list(race: Race, snapshot: Callable[[str, str], None]) -> None:
    """One line for each, the latest last; what cannot be read below."""
    keep()
    ended = race("report", "list", "--export-csv", "runs.csv", "--export-markdown", "runs.md")
    assert (ended.code, ended.stderr) == (0, "")
    snapshot("report-list.txt", ended.stdout)
    assert Path("runs.csv").read_text().splitlines()[1].startswith("1,results/runs/0001-double-submit-naive.json,")
    assert Path("runs.md").read_text().count("\n| ") == 4


def test_the_list_as_json(race: Race) -> None:
    """Is what its schema promises."""
    keep()
    document = json.loads(race("report", "list", "--json").stdout)
    Draft202012Validator(json.loads(schema_text("runs"))).validate(document)
    assert (len(document["runs"]), document["unreadable"][0]["file"]) == (3, "results/runs/0004-counter-lua.json")


def test_an_empty_list(race: Race) -> None:
    """Says where runs would be, in lines of a terminal."""
    ended = race("report", "list")
    first, *others = ended.stdout.splitlines()
    assert (ended.code, first) == (0, "  no runs in results/runs")
    assert max(map(len, others)) <= 80


def test_unknown_commands(race: Race) -> None:
    """Are answered like those of race itself."""
    ended = race("report", "lst")
    assert (ended.code, ended.stderr) == (
        2,
        "race: unknown command 'lst'; did you mean list?; see race report --help\n",
    )


def test_the_difference(race: Race) -> None:
    """Of two of a kind; exports as asked; what cannot be compared is one line."""
    keep()
    ended = race(
        "report", "diff", "1", "latest~2", "--export-csv", "diff.csv", "--export-markdown", "diff.md", "--json"
    )
    assert (ended.code, ended.stderr) == (0, "")
    words = {figure["word"] for figure in json.loads(ended.stdout)["figures"]}
    assert words == {"improved", "within noise"}
    assert Path("diff.csv").read_text().startswith("strategy,rule,store,figure,")
    ended = race("report", "diff", "1", "3")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    ended = race("report", "diff", "1", "4")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def test_a_page(race: Race) -> None:
    """Of any run that was kept, into the current folder or where it is asked for."""
    keep()
    ended = race("report", "html", "2")
    assert (ended.code, ended.stdout) == (0, "wrote 0002-double-submit-lua.html\n")
    assert "lua kept double-submit right in every burst" in Path("0002-double-submit-lua.html").read_text()
    assert race("report", "html", "latest~1", "--output", "page.html").stdout == "wrote page.html\n"
    assert "under 9 ways of protecting it" in Path("page.html").read_text()
    ended = race("report", "html", "1", "--output", "nowhere/page.html")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("kind", ["comparison", "flows", "isolation", "matrix", "table"])
def test_the_list_offers_the_page_of_every_table(race: Race, kind: str) -> None:
    """And the command that it offers writes it."""
    document = documents.KINDS[kind]()
    Shelf(Path("results")).keep(document)
    lines = race("report", "list").stdout.splitlines()
    assert "  Show     race report html 1" in lines
    ended = race("report", "html", "1", "--output", "page.html")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "wrote page.html\n", "")
    assert f"schema {document['schema']}." in Path("page.html").read_text()


def test_what_is_kept_as_pages(race: Race) -> None:
    """The list and what changed, as every other table."""
    for _ in range(2):
        keep()
    for words in (("list",), ("diff", "1", "2")):
        ended = race("report", *words, "--export-html", "page.html")
        assert (ended.code, ended.stderr) == (0, "")
        assert f"race report {words[0]}" in Path("page.html").read_text()


def test_no_page_is_offered_of_what_has_none() -> None:
    """The table that is offered is the last that has a page."""
    lines = [run_line(1, "a.json", documents.comparison()), run_line(2, "b.json", VERIFIED)]
    assert [forms_of(one).get("html") is None for one in (documents.comparison(), VERIFIED)] == [False, True]
    about = {"before": 0, "unreadable": [], "folder": "results/runs"}
    assert "race report html 1\n" in runs_screen({**about, "runs": lines})
    assert "race report html" not in runs_screen({**about, "runs": lines[1:]})


VERIFIED = {"schema": "race.verification/1", "history": "h.jsonl", "verdict": "held"}


def test_a_page_of_nonsense(race: Race) -> None:
    """What its schema allows may still contradict itself: one line that names the file."""
    keep()
    path = Path("results/runs/0001-double-submit-naive.json")
    document = json.loads(path.read_text())
    document["counterexample"]["columns"] = []
    path.write_text(json.dumps(document))
    ended = race("report", "html", "1")
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"race: {path} makes no sense: ")
