"""Which strategies a comparison is about."""

from __future__ import annotations

from harness.burst.engine import named
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
