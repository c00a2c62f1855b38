"""One flow: its verdict is earned beside a control, its first bad case is drawn, and claims are told apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.cli.options import Output
from harness.cli.output import flow_code
from harness.flows import FAULTS, FlowCell, FlowRun, FlowStep, claimed
from harness.model import Verdict
from harness.report.exports import page
from harness.report.flow import flow_csv, flow_markdown, flow_screen
from harness.report.kept import found, title
from harness.results.flow import flow_document
from harness.results.flows import AskedFlows
from harness.results.schema import schema_text
from harness.results.shelf import Shelf
from tests import measurements

Document = dict[str, Any]
Snapshot = Callable[[str, str], None]
STEPS = (
    FlowStep(1_000_000, "one", "the attempt is delivered"),
    FlowStep(2_000_000, "one", "begin", "pending"),
    FlowStep(3_500_000, "one", "charge, no key", "done"),
    FlowStep(4_000_000, "two", "the attempt is delivered"),
    FlowStep(5_000_000, "two", "charge, no key", "done"),
)


def made(flow: str, *changes: FlowCell, faults: Sequence[str] = tuple(FAULTS), complete: bool = True) -> FlowRun:
    """Every case as claimed, but for these; the control breaks, but where these say."""
    other = {(cell.flow, cell.fault): cell for cell in changes}

    def cell(name: str, fault: str) -> FlowCell:
        end = claimed(name, fault) if fault else "once"
        return other.get((name, fault)) or FlowCell(name, fault, end, "", {"charge": 1}, None, STEPS)

    controls = [] if flow == "inline" else [cell("inline", fault) for fault in faults]
    cells = [cell(flow, fault) for fault in ("", *faults)]
    return FlowRun(flow, faults, cells, controls or cells[1:], complete)


def document(run: FlowRun) -> Document:
    """As it is kept."""
    bound = bind(Cell("subscription", "pg-for-update", ""), Load())
    stores = [info for info in measurements.compared().stores if info.kind == "postgres"]
    again = f"race run subscription --flow {run.flow} --seed 7"
    return flow_document(run, AskedFlows(bound, 7, stores, again, "2026-11-25T04:21:52", 6.5))


IDLE = FlowCell("inline", "lost", "once")
NOT_MADE = FlowCell("saga", "gone", None, "the effect was never begun")
UNLIKE = FlowCell("saga", "killed", "twice", "", {"charge": 2}, None, STEPS)
BETTER = FlowCell("inline", "gone", "once")
NOTHING = FlowCell("saga", "", "undone")


@pytest.mark.parametrize(
    ("run", "verdict", "reason"),
    [
        (made("saga"), Verdict.HELD, ""),
        (made("saga", IDLE), Verdict.INCONCLUSIVE, "inline, the control, did not break either: reply lost"),
        (made("saga", NOT_MADE), Verdict.INCONCLUSIVE, "never comes back: the effect was never begun"),
        (made("saga", NOTHING), Verdict.INCONCLUSIVE, "without a fault the attempt did not come to its end: a fault"),
        (made("saga", complete=False), Verdict.INCONCLUSIVE, "it was interrupted"),
        (replace(made("saga"), faults=("twice",)), Verdict.INCONCLUSIVE, "not every fault was made"),
        (replace(made("saga"), cells=()), Verdict.INCONCLUSIVE, "without a fault the attempt did not come"),
        (made("saga", UNLIKE), Verdict.VIOLATED, ""),
        (made("saga", UNLIKE, NOT_MADE), Verdict.VIOLATED, ""),
        (made("inline"), Verdict.VIOLATED, ""),
        (made("durable", faults=("twice",)), Verdict.HELD, ""),
    ],
)
def test_a_pass_is_earned(run: FlowRun, verdict: Verdict, reason: str) -> None:
    """Every fault was made, and plain code broke under each of them in the same run."""
    found_, why = run.judged
    assert (found_, why[: len(reason)], bool(why)) == (verdict, reason, bool(reason))


@pytest.mark.parametrize(
    ("run", "code", "claim", "line"),
    [
        (made("saga"), 0, True, "held"),
        (made("saga", NOT_MADE), 3, None, "inconclusive"),
        (made("saga", UNLIKE), 1, False, "violated, NOT as claimed"),
        (made("inline"), 1, True, "violated"),
        (made("durable", *(FlowCell("durable", fault, "once") for fault in FAULTS)), 1, False, "held, NOT as claimed"),
        (made("inline", BETTER), 1, False, "violated, NOT as claimed"),
        (made("saga", complete=False), 130, None, "inconclusive (interrupted)"),
    ],
)
def test_the_exit_code(run: FlowRun, code: int, claim: bool | None, line: str, tmp_path: Any) -> None:
    """A violation, and a case that is other than claimed, are 1."""
    output = Output(as_json=False, results=Shelf(tmp_path), quiet=True, exit_zero=False, exports={})
    kept = document(run)
    assert (flow_code(kept, output), kept["as_claimed"], found(kept)) == (code, claim, line)
    assert flow_code(kept, replace(output, exit_zero=True)) == (0 if code == 1 else code)
    assert title(kept) == f"run --flow subscription {run.flow}"


@pytest.mark.parametrize("flow", ["inline", "saga"])
def test_as_a_screen(flow: str, snapshot: Snapshot) -> None:
    """The verdict, the first bad case, all cases, the claim."""
    text = flow_screen(document(made(flow)), 0 if flow == "saga" else 1)
    assert max(map(len, text.splitlines())) <= 80
    snapshot(f"flow-{flow}.txt", text)


def test_what_is_not_as_claimed_stands_out() -> None:
    """In capitals, with words that say so."""
    text = flow_screen(document(made("saga", UNLIKE)), 1)
    assert "  VIOLATED  charged twice: saga, killed after it" in text
    assert "  killed after it   CHARGED TWICE  paid, no plan" in text
    assert (
        "saga holds under each fault: NOT as claimed; killed after it: charged twice, where given back is"
        in " ".join(text.split())
    )


def test_one_fault_is_drawn_even_where_it_holds() -> None:
    """Who asks for one wants to see it."""
    assert document(made("saga"))["counterexample"] is None
    drawn = document(made("saga", faults=("lost",)))["counterexample"]
    assert (drawn["fault"], drawn["says"], len(drawn["steps"])) == ("lost", "given back", len(STEPS))


@pytest.mark.parametrize("run", [made("inline"), made("saga"), made("saga", UNLIKE, NOT_MADE, IDLE)])
def test_other_forms(run: FlowRun) -> None:
    """What is written is as published; each form tells each case."""
    kept = document(run)
    jsonschema.validate(kept, json.loads(schema_text("flow")))
    assert flow_csv(kept).count("\n") == 1 + 1 + len(FAULTS)
    markdown, html = flow_markdown(kept), page(kept)
    for fault in FAULTS.values():
        assert fault in markdown
        assert fault in html
    assert f"**{kept['verdict']}**" in markdown
    assert ("the attempt is delivered" in html) == (kept["counterexample"] is not None)
