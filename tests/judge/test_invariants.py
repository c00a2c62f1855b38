"""What a rule may promise beyond its answers, each said in a line or two, and true and false of what happened."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from harness import Breach, Effect, Evidence, Invariant, Outcome, Reply, Request, State, Status, out_of_order, replay
from harness.judge import Finding, Score, judge_evidence
from harness.judge.score import Weight
from harness.model import Operation
from tests.judge.histories import Register

MS = 1_000_000


def operation(
    name: str, times_ms: tuple[int, int | None], decision: str = "", error: str = "", **values: Any
) -> Operation:
    """An operation on `k`; `values` are what it asked for and what it was told."""
    status = Status.OK if decision else Status.UNKNOWN
    began_ns, ended_ns = times_ms[0] * MS, None if times_ms[1] is None else times_ms[1] * MS
    request = Request(name, ("k",), values, f"{name}@{times_ms[0]}")
    reply = Reply(decision, values) if decision else None
    return Operation(request, "0.0", began_ns, ended_ns, status, reply, error=error)


def effect(number: int, began_ms: int, ended_ms: int | None) -> Effect:
    """The work of attempt `number`."""
    return Effect("work", str(number), ("k",), began_ms * MS, None if ended_ms is None else ended_ms * MS)


# The sentences, each as a scenario would say it.


def same_answer(evidence: Evidence) -> Iterator[Breach]:
    """The same answer for everybody who asked for the same."""
    replies = [one.reply for one in evidence.operations if one.reply]
    yield from (Breach(f"told {reply}, others {replies[0]}") for reply in replies if reply != replies[0])


def in_order_of_ids(evidence: Evidence) -> Iterator[Breach]:
    """Start order is id order."""
    for first, second in out_of_order(evidence.effects, lambda work: int(work.attempt)):
        yield Breach(f"{first.attempt} was done before {second.attempt} began", (first.attempt, second.attempt))


def newest(state: State, request: Request, _now_ms: int) -> Outcome:
    """A rule for news that arrive in any order: the highest version stays."""
    version = request.args["version"]
    return Outcome({"k": max(version, state["k"] or 0)}, Reply("noted"))


def end_is_the_same(evidence: Evidence) -> Iterator[Breach]:
    """The end does not depend on arrival order: it is that of the order of versions."""
    in_order = sorted(evidence.operations, key=lambda one: one.request.args["version"])
    if evidence.rest != (end := replay(newest, in_order, evidence.initial)):
        yield Breach(f"left {evidence.rest}, in order it would be {end}")


def works_again(evidence: Evidence) -> Iterator[Breach]:
    """After a silent lease or window it works again."""
    yield from (Breach("still shut", (one.request.id,)) for one in evidence.probes if one.reply != Reply("open"))


def nobody_waits_for_ever(evidence: Evidence) -> Iterator[Breach]:
    """Nobody waits for ever, and nobody longer than a second."""
    waited = [(one.returned_ns or 1 << 62) - one.invoked_ns for one in evidence.operations if one.error != "lost"]
    yield from (Breach("somebody waited too long") for ns in waited if ns > 1_000 * MS)


def too_many(evidence: Evidence) -> Iterator[Breach]:
    """At most one gets in; the domain count is how many too many did."""
    admitted = sum(1 for one in evidence.operations if one.reply == Reply("in"))
    if admitted > 1:
        yield Breach(f"{admitted} got in", amount=admitted - 1)


def asked(check: Any, kind: Any = "burst", **evidence: Any) -> Finding:
    """What the judge finds of one invariant."""
    whole = Evidence("1", ("k",), **{"operations": (), **evidence})
    return judge_evidence(whole, Register(), [Invariant("said", "it is said", check, (kind,))], kind)


@pytest.mark.parametrize(("other", "breaches"), [(7, 0), (8, 1)])
def test_the_same_answer_for_everybody(other: int, breaches: int) -> None:
    """A request that is delivered again is told the same; who got no answer says nothing."""
    told = [operation("pay", (0, 5), "paid", receipt=7), operation("pay", (1, None)),
            operation("pay", (6, 9), "paid", receipt=other)]  # fmt: skip
    assert breaches == len(asked(same_answer, operations=told).breaches["said"])


@pytest.mark.parametrize(
    ("works", "named"),
    [
        ([effect(1, 0, 5), effect(2, 6, 9)], []),
        ([effect(2, 0, 5), effect(1, 6, 9)], [("2", "1")]),
        ([effect(2, 0, 7), effect(1, 6, 9)], []),
        ([effect(2, 0, None), effect(1, 6, 9)], []),
        ([effect(3, 0, 1), effect(5, 0, 2), effect(1, 3, 4), effect(4, 8, 9)], [("5", "1"), ("5", "4")]),
    ],
)
def test_start_order_is_id_order(works: list[Effect], named: list[tuple[str, str]]) -> None:
    """What overlapped has no order, and what never ended was not over before anything."""
    assert named == [breach.operations for breach in asked(in_order_of_ids, effects=works).breaches["said"]]


def test_out_of_order_agrees_with_its_definition() -> None:
    """Somebody who was over before and ranks higher, or nobody."""
    rng = Random(1)
    for _ in range(200):
        works = [effect(rng.randrange(9), began, began + rng.randrange(1, 9)) for began in rng.sample(range(30), 8)]
        wrong = {
            id(second)
            for second in works
            for first in works
            if first.ended_ns is not None and first.ended_ns < second.began_ns and first.attempt > second.attempt
        }
        found = list(out_of_order(works, lambda work: work.attempt))
        assert wrong == {id(second) for _first, second in found}
        assert all(first.ended_ns < second.began_ns and first.attempt > second.attempt for first, second in found)  # type: ignore[operator]


@pytest.mark.parametrize(("left", "breaches"), [(3, 0), (2, 1)])
def test_the_end_does_not_depend_on_arrival_order(left: int, breaches: int) -> None:
    """Version 2 came last; what was refused or is unknown is not replayed."""
    news = [operation("note", (0, 1), "noted", version=3), operation("note", (2, 3), "noted", version=2),
            operation("note", (4, None), version=9)]  # fmt: skip
    found = asked(end_is_the_same, operations=news, initial={"k": None}, rest={"k": left})
    assert breaches == len(found.breaches["said"])


@pytest.mark.parametrize(("answer", "breaches"), [("open", 0), ("shut", 1)])
def test_after_a_silent_lease_it_works_again(answer: str, breaches: int) -> None:
    """Asked of the requests that are made when everything has long been silent."""
    found = asked(works_again, "probe", probes=[operation("knock", (0, 1), answer)._replace(reply=Reply(answer))])
    assert breaches == len(found.breaches["said"])


@pytest.mark.parametrize(
    ("ended_ms", "error", "breaches"), [(900, "", 0), (1_500, "", 1), (None, "", 1), (None, "lost", 0)]
)
def test_nobody_waits_for_ever(ended_ms: int | None, error: str, breaches: int) -> None:
    """Whose connection was lost does not wait any more."""
    found = asked(nobody_waits_for_ever, operations=[operation("enter", (0, ended_ms), error=error)])
    assert breaches == len(found.breaches["said"])


WEIGHT = Weight(overlapped=True, decided=True, unanswered=False)


def test_how_many_too_many_is_added_up() -> None:
    """The domain's count beside the number of bursts, of probes as well."""
    score = Score()
    for admitted in (1, 3, 4):
        told = [operation("enter", (0, 1), "in")._replace(reply=Reply("in"))] * admitted
        score.weigh(WEIGHT, asked(too_many, operations=told), str(admitted))
    assert (score.judged, score.by_invariant["said"], score.amounts) == (3, 2, {"said": 5})
    shut = Evidence("4", (), (), probes=[operation("knock", (0, 1), "shut")])
    score.weigh_probes(shut, [Invariant("open", "it opens", works_again, ("probe",))])
    assert score.amounts == {"said": 5, "open": 1}
    assert (score.broken, score.judged) == (2, 3)  # one of them twice over


def test_what_only_a_probe_finds_broken_counts() -> None:
    """Also where no two requests had met, so that the burst counted for nothing until then."""
    score = Score()
    for name in ("1", "2"):
        score.weigh(WEIGHT._replace(overlapped=False), asked(too_many, operations=[]), name)
    shut = Evidence("1", (), (), probes=[operation("knock", (0, 1), "shut")])
    score.weigh_probes(shut, [Invariant("open", "it opens", works_again, ("probe",))])
    assert (score.broken, score.judged, score.apart) == (1, 1, 1)


@pytest.mark.parametrize("found", [True, ["too many"], [None]])
def test_what_is_no_breach_is_no_pass(found: Any) -> None:
    """A check that answers yes or no, or with words, is told so."""
    finding = asked(lambda _evidence: found)
    assert "TypeError" in finding.checker_error
    assert finding.breaches == {}
