"""Baselines: figures as they are on the same machine, ratios elsewhere, and nothing where nothing compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.gate import Baseline
from harness.gate.measuring import Measured
from harness.gate.plan import Guarded
from harness.gate.thresholds import parse_threshold
from harness.model import UsageError
from harness.results.environment import machine
from tests.gate import documents

CELL = Guarded("double-submit", "lua", thresholds=(parse_threshold("p(99) < 50ms"),))


def baseline(tmp_path: Path, cost: Any, *, on: str = "") -> Baseline:
    """One with that cost, made on this machine or another."""
    cell = {"scenario": CELL.scenario, "strategy": CELL.strategy, "rule": "", "cost": cost}
    path = tmp_path / "base.json"
    path.write_text(json.dumps({"schema": "race.check/1", "machine": on or machine(), "cells": [cell]}))
    return Baseline(path, 0.3)


def found(before: Baseline, now: Any) -> list[tuple[str, str]]:
    """Each rule, up to its comparison, with its mark."""
    return [
        (one["rule"].split(" ")[0] + (" over" if " over " in one["rule"] else ""), one["mark"])
        for one in before.rules(CELL, Measured(cost=now))
    ]


@pytest.mark.parametrize(("scale", "mark"), [(1.0, "passed"), (0.75, "passed"), (0.6, "failed"), (2.0, "passed")])
def test_the_same_machine(tmp_path: Path, scale: float, mark: str) -> None:
    """Throughput and p99 as they are, with what is tolerated."""
    latency = mark if scale != 0.75 else "failed"  # p99 is a third longer: more than 30 %
    assert found(baseline(tmp_path, documents.cost()), documents.cost(scale)) == [
        ("throughput", mark),
        ("p(99)", latency),
    ]


def slower(scale: float) -> dict[str, Any]:
    """A machine on which everything takes longer."""
    document = documents.cost()
    for row in document["rows"]:
        row["starts_per_s"] /= scale
        row["throughput_per_s"] /= scale
        row["latency_ms"] = {name: value * scale for name, value in row["latency_ms"].items()}
    return document


def test_another_machine_is_compared_by_ratios(tmp_path: Path) -> None:
    """Five times slower in all is no change; the cell alone slower is one."""
    before = baseline(tmp_path, documents.cost(), on="another")
    assert found(before, slower(5)) == [("throughput over", "passed"), ("p(99) over", "passed")]
    assert found(before, documents.cost(0.5)) == [("throughput over", "failed"), ("p(99) over", "failed")]
    here = baseline(tmp_path, documents.cost())
    assert found(here, slower(5)) == [("throughput", "failed"), ("p(99)", "failed")]


def test_another_server_is_another_machine(tmp_path: Path) -> None:
    """A new major version is no regression of the strategy."""
    newer = slower(5)
    newer["stores"][0] = {**newer["stores"][0], "version": "10.0.0"}
    assert found(baseline(tmp_path, documents.cost()), newer) == [
        ("throughput over", "passed"),
        ("p(99) over", "passed"),
    ]


def test_what_does_not_compare(tmp_path: Path) -> None:
    """A cell without a cost then or now, nobody beside it both times, a row that shows nothing: no pass."""
    before = baseline(tmp_path, documents.cost(), on="another")
    alone = documents.cost()
    alone["rows"] = alone["rows"][:1]
    unshown = documents.cost()
    unshown["rows"][0]["verdict"] = "inconclusive"
    assert [mark for _rule, mark in found(before, alone)] == ["unclear"]
    assert [mark for _rule, mark in found(before, unshown)] == ["unclear"] * 2
    assert [mark for _rule, mark in found(before, None)] == ["unclear"]
    assert [mark for _rule, mark in found(baseline(tmp_path, None), documents.cost())] == ["unclear"]
    assert before.rules(Guarded("counter", "lua", verdict="held"), Measured()) == []


def test_refused(tmp_path: Path) -> None:
    """What is no baseline, in one line."""
    path = tmp_path / "base.json"
    for text in (None, "{", "{}", "[]"):
        if text is not None:
            path.write_text(text)
        with pytest.raises(UsageError, match="baseline"):
            Baseline(path, 0.3)
