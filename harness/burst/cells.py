"""Resolving cells: which scripts they name, which control they need, what they claim."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.burst.plan import Cell, Load
from harness.burst.purity import try_rule
from harness.model import Claim, Conditions, Invariant, UsageError, where
from harness.strategy import RuleSpec, Scenario, Strategy
from harness.strategy.loader import find_scenario, find_strategy, nearest

LEAST_SHARE = 0.25
"""A scenario may say of its control that so few of the bursts break in which all meet, and no fewer."""
CONTROLS = {"redis": "naive", "postgres": "pg-read-committed"}
"""The strategy known to break, for each store."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A cell with its scripts loaded."""

    cell: Cell
    scenario: Scenario
    strategy: Strategy
    claim: Claim

    @property
    def spec(self) -> RuleSpec:
        """What the judge asks."""
        return RuleSpec(self.scenario, self.cell.rule, self.strategy)


def bind(cell: Cell, load: Load) -> Bound:
    """Load a cell's scripts. Raises UsageError for unknown names and impossible cells."""
    kind, variant = find_strategy(cell.strategy)
    return bind_classes(cell, find_scenario(cell.scenario), kind, variant, load)


def bind_classes(cell: Cell, named: type[Scenario], kind: type[Strategy], variant: str, load: Load) -> Bound:
    """The same with classes at hand; the cell says what they are called. Raises UsageError."""
    scenario = named()
    rules = scenario.all_rules()
    rule = cell.rule or next(iter(rules))
    if rule not in rules:
        raise UsageError(f"unknown rule '{rule}' of {scenario.name}; {nearest(rule, rules)}")
    _check(scenario)
    scenario = scenario.under(rule)
    _check_control(scenario)
    if (load.mode, load.size) != ("burst", 2):  # where more meet, more breaks
        scenario.control_breaks = 1.0
    try_rule(scenario, rule)
    strategy = kind(scenario, variant)
    meet = load.size if load.mode == "burst" else max(load.size, load.connections)
    claim = strategy.claim(Conditions(processes=load.processes, size=meet))
    return Bound(Cell(cell.scenario, cell.strategy, rule), scenario, strategy, claim)


def _check_control(scenario: Scenario) -> None:
    """Refuse a share that would let a load pass in which next to nothing met. Raises UsageError."""
    share: object = scenario.control_breaks
    if not isinstance(share, int | float) or not LEAST_SHARE <= share <= 1:
        raise UsageError(
            f"control_breaks of {scenario.name} is the share of bursts that break where all meet: {LEAST_SHARE} to 1,"
            f" not {share!r:.60}"
        )


def _check(scenario: Scenario) -> None:
    """Refuse invariants that are none. Raises UsageError."""
    found: object = scenario.invariants()
    if not isinstance(found, Iterable):
        raise UsageError(f"{where(scenario.invariants)}invariants must return a list, not {found!r:.60}")
    for one in found:
        if not isinstance(one, Invariant):
            raise UsageError(f"{where(scenario.invariants)}an invariant is a harness.Invariant, not {one!r:.60}")


def control_of(bound: Bound, load: Load) -> Bound | None:
    """The control for a cell: on the same store and layout. None where the cell is one itself."""
    name = CONTROLS[bound.strategy.store]
    if bound.cell.strategy == name:
        return None
    return bind(Cell(bound.cell.scenario, name, bound.cell.rule), load)
