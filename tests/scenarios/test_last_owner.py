"""The rule of last-owner, and when it says that a team has lost its owners."""

from __future__ import annotations

from random import Random

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "team:1"
SCENARIO = find_scenario("last-owner")()


def ask(operation: str, owner: str) -> Request:
    """What somebody does."""
    return Request(operation, (KEY,), {"owner": owner}, id=owner)


@pytest.mark.parametrize(
    ("owners", "request_", "reply", "after"),
    [
        (["ann", "bob"], ask("leave", "ann"), "left", ["bob"]),
        (["bob"], ask("leave", "bob"), "refused", ["bob"]),
        (["ann", "bob"], ask("leave", "cat"), "refused", ["ann", "bob"]),
        (["bob"], ask("join", "ann"), "joined", ["ann", "bob"]),
        (["bob"], ask("join", "bob"), "joined", ["bob"]),
    ],
)
def test_the_rule(owners: list[str], request_: Request, reply: str, after: list[str]) -> None:
    """The last one stays."""
    outcome = SCENARIO.rule({KEY: owners}, request_, 0)
    assert (Reply(reply), after) == (outcome.reply, {KEY: owners, **outcome.changes}[KEY])


@pytest.mark.parametrize(
    ("owners", "breaches"),
    [(["bob"], []), ([], [Breach("everybody has left: the team has no owner", ("ann", "bob"))])],
)
def test_an_owner_is_left(owners: list[str], breaches: list[Breach]) -> None:
    """Those who were let go are named."""
    (invariant,) = SCENARIO.invariants()
    told = [Operation(ask("leave", name), "w", 1, 2, Status.OK, Reply("left")) for name in ("ann", "bob")]
    assert breaches == list(invariant.check(Evidence("burst", (KEY,), told, rest={KEY: owners})))


def test_both_owners_leave() -> None:
    """Whatever others do."""
    requests = SCENARIO.burst(Random(1), 4)
    assert [(one.operation, one.args["owner"]) for one in requests[:2]] == [("leave", "ann"), ("leave", "bob")]
