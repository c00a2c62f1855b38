"""Every claim, put to the test: what holds is held under load, and what breaks is caught.

Both ways: a harness that says `held` of a mutant is useless, and so is one that cries wolf
about what is tricky but safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.burst import Cell
from harness.model import Verdict
from harness.results.claims import as_claimed, shown_to_callers
from harness.strategy.loader import scenarios, strategies

if TYPE_CHECKING:
    from harness.burst import Measurement
    from tests.burst.conftest import Loads

pytestmark = [pytest.mark.load, pytest.mark.xdist_group("load")]

MUTATED = {"counter", "double-submit"}
"""Where every variant is tried; the others that are loaded try every strategy."""
LOADED = {*MUTATED, "register", "text"}
"""What is loaded under every strategy; of the others every order of two requests is run, which is cheaper."""
SPREAD = {
    "last-owner": ("pg-conditional", "pg-for-update:parent"),
}
"""Of scenarios with several rows per key, what bursts of four may show and two requests do not."""
CELLS = [
    Cell(scenario.name, f"{strategy.name}:{variant}" if variant else strategy.name)
    for scenario in scenarios()
    if scenario.name in LOADED
    for strategy in strategies()
    for variant in ("", *(strategy.variants if scenario.name in MUTATED else ()))
] + [Cell(scenario, title) for scenario, titles in SPREAD.items() for title in titles]


def told(measurement: Measurement) -> str:
    """Everything that helps to understand a wrong verdict."""
    overlap = measurement.overlap
    return (
        f"{measurement.verdict} ({measurement.reason}); order {measurement.order}, {measurement.invariants};"
        f" {measurement.counts}; {overlap}; {measurement.counterexample}"
    )


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.scenario}-{cell.strategy}")
def test_the_verdict_is_the_claim(loads: Loads, cell: Cell) -> None:
    """For every strategy, mutant and tricky-but-safe form, with two processes."""
    claim = loads.claim(cell)
    if claim.kind == "not-applicable":
        pytest.skip(claim.reason)
    found = loads.judge(cell)
    shown = shown_to_callers(found.counts.errors, found.counts.by_decision)
    expected = Verdict.HELD if claim.kind == "holds" else Verdict.VIOLATED
    assert expected is found.verdict, told(found)
    assert as_claimed(claim, found.verdict, shown), told(found)
    assert bool(claim.errors) == any(code in shown for code in claim.errors), told(found)


@pytest.mark.parametrize("scenario", sorted(LOADED))
def test_the_in_process_lock_holds_within_one_process(alone: Loads, scenario: str) -> None:
    """The same strategy that two processes break."""
    found = alone.judge(Cell(scenario, "mutex"))
    assert found.verdict is Verdict.HELD, told(found)
