"""The rules of places, and what its invariants say."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Attempt, Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "room:1"
KIND = find_scenario("places")
RULES = KIND().all_rules()
ENTERED, LEFT = Reply("entered"), Reply("left")


def room(*names: str) -> dict[str, Any]:
    """Three places."""
    return {"places": 3, "in": [*names]}


def ask(operation: str, name: str = "new", **args: str) -> Request:
    """What somebody wants."""
    return Request(operation, (KEY,), args, id=name)


LEAVE = ask("leave", "c", who="y")


@pytest.mark.parametrize(
    ("rule", "before", "request_", "reply", "after"),
    [
        ("cap", room("x", "y"), ask("enter"), "entered", room("x", "y", "new")),
        ("cap", room("x", "y", "z"), ask("enter"), "full", room("x", "y", "z")),
        ("look-only", room("x", "y", "z"), ask("enter"), "entered", room("x", "y", "z", "new")),
        ("cap", room("x", "y", "z"), ask("look"), "full", room("x", "y", "z")),
        ("look-only", room("x"), ask("look"), "free", room("x")),
        ("in-doubt", room("x", "y", "z"), ask("enter"), "full", room("x", "y", "z")),
        ("unsigned", room("x", "y", "z"), ask("enter"), "full", room("x", "y", "z")),
        ("unsigned", room("x", "y", "z", "a"), ask("enter"), "entered", room("x", "y", "z", "a", "new")),
        ("unsigned", room("x", "y", "z", "a"), ask("look"), "free", room("x", "y", "z", "a")),
        ("cap", room("x", "y", "z", "a"), ask("look"), "full", room("x", "y", "z", "a")),
        ("cap", room("x", "y"), ask("leave", who="y"), "left", room("x")),
        ("cap", room("x"), ask("leave", who="y"), "not in", room("x")),
    ],
)
def test_the_rules(rule: str, before: Any, request_: Request, reply: str, after: Any) -> None:
    """Who has looked does not ask again, where that is the rule."""
    outcome = RULES[rule]({KEY: before}, request_, 0)
    assert (Reply(reply), after) == (outcome.reply, {KEY: before, **outcome.changes}[KEY])


def told(request: Request, reply: Reply | None) -> Operation:
    """What somebody was told."""
    return Operation(request, "w", 1, 2, Status.UNKNOWN if reply is None else Status.OK, reply)


@pytest.mark.parametrize(
    ("operations", "rest", "breaches"),
    [
        ([told(ask("enter", "a"), ENTERED), told(ask("enter", "b"), Reply("full"))], room("a", "x", "y"), [[], [], []]),
        (
            [told(ask("enter", "a"), Reply("full")), told(ask("enter", "b"), Reply("full"))],
            room("x", "y"),
            [[], [Breach("2 were turned away, and a place was free that nobody took", ("a", "b"))], []],
        ),
        ([told(ask("enter", "a"), Reply("full")), told(ask("enter", "b"), None)], room("x", "y"), [[], [], []]),
        (
            [told(ask("enter", "a"), ENTERED), told(ask("enter", "b"), ENTERED)],
            room("a", "b", "x", "y"),
            [[Breach("4 were let in, and there are 3 places", ("a", "b"), 1)], [], []],
        ),
        (
            [told(ask("enter", "a"), ENTERED), told(ask("enter", "b"), ENTERED)],
            room("b", "x", "y"),
            [
                [Breach("4 were let in, and there are 3 places", ("a", "b"), 1)],
                [],
                [Breach("1 that had been let in is not in", ("a",))],
            ],
        ),
        (
            [told(ask("enter", "a"), ENTERED), told(LEAVE, LEFT), told(ask("enter", "b"), ENTERED)],
            room("a", "b", "x"),
            [[], [], []],
        ),
        (
            [told(ask("enter", "a"), ENTERED), told(LEAVE, None), told(ask("enter", "b"), ENTERED)],
            room("a", "b", "x"),
            [[], [], []],
        ),
        ([told(ask("enter", "a"), None)], room("x", "y"), [[], [], []]),
    ],
)  # fmt: skip
def test_the_invariants(operations: list[Operation], rest: Any, breaches: list[list[Breach]]) -> None:
    """Of those that were let in as many are in as there is room for."""
    of = Evidence("burst", (KEY,), operations, initial={KEY: room("x", "y")}, rest={KEY: rest})
    assert breaches == [list(invariant.check(of)) for invariant in KIND().invariants()]


@pytest.mark.parametrize(
    ("rule", "reply", "states"), [("cap", "full", 0), ("in-doubt", "full", 1), ("in-doubt", "entered", 1)]
)
def test_in_doubt_it_is_full(rule: str, reply: str, states: int) -> None:
    """Although a place is free: somebody may be about to leave it again."""
    scenario, before = KIND().under(rule), {KEY: room("x", "y")}
    found = list(scenario.allowed(before, ask("enter"), 0, Reply(reply), RULES[rule]))
    assert len(found) == states
    assert (before in found) == (states == 1 and reply == "full")


def test_what_meets() -> None:
    """Two carts that want the last place; a coupon is used by attempts."""
    requests = KIND().under("cap").burst(Random(1), 4)
    assert [(one.operation, one.role) for one in requests[:2]] == [("enter", "cart")] * 2
    assert all(isinstance(one, Attempt) for one in KIND().under("look-only").burst(Random(1), 2))
