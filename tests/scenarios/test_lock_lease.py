"""The rule of lock-lease, and when it says that a report is lost."""

from __future__ import annotations

from random import Random

import pytest

from harness import Breach, Evidence, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KIND = find_scenario("lock-lease")
build = KIND.rules["default"]
KEY = "report:1"


def built(name: str, version: int | None, after: str = "", takes_ms: int = 0) -> Operation:
    """One that was told so, or nothing."""
    told = None if version is None else build({KEY: {"version": version - 1, "by": after}}, asked(name), 0).reply
    status = Status.UNKNOWN if version is None else Status.OK
    return Operation(asked(name, takes_ms), "A", 0, 1, status, told)


def asked(name: str, takes_ms: int = 0) -> Request:
    """Somebody builds."""
    return Request("build", (KEY,), {"takes_ms": takes_ms}, name)


def found(*operations: Operation, version: int) -> list[Breach]:
    """What all invariants say of it."""
    rest = {KEY: {"version": version, "by": "?"}}
    evidence = Evidence("burst", (KEY,), operations, initial={KEY: {"version": 0, "by": ""}}, rest=rest)
    return [breach for invariant in KIND().invariants() for breach in invariant.check(evidence)]


def test_each_is_built_from_the_last() -> None:
    """And says from whose."""
    outcome = build({KEY: {"version": 3, "by": "b"}}, asked("c"), 0)
    assert outcome.changes == {KEY: {"version": 4, "by": "c"}}
    assert dict(outcome.reply.values) == {"version": 4, "after": "b"}


@pytest.mark.parametrize(
    ("operations", "version", "says"),
    [
        ([built("a", 1), built("b", 2, "a")], 2, []),
        ([built("a", 1), built("b", None)], 1, []),
        ([built("a", 1), built("b", None)], 2, []),
        ([built("a", 1, takes_ms=160), built("b", 1)], 1, ["2 reports were built, and the last one is version 1"]),
        (
            [built("a", 1), built("b", 1)],
            1,
            ["2 reports were built, and the last one is version 1", "two that were quick were at work at once"],
        ),
        ([built("a", 1)], 3, ["1 report was built, and the last one is version 3"]),
    ],
)
def test_what_is_lost(operations: list[Operation], version: int, says: list[str]) -> None:
    """Against what was told; the quick are told apart from the slow."""
    assert [breach.says for breach in found(*operations, version=version)] == says


def test_one_of_a_burst_is_slow() -> None:
    """And outlives its lease."""
    takes = [request.args["takes_ms"] for request in KIND().burst(Random(1), 4)]
    assert sorted(takes)[:3] == [0, 0, 0]
    assert max(takes) > KIND.lock_lease_ms


def test_the_slow_drop_their_work() -> None:
    """Where they know by their own clock that their lease is over; of a burst the quick are at work as it ends."""
    late = KIND.rules["overrun"]
    state = {KEY: {"version": 3, "by": "b"}}
    assert late(state, asked("c", KIND.lock_lease_ms), 0) == build(state, asked("c"), 0)
    dropped = late(state, asked("c", KIND.lock_lease_ms + 1), 0)
    assert (dropped.changes, dropped.reply.decision) == ({}, "late")
    takes = sorted(request.args["takes_ms"] for request in KIND().under("overrun").burst(Random(1), 3))
    assert takes[0] == takes[1] < KIND.lock_lease_ms < takes[2] < KIND.lock_lease_ms + takes[0]
