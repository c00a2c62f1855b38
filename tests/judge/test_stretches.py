"""Order where the answers themselves say it: against the definition, and where a search would have no end."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from harness.judge import Budget, Rest, check_order
from harness.judge.states import States, entries_of
from harness.judge.stretches import explain_told, told
from harness.model import Operation, Reply, State, Status
from harness.strategy import RuleSpec
from harness.strategy.loader import find_scenario
from tests.judge.histories import operation, orderable

SPECS = {name: RuleSpec(find_scenario(name)(), "default") for name in ("text", "register")}
INITIAL: dict[str, Any] = {"text": "", "register": None}


def asked(name: str, rng: Random, number: int, values: list[Any]) -> tuple[str, dict[str, Any], dict[str, Any], Any]:
    """An operation that puts something new there, if anything; its answer, sometimes a wrong one; the value after."""
    value, lie = values[-1], rng.random() < 0.25
    if name == "text":
        what = rng.choice(["get", "get", "put", "append", "append"])
        part = f"b{number}" if rng.random() < 0.9 else rng.choice([f"b{number}a", "ab" * number, "x"])
        if what == "get":
            wrong = rng.choice([rng.choice(values), value[:-2], f"{value}zz", value + rng.choice(values)])
            return what, {}, {"value": wrong if lie else value}, value
        return what, {"value": part}, {}, part if what == "put" else value + part
    what, new = (
        rng.choice(["read", "read", "write", "cas", "cas"]),
        number if rng.random() < 0.9 else rng.choice([None, 1]),
    )
    if what == "read":
        return what, {}, {"value": rng.choice([*values, None, number]) if lie else value}, value
    if what == "write":
        return what, {"value": new}, {}, new
    old = value if rng.random() < 0.7 else rng.choice([None, *range(number + 1)])
    swapped = old == value
    return what, {"old": old, "new": new}, {"swapped": swapped != (lie and number % 2 == 0)}, new if swapped else value


def drawn(name: str, rng: Random, most: int, callers: int = 0) -> tuple[list[Operation], State | None]:
    """A history of one key in which everything took effect in order, but for some answers, and what was left."""
    operations, values, free = list[Operation](), [INITIAL[name]], [0] * callers
    for number in range(most):
        at = (number if callers else rng.randrange(30)) * 10
        times = (at - rng.randrange(200), at + rng.randrange(200) + 1)
        if callers:  # each asks again at once
            caller = min(range(callers), key=free.__getitem__)
            times = (free[caller] + 1, max(free[caller], at) + rng.randrange(1, callers * 10))
            free[caller] = times[1]
        operations.append(operation("", times=times, id=str(number)))
    operations.sort(key=lambda one: rng.randint(one.invoked_ns, one.returned_ns or 0))
    for number, one in enumerate(operations):
        lost = rng.random() < 0.15
        what, args, answer, after = asked(name, rng, number, values)
        values.append(after if not lost or rng.random() < 0.5 else values[-1])
        status = Status.UNKNOWN if lost else Status.OK
        times = (one.invoked_ns, one.returned_ns)
        operations[number] = operation(
            what, args=args, times=times, values=None if lost else answer, id=one.request.id, status=status
        )
    return operations, rng.choice([None, None, {"k": values[-1]}, {"k": rng.choice(values)}])


@pytest.mark.parametrize("name", list(SPECS))
def test_what_answers_say_agrees_with_the_definition(name: str) -> None:
    """Neither an order nor that there is none is said wrongly, and little is left to the search."""
    found = Counter[str]()
    for seed in range(400):
        operations, rest = drawn(name, Random(seed), 3 + seed % 5)
        initial = {"k": INITIAL[name]}
        entries = entries_of(operations, 0)
        states = States(SPECS[name], ("k",), entries, initial, None if rest is None else Rest(rest, 0))
        outcome = told(entries, states)
        expected = "legal" if orderable(SPECS[name], operations, initial, rest) else "illegal"
        assert (seed, outcome) in {(seed, expected), (seed, "unknown")}
        found[outcome] += 1
        if outcome == "illegal":
            named = explain_told(entries, states, 60.0).operations
            free = {"status": Status.UNKNOWN, "reply": None, "returned_ns": None}
            freed = [one if one.request.id in named else one._replace(**free) for one in operations]
            assert not orderable(SPECS[name], freed, initial, rest)
    assert found["unknown"] < 120
    assert min(found["legal"], found["illegal"]) > 60


@pytest.mark.parametrize("name", list(SPECS))
def test_a_thousand_operations_of_fifty_overlapping_callers(name: str) -> None:
    """All at once on one key, some of them lost: an order, or what contradicts itself, is found at once."""
    rng = Random(3)
    rng.random = lambda: 0.5  # type: ignore[method-assign]
    operations, _rest = drawn(name, rng, 1_000, 50)
    operations = [
        one._replace(status=Status.UNKNOWN, reply=None, returned_ns=None) if number % 50 == 7 else one
        for number, one in enumerate(operations)
    ]
    found = check_order(operations, SPECS[name], {"k": INITIAL[name]}, budget=Budget(10.0))
    assert found.outcome == "legal"
    look = "get" if name == "text" else "read"
    seen = [one.reply for one in operations if one.request.operation == look and one.reply is not None]
    late = max(place for place, one in enumerate(operations) if one.reply is seen[-1])
    operations[late] = operations[late]._replace(reply=Reply("done", seen[40].values))
    found = check_order(operations, SPECS[name], {"k": INITIAL[name]}, budget=Budget(10.0, explain_s=10.0))
    assert (found.outcome, found.fewest, len(found.unordered) < 5) == ("illegal", True, True)
    assert found.longest
