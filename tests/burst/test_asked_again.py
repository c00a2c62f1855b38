"""What the answer to a second delivery says of the first: of requests that a killed worker had open."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from harness.burst import Cell, Load, run
from harness.burst.cells import bind
from harness.burst.evidence import BurstRecord
from harness.burst.kills import answers_both, merged
from harness.judge import judge_evidence
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


@pytest.mark.load
@pytest.mark.xdist_group("load")
@pytest.mark.parametrize(("strategy", "error"), [("pg-procedure", "23505"), ("pg-unique", "aborted")])
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
