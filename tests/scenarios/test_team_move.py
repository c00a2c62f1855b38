"""The rule of team-move, and when it says that a member is lost."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KIND = find_scenario("team-move")
A, B = "red:1", "blue:1"


def team(members: int, *, there: bool = True) -> dict[str, Any]:
    """So many are in it."""
    return {"open": there, "members": members}


MOVE = Request("move", (A, B))
DELETE = Request("delete", (B,))
GONE = team(0, there=False)


def deleted(members: int) -> Reply:
    """What who deletes a team of so many is told."""
    return Reply("deleted", {"members": members})


@pytest.mark.parametrize(
    ("red", "blue", "request_", "reply", "after"),
    [
        (team(1), team(1), MOVE, Reply("moved"), (team(0), team(2))),
        (team(0), team(1), MOVE, Reply("refused"), (team(0), team(1))),
        (team(1), GONE, MOVE, Reply("refused"), (team(1), GONE)),
        (GONE, team(1), MOVE, Reply("refused"), (GONE, team(1))),
        (team(1), team(2), DELETE, deleted(2), (team(1), GONE)),
        (team(1), GONE, DELETE, Reply("gone already"), (team(1), GONE)),
    ],
)
def test_the_rule(red: Any, blue: Any, request_: Request, reply: Reply, after: Any) -> None:
    """Nobody moves into a team that is no more, or out of one that has nobody."""
    state = {A: red, B: blue}
    outcome = KIND().rule({key: state[key] for key in request_.keys}, request_, 0)
    assert (reply, after) == (outcome.reply, tuple({**state, **outcome.changes}.values()))


def told(request: Request, reply: Reply | None) -> Operation:
    """What somebody was told."""
    return Operation(request, "w", 1, 2, Status.UNKNOWN if reply is None else Status.OK, reply)


@pytest.mark.parametrize(
    ("operations", "rest", "breaches"),
    [
        ([told(MOVE, Reply("moved"))], (team(0), team(2)), [[], []]),
        ([told(MOVE, Reply("moved"))], (team(0), team(1)), [[Breach("members before: 2, now: 1", amount=1)], []]),
        ([told(MOVE, Reply("moved"))], (team(1), team(2)),
         [[Breach("members before: 2, now: 3", amount=1)], []]),
        ([told(DELETE, deleted(1))], (team(1), GONE), [[], []]),
        ([told(DELETE, deleted(1))], (team(0), GONE), [[Breach("members before: 1, now: 0", amount=1)], []]),
        ([told(DELETE, deleted(1))], (team(0), team(1)),
         [[], [Breach("a deleted team is there again, members: 1", ("",))]]),
        ([told(DELETE, None)], (team(1), GONE), [[], []]),
        ([told(DELETE, None)], (team(2), team(1)), [[Breach("members before: 2, now: 3", amount=1)], []]),
    ],
)  # fmt: skip
def test_the_invariants(operations: list[Operation], rest: Any, breaches: list[list[Breach]]) -> None:
    """Of a deletion that nobody was told of it is not known how many it met."""
    of = Evidence(
        "burst", (A, B), operations, initial={A: team(1), B: team(1)}, rest=dict(zip((A, B), rest, strict=True))
    )
    assert breaches == [list(invariant.check(of)) for invariant in KIND().invariants()]


@pytest.mark.parametrize(
    ("rule", "other"), [("back", ("move", ("blue", "red"))), ("delete", ("delete", ("blue",)))]
)  # fmt: skip
def test_what_meets(rule: str, other: tuple[str, tuple[str, ...]]) -> None:
    """One moves from red to blue."""
    requests = KIND().under(rule).burst(Random(1), 4)
    assert [(one.operation, one.keys) for one in requests[:2]] == [("move", ("red", "blue")), other]
    assert len(requests) == 4
