"""The rule of cron-job, what its invariants say, and a value that is a hash."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "job:1"
KIND = find_scenario("cron-job")
RUN, CHANGED = Reply("run"), Reply("changed")


def tick(at: int, name: str = "new") -> Request:
    """A replica fires."""
    return Request("tick", (KEY,), {"at": at}, id=name)


def edit(every: int, name: str = "new") -> Request:
    """An admin changes it."""
    return Request("edit", (KEY,), {"every": every}, id=name)


def job(every: int, last: int) -> dict[str, int]:
    """What is known of it."""
    return {"every": every, "last": last}


@pytest.mark.parametrize(
    ("before", "request_", "reply", "after"),
    [
        (job(1, 6), tick(7), "run", job(1, 7)),
        (job(1, 7), tick(7), "not due", job(1, 7)),
        (job(1, 8), tick(7), "not due", job(1, 8)),
        (job(5, 6), tick(10), "not due", job(5, 6)),
        (job(5, 6), tick(11), "run", job(5, 11)),
        (job(1, 6), edit(10), "changed", job(10, 6)),
    ],
)
def test_the_rule(before: Any, request_: Request, reply: str, after: Any) -> None:
    """A tick that has run is not due; and to run it changes nothing else."""
    outcome = KIND().all_rules()["tick"]({KEY: before}, request_, 0)
    assert (Reply(reply), after) == (outcome.reply, {KEY: before, **outcome.changes}[KEY])


def told(request: Request, reply: Reply | None) -> Operation:
    """What somebody was told."""
    return Operation(request, "w", 1, 2, Status.UNKNOWN if reply is None else Status.OK, reply)


@pytest.mark.parametrize(
    ("operations", "rest", "breaches"),
    [
        ([told(tick(7, "a"), RUN), told(tick(7, "b"), Reply("not due"))], job(1, 7), [[], []]),
        ([told(tick(7, "a"), RUN), told(tick(8, "b"), RUN)], job(1, 8), [[], []]),
        (
            [told(tick(7, "a"), RUN), told(tick(7, "b"), RUN)],
            job(1, 7),
            [[Breach("the job ran 2 times at tick 7", ("a", "b"), 1)], []],
        ),
        (
            [told(tick(7, "a"), RUN), told(edit(10, "b"), CHANGED)],
            job(1, 7),
            [[], [Breach("it was set to every 10 minutes, and is every 1", ("b",))]],
        ),
        ([told(edit(5, "a"), CHANGED), told(edit(10, "b"), CHANGED)], job(5, 6), [[], []]),
        ([told(edit(10, "a"), None)], job(1, 6), [[], []]),
        ([told(edit(5, "a"), None), told(edit(10, "b"), CHANGED)], job(5, 6), [[], []]),
    ],
)
def test_the_invariants(operations: list[Operation], rest: Any, breaches: list[list[Breach]]) -> None:
    """About those who run it, and about who changed it."""
    of = Evidence("burst", (KEY,), operations, rest={KEY: rest})
    assert breaches == [list(invariant.check(of)) for invariant in KIND().invariants()]


@pytest.mark.parametrize(("rule", "kinds"), [("tick", ["tick", "tick"]), ("edit", ["tick", "edit", "edit"])])
def test_what_meets(rule: str, kinds: list[str]) -> None:
    """Two replicas, or one and everybody else who edits."""
    requests = KIND().under(rule).burst(Random(1), 3)
    assert kinds == [one.operation for one in requests][: len(kinds)]


def test_a_hash_has_fields() -> None:
    """It is written as a whole, or only where it differs; what is not there is nothing."""
    values = KIND.values
    assert values.write("k", job(1, 6), 0) == ("HSET", "k", "every", "1", "last", "6")
    assert values.write_changed("k", job(1, 6), job(1, 7)) == ("HSET", "k", "last", "7")
    assert values.write_changed("k", None, job(1, 7)) == values.write("k", job(1, 7), 0)
    assert values.write_changed("k", job(1, 7), None) == ("DEL", "k")
    assert values.write("k", None, 0) == ("DEL", "k")
    assert (values.parse([b"last", b"7", b"every", b"1"]), values.parse([])) == (job(1, 7), None)
