"""The rules of subscription, and what its invariants say of hand-made evidence."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Effect, Operation, Status
from harness.strategy.loader import find_scenario

KEY = "user:1"
SCENARIO = find_scenario("subscription")()
RULES = SCENARIO.all_rules()


def held(plan: str = "free", pending: str = "", known: str = "", *, closed: bool = False) -> dict[str, Any]:
    """The value of a user."""
    return {"plan": plan, "pending": pending, "closed": closed, "known": list(known)}


WINS = ("cancel-wins", "first-wins", "last-wins")


@pytest.mark.parametrize(
    ("rules", "value", "operation", "decision", "after"),
    [
        ((*WINS, "blind"), None, "begin", "pending", held(pending="a")),
        (WINS, held(pending="a"), "settle", "active", held("pro", known="a")),
        (WINS, held(), "settle", "late", held(known="a")),
        (WINS, held(pending="b"), "settle", "late", held(pending="b", known="a")),
        ((*WINS, "error-cancels"), held("pro", known="a"), "settle", "known", held("pro", known="a")),
        (("error-cancels",), held("pro", known="a"), "cancel", "ended", held(closed=True, known="a")),
        (WINS, held("pro"), "begin", "refused", held("pro")),
        (WINS, held("pro", known="a"), "begin", "known", held("pro", known="a")),
        (WINS, held(pending="a"), "begin", "pending", held(pending="a")),
        ((*WINS, "blind"), held(pending="a"), "abandon", "abandoned", held()),
        (WINS, held(pending="b"), "abandon", "kept", held(pending="b")),
        ((*WINS, "blind"), None, "cancel", "noted", held(closed=True)),
        (("cancel-wins", "last-wins", "blind"), held(pending="b"), "cancel", "cancelled", held(closed=True)),
        (("cancel-wins", "last-wins", "blind"), held("pro"), "cancel", "ended", held(closed=True)),
        (("first-wins",), held(pending="b"), "cancel", "refused", held(pending="b")),
        (("first-wins",), held("pro"), "cancel", "refused", held("pro")),
        (("cancel-wins", "first-wins"), held(closed=True), "begin", "refused", held(closed=True)),
        (("cancel-wins", "first-wins"), held(pending="b"), "begin", "refused", held(pending="b")),
        (("last-wins",), held(closed=True), "begin", "reopened", held(pending="a")),
        (("last-wins", "blind"), held(pending="b"), "begin", "pending", held(pending="a")),
        (("blind",), held(closed=True), "begin", "pending", held(pending="a")),
        (("blind",), held(closed=True), "settle", "active", held("pro", closed=True)),
        (("blind",), held("pro"), "settle", "active", held("pro")),
    ],
)
def test_the_rules(rules: tuple[str, ...], value: Any, operation: str, decision: str, after: Any) -> None:
    """What each request does to a subscription, under each rule."""
    request = Request(operation, (KEY,), id="1", attempt="a")
    for rule in rules:
        outcome = RULES[rule]({KEY: value}, request, 0)
        assert (Reply(decision), after) == (outcome.reply, {KEY: value, **outcome.changes}[KEY])


def told(operation: str, decision: str | None, begin: int, end: int | None, attempt: str = "a") -> Operation:
    """A request that was answered so in that interval; None: nobody was told."""
    reply = None if decision is None else Reply(decision)
    status = Status.UNKNOWN if decision is None else Status.OK
    request = Request(operation, (KEY,), id=f"{attempt}-{operation}-{begin}", attempt=attempt)
    return Operation(request, "w", begin, end, status, reply)


def breaches(invariant: str, *operations: Operation, effects: str = "", plan: str = "pro") -> list[Breach]:
    """What one invariant says; `effects` names each by its first letter, one in capitals has no end."""
    names = {"c": "charge", "r": "refund", "e": "e-mail"}
    (known,) = [known for known in SCENARIO.invariants() if known.name == invariant]
    done = [Effect(names[letter.lower()], "a", (KEY,), 7, None if letter.isupper() else 8) for letter in effects]
    return list(known.check(Evidence("burst", (KEY,), operations, done, rest={KEY: held(plan)})))


CANCEL = told("cancel", "cancelled", 4, 5, "c")


@pytest.mark.parametrize(
    ("operations", "plan", "broken"),
    [
        ([told("begin", "pending", 1, 2), CANCEL], "pro", 1),
        ([told("begin", "pending", 1, 2), CANCEL], "free", 0),
        ([told("begin", "pending", 1, 9), CANCEL], "pro", 1),
        ([told("begin", "pending", 1, 2), CANCEL, told("begin", "reopened", 6, 7, "b")], "pro", 0),
        ([told("begin", "pending", 1, 2), CANCEL, told("begin", None, 3, None, "b")], "pro", 0),
        ([told("begin", "pending", 1, 2), CANCEL, told("begin", "refused", 6, 7, "b")], "pro", 1),
        ([told("begin", "pending", 1, 9), told("cancel", "noted", 4, 5, "c")], "pro", 0),
        ([told("begin", "pending", 1, 9), told("cancel", "refused", 4, 5, "c")], "pro", 0),
    ],
)
def test_a_cancel_stands(operations: list[Operation], plan: str, broken: int) -> None:
    """One that took something back came after the begin of it, whatever their intervals say."""
    assert broken == len(breaches("a cancel stands", *operations, plan=plan))


@pytest.mark.parametrize(
    ("effects", "plan", "amounts"),
    [
        ("c", "pro", []),
        ("c", "free", [1]),
        ("cr", "free", []),
        ("cr", "pro", [1]),
        ("cc", "pro", [1]),
        ("ccr", "pro", []),
        ("", "pro", [1]),
        ("C", "free", []),
        ("C", "pro", []),
        ("cR", "free", []),
        ("cC", "free", [1]),
    ],
)
def test_paid_for_what_is_had(effects: str, plan: str, amounts: list[int]) -> None:
    """What has begun and not ended may have happened, or not."""
    assert amounts == [breach.amount for breach in breaches("paid for what is had", effects=effects, plan=plan)]


def test_nobody_knows_what_an_unanswered_request_did() -> None:
    """So its money is not counted."""
    assert breaches("paid for what is had", told("settle", None, 3, None), effects="c", plan="free") == []


@pytest.mark.parametrize(
    ("effects", "plan", "end"),
    [
        ({"charge": 1, "e-mail": 1}, "pro", "once"),
        ({"charge": 2}, "pro", "twice"),
        ({"charge": 2}, "free", "twice"),
        ({"charge": 2, "refund": 1}, "pro", "once"),
        ({"charge": 1}, "free", "stranded"),
        ({"charge": 1, "refund": 1}, "free", "undone"),
        ({}, "free", "undone"),
        ({}, "pro", "unpaid"),
    ],
)
def test_what_became_of_an_upgrade(effects: dict[str, int], plan: str, end: str) -> None:
    """Money and plan."""
    assert SCENARIO.became(held(plan), effects) == end
    assert end in SCENARIO.ends


def test_one_e_mail() -> None:
    """For each upgrade."""
    assert [breach.amount for breach in breaches("one e-mail", effects="ceee")] == [2]
    assert SCENARIO.ending(Evidence("burst", (KEY,), (), [Effect("charge", "a", (KEY,), 7, 8)], rest={KEY: None})) == (
        "free, 1 paid"
    )
