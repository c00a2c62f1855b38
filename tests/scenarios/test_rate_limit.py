"""The four rules of rate-limit, and what its invariants say of hand-made evidence."""

from __future__ import annotations

from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "user:1"
KIND = find_scenario("rate-limit")
RULES = KIND().all_rules()
MINUTE = 60_000
START = 1_000 * MINUTE
"""A minute begins."""


def hit(limit: int, number: int = 0) -> Request:
    """A request."""
    return Request("hit", (KEY,), {"limit": limit}, id=f"r{number}")


def asked(rule: str, limit: int, *instants_ms: int, value: Any = None) -> tuple[list[Reply], Any]:
    """What each is told, and what is kept in the end. Instants count from the beginning of a minute."""
    replies = []
    for at_ms in instants_ms:
        outcome = RULES[rule]({KEY: value}, hit(limit), START + at_ms)
        replies.append(outcome.reply)
        value = outcome.changes.get(KEY, value)
    return replies, value


LIMITED = Reply("limited")


def admitted(*left: int) -> list[Reply]:
    """Let through, with so many left."""
    return [Reply("admitted", {"left": number}) for number in left]


@pytest.mark.parametrize("rule", RULES)
def test_no_more_than_the_limit(rule: str) -> None:
    """Three at once, and the limit is two."""
    assert [*admitted(1, 0), LIMITED] == asked(rule, 2, 0, 0, 0)[0]


@pytest.mark.parametrize(
    ("rule", "instants_ms", "replies"),
    [
        ("fixed", (0, 59_999, 60_000), [*admitted(1, 0), *admitted(1)]),
        ("fixed", (0, 59_000, 59_999, 60_001, 60_002), [*admitted(1, 0), LIMITED, *admitted(1, 0)]),
        ("sliding-log", (0, 59_000, 59_999, 60_001, 60_002), [*admitted(1, 0), LIMITED, *admitted(0), LIMITED]),
        ("sliding-counter", (0, 59_000, 59_999, 60_001, 90_000), [*admitted(1, 0), LIMITED, *admitted(0), LIMITED]),
        ("token-bucket", (0, 0, 29_999, 30_000, 30_001), [*admitted(1, 0), LIMITED, *admitted(0), LIMITED]),
    ],
)
def test_the_end_of_a_minute(rule: str, instants_ms: tuple[int, ...], replies: list[Reply]) -> None:
    """A fixed window lets twice as many through around its end; what slides does not."""
    assert replies == asked(rule, 2, *instants_ms)[0]


def test_the_estimate_of_the_sliding_counter() -> None:
    """42 in the last minute, 18 in this one, 15 s into it: 49.5; one of 50 is let through, and no other."""
    assert KIND().example() == (
        "sliding-counter takes 42 in the last minute and 18 in this one, 15 s into it, for 49.5; with a limit of 50 "
        "one more is admitted; with a limit of 49 one more is limited"
    )
    value = {"window": START // MINUTE, "count": 18, "previous": 42}
    replies, value = asked("sliding-counter", 50, 15_000, 15_000, value=value)
    assert ([*admitted(0), LIMITED], 19) == (replies, value["count"])


@pytest.mark.parametrize("rule", RULES)
def test_a_caller_whose_clock_is_behind(rule: str) -> None:
    """Counts with the others: the window that is there is not begun anew."""
    assert [*admitted(1, 0), LIMITED] == asked(rule, 2, 60_500, 60_500, 59_500)[0]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "endless"])
def test_two_minutes_of_silence(rule: str) -> None:
    """All four begin again."""
    replies, _ = asked(rule, 2, 0, 0, 0, 120_000)
    assert admitted(1) == replies[-1:]


def test_a_counter_without_an_end() -> None:
    """Refuses as long after as one likes, and is found to at rest; where a window is kept, nothing is asked."""
    replies, value = asked("endless", 1, 0, 120_000, 9_000_000)
    assert [*admitted(0), LIMITED, LIMITED] == replies
    evidence = Evidence("burst", (KEY,), [], rest={KEY: value})
    found = {
        rule: [breach.says for known in KIND().under(rule).invariants() for breach in known.check(evidence)]
        for rule in ("fixed", "endless")
    }
    assert found == {"fixed": [], "endless": ["a count of 3 has no end: in time everybody is refused for ever"]}


@pytest.mark.parametrize(
    ("rule", "value", "view"),
    [
        ("fixed", {"count": 2, "until_ms": START + 1}, 2),
        ("fixed", {"count": 2, "until_ms": START}, None),
        ("fixed", {"count": 2, "until_ms": 0}, 2),
        ("fixed", {"count": 0, "until_ms": 0}, None),
        ("sliding-counter", {"window": 998, "count": 1, "previous": 0}, None),
        ("sliding-counter", {"window": 999, "count": 1, "previous": 0}, {"window": 999, "count": 1, "previous": 0}),
        ("sliding-log", {"log": [START - MINUTE, START - 1]}, [START - 1]),
        ("token-bucket", {"full_at": 5}, {"full_at": 5}),
    ],
)
def test_what_counts_at_rest(rule: str, value: Any, view: Any) -> None:
    """What has run out does not; and each state survives its layouts."""
    scenario = KIND().under(rule)
    assert view == scenario.view(value, START)
    assert value == scenario.values.parse(scenario.values.encode(value).encode())
    assert value == scenario.rows.value(scenario.rows.row(value))


def test_a_count_alone_ends_when_the_store_says_so() -> None:
    """What INCR leaves behind."""
    assert KIND().values.parse(b"7") == {"count": 7, "until_ms": 0}


def operation(number: int, decision: str | None, at_ms: int = 5, limit: int = 2) -> Operation:
    """A hit that was decided then; None: nobody was told."""
    status = Status.UNKNOWN if decision is None else Status.OK
    reply = None if decision is None else Reply(decision, {"left": 0} if decision == "admitted" else {})
    now_ms = START + at_ms
    return Operation(
        hit(limit, number), "w", at_ms, None if reply is None else at_ms + 1, status, reply, now_ms, now_ms
    )


def breaches(invariant: str, *operations: Operation, probes: tuple[Operation, ...] = ()) -> list[Breach]:
    """What one invariant says."""
    (known,) = [known for known in KIND().invariants() if known.name == invariant]
    return list(known.check(Evidence("burst", (KEY,), operations, probes=probes)))


def told(*decisions: str | None) -> list[Operation]:
    """One hit for each."""
    return [operation(number, decision) for number, decision in enumerate(decisions)]


@pytest.mark.parametrize(
    ("decisions", "amounts"),
    [
        (("admitted", "admitted", "limited"), []),
        (("admitted", "admitted", None), []),
        (("admitted", "admitted", "admitted"), [1]),
        (("admitted",) * 5, [3]),
    ],
)
def test_how_many_too_many(decisions: tuple[str | None, ...], amounts: list[int]) -> None:
    """The amount is the domain's: how many over the limit."""
    assert amounts == [breach.amount for breach in breaches("at most the limit", *told(*decisions))]


@pytest.mark.parametrize("at_ms", [30_005, 60_000])
def test_what_came_later_may_be_right(at_ms: int) -> None:
    """A token may have come back, or a minute be over."""
    assert breaches("at most the limit", *told("admitted", "admitted"), operation(2, "admitted", at_ms)) == []


@pytest.mark.parametrize(
    ("decisions", "amounts"),
    [
        (("admitted", "admitted", "limited"), []),
        (("admitted", None, "limited"), []),
        (("admitted", "aborted"), []),
        (("admitted", "limited"), [1]),
        (("limited", "limited", "limited"), [2]),
    ],
)
def test_nobody_is_refused_for_nothing(decisions: tuple[str | None, ...], amounts: list[int]) -> None:
    """Unless nobody knows what became of one that may have counted."""
    assert amounts == [breach.amount for breach in breaches("nobody refused for nothing", *told(*decisions))]


@pytest.mark.parametrize(("decision", "says"), [("admitted", 0), ("limited", 1), ("aborted", 1), (None, 0)])
def test_after_the_windows_a_request_is_let_through(decision: str | None, says: int) -> None:
    """Refused for ever is a violation, and so is giving up with nobody else about."""
    assert says == len(breaches("let through again", probes=(operation(0, decision),)))
