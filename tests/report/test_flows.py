"""The flow table and rules side by side: in 80 columns, in the domain's words, and what is wrong stands out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.cli.options import Output
from harness.cli.output import flows_code
from harness.flows import FAULTS, FLOWS, FlowCell, claimed
from harness.model import Verdict
from harness.report import comparison_markdown, comparison_screen
from harness.report.by_rule import by_rule_lines
from harness.report.flows import flows_csv, flows_markdown, flows_screen
from harness.report.kept import found
from harness.results import comparison_document
from harness.results.flows import AskedFlows, flows_document
from harness.results.schema import schema_text
from harness.results.shelf import Shelf
from tests import measurements

Document = dict[str, Any]
Snapshot = Callable[[str, str], None]
COUNTS = {"once": {"charge": 1, "e-mail": 1}, "twice": {"charge": 2, "e-mail": 1}, "stranded": {"charge": 1}}


def document(*changes: FlowCell, complete: bool = True) -> Document:
    """Every flow as claimed, but for these cells."""
    other = {(cell.flow, cell.fault): cell for cell in changes}
    cells = [
        other.get((flow, fault))
        or FlowCell(flow, fault, end := claimed(flow, fault) if fault else "once", "", COUNTS.get(end, {}))
        for flow in FLOWS
        for fault in ("", *FAULTS)
    ]
    bound = bind(Cell("subscription", "pg-for-update", ""), Load())
    stores = [info for info in measurements.compared().stores if info.kind == "postgres"]
    asked = AskedFlows(bound, 7, stores, "race compare subscription --flow all --seed 7", "2026-11-25T04:21:52", 40.0)
    return flows_document(cells, asked, complete=complete)


UNLIKE = FlowCell("durable", "killed", "once", "", {"charge": 1})
NOT_MADE = FlowCell("saga", "gone", None, "the second delivery did nothing")


def test_as_a_screen(snapshot: Snapshot) -> None:
    """All as claimed."""
    text = flows_screen(document(), 0)
    assert max(map(len, text.splitlines())) <= 80
    snapshot("flows.txt", text)


def test_what_is_not_as_claimed_stands_out() -> None:
    """In capitals, with a line that says so; what could not be made is a question."""
    text = flows_screen(document(UNLIKE, NOT_MADE), 1)
    assert "  durable             ok             charged twice  OK             paid, no plan" in text
    assert "  Failed      durable, killed after it: ok, where charged twice is claimed" in text
    assert "  Unclear     saga, never comes back: the second delivery did nothing" in text
    assert max(map(len, text.splitlines())) <= 80


def test_as_markdown_and_csv() -> None:
    """A row for each flow; a line for each cell."""
    markdown = flows_markdown(document())
    assert "| idempotent | ok | ok | paid, no plan | paid, no plan |" in markdown
    lines = flows_csv(document()).splitlines()
    assert len(lines) == 1 + len(FLOWS) * (1 + len(FAULTS))
    assert "subscription,pg-for-update,cancel-wins,inline,twice,twice,charged twice,twice,true," in lines


@pytest.mark.parametrize("changes", [(), (UNLIKE, NOT_MADE)])
def test_the_schema(changes: tuple[FlowCell, ...]) -> None:
    """What is written is as published."""
    jsonschema.validate(document(*changes), json.loads(schema_text("flows")))


@pytest.mark.parametrize(
    ("changes", "complete", "code", "says"),
    [
        ((), True, 0, "35 as claimed"),
        ((NOT_MADE,), True, 3, "inconclusive, 1 of 35 unclear"),
        ((UNLIKE, NOT_MADE), True, 1, "failed, 1 of 35 NOT as claimed"),
        ((UNLIKE,), False, 130, "failed, 1 of 35 NOT as claimed (interrupted)"),
    ],
)
def test_the_exit_code(
    changes: tuple[FlowCell, ...], complete: bool, code: int, says: str, tmp_path: Any
) -> None:  # fmt: skip
    """A failed claim outweighs a cell that could not be made."""
    output = Output(as_json=False, results=Shelf(tmp_path), quiet=True, exit_zero=False, exports={})
    made = document(*changes, complete=complete)
    assert (flows_code(made, output), found(made)) == (code, says)


# Rules side by side


def compared(*rules: str) -> Document:
    """A comparison of one strategy under rules, each of which comes to an end of its own."""
    whole = measurements.compared()
    row = next(row for row in whole.rows if row.burst.verdict is Verdict.HELD)
    rows = [replace(row, rule=rule, burst=replace(row.burst, endings={f"end of {rule}": 9})) for rule in rules]
    return comparison_document(replace(whole, rows=rows, not_applicable=[]), Load(), (), reproduce="race compare x")


def test_rules_side_by_side() -> None:
    """Order, rule and what it has come to; which rule is right, nothing says."""
    for text in (comparison_screen(compared("mild", "strict"), 0), comparison_markdown(compared("mild", "strict"))):
        assert "By rule" in text
        assert "end of mild" in text
        assert "end of strict" in text
        assert "cannot choose the column" in " ".join(text.split())


def test_strategies_that_come_to_the_same_stand_together() -> None:
    """One below the other beside one row, wherever they come in the tables above; who differs has a row of his own."""
    document = compared("mild", "strict")
    rows = [{**row, "strategy": name} for name in ("lua", "naive", "watch") for row in document["rows"]]
    rows[2] = {**rows[2], "order": "violated"}
    lines = list(by_rule_lines({**document, "rows": rows}))
    assert [line.split()[0] for line in lines[2:]] == ["lua", "watch", "naive", "end"]
    assert lines[3].split()[:4] == ["watch", "end", "of", "mild"]
    assert "under 3 strategies and 2 rules" in comparison_screen({**document, "rows": rows}, 0).splitlines()[0]


@pytest.mark.parametrize(("rules", "blocks"), [(2, [2]), (3, [2, 1]), (5, [2, 2, 1])])
def test_more_rules_than_a_screen_is_wide(rules: int, blocks: list[int]) -> None:
    """They stand below each other, each block beside the names, and no line is wider than the screen."""
    names = [f"{'of-fifteen-long'[:14]}{number}" for number in range(rules)]
    document = compared(*names)
    document["rows"] = [{**row, "strategy": "pg-repeatable-read"} for row in document["rows"]]
    lines = list(by_rule_lines(document))
    assert max(map(len, lines)) <= 80
    heads = [line.split()[2:] for line in lines if line.startswith("  order, rule")]
    assert [len(head) for head in heads] == blocks
    assert [name for head in heads for name in head] == names
    assert sum(line.startswith("  pg-repeatable-read") for line in lines) == len(blocks)


def test_one_rule_has_no_columns() -> None:
    """So there is nothing to choose."""
    for text in (comparison_screen(compared("mild"), 0), comparison_markdown(compared("mild"))):
        assert "By rule" not in text
        assert "the column" not in text


def test_an_order_that_the_load_could_not_tell() -> None:
    """It is told by every order of two requests, which is said; an order that nobody knows stays a question."""
    document = compared("a", "b")
    first, other = document["rows"]
    first["order"] = other["order"] = "inconclusive"
    first["exploration"] = {"verdict": "violated", "reason": "", "size": 2, "schedules": 7, "order": "proved"}
    lines = list(by_rule_lines(document))
    assert lines[2].split() == [first["strategy"], "held,", "held", "?,", "held"]
    assert lines[-1] == "  order of a: by every order of two requests, where the load told too little"
    first["exploration"]["order"] = "violated"
    assert list(by_rule_lines(document))[2].split()[1] == "broken,"
