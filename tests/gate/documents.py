"""Cells and what was measured of them, made by hand."""

from __future__ import annotations

from typing import Any

from harness.burst import Load
from harness.gate.rules import rule
from harness.results import comparison_document, result_document
from tests import measurements

PLACE = {"python": "3.14.0", "platform": "Linux-x86_64", "cpus": 2, "race": "0.1.0", "commit": None}
"""No particular machine."""


def result(measured: Any) -> dict[str, Any]:
    """A run's document."""
    return {**result_document(measured, reproduce="race run it"), "environment": PLACE}


def cost(scale: float = 1.0) -> dict[str, Any]:
    """A comparison's document with `lua` first, `naive` and others beside it; `lua` alone that much faster."""
    document = comparison_document(measurements.compared(), Load(), reproduce="race compare it")
    rows = sorted(document["rows"], key=lambda row: row["strategy"] != "lua")
    own = rows[0]
    own["starts_per_s"] *= scale
    own["throughput_per_s"] *= scale
    own["latency_ms"] = {name: value / scale for name, value in own["latency_ms"].items()}
    return {**document, "rows": rows, "environment": PLACE}


def exploration(verdict: str, **changes: Any) -> dict[str, Any]:
    """What of an exploration's document a gate looks at."""
    reason = {"bounded": "stopped after 9 s", "inconclusive": "nothing ran"}.get(verdict, "it is so")
    drawn = {
        "columns": [["A", "a"], ["B", "b"]],
        "steps": [
            {"step": 1, "caller": "A", "command": "GET n", "reply": "0", "blocked": False, "outcome": ""},
            {"step": 2, "caller": "B", "command": "SET n 1", "reply": "OK", "blocked": False, "outcome": "added"},
        ],
        "fits": True, "why": "", "says": "an add | was <lost>", "context_switches": 2, "faults": 0,
    }  # fmt: skip
    return {
        "verdict": verdict, "reason": reason, "schedules": 7, "reproduce": "race explore it", "complete": True,
        "counterexample": drawn if verdict == "violated" else None, **changes,
    }  # fmt: skip


def check(**changes: Any) -> dict[str, Any]:
    """A check with a rule of each mark."""
    passing = {
        "name": "counter under lua", "scenario": "counter", "strategy": "lua", "rule": "",
        "source": {"file": "race.toml", "line": 4}, "store": "redis", "file": None,
        "rules": [
            rule('verdict = "held"', "passed", "held, 0 of 500 bursts (<= 0.60 %), control 98.3 %"),
            rule("p(99) < 50ms", "unclear", "-", why="interrupted before it was measured"),
        ],
        "explored": None, "load": result(measurements.held()), "cost": None,
    }  # fmt: skip
    failing = {
        "name": "n | by naive", "scenario": "n.py", "strategy": "my_fix.py", "rule": "",
        "source": {"file": "my_fix.py", "line": 12}, "store": "redis", "file": ".race/failures/n-my-fix-0a1b2c3d.json",
        "rules": [
            rule('explored = "proved"', "failed", "violated, 7 schedules", why="an add | was <lost>",
                 reproduce="race explore n.py --strategy my_fix.py --seed 1"),
            rule("relative_throughput > 0.5", "failed", "0.31",
                 reproduce="race compare n.py --strategies my_fix.py,lua"),
        ],
        "explored": exploration("violated"), "load": None, "cost": cost(),
    }  # fmt: skip
    replayed = {
        **rule("races/old.json", "passed", "it no longer happens", why="it was lost",
               reproduce="race replay races/old.json"),
        "kept": False, "scenario": "counter", "strategy": "lua", "counterexample": None,
    }  # fmt: skip
    document = {
        "schema": "race.check/1", "config": "race.toml", "seed": 1, "outcome": "failed",
        "counts": {"passed": 2, "failed": 2, "unclear": 1}, "schedules": [replayed], "cells": [passing, failing],
        "baseline": {"file": "base.json", "same_machine": False, "tolerance": 0.3}, "reproduce": "race check",
        "machine": "0123456789abcdef", "environment": {}, "started_at": measurements.STARTED, "duration_s": 12.3,
        "complete": True,
    }  # fmt: skip
    return {**document, **changes}
