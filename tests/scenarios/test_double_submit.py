"""The rule of double-submit, and what its invariants say of hand-made evidence."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Effect, Operation, Status
from harness.strategy.loader import find_scenario

LEASE_MS = 2_000
MS = 1_000_000
KEY = "user:1"
SCENARIO = find_scenario("double-submit")()
RULES = SCENARIO.all_rules()
DROP = RULES["drop"]


def ask(operation: str, attempt: str = "a") -> Request:
    """A request of an attempt."""
    return Request(operation, (KEY,), id=f"{attempt}-{operation}", attempt=attempt)


def lease(attempt: str, until_ms: int) -> dict[str, Any]:
    """The value of a user who is at work."""
    return {"attempt": attempt, "until_ms": until_ms}


def started(attempt: str, at_ms: int, decision: str | None = "accepted") -> Operation:
    """A start that was decided at `at_ms` (monotonic; Unix time is 1,000 s ahead)."""
    reply = None if decision is None else Reply(decision)
    status = Status.UNKNOWN if decision is None else Status.OK
    unix_ms = 0 if decision is None else at_ms + 1_000_000
    returned = None if decision is None else at_ms * MS
    return Operation(ask("start", attempt), "w1", at_ms * MS, returned, status, reply, unix_ms, unix_ms)


def work(attempt: str, began_ms: int, ended_ms: int | None) -> Effect:
    """The work of an attempt."""
    return Effect("work", attempt, (KEY,), began_ms * MS, None if ended_ms is None else ended_ms * MS)


def evidence(operations: list[Operation], *effects: Effect, probes: tuple[Operation, ...] = ()) -> Evidence:
    """Evidence of one burst."""
    return Evidence("burst", (KEY,), operations, effects, probes=probes, monotonic_to_unix_ns=1_000_000 * MS)


def breaches(invariant: str, of: Evidence) -> list[Breach]:
    """What one invariant says."""
    (found,) = [known for known in SCENARIO.invariants() if known.name == invariant]
    return list(found.check(of))


@pytest.mark.parametrize(
    ("value", "request_", "reply", "after"),
    [
        (None, ask("start"), "accepted", lease("a", 7_000)),
        (lease("b", 5_001), ask("start"), "rejected", lease("b", 5_001)),
        (lease("b", 5_000), ask("start"), "accepted", lease("a", 7_000)),
        (lease("a", 5_001), ask("finish"), "finished", None),
        (lease("a", 5_000), ask("finish"), "lost", lease("a", 5_000)),
        (lease("b", 9_000), ask("finish"), "lost", lease("b", 9_000)),
        (None, ask("finish"), "lost", None),
    ],
)
def test_the_rule(value: Any, request_: Request, reply: str, after: Any) -> None:
    """What a start and a finish do at 5,000 ms."""
    outcome = DROP({KEY: value}, request_, 5_000)
    assert (Reply(reply), after) == (outcome.reply, {KEY: value, **outcome.changes}[KEY])


def result(of: str) -> Request:
    """Somebody asks for what an attempt has made."""
    return Request("result", (KEY,), {"of": of}, id="r", attempt="z")


DONE = {"attempt": "b", "until_ms": 0}


@pytest.mark.parametrize(
    ("rule", "value", "request_", "reply", "after"),
    [
        ("wait", lease("b", 5_001), ask("start"), Reply("wait"), lease("b", 5_001)),
        ("wait", None, ask("start"), Reply("accepted"), lease("a", 7_000)),
        ("replace", lease("b", 5_001), ask("start"), Reply("accepted", {"replaced": "b"}), lease("a", 7_000)),
        ("replace", lease("a", 5_001), ask("start"), Reply("accepted"), lease("a", 7_000)),
        ("replace", lease("b", 5_000), ask("start"), Reply("accepted"), lease("a", 7_000)),
        ("replace", lease("b", 5_001), ask("finish"), Reply("lost"), lease("b", 5_001)),
        ("join", lease("b", 5_001), ask("start"), Reply("join", {"attempt": "b"}), lease("b", 5_001)),
        ("join", lease("a", 5_001), ask("start"), Reply("accepted"), lease("a", 5_001)),
        ("join", lease("a", 5_001), ask("finish"), Reply("finished"), {"attempt": "a", "until_ms": 0}),
        ("join", DONE, ask("finish", "b"), Reply("lost"), DONE),
        ("join", DONE, ask("start"), Reply("accepted"), lease("a", 7_000)),
        ("join", DONE, result("b"), Reply("answered", {"attempt": "b"}), DONE),
        ("join", DONE, result("c"), Reply("gone"), DONE),
        ("join", lease("b", 5_001), result("b"), Reply("join", {"attempt": "b"}), lease("b", 5_001)),
        ("join", lease("b", 5_000), result("b"), Reply("gone"), lease("b", 5_000)),
        ("join", None, result("b"), Reply("gone"), None),
    ],
)
def test_what_becomes_of_the_second(rule: str, value: Any, request_: Request, reply: Reply, after: Any) -> None:
    """Three more rules at 5,000 ms; what is not here is as `drop` has it."""
    outcome = RULES[rule]({KEY: value}, request_, 5_000)
    assert (reply, after) == (outcome.reply, {KEY: value, **outcome.changes}[KEY])


def test_a_result_stays() -> None:
    """It has no lease that could run out, and no probe has to wait for it."""
    assert SCENARIO.view(DONE, 5_000) == ("done", "b")
    assert (SCENARIO.running(DONE), SCENARIO.running(lease("b", 1)), SCENARIO.running(None)) == (False, True, False)


def test_a_lease_that_ran_out_is_no_lease() -> None:
    """At rest it is looked at with the time of the look."""
    assert SCENARIO.view(lease("a", 5_001), 5_000) == "a"
    assert SCENARIO.view(lease("a", 5_000), 5_000) is None
    assert SCENARIO.view(None, 5_000) is None


def allowed(value: Any, operation: str, now_ms: int, decision: str | None) -> list[Any]:
    """The values in which the specification lets a request leave its key."""
    reply = None if decision is None else Reply(decision)
    return [after[KEY] for after in SCENARIO.allowed({KEY: value}, ask(operation), now_ms, reply, DROP)]


def test_in_the_middle_of_a_lease_there_is_one_answer() -> None:
    """The other one is not allowed."""
    held = lease("b", 5_000)
    assert allowed(held, "start", 4_000, "accepted") == []
    assert [held] == allowed(held, "start", 4_000, "rejected")
    assert [held] == allowed(held, "start", 4_000, None)
    assert allowed(None, "start", 4_000, "rejected") == []


@pytest.mark.parametrize("now_ms", [4_960, 5_000, 5_040])
def test_at_the_end_of_a_lease_both_answers_are_right(now_ms: int) -> None:
    """The store's clock and the caller's need not agree on the millisecond."""
    held = lease("b", 5_000)
    assert [held] == allowed(held, "start", now_ms, "rejected")
    assert [lease("a", now_ms + LEASE_MS)] == allowed(held, "start", now_ms, "accepted")
    assert len(allowed(held, "start", now_ms, None)) == 2


def test_two_at_work_at_once_are_caught() -> None:
    """Overlapping works under live leases."""
    found = breaches(
        "one at work",
        evidence([started("a", 10), started("b", 11)], work("a", 12, 20), work("b", 13, 21)),
    )
    assert [Breach("two attempts of one user were at work at once", ("a", "b"), 1)] == found


def test_every_work_too_many_is_counted() -> None:
    """Four at once are three too many."""
    names = "abcd"
    found = breaches(
        "one at work",
        evidence([started(name, 10) for name in names], *(work(name, 12, 20) for name in names)),
    )
    assert [breach.amount for breach in found] == [3]


@pytest.mark.parametrize(
    "effects",
    [
        (work("a", 12, 20), work("b", 20, 25)),
        (work("a", 12, 9_000), work("b", 2_010, 2_050)),
        (work("a", 12, None), work("b", 2_010, 2_050)),
        (work("a", 2_500, 2_600), work("b", 2_550, 2_560)),
        (work("a", 12, 20), work("a", 13, 21)),
    ],
    ids=["in turn", "overrun", "crashed", "late begin", "same attempt"],
)
def test_what_is_no_double_work(effects: tuple[Effect, ...]) -> None:
    """Work in turn, or beyond its own lease, or of one attempt."""
    assert breaches("one at work", evidence([started("a", 10), started("b", 2_010)], *effects)) == []


def test_a_crashed_worker_is_at_work_until_its_lease_ends() -> None:
    """Its start was never answered and its work never ended, but its work began."""
    crashed = evidence([started("a", 10, None), started("b", 1_000)], work("a", 12, None), work("b", 1_001, 1_002))
    assert [breach.operations for breach in breaches("one at work", crashed)] == [("a", "b")]


def replacing(attempt: str, at_ms: int, replaced: str) -> Operation:
    """A start that took over."""
    return started(attempt, at_ms)._replace(reply=Reply("accepted", {"replaced": replaced}))


def finished(attempt: str, at_ms: int, decision: str | None) -> Operation:
    """A finish that was decided at `at_ms`."""
    return started(attempt, at_ms, decision)._replace(request=ask("finish", attempt))


THROWN_AWAY = "the work of an attempt was thrown away, and nobody was told to have replaced it"
COUNTED = "the work of an attempt counted that had been replaced"
FIRST, SECOND = started("a", 10), replacing("b", 12, "a")
LOOKED_BEFORE = finished("a", 1_000, "lost")._replace(returned_ns=3_000_000_000)
"""It looked at the clock, was paused, and was told after its lease."""


@pytest.mark.parametrize(
    ("operations", "broken"),
    [
        ([started("a", 10), finished("a", 2_009, "lost")], False),  # its end, as far as clocks agree
        ([started("a", 10), finished("a", 1_000, "finished")], False),
        ([started("a", 10), finished("a", 12, None), finished("a", 14, "lost")], False),
        ([started("a", 10, None), finished("a", 14, "lost")], False),
        ([started("a", 10)._replace(now_ms=0), finished("a", 14, "lost")._replace(now_ms=0, now_max_ms=0)], False),
        ([started("a", 10), finished("a", 14, "lost")], True),
    ],
)
def test_a_lease_that_was_taken_away(operations: list[Operation], broken: bool) -> None:
    """Whoever was let in keeps it to its end: by a holder that comes back late it is given back for another."""
    taken = "a lease was taken away while it was live: another may get in beside it"
    assert SCENARIO.disorder(evidence(operations)) == taken * broken
    assert breaches("one at work", evidence(operations)) == []


@pytest.mark.parametrize(
    ("operations", "says"),
    [
        ([FIRST, SECOND, finished("a", 14, "lost"), finished("b", 15, "finished")], None),
        ([FIRST, finished("a", 11, "finished"), started("b", 12), finished("b", 13, "finished")], None),
        ([FIRST, SECOND, replacing("a", 13, "b"), finished("b", 14, "lost"), finished("a", 15, "finished")], None),
        ([FIRST, started("b", 12, None), finished("a", 14, "lost")], None),
        ([FIRST, started("b", 12, None), finished("a", 14, "finished")], None),
        ([FIRST, finished("a", 12, None), finished("a", 14, "lost")], None),
        ([FIRST, finished("a", 12, "finished"), finished("a", 14, "lost")], None),
        ([FIRST, finished("a", 2_010, "lost")], None),
        ([FIRST, started("b", 2_010), LOOKED_BEFORE], None),
        ([FIRST, started("b", 1_900), LOOKED_BEFORE], THROWN_AWAY),
        ([FIRST, LOOKED_BEFORE._replace(returned_ns=2_000_000_000), started("b", 2_010)], THROWN_AWAY),
        ([FIRST, started("b", 11, "aborted"), finished("a", 14, "finished")], None),
        ([FIRST, SECOND, finished("a", 14, "finished")], COUNTED),
        ([FIRST, SECOND, replacing("c", 13, "a")], "one attempt was twice replaced"),
        ([FIRST, finished("a", 14, "lost")], THROWN_AWAY),
        ([FIRST, SECOND, finished("a", 14, "lost"), finished("b", 15, "lost")], THROWN_AWAY),
        ([FIRST, started("b", 10), finished("a", 14, "lost"), finished("b", 15, "finished")], THROWN_AWAY),
    ],
)
def test_whose_work_counts(operations: list[Operation], says: str | None) -> None:
    """Where attempts replace each other, one is told whom it replaced; what nobody can know is held against nobody."""
    scenario = find_scenario("double-submit")().under("replace")
    (counts,) = [known for known in scenario.invariants() if known.name == "the last counts"]
    assert [says] * (says is not None) == [breach.says for breach in counts.check(evidence(operations))]


def test_work_beyond_its_lease_is_an_overrun() -> None:
    """Counted, whoever else was at work."""
    operations = [started("a", 10), started("b", 10)]
    late, timely = work("a", 12, 2_011), work("b", 12, 2_010)
    assert SCENARIO.overruns(evidence(operations, late, timely, work("c", 1, 9_999))) == 1


@pytest.mark.parametrize(
    ("decisions", "says"),
    [
        (("accepted", "rejected"), []),
        (("rejected", None), []),
        (("aborted", "aborted"), []),
        (("rejected", "rejected"), ["everybody was refused although nobody was at work"]),
        (("wait", "wait"), ["everybody was refused although nobody was at work"]),
        (("rejected", "aborted"), ["everybody was refused although nobody was at work"]),
    ],
)
def test_somebody_gets_in(decisions: tuple[str | None, ...], says: list[str]) -> None:
    """Unless nobody can know what became of a start, or nobody was told anything."""
    starts = [started(f"a{i}", 10, decision) for i, decision in enumerate(decisions)]
    assert says == [breach.says for breach in breaches("somebody got in", evidence(starts))]


@pytest.mark.parametrize(
    ("decision", "says"),
    [
        ("accepted", []),
        (None, []),
        ("rejected", ["a new start after the lease was answered rejected"]),
        ("aborted", ["a new start after the lease was answered aborted"]),
    ],
)
def test_a_user_is_free_again_after_the_lease(decision: str | None, says: list[str]) -> None:
    """With nobody else about, giving up is no answer either."""
    probed = evidence([], probes=(started("p", 9_000, decision),))
    assert says == [breach.says for breach in breaches("free again", probed)]
