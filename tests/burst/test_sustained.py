"""A violated sustained load says what contradicts itself, and how much was lost."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest
from jsonschema import validate

from harness.burst import Cell, Load, Measurement, run
from harness.model import Verdict
from harness.report import result_screen
from harness.results import result_document, schema_text

pytestmark = [pytest.mark.load, pytest.mark.xdist_group("load")]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is time to make an explanation small, on a busy machine, too: users would wait for so long in vain."""
    monkeypatch.setattr("harness.burst.bench._SHOW_S", 120.0)
    monkeypatch.setattr("harness.judge.contradiction._EXPLAIN_S", 60.0)


def violated(scenario: str, load: Load, keys: int = 1) -> Measurement:
    """A load without protection that breaks so many keys; for longer where a busy machine kept callers from meeting."""
    while True:
        found = asyncio.run(run(Cell(scenario, "naive"), load))
        if found.unordered_bursts >= keys or load.duration_s > 4:
            return found
        load = dataclasses.replace(load, duration_s=2 * load.duration_s)


@pytest.mark.parametrize("scenario", ["counter", "double-submit"])
@pytest.mark.usefixtures("patient")
def test_a_violated_sustained_load_is_explained(scenario: str) -> None:
    """The fewest operations that no order explains and the longest order, in the document and on the screen."""
    found = violated(scenario, Load(mode="sustained", duration_s=1.0, connections=8, keys=8))
    assert (found.verdict, found.order) == (Verdict.VIOLATED, Verdict.VIOLATED)
    document = result_document(found, reproduce="race")
    validate(document, json.loads(schema_text("result")))
    assert len(document["parts"]) == 5
    assert sum(number for _bound, number in document["distribution"]) == document["counts"]["ok"]
    shown = document["counterexample"]
    assert shown["fewest"]
    assert 0 < len(shown["unordered"]) <= 4
    assert shown["longest"]
    ids = {line["op"] for line in shown["unordered"]}
    assert ids <= {operation.request.id for operation in found.contradiction.evidence.operations}  # type: ignore[union-attr]
    screen = result_screen(document, 1)
    assert "that no order explains" in screen
    assert max(map(len, screen.splitlines())) <= 80


def test_what_was_lost_is_added_up() -> None:
    """Lost adds over all keys, beside the number of keys that lost any."""
    found = violated("counter", Load(mode="sustained", duration_s=1.0, connections=8, keys=4), keys=4)
    violations = result_document(found, reproduce="race")["violations"]
    assert violations["by_invariant"] == {"every add counts once": 4}
    assert violations["amounts"]["every add counts once"] > 4
    assert "adding up to" in result_screen(result_document(found, reproduce="race"), 1)
