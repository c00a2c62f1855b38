"""The rule of refund, and when it says that more went back than came in."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "payment:1"
SCENARIO = find_scenario("refund")()


def payment(**refunds: list[Any]) -> dict[str, Any]:
    """100 were captured."""
    return {"captured": 100, "refunds": refunds}


def refund(amount: int, name: str = "new") -> Request:
    """One refund."""
    return Request("refund", (KEY,), {"amount": amount}, id=name)


BOUNCE = Request("bounce", (KEY,))


@pytest.mark.parametrize(
    ("value", "request_", "reply", "after"),
    [
        (payment(), refund(100), "refunded", payment(new=[100, "sent"])),
        (payment(), refund(101), "refused 100", payment()),
        (payment(old=[60, "sent"]), refund(40), "refunded", payment(old=[60, "sent"], new=[40, "sent"])),
        (payment(old=[60, "sent"]), refund(60), "refused 40", payment(old=[60, "sent"])),
        (payment(old=[60, "failed"]), refund(60), "refunded", payment(old=[60, "failed"], new=[60, "sent"])),
        (payment(old=[60, "sent"]), BOUNCE, "returned", payment(old=[60, "failed"])),
        (payment(old=[60, "failed"]), BOUNCE, "nothing", payment(old=[60, "failed"])),
        (payment(), BOUNCE, "nothing", payment()),
    ],
)
def test_the_rule(value: Any, request_: Request, reply: str, after: Any) -> None:
    """What came back leaves room again; who is refused is told how much there is."""
    outcome = SCENARIO.rule({KEY: value}, request_, 0)
    decision, _, left = reply.partition(" ")
    told = Reply(decision, {"left": int(left)} if left else {})
    assert (told, after) == (outcome.reply, {KEY: value, **outcome.changes}[KEY])


@pytest.mark.parametrize(
    ("value", "breaches"),
    [
        (payment(), []),
        (payment(a=[60, "sent"], b=[40, "sent"]), []),
        (payment(a=[60, "sent"], b=[60, "failed"]), []),
        (payment(a=[60, "sent"], b=[60, "sent"]), [Breach("120 were refunded of 100 captured", ("a", "b"), 20)]),
    ],
)
def test_not_more_than_was_captured(value: Any, breaches: list[Breach]) -> None:
    """The excess is how bad it is, and those that were accepted are named."""
    invariant, *_ = SCENARIO.invariants()
    told = [Operation(refund(60, name), "w", 1, 2, Status.OK, Reply("refunded")) for name in "ab"]
    told.append(Operation(refund(60, "c"), "w", 1, 2, Status.OK, Reply("refused", {"left": 40})))
    assert breaches == list(invariant.check(Evidence("burst", (KEY,), told, rest={KEY: value})))


@pytest.mark.parametrize(
    ("reply", "right"),
    [(Reply("refused", {"left": 40}), True), (Reply("refused"), True), (Reply("refused", {"left": 100}), False)],
)
def test_what_is_left(reply: Reply, right: bool) -> None:
    """Of 100, 60 are gone, and 60 more are asked for: 40 left, or no figure, but no older one."""
    state = {KEY: payment(old=[60, "sent"])}
    assert [state] * right == list(SCENARIO.allowed(state, refund(60), 0, reply, SCENARIO.rule))


def test_two_refunds_that_do_not_fit_together() -> None:
    """Whatever else is asked for."""
    requests = SCENARIO.burst(Random(1), 4)
    assert [(one.operation, one.args) for one in requests[:2]] == [("refund", {"amount": 60})] * 2
    assert ({one.keys for one in requests}, len(requests)) == ({("payment",)}, 4)


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        (payment(a=[60, "sent"]), []),
        (payment(a=[60, "failed"]), []),
        (payment(b=[60, "sent"]), ["120 were sent back, and the books say 60"]),
    ],
)
def test_what_was_sent_is_in_the_books(rest: dict[str, Any], says: list[str]) -> None:
    """Though it may have come back."""
    told = Operation(refund(60, "a"), "A", 0, 1, Status.OK, Reply("refunded"))
    *_, invariant = SCENARIO.invariants()
    evidence = Evidence("burst", (KEY,), [told], rest={KEY: rest})
    assert [breach.says for breach in invariant.check(evidence)] == says
