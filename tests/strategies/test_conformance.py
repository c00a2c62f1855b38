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
from harness.strategy.loader import find_scenario, scenarios
from tests.cells import EXAMPLES, translations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.strategies.conftest import World

WRONG_ALONE = {
    "atomic:no-nx",
    "atomic:ignore-reply",
    "pg-conditional:ignore-count",
    "pg-unique:ignore-count",
    "pg-unique:record-ignored",
    "pg-exclusion:ignore-error",
}
LAPSED_MS = 1_000

Asked = tuple[str, str, dict[str, Any]]
"""An operation, its attempt and its arguments."""

NONE: st.SearchStrategy[dict[str, Any]] = st.just({})
VALUE = st.sampled_from([None, 0, 1, "", "1", "ä\"'", [1, {"b": None, "a": 2.5}]])
JOB = st.sampled_from(["j1", "j2", "j3"])
PIECES = st.sampled_from(["ä\"'", "10 EUR"])
ANSWER = st.just({"answer": "ä\"' 1"})
PIECE = st.fixed_dictionaries({"value": st.sampled_from(["", "a", "ä\"'", " "])})

WHO = st.sampled_from(["zed", "alice", "bob", "ä\"'"])

operations: dict[str, st.SearchStrategy[Asked]] = {
    "double-submit": st.tuples(
        st.sampled_from(["start", "start", "finish", "lapse"]), st.sampled_from(["a", "b b", "c"]), NONE
    ),
    "double-submit join": st.one_of(
        st.tuples(st.sampled_from(["start", "finish", "lapse"]), st.sampled_from(["a", "b b"]), NONE),
        st.tuples(st.just("result"), st.just("c"), st.fixed_dictionaries({"of": st.sampled_from(["a", "b b"])})),
    ),
    "get-or-create": st.tuples(st.just("get"), st.just(""), NONE),
    "places": st.one_of(
        st.tuples(st.sampled_from(["enter", "enter", "look"]), st.just(""), NONE),
        st.tuples(st.just("leave"), st.just(""), st.fixed_dictionaries({"who": st.sampled_from(["x", "y", "z"])})),
    ),
    "roster": st.tuples(st.sampled_from(["add", "remove"]), st.just(""), st.fixed_dictionaries({"who": WHO})),
    "roster delete": st.one_of(
        st.tuples(st.sampled_from(["add", "add", "remove"]), st.just(""), st.fixed_dictionaries({"who": WHO})),
        st.tuples(st.just("delete"), st.just(""), NONE),
    ),
    "cron-job": st.one_of(
        st.tuples(st.just("tick"), st.just(""), st.fixed_dictionaries({"at": st.integers(5, 9)})),
        st.tuples(st.just("edit"), st.just(""), st.fixed_dictionaries({"every": st.integers(1, 2)})),
    ),
    "counter": st.tuples(st.just("add"), st.just(""), NONE),
    "lock-lease": st.tuples(st.just("build"), st.just(""), st.just({"takes_ms": 0})),
    "register": st.one_of(
        st.tuples(st.just("read"), st.just(""), NONE),
        st.tuples(st.just("write"), st.just(""), st.fixed_dictionaries({"value": VALUE})),
        st.tuples(st.just("cas"), st.just(""), st.fixed_dictionaries({"old": VALUE, "new": VALUE})),
    ),
    "booking": st.tuples(
        st.sampled_from(["book", "book", "cancel"]),
        st.just(""),
        st.builds(lambda start, hours: {"from": start, "until": start + hours}, st.integers(9, 12), st.integers(1, 2)),
    ),
    "refund": st.one_of(
        st.tuples(st.just("refund"), st.just(""), st.fixed_dictionaries({"amount": st.integers(1, 60)})),
        st.tuples(st.just("bounce"), st.just(""), NONE),
    ),
    "invoice-number": st.tuples(st.just("issue"), st.just(""), st.fixed_dictionaries({"amount": st.integers(-1, 3)})),
    "job-claim": st.one_of(
        st.tuples(st.just("claim"), st.just(""), st.fixed_dictionaries({"job": st.sampled_from(["any", "j1", "j3"])})),
        st.tuples(
            st.just("complete"),
            st.just(""),
            st.fixed_dictionaries({"job": JOB, "worker": st.sampled_from(["w0", "0", "1"])}),
        ),
        st.tuples(st.just("cancel"), st.just(""), st.fixed_dictionaries({"job": JOB})),
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
    "idempotency-key": st.one_of(
        st.tuples(st.just("begin"), st.sampled_from("ab"), st.fixed_dictionaries({"body": PIECES})),
        st.tuples(st.sampled_from(["complete", "complete", "lapse"]), st.sampled_from("ab"), ANSWER),
    ),
    "idempotency-key released": st.one_of(
        st.tuples(st.just("begin"), st.sampled_from("ab"), st.fixed_dictionaries({"body": PIECES})),
        st.tuples(st.sampled_from(["complete", "lapse"]), st.sampled_from("ab"), ANSWER),
        st.tuples(st.just("release"), st.sampled_from("ab"), NONE),
    ),
    "credits": st.tuples(
        st.sampled_from(["reserve", "reserve", "settle", "release", "lapse"]), st.sampled_from(["a", "b"]), NONE
    ),
    "credits approval": st.tuples(
        st.sampled_from(["look", "reserve", "settle", "release"]), st.sampled_from(["a", "b"]), NONE
    ),
    **dict.fromkeys(
        ("credits auto-refill", "credits refill-anyway"),
        st.tuples(
            st.sampled_from(["check", "refill", "refill", "reserve", "release", "lapse"]), st.sampled_from("ab"), NONE
        ),
    ),
    "subscription": st.tuples(
        st.sampled_from(["begin", "begin", "settle", "settle", "abandon", "cancel"]), st.sampled_from(["a", "b"]), NONE
    ),
    "six-writers": st.one_of(
        st.tuples(st.just("take"), st.just(""), st.fixed_dictionaries({"amount": st.integers(1, 90)})),
        st.tuples(st.just("freeze"), st.just(""), NONE),
    ),
    "webhook": st.tuples(
        st.just("deliver"),
        st.just(""),
        st.sampled_from(["e1", "e2", "e3"]).map(
            lambda event: {"event": event, "version": int(event[1]), "status": f"s{event}", "credits": 7}
        ),
    ),
    "token-rotation": st.tuples(
        st.sampled_from(["rotate", "rotate", "rotate", "lapse"]),
        st.just(""),
        st.fixed_dictionaries({"token": st.sampled_from(["t0", "t0", "t-0", "t-0", "t-1", "ä"])}),
    ),
    "rate-limit": st.tuples(
        st.sampled_from(["hit", "hit", "hit", "lapse"]), st.just(""), st.fixed_dictionaries({"limit": st.just(3)})
    ),
}


def cells() -> Iterator[Any]:
    """Every scenario under what applies to it."""
    for scenario in scenarios():
        if scenario.name not in operations:
            continue
        for number, rule in enumerate(scenario().all_rules()):
            for strategy in translations(scenario, rule):
                if strategy.claim(Conditions()).kind != "not-applicable":
                    name = f"{scenario.name}-{strategy.title}{f'-{rule}' * (number > 0)}"
                    yield pytest.param(strategy, rule, id=name)


ALL = list(cells())
WRONG = [cell for cell in ALL if cell.values[0].title in WRONG_ALONE and cell.values[1] != "blind"]
"""A blind rule always changes its row."""
RIGHT = [cell for cell in ALL if cell not in WRONG]


def test_no_scenario_is_left_out() -> None:
    """Each is driven here, or, where its requests name two keys, beside."""
    assert {scenario.name for scenario in scenarios()} == {name.split()[0] for name in operations} | {"team-move"}


async def conforms(world: World, scenario: Scenario, strategy: Strategy, name: str, asked: list[Asked]) -> bool:
    """Whether replies and states are those of the pure rule, all along."""
    rule = scenario.all_rules()[name]
    key = await world.seed(scenario, strategy)
    state: dict[str, Any] = {key: scenario.initial_value}
    for number, (operation, attempt, args) in enumerate(asked):
        if operation == "lapse":
            await lapse(world, strategy, state)
            continue
        request = Request(operation, (key,), args, id=f"{key} {number}", attempt=attempt)
        reply = await world.apply(strategy, request, rule)
        now_ms = world.decided_ms(strategy)
        seen = scenario.view(await world.look(strategy, key), now_ms)
        # Who says less than the rule may be right, too: what a scenario allows alone is asked, as by the judge.
        after = [
            {**left}
            for left in scenario.allowed(state, request, now_ms, reply, rule)
            if scenario.view(left[key], now_ms) == seen
        ]
        if not after:
            return False
        state = after[0]
    return True


async def lapse(world: World, strategy: Strategy, state: dict[str, Any]) -> None:
    """Let a lease or a window run out: it still lies there, unless a TTL is all that such a form looks at."""
    for key, held in state.items():
        if held is not None:
            forgets = strategy.form in FORGETS and held.get("answer") is None
            state[key] = None if forgets else lapsed(held)
            await world.put(strategy, key, state[key])


FORGETS = {"command", "multi", "expire-later", "expire-each"}
"""Families whose forms leave it to the store when something runs out."""


def lapsed(held: dict[str, Any]) -> dict[str, Any]:
    """The same, in so far as time can have passed for it."""
    match held:
        case {"window": window}:
            return {**held, "window": window - 1}
        case {"log": [first, *others]}:
            return {"log": [first - 60_000, *others]}
        case {"count": _, **more} if not more:
            return held
        case {"due_ms": _}:
            return {**held, "due_ms": LAPSED_MS}
        case {"full_at": full_at}:
            return {"full_at": full_at - 90_000}
    return {**held, "until_ms": LAPSED_MS}


def of(strategy: Strategy) -> st.SearchStrategy[list[Asked]]:
    """Requests for the strategy's scenario, under its rule."""
    scenario = strategy.scenario
    asked = operations.get(f"{scenario.name} {scenario.executed}", operations[scenario.name])
    return st.lists(asked, min_size=1, max_size=8)


@pytest.mark.parametrize(("strategy", "rule"), RIGHT)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_alone_a_strategy_does_what_the_rule_says(
    world: World, strategy: Strategy, rule: str, data: st.DataObject
) -> None:
    """Replies and states, request by request, on the real store."""
    asked = data.draw(of(strategy))
    assert True is world.run(conforms(world, strategy.scenario, strategy, rule, asked))


WRONG_ALONE: dict[str, list[Asked]] = {
    "register": [("cas", "", {"old": 1, "new": 2})],
    "booking": [("book", "", {"from": 9, "until": 11}), ("book", "", {"from": 10, "until": 12})],
    "refund": [("refund", "", {"amount": 60})] * 2,
    "webhook": [("deliver", "", {"event": "e1", "version": 1, "status": "new", "credits": 7})] * 2,
    "places": [("enter", "", {}), ("enter", "", {}), ("leave", "", {"who": "z"})],
    "cron-job": [("tick", "", {"at": 6})],
    "job-claim": [("complete", "", {"job": "j1", "worker": "w0"})],
    "roster": [("delete", "", {}), ("add", "", {"who": "bob"})],
    "credits": [("reserve", "a", {}), ("reserve", "b", {})],
    "last-owner": [("leave", "", {"owner": "cat"})],
}
"""What shows that a decision was thrown away, by scenario."""


@pytest.mark.parametrize(("strategy", "rule"), WRONG)
def test_a_decision_thrown_away_is_wrong_even_alone(world: World, strategy: Strategy, rule: str) -> None:
    """A start that finds another's lease is let in; a cas that finds another value claims to have swapped it."""
    starts: list[Asked] = [("start", "a", {}), ("start", "c", {}), ("finish", "a", {})]
    asked = WRONG_ALONE.get(strategy.scenario.name, starts)
    assert False is world.run(conforms(world, strategy.scenario, strategy, rule, asked))


LEASES = st.fixed_dictionaries({"attempt": st.text(alphabet="ab 1-", max_size=5), "until_ms": st.integers(1, 2**53)})


@settings(deadline=None)
@given(LEASES)
def test_a_lease_survives_its_layouts(lease: dict[str, Any]) -> None:
    """As a string of Redis and as a row of PostgreSQL."""
    scenario = find_scenario("double-submit")()
    assert lease == scenario.values.parse(scenario.values.encode(lease).encode())
    assert lease == scenario.rows.value(scenario.rows.row(lease))
