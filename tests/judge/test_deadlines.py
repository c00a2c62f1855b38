"""The second try at an order: what it meets is one, and what it is for has no end without it."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any

import pytest

from harness.judge import Budget, Rest, check_order
from harness.judge.deadlines import met_by_deadline
from harness.judge.states import States, entries_of
from harness.model import Operation, Reply, Request, State, Status
from tests.judge.histories import Odd, Register, Text, operation, orderable

NEVER = float("inf")


class Letters(Register):
    """A text that says nothing of itself, unlike the bundled one: letters are added, and everybody may look."""

    def allowed(self, state: State, request: Request, _now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The specification."""
        text = state["k"] or ""
        if request.operation == "look":
            if reply is None or reply.values["seen"] == text:
                yield state
        else:
            yield {"k": text + request.args["letter"]}


class Swap(Register):
    """A letter is put in the place of another, which is told."""

    def allowed(self, state: State, request: Request, _now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The specification."""
        if reply is None or reply.values["was"] == state["k"]:
            yield {"k": request.args["letter"]}


class Window(Register):
    """At most twenty in 20 ms. Whoever asks is told yes or no, and not how many there were."""

    def allowed(self, state: State, _request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The specification."""
        lately = [then_ms for then_ms in state["k"] or () if then_ms > now_ms - 20]
        let_in = len(lately) < 20
        if reply is None or reply.values["let in"] == let_in:
            yield {"k": [*lately, now_ms] if let_in else lately}


def times_of(callers: int, most: int, rng: Random) -> list[tuple[int, int, int]]:
    """When so many callers, who ask again at once, took effect, asked, and were answered: the first effect first."""
    free = [(rng.randrange(1_000), caller) for caller in range(callers)]
    heapify(free)
    times = []
    for _number in range(most):
        begun, caller = heappop(free)
        took, back = sorted(begun + 1 + rng.randrange(2_000) for _ in range(2))
        times.append((took, begun, back + 1))
        heappush(free, (back + 2, caller))
    return sorted(times)


def overlapping(spec: Any, callers: int, most: int, rng: Random) -> list[Operation]:
    """Operations of so many callers who ask again at once; each took effect at some instant while it was under way."""
    state: dict[str, Any] = {"k": ""}
    operations = []
    for _took, begun, back in times_of(callers, most, rng):
        name, args = ("look", {}) if rng.random() < 0.3 else ("add", {"letter": rng.choice("abcdefgh")})
        values: dict[str, Any] = {"seen": state["k"]} if name == "look" else {}
        if isinstance(spec, Swap):
            name, args, values = "put", {"letter": rng.choice("abcdefgh")}, {"was": state["k"]}
        operations.append(operation(name, ("k",), args, (begun, back), values, id=str(len(operations))))
        state.update(next(iter(spec.allowed(state, operations[-1].request, 0, operations[-1].reply))))
    return operations


@pytest.mark.parametrize("spec", [Letters(), Swap()], ids=["letters", "swap"])
def test_fifty_callers_and_the_same_letters_again_and_again(spec: Any) -> None:
    """Which of the same letters came first nobody says, and a black box does not say what is out of reach."""
    operations = overlapping(spec, 50, 300, Random(1))
    assert check_order(operations, spec, {"k": ""}, budget=Budget(seconds=20)).outcome == "legal"


def test_a_window_that_slides_over_thirty_callers() -> None:
    """Who decided first was recorded to the millisecond, and that is the order to begin with."""
    spec, state, operations = Window(), {"k": None}, list[Operation]()
    for took, begun, back in times_of(30, 400, Random(2)):
        now_ms = 1_000_000 + took // 100
        asked = Request("ask", ("k",), {}, str(len(operations)))
        for let_in in (True, False):
            reply = Reply("done", {"let in": let_in})
            for after in spec.allowed(state, asked, now_ms, reply):
                operations.append(Operation(asked, "c", begun, back, Status.OK, reply, now_ms, now_ms))
                following = after
        state = following
    entries = entries_of(operations, 0)
    assert met_by_deadline(entries, States(spec, ("k",), entries, {"k": None}, None), NEVER)


def test_what_nobody_wrote_is_never_met() -> None:
    """One look saw two letters the other way round."""
    spec = Letters()
    operations = overlapping(spec, 50, 300, Random(1))
    at, look = [(at, one) for at, one in enumerate(operations) if one.request.operation == "look"][-1]
    assert look.reply is not None
    seen = look.reply.values["seen"]
    place = next(place for place in range(len(seen) // 2, len(seen)) if seen[place] != seen[place + 1])
    wrong = f"{seen[:place]}{seen[place + 1]}{seen[place]}{seen[place + 2 :]}"
    operations[at] = look._replace(reply=Reply("done", {"seen": wrong}))
    entries = entries_of(operations, 0)
    assert not met_by_deadline(entries, States(spec, ("k",), entries, {"k": ""}, None), NEVER)


def asked(spec: Any, rng: Random, number: int) -> Operation:
    """A request of anything, with an answer that is sometimes right."""
    name, args, values = rng.choice("abc"), {}, {"answer": rng.randrange(2)}
    if isinstance(spec, Text):
        name = rng.choice(["get", "put", "append"])
        args = {} if name == "get" else {"value": rng.choice(["x", "y", "xy"])}
        values = {"value": rng.choice(["", "x", "xy", "y", "xx", "xyx"])} if name == "get" else {}
    begun = rng.randrange(14)
    status = rng.choices([Status.OK, Status.UNKNOWN], [6, 1])[0]
    back = begun + rng.randint(1, 8) if status == Status.OK else None
    return operation(
        name, ("k",), args, (begun, back), values if back is not None else None, id=str(number), status=status
    )


def test_what_is_met_is_an_order() -> None:
    """Held against the definition, on small histories of texts and of anything, with what was left at rest."""
    met = orders = 0
    for seed in range(600):
        rng = Random(seed)
        spec = Text() if seed % 2 else Odd(seed)
        operations = [asked(spec, rng, number) for number in range(rng.randint(1, 6))]
        initial = "" if seed % 2 else None
        rest = {"k": rng.choice(["", "x", "xy"] if seed % 2 else [None, 0, 1, 2])} if rng.random() < 0.5 else None
        entries = entries_of(operations, 0)
        states = States(spec, ("k",), entries, {"k": initial}, rest and Rest(rest, 0))
        there_is = orderable(spec, operations, {"k": initial}, rest)
        orders += there_is
        if met_by_deadline(entries, states, NEVER):
            met += 1
            assert there_is, (seed, operations, rest)
    assert orders - met < orders / 4
