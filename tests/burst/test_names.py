"""Which strategies a comparison is about."""

from __future__ import annotations

import pytest

from harness.burst.engine import named, whole_flows
from harness.strategy.loader import strategies


def test_all_stands_for_the_bundled_ones() -> None:
    """So does nothing; each comes once, in its place."""
    every = [kind.name for kind in strategies()]
    assert named([]) == named(["all"]) == every
    assert named(["./my_fix.py", "all", "lua"]) == ["./my_fix.py", *every]


def test_a_store_stands_for_its_strategies() -> None:
    """Those that keep their state there."""
    assert named(["postgres"]) == [name for name in named([]) if name.startswith("pg-")]
    assert named(["redis", "postgres:x"]) == [
        *(name for name in named([]) if name not in named(["postgres"])),
        "postgres:x",
    ]


@pytest.mark.parametrize(
    ("scenario", "rules", "names", "found"),
    [
        ("credits", ["reserve", "check-first"], [], ["redis-lock:whole-flow"]),
        ("credits", ["check-first"], ["lua", "redis"], ["redis-lock:whole-flow"]),
        ("credits", ["check-first"], ["redis", "redis-lock:whole-flow"], []),
        ("credits", ["check-first"], ["lua", "postgres"], []),
        ("credits", [], [], []),
        ("counter", [], [], []),
    ],
)
def test_what_holds_a_whole_attempt(scenario: str, rules: list[str], names: list[str], found: list[str]) -> None:
    """Is compared with the others where the rule breaks as others come between the requests of an attempt."""
    assert whole_flows(scenario, rules, names) == found
