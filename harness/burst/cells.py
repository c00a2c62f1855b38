"""Resolving cells: which scripts they name, which control they need, what they claim."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.burst.plan import Cell, Load
from harness.model import Claim, Conditions, Reply, Request, Rule, State, UsageError
from harness.strategy import Scenario, Strategy
from harness.strategy.loader import find_scenario, find_strategy

CONTROLS = {"redis": "naive", "postgres": "pg-read-committed"}
"""The strategy known to break, for each store."""


class RuleSpec:
    """A scenario's specification for one of its rules, as the judge asks for it."""

    def __init__(self, scenario: Scenario, rule: str) -> None:
        """`rule` is the name of the executed rule."""
        self._scenario = scenario
        self._rule: Rule = scenario.spec(rule)

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The states in which the request may leave `state` with this reply."""
        return self._scenario.allowed(state, request, now_ms, reply, self._rule)

    def view(self, value: Any, now_ms: int) -> Any:
        """What a value at rest means at that instant."""
        return self._scenario.view(value, now_ms)


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
        return RuleSpec(self.scenario, self.cell.rule)


def bind(cell: Cell, load: Load) -> Bound:
    """Load a cell's scripts. Raises UsageError for unknown names and impossible cells."""
    scenario = find_scenario(cell.scenario)()
    kind, variant = find_strategy(cell.strategy)
    rules = scenario.all_rules()
    rule = cell.rule or next(iter(rules))
    if rule not in rules:
        raise UsageError(f"unknown rule '{rule}' of {scenario.name}; there are: {', '.join(rules)}")
    strategy = kind(scenario, variant)
    claim = strategy.claim(Conditions(processes=load.processes))
    return Bound(Cell(cell.scenario, cell.strategy, rule), scenario, strategy, claim)


def control_of(bound: Bound, load: Load) -> Bound | None:
    """The control for a cell: on the same store and layout. None where the cell is one itself."""
    name = CONTROLS[bound.strategy.store]
    if bound.strategy.title == name:
        return None
    return bind(Cell(bound.cell.scenario, name, bound.cell.rule), load)
