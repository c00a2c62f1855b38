"""The rule of a roster, and what its invariants say."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "team:1"
KIND = find_scenario("roster")
GONE: dict[str, Any] = {"open": False, "members": []}


def team(*members: str) -> dict[str, Any]:
    """One that is there."""
    return {"open": True, "members": [*members]}


def ask(operation: str, who: str = "", name: str = "r") -> Request:
    """What somebody wants."""
    return Request(operation, (KEY,), {"who": who} if who else {}, id=name)


@pytest.mark.parametrize(
    ("before", "request_", "reply", "after"),
    [
        (team("zed"), ask("add", "alice"), "added", team("alice", "zed")),
        (team("zed"), ask("add", "zed"), "added", team("zed")),
        (GONE, ask("add", "alice"), "no team", GONE),
        (team("a", "b"), ask("remove", "a"), "removed", team("b")),
        (team("b"), ask("remove", "a"), "not in", team("b")),
        (team("a", "b"), ask("delete"), "deleted", GONE),
        (GONE, ask("delete"), "gone already", GONE),
    ],
)
def test_the_rule(before: Any, request_: Request, reply: str, after: Any) -> None:
    """Nobody is added to a team that is no more."""
    outcome = KIND().rule({KEY: before}, request_, 0)
    assert (Reply(reply), after) == (outcome.reply, {KEY: before, **outcome.changes}[KEY])


def told(request: Request, reply: str) -> Operation:
    """What somebody was told."""
    status = Status.OK if reply else Status.UNKNOWN
    return Operation(request, "w", 1, 2, status, Reply(reply) if reply else None)


ALICE, ZED, END = ask("add", "alice", "a"), ask("remove", "zed", "b"), ask("delete", name="c")


@pytest.mark.parametrize(
    ("operations", "rest", "breaches"),
    [
        ([told(ALICE, "added")], team("alice", "zed"), [[], [], []]),
        ([told(ALICE, "added")], team("zed"), [[Breach("alice was added, and is not in", ("a",))], [], []]),
        ([told(ALICE, "added")], team("alice"), [[Breach("zed was in, and is not", ())], [], []]),
        ([told(ALICE, "no team")], team("zed"), [[], [], []]),
        ([told(ALICE, "")], team("zed"), [[], [], []]),
        ([told(ZED, "removed")], team("zed"), [[], [Breach("zed was removed, and is in", ("b",))], []]),
        ([told(ZED, "removed"), told(ask("add", "zed"), "")], team("zed"), [[], [], []]),
        ([told(ZED, "")], team("zed"), [[], [], []]),
        ([told(ZED, "")], team(), [[], [], []]),
        ([told(ALICE, "added"), told(END, "deleted")], GONE, [[], [], []]),
        ([told(END, "deleted")], team("zed"), [[], [], [Breach("zed is in a team that was deleted", ("c",))]]),
        (
            [told(END, "")],
            {"open": False, "members": ["a", "b"]},
            [[], [], [Breach("a and b are in a team that was deleted", ())]],
        ),
        ([told(END, "")], team("zed"), [[], [], []]),
    ],
)
def test_the_invariants(operations: list[Operation], rest: Any, breaches: list[list[Breach]]) -> None:
    """Of who may have been added, removed, or gone with a team, nothing is said."""
    of = Evidence("burst", (KEY,), operations, initial={KEY: team("zed")}, rest={KEY: rest})
    assert breaches == [list(invariant.check(of)) for invariant in KIND().invariants()]


@pytest.mark.parametrize("rule", ["add", "remove", "delete"])
def test_what_meets(rule: str) -> None:
    """Somebody is added, and something else is done."""
    requests = KIND().under(rule).burst(Random(1), 4)
    assert [one.operation for one in requests[:2]] == ["add", rule]
    assert len(requests) == 4
