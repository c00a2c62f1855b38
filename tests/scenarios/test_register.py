"""The rule of register, and what its bursts ask."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "register:1"
SCENARIO = find_scenario("register")()


@pytest.mark.parametrize(
    ("value", "operation", "args", "answer", "after"),
    [
        (None, "read", {}, {"value": None}, None),
        (3, "read", {}, {"value": 3}, 3),
        (3, "write", {"value": 4}, {}, 4),
        (3, "cas", {"old": 3, "new": 4}, {"swapped": True}, 4),
        (3, "cas", {"old": 4, "new": 5}, {"swapped": False}, 3),
        (None, "cas", {"old": None, "new": 5}, {"swapped": True}, 5),
        (3, "cas", {"old": 3, "new": None}, {"swapped": True}, None),
        (1, "cas", {"old": True, "new": 5}, {"swapped": False}, 1),
        ([1, {"a": 2}], "cas", {"old": [1, {"a": 2}], "new": "x"}, {"swapped": True}, "x"),
    ],
)
def test_the_rule(value: Any, operation: str, args: dict[str, Any], answer: dict[str, Any], after: Any) -> None:
    """What a history holds as the reply, and what is left."""
    outcome = SCENARIO.rule({KEY: value}, Request(operation, (KEY,), args), 5_000)
    assert (Reply("done", answer), after) == (outcome.reply, {KEY: value, **outcome.changes}[KEY])


def test_two_of_a_burst_exclude_each_other() -> None:
    """Both want to be the first: with either alone it swaps, after the other it does not."""
    first, second, *_others = SCENARIO.burst(Random(1), 5)
    state = {"register": None}
    state.update(SCENARIO.rule(state, first, 0).changes)
    assert SCENARIO.rule(state, second, 0).reply == Reply("done", {"swapped": False})


def swap(old: Any, new: Any, swapped: bool | None) -> Operation:
    """A cas, and whether it was told to have swapped; None where it was told nothing."""
    reply = None if swapped is None else Reply("done", {"swapped": swapped})
    status = Status.UNKNOWN if swapped is None else Status.OK
    return Operation(Request("cas", (KEY,), {"old": old, "new": new}, id=f"r{new}"), "A", 1, 2, status, reply, 0, 0)


@pytest.mark.parametrize(
    ("operations", "rest", "says"),
    [
        ([swap(None, 0, True), swap(None, 1, True)], 1, "(none) was swapped for 0 and for 1"),
        ([swap(None, 0, True), swap(None, 1, None)], 1, "(none) was swapped for 0 and for 1"),
        ([swap(None, 0, True), swap(None, 1, None)], 0, ""),
        ([swap(None, 0, True), swap(None, 1, False)], 1, ""),  # whoever was told no has not swapped it
        ([swap(None, 0, True), swap(0, None, True), swap(None, 1, True)], 1, ""),  # it was there twice
    ],
)
def test_a_value_is_swapped_once(operations: list[Operation], rest: int, says: str) -> None:
    """As often as it was put there, in the words of a compare-and-set."""
    found = SCENARIO.disorder(Evidence("burst", (KEY,), operations, [], rest={KEY: rest}, initial={KEY: None}))
    assert found == (f"{says}, and could be only once" if says else "")


def test_alone_anything_is_asked() -> None:
    """Under sustained load requests are drawn one by one."""
    rng = Random(2)
    assert {SCENARIO.burst(rng, 1)[0].operation for _ in range(99)} == set(SCENARIO.operations)


@pytest.mark.parametrize("value", [None, 0, False, "", "ä", [1], {"b": 1, "a": None}, 1.5, 2**70])
def test_values_survive_their_layouts(value: Any) -> None:
    """As a string of Redis and as a row of PostgreSQL."""
    command = SCENARIO.values.write("k", value, 0)
    assert value == SCENARIO.values.parse(command[2].encode() if command[0] == "SET" else None)
    assert value == SCENARIO.rows.value(SCENARIO.rows.row(value))


@pytest.mark.parametrize(("value", "answer", "explained"), [(1, True, False), (False, 0, False), ((1,), [1], True)])
def test_an_answer_is_compared_as_json(value: Any, answer: Any, explained: bool) -> None:
    """Who is told true has not read 1, although to Python they are equal; a tuple arrives as a list."""
    read, told = Request("read", (KEY,)), Reply("done", {"value": answer})
    assert explained == any(True for _after in SCENARIO.allowed({KEY: value}, read, 0, told, SCENARIO.rule))
