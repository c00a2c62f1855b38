"""A scenario as the judge asks for it: the specification behind one of its rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.model import Reply, Request, Rule, State
from harness.strategy.scenario import Scenario


class RuleSpec:
    """A scenario's specification for one of its rules."""

    def __init__(self, scenario: Scenario, rule: str) -> None:
        """`rule` is the name of the executed rule."""
        self._scenario = scenario
        self._rule: Rule = scenario.spec(rule)
        self.within_reach = scenario.within_reach

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The states in which the request may leave `state` with this reply."""
        return self._scenario.allowed(state, request, now_ms, reply, self._rule)

    def view(self, value: Any, now_ms: int) -> Any:
        """What a value at rest means at that instant."""
        return self._scenario.view(value, now_ms)
