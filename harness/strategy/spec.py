"""A scenario as the judge asks for it: the specification behind one of its rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.model import Reply, Request, Rule, State
from harness.strategy.scenario import Scenario
from harness.strategy.strategy import Strategy


class RuleSpec:
    """A scenario's specification for one of its rules.

    What was applied is what an order has to explain: of a writer who remembers a part of the rule, that part.
    Whether the whole was kept, the invariants say.
    """

    def __init__(self, scenario: Scenario, rule: str, strategy: Strategy | None = None) -> None:
        """`rule` is the name of the executed rule. Without a strategy it is callers who enforce it."""
        self._scenario = scenario
        self._rule: Rule = scenario.spec(rule)
        self._strategy = strategy
        self.within_reach = scenario.within_reach
        self.at_rest = scenario.at_rest
        self.stretches = scenario.stretches
        leaves_no_choice = type(scenario).allowed is Scenario.allowed and not scenario.duties
        self.decides: Rule | None = self._rule if leaves_no_choice else None
        self.looking, self.blind = scenario.looking, scenario.blind

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The states in which the request may leave `state` with this reply."""
        rule = self._rule
        if self._scenario.duties:
            strategy, duties = self._strategy, self._scenario.duties
            rule = duties.get(request.role, rule) if strategy is None else strategy.applied(rule, request.role)
        return self._scenario.allowed(state, request, now_ms, reply, rule)

    def view(self, value: Any, now_ms: int) -> Any:
        """What a value at rest means at that instant."""
        return self._scenario.view(value, now_ms)
