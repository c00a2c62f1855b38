"""The rule of counter, and when it says that adds were lost."""

from __future__ import annotations

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "counter:1"
SCENARIO = find_scenario("counter")()


def add(status: Status, decision: str = "added") -> Operation:
    """One add as its caller saw it."""
    reply = Reply(decision) if status is Status.OK else None
    return Operation(Request("add", (KEY,)), "w1", 1, 2, status, reply)


@pytest.mark.parametrize(("value", "after"), [(None, 1), (0, 1), (41, 42)])
def test_the_rule(value: int | None, after: int) -> None:
    """One more than there is; no row counts as nought."""
    outcome = SCENARIO.rule({KEY: value}, Request("add", (KEY,)), 5_000)
    assert ({KEY: after}, Reply("added", {"value": after})) == outcome


OK, UNKNOWN, FAILED = add(Status.OK), add(Status.UNKNOWN), add(Status.FAILED)
ABORTED = add(Status.OK, "aborted")


@pytest.mark.parametrize(
    ("adds", "rest", "amounts"),
    [
        ([OK, OK], 2, []),
        ([], None, []),
        ([OK, UNKNOWN], 1, []),
        ([OK, UNKNOWN], 2, []),
        ([OK, FAILED, ABORTED], 1, []),
        ([OK, OK, OK], 1, [2]),
        ([OK, UNKNOWN], 0, [1]),
        ([OK, UNKNOWN], 3, [1]),
        ([OK, FAILED], 2, [1]),
    ],
)
def test_no_add_is_lost(adds: list[Operation], rest: int | None, amounts: list[int]) -> None:
    """The value lies between the acknowledged adds and those that may have happened as well."""
    (invariant,) = SCENARIO.invariants()
    of = Evidence("burst", (KEY,), adds, initial={KEY: None}, rest={KEY: rest})
    assert amounts == [breach.amount for breach in invariant.check(of)]


def test_a_lost_add_is_said_in_the_domains_words() -> None:
    """How many were acknowledged, and what the counter shows."""
    (invariant,) = SCENARIO.invariants()
    of = Evidence("burst", (KEY,), [OK] * 8, initial={KEY: None}, rest={KEY: 5})
    expected = [Breach("8 adds were acknowledged but the counter shows 5", amount=3)]
    assert expected == list(invariant.check(of))


def test_a_state_at_rest_that_could_not_be_read_says_nothing() -> None:
    """No rest, no breach."""
    (invariant,) = SCENARIO.invariants()
    assert list(invariant.check(Evidence("burst", (KEY,), [OK]))) == []
