"""One run may hold several scenarios in one schema: their tables do not get in each other's way."""

from __future__ import annotations

from harness.strategy.loader import scenarios


def test_no_two_scenarios_share_a_table() -> None:
    """CREATE TABLE IF NOT EXISTS would leave the second one with the columns of the first."""
    made: dict[str, set[str]] = {}
    for scenario in scenarios():
        for rule in scenario().all_rules():
            bound = scenario().under(rule)
            for layout in (bound.rows, *bound.layouts.values()):
                for statement in layout.schema:
                    made.setdefault(statement.partition(" (")[0], set()).add(statement)
    assert [tables for tables in made.values() if len(tables) > 1] == []
