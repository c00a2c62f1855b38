"""The rules of webhook, and what its invariants say of hand-made evidence."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Effect, Operation, Status
from harness.strategy.loader import find_scenario

KEY = "subscription:1"
SCENARIO = find_scenario("webhook")()
RULES = SCENARIO.all_rules()


def event(number: int) -> dict[str, Any]:
    """The provider's first, second ... event; the second is a payment."""
    return {"event": f"e{number}", "version": number, "status": f"s{number}", "credits": 100 * (number == 2)}


def ask(number: int) -> Request:
    """An event is delivered."""
    return Request("deliver", (KEY,), event(number), id=f"r{number}")


def held(status: int, credit: int, *seen: int) -> dict[str, Any]:
    """A subscription."""
    return {"status": f"s{status}", "version": status, "credits": credit, "seen": [f"e{number}" for number in seen]}


@pytest.mark.parametrize(
    ("rule", "value", "number", "decision", "after"),
    [
        ("guarded", None, 1, "applied", held(1, 0, 1)),
        ("guarded", held(1, 0, 1), 2, "applied", held(2, 100, 1, 2)),
        ("guarded", held(2, 100, 2), 2, "duplicate", held(2, 100, 2)),
        ("guarded", held(2, 100, 2), 1, "applied", held(2, 100, 2, 1)),
        ("re-read", held(2, 100, 2), 2, "duplicate", held(2, 100, 2)),
        ("deduped", held(2, 100, 2), 2, "duplicate", held(2, 100, 2)),
        ("deduped", held(2, 100, 2), 1, "applied", held(1, 100, 2, 1)),
        ("blind", held(2, 100, 2), 2, "applied", held(2, 200, 2, 2)),
        ("blind", held(2, 100, 2), 1, "applied", held(1, 100, 2, 1)),
    ],
)
def test_the_rules(rule: str, value: Any, number: int, decision: str, after: Any) -> None:
    """What an event does to a subscription."""
    outcome = RULES[rule]({KEY: value}, ask(number), 0)
    assert (Reply(decision), after) == (outcome.reply, {KEY: value, **outcome.changes}[KEY])
    assert after == SCENARIO.values.parse(SCENARIO.values.encode(after).encode())


def delivered(number: int, decision: str | None = "applied") -> Operation:
    """An event that was answered so; None: nobody was told."""
    status = Status.UNKNOWN if decision is None else Status.OK
    reply = None if decision is None else Reply(decision)
    return Operation(ask(number), "w", 5, None if reply is None else 6, status, reply)


def says(invariant: str, *operations: Operation, rest: Any = None, receipts: str = "") -> list[Breach]:
    """What one invariant says."""
    (known,) = [known for known in SCENARIO.invariants() if known.name == invariant]
    effects = [Effect("receipt", attempt, (KEY,), 7, 8) for attempt in receipts]
    return list(known.check(Evidence("burst", (KEY,), operations, effects, rest={KEY: rest})))


BOTH = (delivered(1), delivered(2), delivered(2, "duplicate"))


@pytest.mark.parametrize(
    ("operations", "rest", "breaches"),
    [
        (BOTH, held(2, 100, 1, 2), 0),
        (BOTH, held(1, 100, 1, 2), 1),
        (BOTH, None, 1),
        ((delivered(1), delivered(2, None)), held(1, 0, 1), 0),
        ((delivered(1, None),), None, 0),
        ((delivered(1, "aborted"),), None, 0),
    ],
)
def test_the_newest_decides(operations: tuple[Operation, ...], rest: Any, breaches: int) -> None:
    """Of those that were acknowledged; who was not answered may be newer, or not have arrived."""
    assert breaches == len(says("the newest decides", *operations, rest=rest))


@pytest.mark.parametrize(
    ("operations", "rest", "amounts"),
    [
        (BOTH, held(2, 100, 1, 2), []),
        (BOTH, held(2, 200, 1, 2, 2), [100]),
        (BOTH, held(1, 0, 1), [100]),
        ((delivered(1), delivered(2, None)), held(2, 100, 1, 2), []),
    ],
)
def test_counted_once(operations: tuple[Operation, ...], rest: Any, amounts: list[int]) -> None:
    """The amount is that of the credits too many, or too few."""
    assert amounts == [breach.amount for breach in says("counted once", *operations, rest=rest)]


@pytest.mark.parametrize(("receipts", "amounts"), [("", []), ("a", []), ("ab", [1]), ("abc", [2])])
def test_one_receipt(receipts: str, amounts: list[int]) -> None:
    """For one payment."""
    assert amounts == [breach.amount for breach in says("one receipt", receipts=receipts)]
