"""Which strategies and variants a scenario is tried under, where trying all would take too long.

Every strategy is tried under every scenario. A variant lacks one part of a strategy's protection, whatever the
rule: it is tried where one row is a key, where several are, and where it is for certain rules only or a scenario
says something else of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.strategy.loader import strategies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Scenario, Strategy

EXAMPLES = 2 if "RACE_TEST_POSTGRES_URL" in os.environ else 6
"""Of what is drawn for a strategy: a server of another version is asked whether it understands, which takes few."""
ONE_ROW = {"double-submit", "counter"}
"""Every variant is at home there."""
ROWS = "last-owner"
"""And those of PostgreSQL here, where a key is several rows."""
PARENT = {"pg-for-update:parent", "pg-version:root"}
"""What holds only where a row lies above several."""
UNLOCKED = {"pg-procedure:no-lock"}
"""What each scenario's own functions lock is left out in each."""
LAYOUTS = {"naive", "naive:fields", "pg-read-committed", "pg-read-committed:columns"}
"""Those that read and write in different ways."""
LAYOUTS_OF_ROWS = {"pg-version", "pg-version:root", "pg-for-update:same-statement"}
"""And those that do where a key is several rows."""


def every(scenario: type[Scenario], rule: str) -> Iterator[Strategy]:
    """Every strategy and variant, for a rule."""
    for kind in strategies():
        for variant in ("", *kind.variants):
            yield kind(scenario().under(rule), variant)


def strategies_for(scenario: type[Scenario]) -> Iterator[Strategy]:
    """Every strategy, and variants where they are at home or where this scenario makes a difference."""
    for strategy in every(scenario, next(iter(scenario().all_rules()))):
        special = strategy.rules_for or strategy.title in {*scenario.claims, *PARENT, *UNLOCKED}
        special = special or (strategy.variant == "caller-order" and strategy.crossed)
        if not strategy.variant or special or scenario.name in ONE_ROW or _rows(scenario, strategy):
            yield strategy


def translations(scenario: type[Scenario], rule: str) -> Iterator[Strategy]:
    """What translates a rule or lays out its state in a way of its own; all where variants are at home."""
    for strategy in every(scenario, rule):
        home = scenario.name == "double-submit" or _rows(scenario, strategy)
        whole = home and rule == next(iter(scenario().all_rules()))
        layouts = LAYOUTS | LAYOUTS_OF_ROWS if "parent" in strategy.rows.locks else LAYOUTS
        if strategy.form or strategy.title in layouts or whole:
            yield strategy


def _rows(scenario: type[Scenario], strategy: Strategy) -> bool:
    return scenario.name == ROWS and strategy.store == "postgres"
