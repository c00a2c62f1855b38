"""The rules of credits, and what its invariants say of hand-made evidence."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Effect, Operation, Status
from harness.strategy.loader import find_scenario

KEY = "user:1"
SCENARIO = find_scenario("credits")()
RULES = SCENARIO.all_rules()
DAY = 86_400_000
NOW = 1_000 * DAY


def ask(operation: str, attempt: str = "a") -> Request:
    """A request of an attempt."""
    return Request(operation, (KEY,), id=f"{attempt}-{operation}", attempt=attempt)


def account(credit: int, *held: str, due_ms: int = NOW + 1) -> dict[str, Any]:
    """The value of a user."""
    return {"credits": credit, "due_ms": due_ms, "held": list(held)}


@pytest.mark.parametrize(
    ("rule", "value", "operation", "decision", "after"),
    [
        ("reserve", None, "reserve", "reserved", account(0, "a", due_ms=NOW + DAY)),
        ("reserve", account(0, due_ms=NOW), "reserve", "reserved", account(0, "a", due_ms=NOW + DAY)),
        ("reserve", account(0), "reserve", "no credit", account(0)),
        ("reserve", account(2, "b"), "reserve", "reserved", account(1, "b", "a")),
        ("reserve", account(1, "a"), "settle", "settled", account(1)),
        ("reserve", account(1, "a"), "release", "released", account(2)),
        ("reserve", account(1, "b"), "settle", "unknown", account(1, "b")),
        ("reserve", account(1, "b"), "release", "unknown", account(1, "b")),
        ("check-first", None, "reserve", "reserved", account(1, due_ms=NOW + DAY)),
        ("check-first", account(1), "reserve", "reserved", account(1)),
        ("check-first", account(0), "reserve", "no credit", account(0)),
        ("check-first", account(0), "settle", "settled", account(-1)),
        ("check-first", account(1), "release", "released", account(1)),
        ("approval", account(1), "look", "approved", account(1)),
        ("approval", account(0, "b"), "look", "taken", account(0, "b")),
        ("approval", account(1), "reserve", "reserved", account(0, "a")),
        ("approval", account(0, "b"), "reserve", "no credit", account(0, "b")),
        ("auto-refill", account(0, due_ms=NOW), "check", "due", account(0, due_ms=NOW)),
        ("auto-refill", account(0), "check", "not due", account(0)),
        ("auto-refill", account(2, "b", due_ms=NOW), "refill", "refilled", account(3, "b", due_ms=NOW + DAY)),
        ("auto-refill", account(1), "refill", "not due", account(1)),
        ("auto-refill", account(1), "reserve", "reserved", account(0, "a")),
        ("refill-anyway", account(0), "check", "not due", account(0)),
        ("refill-anyway", account(1), "refill", "refilled", account(2, due_ms=NOW + DAY)),
        ("refill-anyway", account(0), "reserve", "no credit", account(0)),
        ("unmetered", None, "reserve", "reserved", None),
        ("unmetered", account(0), "reserve", "no credit", account(0)),
    ],
)
def test_the_rules(rule: str, value: Any, operation: str, decision: str, after: Any) -> None:
    """What each request does to an account."""
    outcome = RULES[rule]({KEY: value}, ask(operation), NOW)
    assert (Reply(decision), after) == (outcome.reply, {KEY: value, **outcome.changes}[KEY])


def told(attempt: str, operation: str, decision: str | None) -> Operation:
    """A request that was answered so; None: nobody was told."""
    status = Status.UNKNOWN if decision is None else Status.OK
    reply = None if decision is None else Reply(decision)
    return Operation(ask(operation, attempt), "w", 5, None if reply is None else 6, status, reply, NOW, NOW)


def breaches(invariant: str, *operations: Operation, calls: str = "", rest: int = 0) -> list[Breach]:
    """What one invariant says; `calls` names an attempt by a letter for each call."""
    (known,) = [known for known in SCENARIO.invariants() if known.name == invariant]
    effects = [Effect("call", attempt, (KEY,), 7, 8) for attempt in calls]
    return list(known.check(Evidence("burst", (KEY,), operations, effects, rest={KEY: account(rest)})))


@pytest.mark.parametrize(
    ("calls", "releases", "amounts"), [("a", "", []), ("ab", "", [1]), ("abc", "", [2]), ("ab", "b", []), ("", "", [])]
)
def test_no_more_calls_than_credits(calls: str, releases: str, amounts: list[int]) -> None:
    """A call that failed is not counted: its credit was given back."""
    operations = [told(attempt, "release", "released") for attempt in releases]
    found = breaches("no more calls than credits", *operations, calls=calls)
    assert amounts == [breach.amount for breach in found]


@pytest.mark.parametrize(("calls", "says"), [("a", []), ("ab", ["2 acted on 1 approval"]), ("", [])])
def test_no_more_acts_than_clicks(calls: str, says: list[str]) -> None:
    """A click is one credit, and no refill brings another."""
    found = breaches("no more calls than credits", told("b", "look", "approved"), calls=calls)
    assert says == [breach.says for breach in found]


@pytest.mark.parametrize(
    ("instants", "says"),
    [
        ((), []),
        ((NOW,), []),
        ((NOW, NOW + 1), ["2 refills came in 1 window"]),
        ((NOW, NOW + DAY - 1), ["2 refills came in 1 window"]),
        ((NOW, NOW + DAY), []),
        ((NOW, NOW + 1, NOW + DAY), ["3 refills came in 2 windows"]),
    ],
)
def test_one_refill_per_window(instants: tuple[int, ...], says: list[str]) -> None:
    """A window begins with its refill; who is told that none is due has brought none."""
    (known,) = [one for one in find_scenario("credits")().under("auto-refill").invariants() if "window" in one.name]
    refilled = [
        Operation(ask("refill", str(at)), "w", 5, 6, Status.OK, Reply("refilled"), at, at)  # at that instant
        for at in instants
    ]
    found = known.check(Evidence("burst", (KEY,), [*refilled, told("b", "refill", "not due")], rest={KEY: account(1)}))
    assert says == [breach.says for breach in found]


@pytest.mark.parametrize(("rest", "amounts"), [(1, []), (0, []), (-2, [2])])
def test_no_debt(rest: int, amounts: list[int]) -> None:
    """The amount is the debt."""
    assert amounts == [breach.amount for breach in breaches("no debt", rest=rest)]


@pytest.mark.parametrize(
    ("decisions", "amounts"),
    [
        (("reserved", "no credit"), []),
        ((None, "no credit"), []),
        (("no credit", "no credit"), [2]),
        (("no credit", "aborted"), [1]),
        (("aborted", "aborted"), []),
    ],
)
def test_nobody_is_refused_for_nothing(decisions: tuple[str | None, ...], amounts: list[int]) -> None:
    """Unless nobody knows what became of a reservation."""
    operations = [told(attempt, "reserve", decision) for attempt, decision in zip("abc", decisions, strict=False)]
    assert amounts == [breach.amount for breach in breaches("nobody refused for nothing", *operations)]


@pytest.mark.parametrize(
    ("decisions", "rest", "says"),
    [
        (("settled",), account(0), ""),
        (("settled",), account(0, "b"), "1 settled, 1 reserved, 0 left"),
        (("settled",), account(1), "1 settled, 0 reserved, 1 left"),
        (("unknown",), account(0), "0 settled, 0 reserved, 0 left"),
        ((None,), account(0), ""),  # it may have been settled
        ((), None, ""),
    ],
)
def test_what_became_of_the_credits(decisions: tuple[str | None, ...], rest: Any, says: str) -> None:
    """What no order explains is a credit that is there twice, or nowhere."""
    operations = [told(attempt, "settle", decision) for attempt, decision in zip("abc", decisions, strict=False)]
    found = SCENARIO.disorder(Evidence("burst", (KEY,), operations, [], rest={KEY: rest}))
    assert found == (f"there was 1 credit, and now: {says}" if says else "")
