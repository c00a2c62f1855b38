"""The rule of text, and what it can tell of answers that are out of reach."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harness import Reply, Request
from harness.strategy.loader import find_scenario

KEY = "text:1"
SCENARIO = find_scenario("text")()


@pytest.mark.parametrize(
    ("text", "operation", "value", "answer", "after"),
    [
        ("", "get", None, {"value": ""}, ""),
        (None, "get", None, {"value": ""}, ""),
        ("ab", "get", None, {"value": "ab"}, "ab"),
        ("ab", "put", "c", {}, "c"),
        ("ab", "append", "c", {}, "abc"),
        (None, "append", "c", {}, "c"),
    ],
)
def test_the_rule(text: Any, operation: str, value: Any, answer: dict[str, Any], after: str) -> None:
    """No text yet is an empty one."""
    args = {} if value is None else {"value": value}
    outcome = SCENARIO.rule({KEY: text}, Request(operation, (KEY,), args), 0)
    seen = SCENARIO.view({KEY: text, **outcome.changes}[KEY], 0)
    assert (Reply("done", answer), after) == (outcome.reply, seen)


@pytest.mark.parametrize(
    ("seen", "between", "possible"),
    [
        ("ab", [], True),
        ("abc", [("append", "c")], True),
        ("axc", [("append", "c")], False),
        ("abdc", [("append", "c"), ("append", "d")], True),
        ("abcc", [("append", "c"), ("append", "d")], False),
        ("abcd", [("append", "c"), ("append", "cd")], True),
        ("x", [("put", "x")], True),
        ("xy", [("put", "x"), ("append", "y")], True),
        ("zy", [("put", "x"), ("append", "y")], False),
    ],
)
def test_what_is_out_of_reach(seen: str, between: list[tuple[str, str]], possible: bool) -> None:
    """A text only grows at its end, unless one is put in its place."""
    others = [Request(name, (KEY,), {"value": value}) for name, value in between]
    get = Request("get", (KEY,))
    assert possible is SCENARIO.within_reach({KEY: "ab"}, get, Reply("done", {"value": seen}), others)


def test_two_of_a_burst_append() -> None:
    """Whoever drops one of them shows it in what is left."""
    requests = SCENARIO.burst(Random(1), 4)
    assert [(one.operation, one.args) for one in requests[:2]] == [
        ("append", {"value": "a"}),
        ("append", {"value": "b"}),
    ]
    assert {one.keys for one in requests} == {("text",)}
