"""What the answer to a second delivery says of the first: of requests that a killed worker had open."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from harness.burst import Cell, Load, run
from harness.burst.cells import bind
from harness.burst.evidence import BurstRecord
from harness.burst.kills import answers_both, merged
from harness.burst.tally import Tally
from harness.judge import Finding, judge_evidence
from harness.judge.partitions import UNDATED
from harness.model import Evidence, Operation, Reply, Request, Status, Verdict
from harness.results.claims import explored_as_claimed, shown_to_callers

KILLED = ("crash", "duplicate")
UNIX_NS = 1_795_848_459_000_000_000
ACCEPTED, FINISHED = Reply("accepted"), Reply("finished")
JOINED = Reply("join", {"attempt": "a1"})
RESULT = {"attempt": "a1", "until_ms": 0}


def operation(name: str, place: int, sent_ms: int, reply: Reply | None, now_ms: int = 0) -> Operation:
    """One of attempt `place`, answered when it was decided; without a reply nobody knows."""
    request = Request(name, ("user:1",), {}, f"r{place}-{name}", f"a{place}")
    now_ms += (UNIX_NS // 1_000_000) * bool(now_ms)
    returned_ns = None if reply is None else now_ms * 1_000_000 - UNIX_NS + 1
    status = Status.UNKNOWN if reply is None else Status.OK
    return Operation(request, f"{place}.0", sent_ms * 1_000_000, returned_ns, status, reply, now_ms, now_ms)


@pytest.mark.parametrize(
    ("strategy", "order"),
    [("pg-queue", "legal"), ("queue", "legal"), ("lua:remember", "legal"), ("lua", "unknown"), ("actor", "unknown")],
)
def test_an_answer_that_was_kept_is_the_first_ones(strategy: str, order: str) -> None:
    """Told again, it is old news: who was told to join when somebody was at work is told so when he has finished.

    Where no answer is kept, the second delivery was decided after all the others, and nobody can have joined then.
    """
    bound = bind(Cell("double-submit", strategy, "join"), Load())
    first, open_ = operation("start", 1, 1, ACCEPTED, 20), operation("start", 2, 2, None)
    record = BurstRecord(operations=[first, open_, operation("finish", 1, 25, FINISHED, 46)])
    decided_ms = UNIX_NS // 1_000_000 + 26
    told = ["ok", "join", {"attempt": "a1"}, decided_ms, decided_ms, 1_760_000_000, "", 1_757_000_000]
    merged(record, {open_.request.id: told}, UNIX_NS, answers_both(bound.strategy))
    evidence = Evidence(
        name="1", keys=("user:1",), operations=tuple(record.operations), effects=(), initial={"user:1": None},
        rest={"user:1": RESULT}, rest_ms=UNIX_NS // 1_000_000 + 1_786, monotonic_to_unix_ns=UNIX_NS,
    )  # fmt: skip
    assert judge_evidence(evidence, bound.spec, (), "burst").order == order
    applied_twice = replace(evidence, rest={"user:1": {**RESULT, "attempt": "a2"}})
    assert judge_evidence(applied_twice, bound.spec, (), "burst").order != "legal"


def test_what_nobody_can_date_is_left_out() -> None:
    """Never a violation; and as many bursts at least must be judged in which a request was delivered twice."""
    bound = bind(Cell("double-submit", "actors:resumed"), Load())
    operations = (operation("start", 1, 1, ACCEPTED, 20), operation("start", 2, 2, Reply("rejected"), 21))
    evidence = Evidence(name="1", keys=("user:1",), operations=operations, effects=(), initial={"user:1": None})
    undated, legal = Finding("unknown", unknown_why=UNDATED), Finding("legal")
    tally = Tally(bound, None, struck={1, 2, 3, 4}, cut={1, 2, 3, 4})
    assert "no killed worker had a request open" in tally.seen_again()
    tally.resumed = 4
    tally.add(evidence, undated, 1)
    assert (tally.judged, tally.undated, tally.unjudged) == (0, 1, 0)
    assert tally.seen_again() == "a request was delivered twice in 4, of which only 0 could be judged"
    tally.add(evidence, legal, 2)
    assert (tally.judged, tally.shown, tally.cut_off, tally.seen_again()) == (1, 1, 1, "")
    tally.add(evidence, undated, 3)
    assert tally.seen_again() == "a request was delivered twice in 4, of which only 1 could be judged"
    for finding in (replace(undated, stuck=("r1",)), replace(undated, checker_error="boom")):
        tally.add(evidence, finding, 4)
    assert (tally.undated, tally.broken, tally.checker_error) == (2, 1, "boom")
    tally.add(evidence, undated, 5)  # nobody was killed there
    assert (tally.undated, tally.unjudged) == (2, 2)


def test_where_nothing_overlaps_a_second_delivery_shows_nothing() -> None:
    """The burst is none of the judged."""
    bound = bind(Cell("double-submit", "lua"), Load())
    one = operation("start", 1, 1, ACCEPTED, 20)
    evidence = Evidence(name="1", keys=("user:1",), operations=(one,), effects=(), initial={"user:1": None})
    tally = Tally(bound, None, struck={1}, resumed=1)
    tally.add(evidence, Finding("legal"), 1)
    assert tally.seen_again() == "a request was delivered twice in 1, of which only 0 could be judged"


@pytest.mark.load
@pytest.mark.xdist_group("load")
@pytest.mark.parametrize(("strategy", "error"), [
    pytest.param("pg-procedure", "23505", marks=pytest.mark.long), ("pg-unique", "aborted"),
])  # fmt: skip
def test_who_is_refused_the_second_time(strategy: str, error: str) -> None:
    """By the row of the first: that is an error, which the claim names, and nothing breaks."""
    for seed in range(5, 17):  # each may be killed before anything is applied
        load = Load(bursts=24, size=4, connections=4, kills=4, seed=seed)
        found = asyncio.run(run(Cell("invoice-number", strategy), load))
        shown = shown_to_callers(found.counts.errors, found.counts.by_decision)
        if shown:
            break
    assert {*shown} == {error}
    assert (found.verdict, found.broken_bursts) == (Verdict.HELD, 0), found.reason
    assert explored_as_claimed(found.claim, found.verdict, shown, KILLED) is True
