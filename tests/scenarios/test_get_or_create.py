"""The rule of get-or-create, and when it says that a row is there twice."""

from __future__ import annotations

import pytest

from harness import Breach, Evidence, Reply, Request
from harness.model import Operation, Status
from harness.strategy.loader import find_scenario

KEY = "name:1"
SCENARIO = find_scenario("get-or-create")()


def get(name: str = "new") -> Request:
    """Somebody asks; a new row would have the name of the request."""
    return Request("get", (KEY,), id=name)


@pytest.mark.parametrize(
    ("rows", "reply", "after"),
    [
        (None, Reply("created", {"row": "new"}), ["new"]),
        (["old"], Reply("found", {"row": "old"}), ["old"]),
        (["a", "b"], Reply("ambiguous"), ["a", "b"]),
    ],
)
def test_the_rule(rows: list[str] | None, reply: Reply, after: list[str]) -> None:
    """Two are an error."""
    outcome = SCENARIO.rule({KEY: rows}, get(), 0)
    assert (reply, after) == (outcome.reply, {KEY: rows, **outcome.changes}[KEY])


@pytest.mark.parametrize(
    ("replies", "rest", "breaches"),
    [
        ([("a", "created", "a"), ("b", "found", "a")], ["a"], [[], [], []]),
        (
            [("a", "created", "a"), ("b", "created", "b")],
            ["a", "b"],
            [
                [Breach("there are 2 rows of one name", ("a", "b"), 1)],
                [Breach("2 different rows were given", ("a", "b"), 1)],
                [],
            ],
        ),
        (
            [("a", "created", "a"), ("b", "created", "b")],
            ["b"],
            [[], [Breach("2 different rows were given", ("a", "b"), 1)], []],
        ),
        ([("a", "ambiguous", "")], None, [[], [], [Breach("a get found two rows", ("a",))]]),
    ],
)  # fmt: skip
def test_the_invariants(
    replies: list[tuple[str, str, str]], rest: list[str] | None, breaches: list[list[Breach]]
) -> None:
    """One row, the same for all, and no error."""
    told = [
        Operation(get(name), "w", 1, 2, Status.OK, Reply(decision, {"row": row} if row else {}))
        for name, decision, row in replies
    ]
    of = Evidence("burst", (KEY,), told, rest={KEY: rest})
    assert breaches == [list(invariant.check(of)) for invariant in SCENARIO.invariants()]
