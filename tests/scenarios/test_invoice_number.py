"""The rule of invoice-number, and when it says that numbers are doubled or left out."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.strategy.loader import find_scenario

KEY = "account:1"
SCENARIO = find_scenario("invoice-number")()


@pytest.mark.parametrize(
    ("invoices", "amount", "number", "after"),
    [
        ({}, 10, 1, {"new": 1}),
        ({"a": 1, "b": 2}, 10, 3, {"a": 1, "b": 2, "new": 3}),
        ({"a": 1}, 0, None, {"a": 1}),
        ({"a": 1}, -1, None, {"a": 1}),
    ],
)
def test_the_rule(invoices: Any, amount: int, number: int | None, after: Any) -> None:
    """Where there is nothing to pay, no number is used up."""
    reply = Reply("refused") if number is None else Reply("issued", {"number": number})
    outcome = SCENARIO.rule({KEY: invoices}, Request("issue", (KEY,), {"amount": amount}, id="new"), 0)
    assert (reply, after) == (outcome.reply, {KEY: invoices, **outcome.changes}[KEY])


@pytest.mark.parametrize(
    ("invoices", "doubles", "gaps"),
    [
        ({}, [], []),
        ({"a": 2, "b": 1}, [], []),
        ({"a": 1, "b": 1, "c": 2}, [Breach("2 invoices have the number 1", ("a", "b"), 1)], []),
        ({"a": 1, "b": 4}, [], [Breach("there is no invoice 2, 3", amount=2)]),
        ({"a": 2}, [], [Breach("there is no invoice 1", amount=1)]),
    ],
)
def test_numbers(invoices: Any, doubles: list[Breach], gaps: list[Breach]) -> None:
    """Two invariants: they break apart, and a sequence breaks only one of them."""
    of = Evidence("burst", (KEY,), [], rest={KEY: invoices})
    assert [doubles, gaps] == [list(invariant.check(of)) for invariant in SCENARIO.invariants()]


def test_two_invoices_at_once() -> None:
    """Whatever else is asked for."""
    requests = SCENARIO.burst(Random(1), 4)
    assert [(one.operation, one.args) for one in requests[:2]] == [("issue", {"amount": 10})] * 2
    assert ({one.keys for one in requests}, len(requests)) == ({("account",)}, 4)
