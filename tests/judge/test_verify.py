"""The verdict of a whole history: of its run where a run wrote it, of its order alone otherwise."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

import pytest

from harness.judge import Budget, Closing, Finding, Header, Subject, Verification, contradict, verify
from harness.judge.history import Left
from harness.judge.pieces import Collector, History
from harness.model import Breach, Effect, Evidence, Invariant, Operation, Reply, Request, State, Status, Verdict
from harness.report.contradiction import draw_contradiction
from harness.results.contradiction import contradiction_document
from harness.strategy import RuleSpec
from harness.strategy.loader import find_scenario
from tests.judge.histories import Register, Text, operation

HEADER = Header("register", "default", "lua", 7, "burst")
END = Closing("naive", 10, 9, None, complete=True)
GOOD = (
    operation("write", args={"value": 1}, times=(0, 5), values={}, id="w"),
    operation("read", times=(2, 7), values={"value": 1}, id="r"),
)
STALE = (
    operation("write", ("s",), {"value": 1}, (0, 1), {}, id="sw"),
    operation("read", ("s",), times=(2, 3), values={"value": None}, id="sr"),
)


def history(
    operations: Iterable[Operation], header: Header | None = None, closing: Closing | None = None, effects: int = 0
) -> History:
    """A history with a burst for every key, where a run wrote it."""
    collector, bursts = Collector(), dict[tuple[str, ...], int]()
    for one in operations:
        keys = one.request.keys
        burst = bursts.setdefault(keys, len(bursts)) if header else None
        collector.operation(one, burst, probe=False)
    for keys, burst in bursts.items():
        collector.left(Left(keys, None, 0, 0), burst, 0)
    for number in range(effects):
        collector.effect(Effect("work", f"a{number}", ("k",), number, number + 9), None, 0)
    return collector.history(header, closing)


def verified(
    found: History, budget_s: float = 20.0, spec: Any = None, invariants: Sequence[Invariant] = ()
) -> Verification:
    """Judge it as a register."""
    return verify(found, Subject(spec or Register(), invariants), budget_s)


def test_a_legal_order_is_enough_for_a_history_by_itself() -> None:
    """No control is asked for, and nothing has to overlap."""
    one_by_one = [one._replace(invoked_ns=n * 10, returned_ns=n * 10 + 1) for n, one in enumerate(GOOD)]
    for operations in (GOOD, one_by_one):
        found = verified(history(operations))
        assert (found.conclusion.verdict, found.conclusion.order) == (Verdict.HELD, Verdict.HELD)


def test_what_cannot_be_ordered_is_shown() -> None:
    """The pieces that broke, and of one of them the operations that contradict each other."""
    found = verified(history([*GOOD, *STALE]))
    assert (found.conclusion.verdict, found.score.broken, found.score.judged) == (Verdict.VIOLATED, 1, 2)
    assert found.contradiction is not None
    assert [one.request.id for one in found.contradiction.unordered] == ["sw", "sr"]
    assert found.contradiction.says == "no one-at-a-time order explains the answers"


@pytest.mark.parametrize(
    ("operations", "closing", "verdict"),
    [
        (GOOD, END, Verdict.HELD),
        ((*GOOD, *STALE), END, Verdict.VIOLATED),
        (STALE, None, Verdict.VIOLATED),
        (GOOD, END._replace(control_broken=4), Verdict.INCONCLUSIVE),
        (GOOD, END._replace(control=None), Verdict.INCONCLUSIVE),
        (GOOD, END._replace(lost="Valkey was restarted"), Verdict.INCONCLUSIVE),
        (GOOD, END._replace(complete=False), Verdict.INCONCLUSIVE),
        (GOOD, None, Verdict.INCONCLUSIVE),
        ([one._replace(invoked_ns=one.returned_ns) for one in GOOD[:1]], END, Verdict.INCONCLUSIVE),
        ((), END, Verdict.INCONCLUSIVE),
    ],
    ids=["held", "violated", "killed, violated", "calm", "alone", "lost", "interrupted", "killed", "apart", "empty"],
)
def test_a_run_is_concluded_as_it_was(operations: Any, closing: Closing | None, verdict: Verdict) -> None:
    """Its control, its store and its end count as much as its operations."""
    assert verified(history(operations, HEADER, closing)).conclusion.verdict is verdict


@pytest.mark.parametrize(
    "operations",
    [
        [one._replace(status=Status.OK, reply=Reply("aborted")) for one in GOOD],
        [one._replace(status=Status.UNKNOWN, reply=None, returned_ns=None) for one in GOOD],
    ],
    ids=["aborted", "unanswered"],
)
def test_nothing_decided_is_not_held(operations: list[Operation]) -> None:
    """False calm: everything fits where nobody was told anything."""
    assert verified(history(operations)).conclusion.verdict is Verdict.INCONCLUSIVE


def test_an_unknown_operation_alone_on_its_key_is_no_doubt() -> None:
    """It fits, as it does among others."""
    lost = operation("write", ("other",), {"value": 1}, (0, None), status=Status.UNKNOWN)
    assert verified(history([*GOOD, lost])).conclusion.verdict is Verdict.HELD


def test_invariants_are_judged_apart_and_their_amounts_added_up() -> None:
    """The order holds and the rule does not: both are said."""

    def too_many(evidence: Evidence) -> Iterable[Breach]:
        yield Breach("two at once", ("a0", "a1"), len(evidence.effects))

    rule = [Invariant("one at work", "one", too_many), Invariant("in a burst", "never asked", too_many, ("burst",))]
    found = verified(history(GOOD, effects=2), invariants=rule)
    assert found.conclusion.verdict is Verdict.VIOLATED
    assert found.conclusion.order is Verdict.HELD
    assert found.conclusion.invariants == {"one at work": Verdict.VIOLATED}
    assert found.score.amounts == {"one at work": 2}
    assert found.contradiction is not None
    assert (found.contradiction.says, len(found.contradiction.effects)) == ("two at once", 2)


def test_a_checker_that_fails_is_never_held() -> None:
    """What a rule raises is the reason."""

    class Broken(Register):
        def allowed(self, *_args: Any) -> Iterable[State]:
            raise ZeroDivisionError

    found = verified(history(GOOD), spec=Broken())
    assert found.conclusion.verdict is Verdict.INCONCLUSIVE
    assert "ZeroDivisionError" in found.conclusion.reason


class Blind(Text):
    """Texts, for a search that cannot tell what is out of reach."""

    within_reach = None  # type: ignore[assignment]


def explodes(key: str, clients: int, rng: Random) -> list[Operation]:
    """Appends that all overlap, and a get that no order of them explains."""
    appends = [
        operation("append", (key,), {"value": str(rng.random())}, (n, 1000 + n), {}, id=f"{key}{n}")
        for n in range(clients)
    ]  # fmt: skip
    return [*appends, operation("get", (key,), times=(5000, 5001), values={"value": "?"}, id=f"{key}g")]


def test_a_piece_that_explodes_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty clients whose order cannot be searched, before and after one that is plainly illegal."""
    monkeypatch.setattr("time.monotonic", time.process_time)  # others may keep the machine busy for the whole budget
    rng = Random(1)
    stale = [one._replace(request=one.request._replace(operation={"write": "put"}.get(one.request.operation, "get")))
             for one in STALE]  # fmt: skip
    many = [*explodes("a", 50, rng), *explodes("b", 50, rng), *stale, *explodes("z", 50, rng)]
    started = time.process_time()
    found = verified(history(many), budget_s=3.0, spec=Blind())
    assert time.process_time() - started < 20
    assert (found.conclusion.verdict, found.score.order_broken, found.score.unjudged) == (Verdict.VIOLATED, 1, 3)


def test_past_its_time_a_history_is_inconclusive() -> None:
    """Never held, and soon after the deadline."""
    started = time.process_time()  # by the clock of a machine that others keep busy it may take any time
    found = verified(history(explodes("a", 40, Random(2))), budget_s=0.5, spec=Blind())
    assert time.process_time() - started < 4
    assert found.conclusion.verdict is Verdict.INCONCLUSIVE
    assert "ran out of time or memory in 1 of 1" in found.conclusion.reason


def test_a_thousand_operations_of_twenty_overlapping_clients() -> None:
    """On one key: answered, or inconclusive at the deadline."""
    rng, state, free = Random(3), "", [0] * 20
    operations = []
    for number in range(1_000):
        caller = min(range(20), key=free.__getitem__)
        invoked, returned = free[caller] + 1, free[caller] + rng.randrange(20, 60)
        free[caller] = returned
        if number % 2:
            state += f"{number},"
            operations.append(
                operation("append", args={"value": f"{number},"}, times=(invoked, returned), values={}, id=str(number))
            )
        else:
            operations.append(operation("get", times=(invoked, returned), values={"value": state}, id=str(number)))
    started = time.process_time()
    found = verified(history(operations), budget_s=3.0, spec=Text())
    assert time.process_time() - started < 8
    assert found.conclusion.verdict in {Verdict.HELD, Verdict.VIOLATED, Verdict.INCONCLUSIVE}


def test_many_small_pieces_are_all_looked_at_within_little_time() -> None:
    """Two thousand keys: nobody is left out for being late in the file."""
    operations = [
        operation("read", (f"k{number}",), times=(0, 1), values={"value": None}, id=f"r{number}")
        for number in range(2_000)
    ]  # fmt: skip
    found = verified(history([*operations, *STALE]), budget_s=10.0)
    assert (found.score.judged, found.score.broken, found.score.unjudged) == (2_001, 1, 0)


def test_several_processes_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who judges a piece does not matter, nor that one has no answer."""
    monkeypatch.setattr("harness.judge.turns._hands", lambda _pieces: 2)
    operations = [
        operation("get", (f"k{number}",), times=(0, 1), values={"value": ""}, id=f"r{number}") for number in range(50)
    ]
    stale = operation("get", ("k7",), times=(2, 3), values={"value": "?"}, id="stale")
    found = verified(history([*operations, stale, *explodes("a", 40, Random(2))]), budget_s=1.0, spec=Blind())
    assert (found.score.judged, found.score.broken, found.score.unjudged) == (51, 1, 1)
    assert found.conclusion.verdict is Verdict.VIOLATED


def test_a_process_that_is_killed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of memory, say: the others' pieces are judged all the same."""
    monkeypatch.setattr("harness.judge.turns._hands", lambda _pieces: 2)
    parent = os.getpid()

    class Killed(Register):
        def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
            if os.getpid() != parent and request.key == "k7":
                os.kill(os.getpid(), signal.SIGKILL)
            return super().allowed(state, request, now_ms, reply)

    reads = [
        operation("read", (f"k{number}",), times=(0, 1), values={"value": number == 9 or None}, id=f"r{number}")
        for number in range(50)
    ]
    found = verified(history(reads), budget_s=60.0, spec=Killed())
    assert (found.score.judged, found.score.broken, found.score.unjudged) == (50, 1, 0)


def test_where_nobody_looked_at_rest_it_is_not_blamed() -> None:
    """No order, and no time to say why: the answer that none explains is named."""
    text = find_scenario("text")()
    free, value, operations = [0] * 20, "", list[Operation]()
    rng = Random(4)
    for number in range(300):
        caller = min(range(20), key=free.__getitem__)
        times = (free[caller] + 1, free[caller] + rng.randrange(20, 60))
        free[caller] = times[1]
        if number % 2:
            value += f"{number},"
            operations.append(operation("append", args={"value": f"{number},"}, times=times, values={}, id=f"{number}"))
        else:
            operations.append(operation("get", times=times, values={"value": value}, id=str(number)))
    operations[-2] = operations[-2]._replace(reply=Reply("done", {"value": value[:-4] + "?" + value[-3:]}))
    found = verified(history(operations), spec=RuleSpec(text, "default"))
    assert found.conclusion.verdict is Verdict.VIOLATED
    assert found.contradiction is not None
    assert not found.contradiction.rest_needed
    assert found.contradiction.unordered


def test_to_explain_takes_no_longer_than_it_may() -> None:
    """All searches for it together; what was judged is not judged again; what was cut short is marked."""
    asked = list[Budget]()

    def ask(_evidence: Evidence, budget: Budget) -> Finding:
        asked.append(budget)
        return Finding("unknown" if len(asked) == 1 else "illegal", ("sr",), ("sw",))

    evidence = Evidence("0", ("s",), STALE, rest={"s": 1})
    found = contradict(evidence, ask, 1_000.0, Finding("illegal"))
    assert [one.request.id for one in (*found.unordered, *found.longest)] == ["sr", "sw"]
    assert (found.rest_needed, found.fewest) == (True, False)
    assert "There was no time" in "\n".join(draw_contradiction(contradiction_document(found)))
    assert len(asked) == 2
    assert asked[0].seconds + asked[0].explain_s <= 500
    assert sum(one.explain_s for one in asked) < 1_000


def test_effects_find_their_keys_by_their_attempt() -> None:
    """As the form of the design has none."""
    collector = Collector()
    collector.effect(Effect("work", "a", (), 1, 2), None, 1)
    asked = Request("start", ("user:1",), id="o", attempt="a")
    collector.operation(Operation(asked, "c", 0, 1, Status.OK, Reply("accepted")), None, probe=False)
    (piece,) = collector.history(None, None).pieces
    assert (piece.keys, [effect.keys for effect in piece.effects]) == (("user:1",), [("user:1",)])
