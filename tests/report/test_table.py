"""A scenario's own table: its columns in 80 columns, in every format, and what is not as claimed stands out."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import jsonschema
import pytest

from harness.cli.options import Output
from harness.cli.output import comparison_code
from harness.model import Verdict
from harness.report.kept import found
from harness.report.table import table_csv, table_markdown, table_screen
from harness.results.schema import schema_text
from harness.results.shelf import Shelf
from tests.report import documents


def test_as_a_screen() -> None:
    """A line, and below it the cell that was run and what broke; or a row for each load."""
    text = table_screen(documents.table(), 0)
    assert "  six complete copies, behind locks    6 places    yes        held   held\n" in text
    assert "    pg-for-update, rule bypass: admin took 60 and left -20\n" in text
    by_load = table_screen(documents.table_by_load(), 0)
    assert "    two callers at two edges  broken  kept     70        0.40\n" in by_load
    assert max(map(len, [*text.splitlines(), *by_load.splitlines()])) <= 80


def test_as_markdown_and_csv() -> None:
    """The same columns; figures by the name of their column."""
    assert "| that; admin locks, and does not ask | `pg-for-update` | bypass | 1 place | yes |" in table_markdown(
        documents.table()
    )
    rows = list(csv.DictReader(io.StringIO(table_csv(documents.table_by_load()))))
    assert [(row["load"], row["exact"], row["at most 120 %"], row["most let through"]) for row in rows] == [
        ("one caller, one by one", "kept", "kept", "60"),
        ("two callers at two edges", "broken", "kept", "70"),
    ]


@pytest.mark.parametrize("document", [documents.table(), documents.table_by_load(), documents.table(claimed=False)])
def test_the_schema(document: dict[str, Any]) -> None:
    """What is written is as published."""
    jsonschema.validate(document, json.loads(schema_text("table")))


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({}, 0, "2 as claimed"),
        ({"claimed": None}, 3, "inconclusive, 1 of 2 unclear"),
        ({"claimed": False}, 1, "failed, 1 of 2 NOT as claimed"),
        ({"claimed": False, "complete": False}, 130, "failed, 1 of 2 NOT as claimed (interrupted)"),
    ],
)
def test_the_exit_code(changes: dict[str, Any], code: int, says: str, tmp_path: Any) -> None:
    """A claim that was not met outweighs one that could not be tried; both are named."""
    output = Output(as_json=False, results=Shelf(tmp_path), quiet=True, exit_zero=False, exports={})
    document = documents.table(**changes)
    assert (comparison_code(document, output), found(document)) == (code, says)
    label = {False: "  Failed ", None: "  Unclear "}.get(changes.get("claimed", True), "")
    assert label in table_screen(document, code)


@pytest.mark.parametrize(("explored", "order"), [("proved", "held"), ("violated", "broken"), ("inconclusive", "?")])
def test_an_order_that_bursts_could_not_tell(explored: str, order: str) -> None:
    """Every order of two requests tells it, if it does."""
    document = documents.table(order=Verdict(explored))
    assert [row["cells"][0]["texts"][2] for row in document["rows"]] == [order, order]
