"""The rules of job-claim, the choice that they leave, and what its invariants say."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Effect, Operation, Status
from harness.strategy.loader import find_scenario

KEY = "queue:1"
KIND = find_scenario("job-claim")
RULES = KIND().all_rules()
FREE, DONE, GONE = ["free", ""], ["done", "w"], ["cancelled", "w"]


def ask(operation: str, name: str = "new", **args: str) -> Request:
    """A request."""
    return Request(operation, (KEY,), args, id=name)


def held(worker: str) -> list[str]:
    """A job that is somebody's."""
    return ["claimed", worker]


def got(job: str) -> Reply:
    """What who has claimed it is told."""
    return Reply("claimed", {"job": job})


@pytest.mark.parametrize(
    ("jobs", "request_", "reply", "after"),
    [
        ({"j1": FREE, "j2": FREE}, ask("claim", job="any"), got("j1"), {"j1": held("new"), "j2": FREE}),
        ({"j1": held("w"), "j2": FREE}, ask("claim", job="any"), got("j2"), {"j1": held("w"), "j2": held("new")}),
        ({"j1": held("w"), "j2": FREE}, ask("claim", job="j1"), Reply("none"), {"j1": held("w"), "j2": FREE}),
        ({"j1": DONE, "j2": GONE}, ask("claim", job="any"), Reply("none"), {"j1": DONE, "j2": GONE}),
        ({"j1": held("w")}, ask("complete", job="j1", worker="w"), Reply("completed"), {"j1": DONE}),
        ({"j1": held("w")}, ask("complete", job="j1", worker="v"), Reply("late"), {"j1": held("w")}),
        ({"j1": GONE}, ask("complete", job="j1", worker="w"), Reply("late"), {"j1": GONE}),
        ({"j1": held("w")}, ask("cancel", job="j1"), Reply("cancelled"), {"j1": GONE}),
        ({"j1": FREE}, ask("cancel", job="j1"), Reply("cancelled"), {"j1": ["cancelled", ""]}),
        ({"j1": DONE}, ask("cancel", job="j1"), Reply("too late"), {"j1": DONE}),
    ],
)
def test_the_rule(jobs: Any, request_: Request, reply: Reply, after: Any) -> None:
    """A job has one worker, and an end is an end."""
    outcome = RULES["any"]({KEY: jobs}, request_, 0)
    assert (reply, after) == (outcome.reply, {KEY: jobs, **outcome.changes}[KEY])


def test_the_rule_that_does_not_look() -> None:
    """It completes what was cancelled; all else is the same."""
    late = ask("complete", job="j1", worker="w")
    assert RULES["blind"]({KEY: {"j1": GONE}}, late, 0).changes == {KEY: {"j1": DONE}}
    assert RULES["blind"]({KEY: {"j1": FREE}}, ask("claim", job="any"), 0).reply == got("j1")


@pytest.mark.parametrize("job", [FREE, held("w"), DONE, GONE])
def test_the_rule_of_what_was_enqueued_once(job: Any) -> None:
    """Whoever was handed it runs it, whatever has become of it; all else is the same."""
    late = ask("complete", job="j1", worker="v")
    ruled = RULES["unique-enqueue"]({KEY: {"j1": job}}, ask("claim", job="j1"), 0)
    assert (ruled.reply, ruled.changes) == (got("j1"), {KEY: {"j1": held("new")}})
    assert RULES["unique-enqueue"]({KEY: {"j1": job}}, late, 0).reply == Reply("late")
    assert RULES["unique-enqueue"]({KEY: {"j1": DONE}}, ask("claim", job="any"), 0).reply == Reply("none")


def test_an_attempt_is_the_worker() -> None:
    """So it completes what it has claimed."""
    claim = ask("claim", job="j1")._replace(attempt="a1")
    assert RULES["redelivered"]({KEY: {"j1": FREE}}, claim, 0).changes == {KEY: {"j1": held("a1")}}


@pytest.mark.parametrize(
    ("runs", "found"), [("", []), ("a", []), ("ab", [Breach("j1 was run 2 times", ("a", "b"), 1)])]
)
def test_run_once(runs: str, found: list[Breach]) -> None:
    """Each letter is the attempt of a run."""
    (known,) = [one for one in KIND().under("redelivered").invariants() if one.name == "run once"]
    effects = [Effect("run", attempt, (KEY,), 7, 8) for attempt in runs]
    assert found == list(known.check(Evidence("burst", (KEY,), [], effects, rest={KEY: {"j1": DONE}})))


@pytest.mark.parametrize(
    ("jobs", "job", "reply", "taken"),
    [
        ({"j1": FREE, "j2": FREE}, "any", got("j2"), ["j2"]),
        ({"j1": FREE, "j2": FREE}, "any", None, ["j1", "j2"]),
        ({"j1": FREE, "j2": FREE}, "any", Reply("none"), []),
        ({"j1": FREE, "j2": FREE}, "j1", got("j2"), []),
        ({"j1": DONE, "j2": FREE}, "any", got("j1"), []),
    ],
)
def test_any_free_job_will_do(jobs: Any, job: str, reply: Reply | None, taken: list[str]) -> None:
    """But not none as long as there is one."""
    after = KIND().allowed({KEY: jobs}, ask("claim", job=job), 0, reply, RULES["any"])
    assert [{KEY: {**jobs, name: held("new")}} for name in taken] == list(after)


def test_one_at_a_time() -> None:
    """While one is at work the other waits; j3 excludes nobody. Both at work are a breach."""
    scenario, rule = KIND().under("one-lock"), RULES["one-lock"]
    assert rule({KEY: {"j1": held("a"), "j2": FREE}}, ask("claim", job="j2"), 0).reply == Reply("none")
    assert rule({KEY: {"j1": FREE, "j3": held("a")}}, ask("claim", job="any"), 0).reply == got("j1")
    state = {KEY: {"j1": held("a"), "j2": FREE}}
    assert list(scenario.allowed(state, ask("claim", job="j2"), 0, got("j2"), rule)) == []
    breaches = [
        breach
        for invariant in scenario.invariants()
        for breach in invariant.check(Evidence("burst", (KEY,), [], rest={KEY: {"j1": held("a"), "j2": held("b")}}))
    ]
    assert breaches == [Breach("j1 and j2 ran together", ("a", "b"), 1)]


@pytest.mark.parametrize(
    ("jobs", "job", "reply"),
    [
        ({"j1": FREE, "j2": FREE}, "any", got("j1")),
        ({"j1": FREE, "j2": FREE}, "j2", Reply("none")),
        ({"j1": held("a"), "j2": FREE}, "any", Reply("none")),
        ({"j1": DONE, "j2": FREE, "j3": held("a")}, "any", got("j2")),
        ({"j1": GONE, "j2": DONE, "j3": FREE}, "any", Reply("none")),
    ],
)
def test_the_head_of_the_line(jobs: Any, job: str, reply: Reply) -> None:
    """The first that has not ended, or none: j3 stands in no line."""
    assert reply == RULES["head-of-line"]({KEY: jobs}, ask("claim", job=job), 0).reply


def test_where_there_is_none() -> None:
    """Nothing changes."""
    for reply in (None, Reply("none")):
        state = {KEY: {"j1": DONE}}
        assert list(KIND().allowed(state, ask("claim", job="any"), 0, reply, RULES["any"])) == [state]


def told(request: Request, reply: Reply | None) -> Operation:
    """What somebody was told."""
    return Operation(request, "w", 1, 2, Status.UNKNOWN if reply is None else Status.OK, reply)


@pytest.mark.parametrize(
    ("operations", "jobs", "breaches"),
    [
        ([told(ask("claim", "a", job="any"), got("j1")), told(ask("claim", "b", job="any"), got("j1"))],
         {"j1": held("b")}, [[Breach("j1 was given to 2 workers", ("a", "b"), 1)], []]),
        ([told(ask("claim", "a", job="any"), got("j1")), told(ask("claim", "b", job="any"), got("j2"))],
         {"j1": held("a"), "j2": held("b")}, [[], []]),
        ([told(ask("claim", "a", job="any"), got("j1")), told(ask("claim", "b", job="any"), None)],
         {"j1": held("a")}, [[], []]),
        ([told(ask("cancel", "a", job="j1"), Reply("cancelled"))],
         {"j1": DONE}, [[], [Breach("j1 was cancelled, and is done", ("a",))]]),
        ([told(ask("complete", "a", job="j1", worker="w"), Reply("completed"))],
         {"j1": held("w")}, [[], [Breach("j1 was completed, and is claimed", ("a",))]]),
        ([told(ask("cancel", "a", job="j1"), Reply("cancelled")),
          told(ask("complete", "b", job="j1", worker="w"), Reply("late"))], {"j1": GONE}, [[], []]),
    ],
)  # fmt: skip
def test_the_invariants(operations: list[Operation], jobs: Any, breaches: list[list[Breach]]) -> None:
    """One about the beginning, one about the end."""
    of = Evidence("burst", (KEY,), operations, rest={KEY: jobs})
    assert breaches == [list(invariant.check(of)) for invariant in KIND().invariants()]


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("any", [("claim", "any"), ("claim", "any")]),
        ("named", [("claim", "j1"), ("claim", "j1")]),
        ("one-lock", [("claim", "j1"), ("claim", "j2")]),
        ("head-of-line", [("claim", "any"), ("claim", "any")]),
        ("ended", [("complete", "j3"), ("cancel", "j3")]),
        ("blind", [("complete", "j3"), ("cancel", "j3")]),
    ],
)
def test_what_meets(rule: str, first: list[tuple[str, str]]) -> None:
    """Two requests that do not go together, whatever else comes."""
    requests = KIND().under(rule).burst(Random(1), 4)
    assert [(one.operation, one.args["job"]) for one in requests[:2]] == first
    assert (len(requests), len(KIND().under(rule).burst(Random(1), 1))) == (4, 1)
