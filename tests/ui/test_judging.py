"""What a master makes of histories that workers tell, of workers that are gone, and of nonsense."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from harness.burst import Cell, Load
from harness.burst.plan import draw
from harness.model import Effect, Evidence, Operation, Reply, Request, Status
from harness.stores import StoreInfo
from harness.ui.judging import Gathered, Trial
from harness.ui.wire import pack, pack_store, tried, unpack

VALKEY = StoreInfo("redis", "Valkey", "9", embedded=True, durability="memory only")
FOUND = Load(size=2, bursts=1000, seed=3)


def counted(number: int, *answers: int) -> Evidence:
    """A burst of the counter whose requests, all at once, were answered so; at rest it is the highest answer."""
    key = f"counter:{number}"
    operations = [
        Operation(
            Request("add", (key,), {}, f"{number}-{place}"), f"{place}.0", 10, 20 + place, Status.OK,
            Reply("added", {"value": value}),
        )
        for place, value in enumerate(answers)
    ]  # fmt: skip
    return Evidence(str(number), (key,), operations, initial={key: 0}, rest={key: max(answers)}, rest_ms=1)


def gathered(strategy: str = "lua") -> Gathered:
    """A test of the counter, at a master."""
    return Gathered(Trial(1, Cell("counter", strategy), FOUND))


def made(first: int, bursts: Sequence[tuple[Evidence, bool]], **more: Any) -> dict[str, Any]:
    """What a worker tells of bursts, and whether they were the control's, as it arrives."""
    signatures = Trial(1, Cell("counter", "lua"), FOUND).bound.scenario.operations
    message = {
        "tell": "made", "test": 1, "first": first, "steps": {}, "commands": 4, "retries": 0, "elapsed_s": 0.1,
        "spreads_us": [12.5], "failure": None,
        "bursts": [pack(int(one.name), one, signatures, control=control) for one, control in bursts], **more,
    }  # fmt: skip
    received: dict[str, Any] = json.loads(json.dumps(message))
    return received


def begun(test: Gathered, **other: str) -> dict[str, Any]:
    """What a worker tells first; `other` is what differs from the master's."""
    return {"tell": "begun", "test": 1, "stores": [pack_store(VALKEY)], "tried": {**tried(test.test.bound), **other}}


def tell_of(test: Gathered, worker: str, first: int, *, right: int, control_broken: int) -> None:
    """A worker that begins, makes bursts that are right, with a control that breaks, and is done."""
    test.hear(worker, begun(test))
    test.hear(worker, {"tell": "ordered", "test": 1, "first": first, "count": right + control_broken})
    bursts = [(counted(first + place, 1, 2), False) for place in range(right)]
    bursts += [(counted(first + right + place, 1, 1), True) for place in range(control_broken)]
    test.hear(worker, made(first, bursts))
    test.hear(worker, {"tell": "done", "test": 1, "failure": None})


def test_a_burst_survives_the_way() -> None:
    """What is judged at the master is what the worker wrote down."""
    scenario = Trial(1, Cell("double-submit", "lua"), FOUND).bound.scenario
    keys = ("user:7",)
    operations = [
        Operation(Request("start", keys, {}, "0-1", "0-a1"), "0.0", 5, 9, Status.OK, Reply("accepted"), 100, 102),
        Operation(Request("start", keys, {}, "1-1", "1-a1"), "1.0", 6, None, Status.UNKNOWN, None, error="timeout"),
    ]
    effects = [Effect("work", "0-a1", keys, 9, None, "0.0")]
    evidence = Evidence("7", keys, operations, effects, {keys[0]: None}, {keys[0]: "a1"}, 55, [], (), 99)
    packed = json.loads(json.dumps(pack(7, evidence, scenario.operations, control=False)))
    assert unpack(packed, scenario.operations, None) == evidence


def test_workers_are_judged_together() -> None:
    """Right bursts of two workers hold, because their controls broke under the same load."""
    test = gathered()
    tell_of(test, "a", 0, right=8, control_broken=2)
    tell_of(test, "b", 1 << 24, right=8, control_broken=2)
    document = test.test.conclude(complete=True)
    assert (document["verdict"], document["counts"]["bursts"], document["overlap"]["control_broken"]) == ("held", 16, 4)
    assert [store["product"] for store in document["stores"]] == ["Valkey"]


def test_nothing_holds_without_a_control_that_breaks() -> None:
    """The same rule as for race run."""
    test = gathered()
    tell_of(test, "a", 0, right=8, control_broken=0)
    document = test.test.conclude(complete=True)
    assert (document["verdict"], document["reason"]) == (
        "inconclusive", "the control naive did not run: nothing shows that this load finds anything"
    )  # fmt: skip


def test_a_violation_is_judged_at_the_master() -> None:
    """Two who were both told 1: no order explains that."""
    test = gathered()
    test.hear("a", {"tell": "ordered", "test": 1, "first": 0, "count": 2})
    test.hear("a", made(0, [(counted(0, 1, 2), False), (counted(1, 1, 1), False)]))
    document = test.test.conclude(complete=True)
    assert (document["verdict"], document["order"], document["violations"]["bursts"]) == ("violated", "violated", 1)


@pytest.mark.parametrize("scenario", ["counter", "double-submit"])
def test_what_a_lost_worker_had_open_is_unknown(scenario: str) -> None:
    """Never a violation, and never a reason to say that it held: the requests of its open bursts are unknown.

    Nobody got in, says a history of nothing but unknown requests: judged, that would be a violation.
    """
    test = Gathered(Trial(1, Cell(scenario, "lua"), FOUND))
    test.hear("a", begun(test))
    test.hear("a", {"tell": "ordered", "test": 1, "first": 0, "count": 10})
    test.lose("a")
    document = test.test.conclude(complete=True)
    asked = 8 * len(draw(test.test.bound.scenario, 3, 0, 2))  # two of ten bursts are the control's
    assert (document["verdict"], document["violations"]["bursts"]) == ("inconclusive", 0)
    assert (document["counts"]["unknown"], document["counts"]["requests"]) == (asked, asked)
    assert document["reason"] == f"the run was disturbed: worker a was lost, {asked} of its requests are unknown"


def test_a_lost_worker_does_not_hide_a_violation() -> None:
    """What others found stays found."""
    test = gathered()
    test.hear("a", {"tell": "ordered", "test": 1, "first": 0, "count": 4})
    test.hear("b", made(1 << 24, [(counted(1 << 24, 1, 1), False)]))
    test.lose("a")
    assert test.test.conclude(complete=True)["verdict"] == "violated"


def test_a_lost_worker_that_comes_back_is_not_counted_twice() -> None:
    """It was only slow; its requests are unknown already."""
    test = gathered()
    test.hear("a", {"tell": "ordered", "test": 1, "first": 0, "count": 1})
    test.lose("a")
    test.hear("a", made(0, [(counted(0, 1, 1), False)]))
    document = test.test.conclude(complete=True)
    assert (document["verdict"], document["counts"]["requests"]) == ("inconclusive", 2)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("race", "worker b has another version of race: 0.0.1, and here "),
        ("the scenario's script", "worker b has another version of the scenario's script than the master"),
        ("the strategy's script", "worker b has another version of the strategy's script than the master"),
    ],
)
def test_who_tries_something_else_is_not_heard(what: str, says: str) -> None:
    """What it breaks is no violation of the master's rule, and what it keeps holds nothing."""
    test = gathered()
    tell_of(test, "a", 0, right=8, control_broken=2)
    test.hear("b", begun(test, **{what: "0.0.1"}))
    test.hear("b", made(1 << 24, [(counted(1 << 24, 1, 1), False)]))
    document = test.test.conclude(complete=True)
    assert (document["verdict"], document["counts"]["bursts"]) == ("inconclusive", 8)
    assert says in document["reason"]
    assert (test.refused, test.waiting) == (document["reason"].removeprefix("the run was disturbed: "), [])


@pytest.mark.parametrize(
    "nonsense",
    [
        {"tell": "made", "first": 0},
        {**begun(Gathered(Trial(1, Cell("counter", "lua"), FOUND))), "stores": [{"kind": "redis"}]},
        {**made(0, []), "bursts": [{"burst": 1, "control": False}]},
        {**made(0, []), "steps": {"1": [{"caller": "a"}]}},
        {"tell": "ordered", "first": "x", "count": 1},
    ],
)
def test_nonsense_is_told_and_proves_nothing(nonsense: dict[str, Any]) -> None:
    """A worker of another version, or somebody else on the network."""
    test = gathered()
    tell_of(test, "a", 0, right=8, control_broken=2)
    test.hear("b", nonsense)
    document = test.test.conclude(complete=True)
    assert document["verdict"] == "inconclusive"
    assert "worker b told something that makes no sense" in document["reason"]


def test_a_failing_worker_is_no_praise() -> None:
    """A store that it could not reach."""
    test = gathered()
    tell_of(test, "a", 0, right=8, control_broken=2)
    test.hear("b", {"tell": "done", "test": 1, "failure": "no Redis there"})
    document = test.test.conclude(complete=True)
    assert (document["verdict"], document["reason"]) == (
        "inconclusive", "the run was disturbed: worker b: no Redis there"
    )  # fmt: skip
