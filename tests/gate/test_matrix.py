"""race compare --all: every cell against its claim, what is left out with its reason, and what was not come to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import harness.gate.matrix
from harness.burst import Comparison, Load
from harness.burst.measurement import StoresOptions
from harness.gate.matrix import Matrix
from harness.model import Claim, StoreUnavailable, Verdict
from harness.report.matrix import matrix_csv, matrix_markdown, matrix_screen
from harness.results.build import comparison_document
from harness.results.matrix import matrix_document, matrix_rows, matrix_text
from harness.results.schema import schema_text
from harness.strategy.loader import find_scenario
from tests import measurements

ROOT = Path(__file__).resolve().parents[2]

Race = Callable[..., Any]
Snapshot = Callable[[str, str], None]

FEW = ("counter", "webhook")
NOWHERE = StoresOptions("redis://127.0.0.1:1", "postgresql://127.0.0.1:1/race")
"""Servers that nobody asks."""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of two scenarios."""
    monkeypatch.setattr(harness.gate.matrix, "scenarios", lambda: tuple(map(find_scenario, FEW)))


def made(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> dict[str, Any]:
    """The document of a matrix whose comparisons are these, or whatever they raise."""

    async def compare(scenario: str, names: list[str], rules: list[str], load: Load, **_options: Any) -> Comparison:
        answer = answers[scenario]
        if isinstance(answer, BaseException):
            raise answer
        return replace(answer, scenario=scenario)

    monkeypatch.setattr(harness.gate.matrix, "compare", compare)
    matrix = Matrix(["naive", "lua", "atomic"], Load(seed=1), 10, NOWHERE, "race compare --all", print)
    saved: list[dict[str, Any]] = []
    matrix.saved = saved.append
    document = matrix.run()
    assert [one["complete"] for one in saved] == [False] * len(saved)
    assert {row["scenario"] for one in saved for row in one["rows"]} == {row["scenario"] for row in document["rows"]}
    assert list(Draft202012Validator(json.loads(schema_text("matrix"))).iter_errors(document)) == []
    return document


def test_what_does_not_apply_is_told_why(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under each rule, whether another rule can be had or not."""
    document = made(monkeypatch, dict.fromkeys(FEW, measurements.compared()))
    assert {(one["scenario"], one["rule"], one["strategy"]) for one in document["not_applicable"]} == {
        ("webhook", rule, "atomic") for rule in ("guarded", "re-read", "deduped", "blind")
    }
    assert all("more than one command" in one["reason"] for one in document["not_applicable"])


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (StoreUnavailable("Valkey is gone: start it again"), "Valkey is gone: start it again"),
        (replace(measurements.compared(rows=[]), complete=False), "interrupted"),
    ],
    ids=["between", "lost", "within"],
)
def test_cut_short(few: None, monkeypatch: pytest.MonkeyPatch, second: Any, reason: str) -> None:
    """What was measured is there, marked, with the cells that were not come to."""
    document = made(monkeypatch, {"counter": measurements.compared(), "webhook": second})
    assert (document["complete"], document["reason"]) == (False, reason)
    assert {row["scenario"] for row in document["rows"]} == {"counter"}
    missing = [(one["rule"], one["strategy"]) for one in document["missing"] if one["scenario"] == "webhook"]
    assert missing == [(rule, name) for rule in ("guarded", "re-read", "deduped", "blind") for name in ("naive", "lua")]
    assert "**Incomplete: " in matrix_markdown(document)
    assert "  Not come to counter, webhook" in matrix_screen(document, 130)


def test_a_claim_to_break_is_borne_out_by_a_schedule() -> None:
    """Where a short load met none; nothing but that changes an answer."""
    calm = measurements.inconclusive(claim=Claim("breaks"))
    rows = [measurements.row("naive", calm, 100), measurements.row("lua", replace(calm, claim=Claim("holds")), 100)]

    def met(explored: str) -> list[bool | None]:
        found = [{"verdict": explored, "reason": "", "size": 2, "schedules": 1}] * 2
        return [
            row["as_claimed"]
            for row in matrix_rows(comparison_document(measurements.compared(rows=rows), Load(), found, reproduce=""))
        ]

    assert met("violated") == [True, False]
    assert met(Verdict.PROVED) == [None, None]


def test_many_without_a_verdict_are_counted() -> None:
    """After an interrupt, say, a line for each of sixty would hide what there is."""
    calm = measurements.inconclusive(reason="the run was interrupted", claim=Claim("holds"))
    rows = [measurements.row(f"s{number}", calm, 100) for number in range(5)]
    comparison = comparison_document(measurements.compared(rows=rows), Load(), reproduce="")
    about = {**whole(), "rows": matrix_rows(comparison)}
    shown = " ".join(matrix_screen(about, 130).split())
    assert "Unclear 5 cells of double-submit: the run was interrupted" in shown


def whole() -> dict[str, Any]:
    """The document of two small scenarios."""
    comparison = comparison_document(measurements.compared(), Load(), measurements.explored(), reproduce="")
    other = {**comparison, "scenario": "webhook"}
    apart = [{"scenario": "webhook", "rule": "drop", "strategy": "multi", "reason": "it must read first"}]
    return matrix_document(
        [comparison, other], apart, [], seed=1, load=comparison["load"], budget_s=300.0, complete=True, reason="",
        reproduce="race compare --all --seed 1", environment=comparison["environment"] | {"platform": "Linux"},
        started_at="2026-11-25T04:21:07+00:00", duration_s=300.0,
    )  # fmt: skip


def test_what_is_read(snapshot: Snapshot) -> None:
    """The screen, the table and the lines of a matrix."""
    document = whole()
    document["environment"] = {**document["environment"], "cpus": 2, "python": "3.11.7", "race": "0.1.0"}
    snapshot("matrix.txt", matrix_screen(document, 0))
    snapshot("matrix.md", matrix_markdown(document))
    snapshot("matrix.csv", matrix_csv(document))
    assert json.loads(matrix_text(document)) == document


def test_the_table_that_comes_along() -> None:
    """It is whole, as its schema promises, and no cell of it is other than claimed."""
    table = json.loads((ROOT / "results" / "matrix.json").read_text(encoding="utf-8"))
    assert list(Draft202012Validator(json.loads(schema_text("matrix"))).iter_errors(table)) == []
    assert (table["complete"], table["counts"]["not_as_claimed"], table["missing"]) == (True, 0, [])
    assert (ROOT / "results" / "matrix.md").read_text(encoding="utf-8") == matrix_markdown(table)


def test_wrong_usage(race: Race) -> None:
    """One line each, before any load."""
    for words, line in (
        (("counter",), "--all takes every scenario and every rule: leave out SCENARIO, --rules, --flow and --table"),
        (
            ("--rules", "all"),
            "--all takes every scenario and every rule: leave out SCENARIO, --rules, --flow and --table",
        ),
    ):
        ended = race("compare", "--all", *words)
        assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"race: {line}\n")


@pytest.mark.load
@pytest.mark.long
@pytest.mark.xdist_group("load")
def test_a_small_library(few: None, race: Race) -> None:
    """Cells of both stores under three rules are as claimed; the tables lie in the results folder."""
    words = ("--strategies", "naive,lua,pg-read-committed", "--budget", "20", "--seed", "1")
    ended = race("compare", "--all", *words, "--export-html", "matrix.html")
    assert ended.code == 0, ended.stdout
    document = json.loads(Path("results/matrix.json").read_text())
    assert document["counts"] == {
        "cells": 15, "as_claimed": 15, "not_as_claimed": 0, "unclear": 0, "not_applicable": 0, "missing": 0,
    }  # fmt: skip
    blind = [row for row in document["rows"] if (row["rule"], row["strategy"]) == ("blind", "lua")]
    assert [(row["order"], row["verdict"], row["explored"]) for row in blind] == [("held", "violated", "violated")]
    assert "15 cells: 15 as claimed" in Path("matrix.html").read_text()
    assert Path("results/matrix.md").read_text().startswith("# Every scenario under every strategy\n")


@pytest.mark.load
@pytest.mark.long
@pytest.mark.xdist_group("load")
def test_a_false_claim_is_found(race: Race, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fix whose check was taken out fails the matrix, and the command that shows it is told."""
    monkeypatch.setattr(harness.gate.matrix, "scenarios", lambda: (find_scenario("counter"),))
    source = (ROOT / "examples" / "fix.py").read_text()
    assert source.count("~= ARGV[1]") == 1
    Path("broken.py").write_text(source.replace("~= ARGV[1]", "== '-'"))
    ended = race("compare", "--all", "--strategies", "naive,broken.py", "--budget", "5", "--seed", "1")
    assert ended.code == 1, ended.stdout
    assert "2 cells: 1 as claimed, 1 NOT as claimed" in ended.stdout
    assert "race explore counter --strategy broken.py --rule default" in " ".join(ended.stdout.split())


def test_the_whole_matrix_fits_a_screen() -> None:
    """Of everything no line is longer than 80 columns; the rules of a scenario stand below its name."""
    document = json.loads((Path(__file__).parents[2] / "results" / "matrix.json").read_text())
    for shown in (document, {**document, "complete": False, "reason": "the run was interrupted, and much is missing"}):
        lines = matrix_screen(shown, 0).splitlines()
        assert max(map(len, lines)) <= 80
        place = lines.index("  rate-limit")
        assert [line.split()[0] for line in lines[place + 1 : place + 3]] == ["fixed", "sliding-counter"]
