"""The rule of booking, and when it says that a host was booked twice."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "host:1"
SCENARIO = find_scenario("booking")()


def ask(operation: str, start: int, end: int) -> Request:
    """A request of the guest `new`."""
    return Request(operation, (KEY,), {"from": start, "until": end}, id="new")


@pytest.mark.parametrize(
    ("bookings", "request_", "reply", "after"),
    [
        ({}, ask("book", 9, 10), "booked", {"new": [9, 10]}),
        ({"old": [9, 11]}, ask("book", 10, 12), "taken", {"old": [9, 11]}),
        ({"old": [10, 11]}, ask("book", 9, 12), "taken", {"old": [10, 11]}),
        ({"old": [9, 12]}, ask("book", 10, 11), "taken", {"old": [9, 12]}),
        ({"old": [9, 10]}, ask("book", 10, 11), "booked", {"old": [9, 10], "new": [10, 11]}),
        ({"old": [9, 10]}, ask("book", 8, 9), "booked", {"old": [9, 10], "new": [8, 9]}),
        ({"old": [9, 10]}, ask("cancel", 9, 10), "cancelled", {}),
        ({"old": [9, 10]}, ask("cancel", 9, 11), "not booked", {"old": [9, 10]}),
    ],
)
def test_the_rule(bookings: Any, request_: Request, reply: str, after: Any) -> None:
    """A booking that ends when another begins does not overlap it."""
    outcome = SCENARIO.rule({KEY: bookings}, request_, 0)
    assert (Reply(reply), after) == (outcome.reply, {KEY: bookings, **outcome.changes}[KEY])


@pytest.mark.parametrize(
    ("bookings", "breaches"),
    [
        ({}, []),
        ({"a": [9, 10], "b": [10, 12]}, []),
        ({"a": [10, 11], "b": [10, 11]}, [Breach("booked twice: 10 to 11 and 10 to 11", ("a", "b"))]),
        ({"a": [11, 12], "b": [9, 10], "c": [9, 12]}, [Breach("booked twice: 9 to 10 and 9 to 12", ("b", "c")),
                                                       Breach("booked twice: 9 to 12 and 11 to 12", ("c", "a"))]),
        ({"a": [9, 12], "b": [10, 11], "c": [11, 12]}, [Breach("booked twice: 9 to 12 and 10 to 11", ("a", "b")),
                                                        Breach("booked twice: 9 to 12 and 11 to 12", ("a", "c"))]),
    ],
)  # fmt: skip
def test_nothing_overlaps(bookings: Any, breaches: list[Breach]) -> None:
    """Each booking that begins before an earlier one has ended is named with it."""
    invariant, *_ = SCENARIO.invariants()
    assert breaches == list(invariant.check(Evidence("burst", (KEY,), [], rest={KEY: bookings})))


@pytest.mark.parametrize(
    ("booking", "request_", "reply", "after"),
    [
        (None, ask("book", 10, 11), "booked", {"new": [10, 11]}),
        ({"old": [10, 11]}, ask("book", 10, 11), "taken", {"old": [10, 11]}),
        ({"old": [10, 11]}, ask("cancel", 10, 11), "cancelled", None),
        (None, ask("cancel", 10, 11), "not booked", None),
    ],
)
def test_the_rule_of_slots(booking: Any, request_: Request, reply: str, after: Any) -> None:
    """A slot is free or it is not."""
    outcome = SCENARIO.slots({KEY: booking}, request_, 0)
    assert (Reply(reply), after) == (outcome.reply, {KEY: booking, **outcome.changes}[KEY])


def test_of_a_slot_everybody_wants_the_same() -> None:
    """Or frees it."""
    requests = find_scenario("booking")().under("slots").burst(Random(1), 9)
    assert {tuple(one.args.values()) for one in requests} == {(10, 11)}
    assert {one.operation for one in requests} == {"book", "cancel"}


def test_two_guests_want_the_same_hour() -> None:
    """Whatever others ask for."""
    requests = SCENARIO.burst(Random(1), 4)
    assert [(one.operation, one.args) for one in requests[:2]] == [("book", {"from": 10, "until": 11})] * 2
    assert ({one.keys for one in requests}, len(requests)) == ({("host",)}, 4)


@pytest.mark.parametrize(
    ("rest", "cancelled", "says"),
    [
        ({"a": [10, 11]}, False, []),
        ({"b": [10, 11]}, False, ["10 to 11 was confirmed to two, and is there for one"]),
        ({}, False, ["nobody knows of 10 to 11 any more"]),
        (None, False, ["nobody knows of 10 to 11 any more"]),
        ({}, True, []),
    ],
)
def test_what_was_confirmed_is_there(rest: Any, says: list[str], *, cancelled: bool) -> None:
    """Unless somebody has cancelled these hours, or may have."""
    booked = Operation(ask("book", 10, 11)._replace(id="a", keys=(KEY,)), "A", 0, 1, Status.OK, Reply("booked"))
    gone = Operation(ask("cancel", 10, 11)._replace(id="c", keys=(KEY,)), "C", 0, None, Status.UNKNOWN, None)
    *_, invariant = SCENARIO.invariants()
    evidence = Evidence("burst", (KEY,), [booked, *[gone] * cancelled], rest={KEY: rest})
    assert [breach.says for breach in invariant.check(evidence)] == says
