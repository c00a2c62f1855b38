"""A scenario that says nothing about its layouts, with requests on two keys in either order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Conditions, Outcome, Reply, Request, Scenario, Strategy
from harness.strategy.loader import find_scenario, strategies
from tests.cells import EXAMPLES, LAYOUTS, every

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from harness import State
    from tests.strategies.conftest import World


class Transfer(Scenario):
    """Move credits from one purse to another; nobody owes any."""

    name = "transfer"

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:  # noqa: ARG002
        """Refuse what is not there; a purse that nobody opened holds ten."""
        source, target = request.keys
        left = (state[source] or {"credits": 10})["credits"] - request.args["amount"]
        if left < 0:
            return Outcome({}, Reply("refused"))
        there = (state[target] or {"credits": 10})["credits"] + request.args["amount"]
        return Outcome({source: {"credits": left}, target: {"credits": there}}, Reply("moved", {"left": left}))

    def burst(self, rng: Random, size: int) -> Sequence[Request]:  # noqa: ARG002
        """Back and forth."""
        pair = ("mine", "yours")
        return [Request("move", pair[:: (-1) ** i], {"amount": 3}) for i in range(size)]


def cells() -> Iterator[Any]:
    """Every strategy and variant that needs neither a native form nor several rows per key."""
    for kind in strategies():
        for variant in ("", *kind.variants):
            strategy = kind(Transfer(), variant)
            if strategy.claim(Conditions()).kind != "not-applicable":
                yield pytest.param(strategy, id=strategy.title)


async def conforms(world: World, strategy: Strategy, asked: list[tuple[bool, int]]) -> bool:
    """Whether replies and states are those of the pure rule, all along."""
    pair = (
        await world.seed(strategy.scenario, strategy),
        await world.seed(strategy.scenario, strategy),
    )
    state: dict[str, Any] = dict.fromkeys(pair)
    for number, (back, amount) in enumerate(asked):
        keys = pair[::-1] if back else pair
        request = Request("move", keys, {"amount": amount}, id=f"{keys} {number}")
        reply = await world.apply(strategy, request, strategy.scenario.rule)
        expected = strategy.scenario.rule(state, request, 0)
        state.update(expected.changes)
        seen = {key: await world.look(strategy, key) for key in pair}
        if (expected.reply, state) != (reply, seen):
            return False
    return True


@pytest.mark.parametrize("strategy", list(cells()))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=1, max_size=6))
def test_alone_a_strategy_does_what_the_rule_says(
    world: World, strategy: Strategy, asked: list[tuple[bool, int]]
) -> None:
    """Replies and both states, request by request, on the real store."""
    assert True is world.run(conforms(world, strategy, asked))


MOVES = st.sampled_from([("move", 1), ("move", -1), ("move", 1), ("move", -1), ("delete", 1)])


OF_TWO = {"actors", "actors:pass-on", "pg-version"}
"""What has a way of its own for two keys, besides forms, layouts and the order of locks."""


def of_teams() -> Iterator[Any]:
    """Every native form and layout of the bundled rule about two keys, under both of its names."""
    kind = find_scenario("team-move")
    for rule in kind().all_rules():
        for strategy in every(kind, rule):
            own = strategy.form or strategy.variant == "caller-order" or strategy.title in LAYOUTS | OF_TWO
            if own and strategy.claim(Conditions()).kind != "not-applicable":
                yield pytest.param(strategy, id=f"{strategy.title}-{rule}")


@pytest.mark.parametrize("strategy", list(of_teams()))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=st.lists(MOVES, min_size=1, max_size=6))
def test_alone_a_member_moves_as_the_rule_says(world: World, strategy: Strategy, asked: list[tuple[str, int]]) -> None:
    """Replies and both teams, request by request, on the real store."""
    assert True is world.run(moves(world, strategy, asked))


async def moves(world: World, strategy: Strategy, asked: list[tuple[str, int]]) -> bool:
    """Whether replies and both teams are those of the pure rule, all along."""
    scenario = strategy.scenario
    pair = (await world.seed(scenario, strategy), await world.seed(scenario, strategy))
    state: dict[str, Any] = dict.fromkeys(pair, scenario.initial_value)
    for operation, direction in asked:
        request = Request(operation, pair[::direction] if operation == "move" else pair[1:])
        reply = await world.apply(strategy, request, scenario.rule)
        expected = scenario.rule(state, request, 0)
        state.update(expected.changes)
        if (expected.reply, state) != (reply, {key: await world.look(strategy, key) for key in pair}):
            return False
    return True


def test_a_native_form_that_is_missing_is_no_failure() -> None:
    """The cell does not apply, and says why."""
    found = {
        kind.name: kind(Transfer()).claim(Conditions()).reason
        for kind in strategies()
        if kind(Transfer()).claim(Conditions()).kind == "not-applicable"
    }
    expected = {
        "actors": 'it needs the rule as messages between two owners as well: give the scenario forms["messages"]',
        "atomic": 'it needs the rule as one Redis command as well: give the scenario forms["command"]',
        "lua-function": 'it needs the rule as a Lua script as well: give the scenario forms["lua"]',
        "lua": 'it needs the rule as a Lua script as well: give the scenario forms["lua"]',
        "multi": 'it needs the rule as commands for MULTI as well: give the scenario forms["multi"]',
        "pg-conditional": 'it needs the rule as one SQL statement as well: give the scenario forms["sql"]',
        "pg-procedure": 'it needs the rule as a function in PostgreSQL as well: give the scenario forms["procedure"]',
        "replica-lag": "for rules that may be approximate",
        "pg-exclusion": "for rules where nothing may overlap",
        "pg-skip-locked": "for rules that take any one of several rows",
        "pg-sequence": "for rules that number things",
        "pg-unique": 'it needs the rule as a unique claim as well: give the scenario forms["unique"]',
    }
    assert expected == found
