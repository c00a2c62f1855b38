"""A document of every kind that has a page, of no particular machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.burst import Cell, Load
from harness.burst.cells import bind
from harness.burst.parts import Part
from harness.burst.tables import Tabled, TableRow
from harness.explore import Brief, Options
from harness.flows import FlowCell
from harness.model import Claim, Verdict
from harness.results import comparison_document, result_document
from harness.results.flows import AskedFlows, flows_document
from harness.results.read import read_document
from harness.results.tables import table_document
from harness.strategy import Figures, Seen
from harness.strategy.loader import find_scenario
from tests import measurements
from tests.gate import documents as gate

Document = dict[str, Any]

ROOT = Path(__file__).parents[2]
OLD = Path(__file__).parents[1] / "results" / "old"
PLACE = {"python": "3.14.0", "platform": "Linux-x86_64", "cpus": 2, "race": "0.1.0", "commit": "3fa2c91"}
SPREAD = {
    "distribution": [(0.1, 3), (0.1155, 40), (0.1334, 12), (0.154, 0), (0.1778, 1)],
    "parts": [Part(900.0 + 20 * place, 600.0 + 20 * place, 0.2, 1.1) for place in range(5)],
}


def result(measured: Any = None, **changes: Any) -> Document:
    """A run, violated unless another is given."""
    document = result_document(
        measured or replace(measurements.violated(), **SPREAD), reproduce="race run double-submit --strategy naive"
    )
    return {**document, "environment": PLACE, **changes}


def comparison() -> Document:
    """A comparison on both stores."""
    whole = measurements.compared()
    rows = [replace(row, sustained=replace(row.sustained, **SPREAD)) for row in whole.rows]
    document = comparison_document(
        replace(whole, rows=rows), Load(seed=7), measurements.explored(), reproduce="race compare double-submit"
    )
    return {**document, "environment": PLACE}


def exploration() -> Document:
    """An exploration with a pause, as an earlier version kept it."""
    return read_document(OLD / "exploration-1.json")


def isolation() -> Document:
    """A table of two levels and two anomalies, one cell of which is not as documented."""
    steps = [
        ("T1", "UPDATE test SET value = 11 WHERE id = 1", "1 row", False),
        ("T2", "UPDATE test SET value = 12 WHERE id = 1", "1 row", True),
        ("T1", "COMMIT", "", False),
        ("T2", "COMMIT", "", False),
    ]
    case = {
        "level": "read committed", "anomaly": "G0", "case": "", "expected": True, "prevents": False,
        "ends": {"T1": "COMMIT", "T2": "COMMIT"},
        "steps": [
            {"step": place, "caller": caller, "command": command, "reply": reply, "blocked": blocked}
            for place, (caller, command, reply, blocked) in enumerate(steps, 1)
        ],
    }  # fmt: skip
    seen = {"G0": False, "P4": None}
    return {
        "schema": "race.isolation/1",
        "levels": [{"level": "read committed", "prevents": seen}],
        "expected": [{"level": "read committed", "prevents": {"G0": True, "P4": False}}],
        "as_expected": False,
        "anomalies": {"G0": "dirty write", "P4": "lost update"},
        "means": {"G0": "one writes over the other", "P4": "one write is lost"},
        "differs": [{**case, "says": "dirty write occurred at read committed, which should prevent it"}],
        "cases": [case],
        "reason": "",
        "sources": ["Hermitage"],
        "stores": result()["stores"],
        "reproduce": "race isolation",
        "environment": PLACE,
        "started_at": "2026-11-25T04:21:52+00:00",
        "duration_s": 2.0,
        "complete": True,
    }


def check() -> Document:
    """A gate in which one cell failed, with its diagram."""
    return gate.check()


def matrix() -> Document:
    """The table of the library that comes along."""
    return {**json.loads((ROOT / "results" / "matrix.json").read_text(encoding="utf-8")), "environment": PLACE}


def flows() -> Document:
    """Two flows: one ended other than claimed, one fault could not be made, and one cell was not come to."""
    seen = [
        ("inline", "", "once", "once", ""),
        ("inline", "lost", "twice", "twice", ""),
        ("inline", "killed", "stranded", "stranded", ""),
        ("saga", "", "once", "once", ""),
        ("saga", "lost", "once", "undone", ""),
        ("saga", "killed", None, "undone", "the second delivery did nothing"),
    ]
    cells = [FlowCell(flow, fault, end, why, {"charge": 1}) for flow, fault, end, _claimed, why in seen]
    bound = bind(Cell("subscription", "pg-for-update", ""), Load())
    stores = [info for info in measurements.compared().stores if info.kind == "postgres"]
    asked = AskedFlows(bound, 7, stores, "race compare subscription --flow all --seed 7", "2026-11-25T04:21:52", 40.0)
    return {**flows_document(cells, asked, complete=True), "environment": PLACE}


def table(*, claimed: bool | None = True, complete: bool = True, order: Verdict | None = None) -> Document:
    """Two lines of `race compare six-writers --table writers`; the second's claim was met, or not.

    `order`: what exploring says of it, where bursts said nothing.
    """
    by_burst = Verdict.HELD if order is None else Verdict.INCONCLUSIVE
    seen = Seen(WRITERS.lines[0], by_burst, Verdict.HELD, {}, {})
    other = Seen(WRITERS.lines[3], by_burst, Verdict.VIOLATED, {}, {})
    broke = {True: measurements.violated, False: measurements.held, None: measurements.inconclusive}[claimed]()
    rows = [_line(seen, measurements.held()), _line(other, broke, claim="breaks")]
    return _table("six-writers", "writers", rows, {}, complete=complete, order=order or Verdict.PROVED)


def table_by_load() -> Document:
    """A line of `race compare rate-limit --table copies`."""
    one, two = COPIES.loads
    figures = {one: Figures(0.2, 0.2, 60), two: Figures(0.4, 0.4, 70)}
    seen = Seen(COPIES.lines[1], Verdict.VIOLATED, Verdict.VIOLATED, {}, figures)
    loads = {one: Load(mode="sustained", processes=1, connections=1, keys=4), two: Load(mode="sustained", keys=4)}
    return _table("rate-limit", "copies", [_line(seen, measurements.violated(), claim="breaks")], loads)


def _line(seen: Seen, measured: Any, claim: str = "holds") -> TableRow:
    scenario = "rate-limit" if seen.figures else "six-writers"
    bound = bind(Cell(scenario, seen.line.strategy, seen.line.rule), Load())
    return TableRow(bound, replace(measured, claim=Claim(claim, "a reason")), seen, dict.fromkeys(seen.figures, 0))


def _table(
    scenario: str,
    name: str,
    rows: list[TableRow],
    loads: dict[str, Load],
    *,
    complete: bool = True,
    order: Verdict = Verdict.PROVED,
) -> Document:
    apart = [("in a copy", "there is no replica")]
    stores = measurements.compared().stores
    made = Tabled(scenario, rows, apart, loads, stores, 7, complete, 5.0, measurements.STARTED, 0.1)
    says = {"six-writers": ["", "admin took 60 and left -20"], "rate-limit": [""]}[scenario]
    explored = [Brief(Verdict.PROVED, "every schedule was run", Options(), order=order) for _row in rows]
    words = f"race compare {scenario} --table {name} --seed 7"
    document = table_document(name, find_scenario(scenario)().tables[name], made, explored, reproduce=words)
    told = [{**row, "says": one} for row, one in zip(document["rows"], says, strict=True)]
    return {**document, "rows": told, "environment": PLACE}


WRITERS = find_scenario("six-writers")().tables["writers"]
COPIES = find_scenario("rate-limit")().tables["copies"]


KINDS: dict[str, Callable[[], Document]] = {
    "result": result,
    "comparison": comparison,
    "exploration": exploration,
    "isolation": isolation,
    "check": check,
    "matrix": matrix,
    "table": table,
    "flows": flows,
}
"""What makes one of each kind: to make them all takes too long for whoever needs but one, or only their names."""
