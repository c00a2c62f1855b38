"""What a comparison's controls show: of one rule nothing about another."""

from harness.burst import Cell, Load
from harness.burst.cells import bind, control_of
from harness.burst.engine import pool_controls
from harness.burst.tally import Tally


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
