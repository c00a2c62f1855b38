"""`race run --flow`: one flow with its faults really made, told step by step; what cannot be asked is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from harness.results.schema import schema_text

if TYPE_CHECKING:
    from tests.conftest import Ended

pytestmark = pytest.mark.xdist_group("flows")
Race = Callable[..., "Ended"]

BLIND = """
from harness.strategy.loader import find_scenario
class Blind(find_scenario("subscription")):
    "One that sees nothing: every end is a good one."
    name = "blind"
    def became(self, value, effects):
        return "once"
"""


def asked(race: Race, code: int, *words: str) -> dict[str, Any]:
    """The document of a run, as its schema promises it."""
    ended = race("run", *words, "--json")
    assert (ended.code, ended.stderr) == (code, ""), ended.stdout
    document: dict[str, Any] = json.loads(ended.stdout)
    jsonschema.validate(document, json.loads(schema_text("flow")))
    return document


def told(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What was done, by whom, and what came of it."""
    return [
        (step["caller"].removeprefix("process "), step["command"], step["reply"])
        for step in document["counterexample"]["steps"]
    ]


@pytest.mark.long
def test_how_a_saga_goes_on(race: Race) -> None:
    """It reads what was begun, makes up for it, and gives up; beside it, plain code breaks under the same fault."""
    document = asked(race, 0, "subscription", "--flow", "saga", "--faults", "gone")
    assert (document["verdict"], document["as_claimed"], document["control"]["broke"]) == ("held", True, 1)
    assert told(document) == [
        ("one", "the attempt is delivered", ""),
        ("one", "begin", "pending"),
        ("one", "charge, no key", "done"),
        ("one", "is killed before it hears of it", ""),
        ("two", "looks for what the other left", ""),
        ("two", "reads that charge was begun", "no result"),
        ("two", "refund, no key", "done"),
        ("two", "abandon", "abandoned"),
        ("two", "has nothing left to do", ""),
    ]


@pytest.mark.long
def test_how_plain_code_charges_twice(race: Race) -> None:
    """The first bad case is drawn; that it breaks is what it claims, and exit 1 as of any run."""
    document = asked(race, 1, "subscription", "--flow", "inline", "--faults", "lost")
    assert (document["verdict"], document["as_claimed"]) == ("violated", True)
    assert told(document)[1:4] == [
        ("one", "begin", "pending"),
        ("one", "charge, no key", "done, but the answer is lost"),
        ("one", "charge, no key", "done"),
    ]


@pytest.mark.long
def test_who_sees_nothing_holds_nothing(race: Race) -> None:
    """Where plain code does not break either, there is no verdict."""
    Path("blind.py").write_text(BLIND, encoding="utf-8")
    document = asked(race, 3, "blind.py", "--flow", "saga", "--faults", "lost")
    assert document["verdict"] == "inconclusive"
    assert document["reason"] == "inline, the control, did not break either: reply lost"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "subscription", "--flow", "magic"), "unknown flow 'magic'; there are: inline, idempotent,"),
        (("run", "subscription", "--flow", "inline,saga"), "several: race compare subscription --flow inline,saga"),
        (("run", "subscription", "--flow", "all"), "--flow runs one at a time"),
        (("run", "subscription", "--flow", "saga", "--faults", "crash"), "unknown fault 'crash'; --flow has: twice"),
        (("run", "counter", "--flow", "saga"), "counter has no attempt with effects whose end it can tell"),
        (("run", "subscription", "--flow", "saga", "--strategy", "actor"), "actor needs an owner process"),
        (("run", "subscription", "--flow", "saga", "--bursts", "9"), "--bursts is not for --flow: one attempt is made"),
        (("run", "subscription", "--flow", "saga", "--kill-workers"), "--kill-workers is not for --flow"),
        (("run", "subscription", "--flow", "saga", "--url", "http://x"), "--url is not for --flow"),
        (("run", "subscription", "--strategy", "lua", "--faults", "all"), "--faults is for --flow; or race explore"),
        (("explore", "subscription", "--strategy", "lua", "--flow", "saga"), "take race run SCENARIO --flow NAME"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_asked(race: Race, words: tuple[str, ...], says: str) -> None:
    """Exit 2, one line."""
    ended = race(*words)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert says in ended.stderr
