"""What a comparison's controls show: of one rule nothing about another."""

import json

import pytest

from harness.burst import Cell, Load
from harness.burst.cells import bind, control_of
from harness.burst.engine import pool_controls
from harness.burst.tally import Tally
from harness.judge import Closing
from harness.judge.history import closing_line, closing_of


def tallies(strategy: str, rule: str, bursts: int, broken: int) -> tuple[Tally, Tally]:
    """A row of a comparison beside which its control broke so often."""
    load = Load()
    bound = bind(Cell("double-submit", strategy, rule), load)
    control = control_of(bound, load)
    return Tally(bound, control, control_bursts=bursts, control_broken=broken), Tally(bound, None)


def test_controls_are_pooled_within_a_rule_and_a_store() -> None:
    """A load that breaks one rule every time need not find anything against another."""
    rows = [
        tallies("lua", "drop", 10, 9),
        tallies("watch", "drop", 4, 4),
        tallies("lua", "replace", 10, 0),
        tallies("pg-for-update", "drop", 5, 3),
    ]
    pool_controls(rows)
    pooled = [[(one.control_bursts, one.control_broken) for one in pair] for pair in rows]
    assert pooled == [[(14, 13)] * 2, [(14, 13)] * 2, [(10, 0)] * 2, [(5, 3)] * 2]


@pytest.mark.parametrize(
    ("load", "share"), [(Load(), 0.5), (Load(size=3), 1.0), (Load(mode="sustained"), 1.0), (Load(processes=1), 0.5)]
)
def test_half_of_the_orders_are_right_where_two_meet(load: Load, share: float) -> None:
    """Where more meet more breaks, and a load of which half does not break has not met."""
    bound = bind(Cell("roster", "lua", "delete"), load)
    closing = closing_of(json.loads(json.dumps(closing_line(Closing("naive", 4, 2, None, True, None, share / 2)))))
    assert (bound.scenario.control_breaks, closing.control_needed) == (share, share / 2)
    assert Tally(bound, None).overlap().control_needed == share / 2
