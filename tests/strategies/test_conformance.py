"""One request at a time, every strategy and every native form does what the pure rule says.

Broken strategies too: all of theirs breaks when requests overlap, except for the mutants that
throw the decision away and so are wrong even alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Conditions, Request, Scenario, Strategy
from harness.strategy.loader import find_scenario, scenarios, strategies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.strategies.conftest import World

pytestmark = pytest.mark.stores

WRONG_ALONE = {"atomic:no-nx", "atomic:ignore-reply", "pg-conditional:ignore-count", "pg-unique:ignore-count"}
LAPSED_MS = 1_000

Asked = tuple[str, str, dict[str, Any]]
"""An operation, its attempt and its arguments."""

NONE: st.SearchStrategy[dict[str, Any]] = st.just({})
VALUE = st.sampled_from([None, 0, 1, "", "1", "ä\"'", [1, {"b": None, "a": 2.5}]])
PIECE = st.fixed_dictionaries({"value": st.sampled_from(["", "a", "ä\"'", " "])})

operations: dict[str, st.SearchStrategy[Asked]] = {
    "double-submit": st.tuples(
        st.sampled_from(["start", "start", "finish", "lapse"]), st.sampled_from(["a", "b b", "c"]), NONE
    ),
    "counter": st.tuples(st.just("add"), st.just(""), NONE),
    "register": st.one_of(
        st.tuples(st.just("read"), st.just(""), NONE),
        st.tuples(st.just("write"), st.just(""), st.fixed_dictionaries({"value": VALUE})),
        st.tuples(st.just("cas"), st.just(""), st.fixed_dictionaries({"old": VALUE, "new": VALUE})),
    ),
    "last-owner": st.tuples(
        st.sampled_from(["leave", "join"]),
        st.just(""),
        st.fixed_dictionaries({"owner": st.sampled_from(["ann", "bob", "cat"])}),
    ),
    "text": st.one_of(
        st.tuples(st.just("get"), st.just(""), NONE),
        st.tuples(st.sampled_from(["put", "append"]), st.just(""), PIECE),
    ),
}


def cells() -> Iterator[Any]:
    """Every scenario under every strategy and variant that applies to it."""
    for scenario in scenarios():
        if scenario.name not in operations:
            continue
        for kind in strategies():
            for variant in ("", *kind.variants):
                strategy = kind(scenario(), variant)
                if strategy.claim(Conditions()).kind != "not-applicable":
                    yield pytest.param(strategy, id=f"{scenario.name}-{strategy.title}")


ALL = list(cells())
RIGHT = [cell for cell in ALL if cell.values[0].title not in WRONG_ALONE]
WRONG = [cell for cell in ALL if cell.values[0].title in WRONG_ALONE]


async def conforms(world: World, scenario: Scenario, strategy: Strategy, asked: list[Asked]) -> bool:
    """Whether replies and states are those of the pure rule, all along."""
    rule = next(iter(scenario.all_rules().values()))
    key = await world.seed(scenario, strategy)
    state: dict[str, Any] = {key: scenario.initial_value}
    for number, (operation, attempt, args) in enumerate(asked):
        if operation == "lapse":
            await lapse(world, strategy, state)
            continue
        request = Request(operation, (key,), args, id=str(number), attempt=attempt)
        reply = await world.apply(strategy, request, rule)
        now_ms = world.decided_ms(strategy)
        expected = rule(state, request, now_ms)
        state.update(expected.changes)
        seen = scenario.view(await world.look(strategy, key), now_ms)
        if (expected.reply, scenario.view(state[key], now_ms)) != (reply, seen):
            return False
    return True


async def lapse(world: World, strategy: Strategy, state: dict[str, Any]) -> None:
    """Let a lease run out: it still lies there, unless a TTL is all that such a form looks at."""
    for key, held in state.items():
        if held is not None:
            state[key] = None if strategy.form == "command" else {**held, "until_ms": LAPSED_MS}
            await world.put(strategy, key, state[key])


def of(strategy: Strategy) -> st.SearchStrategy[list[Asked]]:
    """Requests for the strategy's scenario."""
    return st.lists(operations[strategy.scenario.name], min_size=1, max_size=8)


@pytest.mark.parametrize("strategy", RIGHT)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_alone_a_strategy_does_what_the_rule_says(world: World, strategy: Strategy, data: st.DataObject) -> None:
    """Replies and states, request by request, on the real store."""
    asked = data.draw(of(strategy))
    assert True is world.run(conforms(world, strategy.scenario, strategy, asked))


@pytest.mark.parametrize("strategy", WRONG)
def test_a_decision_thrown_away_is_wrong_even_alone(world: World, strategy: Strategy) -> None:
    """A start that finds another's lease is let in; a cas that finds another value claims to have swapped it."""
    asked: list[Asked] = [("start", "a", {}), ("start", "c", {})]
    match strategy.scenario.name:
        case "register":
            asked = [("cas", "", {"old": 1, "new": 2})]
        case "last-owner":
            asked = [("leave", "", {"owner": "cat"})]
    assert False is world.run(conforms(world, strategy.scenario, strategy, asked))


LEASES = st.fixed_dictionaries({"attempt": st.text(alphabet="ab 1-", max_size=5), "until_ms": st.integers(1, 2**53)})


@given(LEASES)
def test_a_lease_survives_its_layouts(lease: dict[str, Any]) -> None:
    """As a string of Redis and as a row of PostgreSQL."""
    scenario = find_scenario("double-submit")()
    assert lease == scenario.values.parse(scenario.values.encode(lease).encode())
    assert lease == scenario.rows.value(scenario.rows.row(lease))
