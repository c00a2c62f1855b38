"""What users read, kept as snapshots: in 80 columns, without colour unless asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from harness.burst import Cell, Counts, Load
from harness.cli.failure import INCONCLUSIVE, OK
from harness.cli.output import comparison_code
from harness.judge.explain import Explanation, Row
from harness.model import Claim, Verdict
from harness.report import (
    coloured,
    comparison_csv,
    comparison_markdown,
    comparison_screen,
    result_screen,
)
from harness.report.interleaving import text_of
from harness.report.kept import run_line
from harness.results import comparison_document, result_document
from tests import measurements

Snapshot = Callable[[str, str], None]

STATEMENTS = Explanation(
    columns=(("A", "0-start"), ("B", "1-start")),
    rows=(
        Row(1, "A", "BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN"),
        Row(2, "B", "SELECT attempt, until_ms FROM leases WHERE key = 'user:17'", "(no row)"),
        Row(3, "A", "UPDATE leases SET attempt = '1-a', until_ms = 1795580498225 WHERE key = 'user:17'", "1", True),
    ),
    fits=False,
    why=None,
    says="two attempts of one user were at work at once",
)  # fmt: skip

PLACE = {"python": "3.14.0", "platform": "Linux-x86_64", "cpus": 2, "race": "0.1.0", "commit": None}
"""No particular machine."""

TOLD = "G decided at 23 on what it read at 7; step 18 had made that untrue."
CONDITIONS = " AND ".join(f"column_{number} = {number}" for number in range(20))
LONG = Explanation(
    columns=(("A", "0-start"), ("B", "1-start")),
    rows=(
        Row(1, "A", "GET text", f"{'x' * 58}.."),
        Row(2, "B", f'SET text "{"the quick brown fox jumps over the lazy dog " * 3}"', "OK"),
        Row(3, "A", f"UPDATE state SET value = {'y' * 900} WHERE {CONDITIONS}", "1 row"),
    ),
    fits=True,
    why=None,
    says="two attempts of one user were at work at once",
)  # fmt: skip

RESULTS = {
    "violated": (measurements.violated(), 1),
    "held": (measurements.held(), 0),
    "inconclusive": (measurements.inconclusive(), 3),
    "interrupted": (
        measurements.inconclusive(judged_bursts=120, complete=False, reason="the run was interrupted"),
        130,
    ),
    "statements": (
        measurements.postgres(measurements.violated(counterexample=STATEMENTS), "pg-read-committed"),
        1,
    ),
    "long-values": (measurements.violated(counterexample=LONG), 1),
    "one-process": (measurements.held(load=Load(processes=1, seed=7)), 0),
    "sustained-inconclusive": (
        measurements.inconclusive(load=Load(mode="sustained", connections=16, keys=5000, seed=7), judged_bursts=64),
        3,
    ),
    "sustained": (
        measurements.held(load=Load(mode="sustained", connections=16, keys=64, seed=7), judged_bursts=64),
        0,
    ),
    "sustained-violated": (measurements.lost_adds(), 1),
    "order-held-rule-violated": (
        measurements.violated(
            order=Verdict.HELD,
            invariants={"one at work": Verdict.VIOLATED, "somebody got in": Verdict.HELD},
            broken_bursts=3,
            by_invariant={"one at work": 3},
        ),
        1,
    ),
    "errors-shown": (
        measurements.held(
            claim=Claim("holds", errors=("40001",)),
            counts=Counts(
                bursts=1000, requests=3000, unknown=2, overruns=4, retries=1,
                errors={"40001": 12, "40P01": 3}, by_decision={"aborted": 7},
            ),
        ),
        0,
    ),
}  # fmt: skip


def in_80_columns(text: str) -> str:
    """The text, if it fits."""
    assert [line for line in text.splitlines() if len(line) > 80 or line != line.rstrip()] == []
    return text


@pytest.mark.parametrize("name", RESULTS)
def test_screen_of_a_run(name: str, snapshot: Snapshot) -> None:
    """Verdict, interleaving, and the lines below, for every kind of result."""
    measured, code = RESULTS[name]
    reproduce = f"race run {measured.cell.scenario} --strategy {measured.cell.strategy} --seed 7"
    document = {**result_document(measured, reproduce=reproduce), "environment": PLACE}
    snapshot(f"run-{name}.txt", in_80_columns(result_screen(document, code)))


def comparison(**changes: Any) -> dict[str, Any]:
    """A comparison's document from no particular machine."""
    document = comparison_document(
        measurements.compared(**changes),
        Load(seed=7),
        measurements.explored()[: len(changes.get("rows", [0] * 7))],
        reproduce="race compare double-submit --seed 7",
    )
    return {**document, "environment": PLACE}


def test_screen_of_a_comparison(snapshot: Snapshot) -> None:
    """A table for each store with its durability, then what follows from it."""
    snapshot("compare.txt", in_80_columns(comparison_screen(comparison(), 0)))


def test_screen_of_a_failed_comparison(snapshot: Snapshot) -> None:
    """What did not do as it claims, and what is unclear, is said with its command; long names fit."""
    broken = measurements.violated(claim=Claim("holds"))
    rows = [
        measurements.row("lua", broken, 18940),
        measurements.row("redis-lock:set-then-expire-with-a-long-name", measurements.inconclusive(), 3000),
        measurements.row("watch", measurements.held(counts=Counts(by_decision={"aborted": 4})), 1_234_567, 98765),
        measurements.row("atomic", measurements.held(), 7),
        measurements.row("actor", measurements.held(), 5),
    ]
    document = comparison(rows=rows, not_applicable=[], complete=False)
    snapshot("compare-failed.txt", in_80_columns(comparison_screen(document, 1)))


def test_a_comparison_whose_budget_ran_out() -> None:
    """What is there is shown, and what is not there is said: it is no interrupt, nor complete."""
    reason = "the budget of 9 s ran out: of 7 rows 3 were not explored"
    document = comparison(complete=False, reason=reason, missing=[Cell("double-submit", "lua", "drop")])
    text = " ".join(in_80_columns(comparison_screen(document, 0)).split())
    assert ", not complete" in text
    assert f"Not all {reason}; give more with --budget SECONDS" in text
    assert f"**Incomplete: {reason}.**" in comparison_markdown(document)
    assert run_line(1, "a.json", document)["found"].endswith(" (not complete)")
    output: Any = SimpleNamespace(exit_zero=False)
    fine = [{"as_claimed": True}]
    assert document["missing"] == [{"strategy": "lua", "rule": "drop"}]
    assert comparison_code({**document, "rows": fine}, output) == INCONCLUSIVE
    assert comparison_code({**document, "rows": fine, "missing": []}, output) == OK


def test_screen_of_a_comparison_that_was_disturbed(snapshot: Snapshot) -> None:
    """What all rows have in common is said once, and nobody is said not to hold."""
    lost = "the run was disturbed: Redis was restarted or failed over during the run"
    rows = [
        measurements.row("naive", measurements.violated(), 15000),
        *(measurements.row(name, measurements.inconclusive(reason=lost), 9) for name in ("lua", "watch", "redis-lock")),
    ]
    document = comparison(rows=rows, not_applicable=[])
    snapshot("compare-disturbed.txt", in_80_columns(comparison_screen(document, 3)))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"reason": "the run was disturbed: Redis was restarted"}, "see that nothing comes between"),
        ({"counts": Counts(unknown=9, requests=9, errors={"NOPERM": 9})}, "give this user the rights +@all -@admin"),
        ({"counts": Counts(failed=9, requests=9, errors={"OOM": 9})}, "raise the server's maxmemory, then run it"),
        (
            {"counts": Counts(failed=9, requests=9, errors={"NOREPLICAS": 9})},
            "let as many replicas follow the server",
        ),
        ({"counts": Counts(failed=9, requests=9, errors={"42P01": 9})}, "mend the statement that PostgreSQL refuses"),
        ({"counts": Counts(unknown=9, requests=9)}, "see that the store stays up and answers, then run it again"),
        ({"load": Load(mode="sustained", keys=5000, connections=16)}, "fewer hot keys (--keys 64), more"),
        ({"load": Load(mode="sustained", keys=8, connections=16)}, "fewer hot keys (--keys 1), more"),
        ({"load": Load(mode="sustained", keys=1)}, "Do make requests overlap more: more --connections, or --think 1"),
        ({"others": 0.9}, "Do wait until this machine is idle, or make requests overlap more: --size 8"),
    ],
)
def test_what_to_do(changes: dict[str, Any], line: str) -> None:
    """The next step depends on what kept the run from saying anything."""
    measured = measurements.inconclusive(**{"counts": Counts(requests=9), **changes})
    screen = result_screen(result_document(measured, reproduce="race run"), 3)
    assert line in " ".join(screen.split())


def test_exports_of_a_comparison(snapshot: Snapshot) -> None:
    """Markdown for a pull request, CSV for a spreadsheet."""
    snapshot("compare.md", comparison_markdown(comparison()))
    snapshot("compare.csv", comparison_csv(comparison()))


def test_colour_is_only_colour() -> None:
    """With its colours taken away a coloured screen is the plain one."""
    document = result_document(measurements.violated(), reproduce="race run")
    painted = result_screen(document, 1, coloured)
    assert "\x1b[1;31mVIOLATED\x1b[0m" in painted
    for code in ("\x1b[1;31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"):
        painted = painted.replace(code, "")
    assert painted == result_screen(document, 1)


@pytest.mark.parametrize(
    ("name", "verdict"), [("minimised", "violated"), ("not-reproduced", "proved"), ("not-explored", "inconclusive")]
)
def test_screen_of_what_exploring_added(name: str, verdict: str, snapshot: Snapshot) -> None:
    """The smallest schedule and how it is replayed; or why what the load met is shown."""
    document = result_document(measurements.violated(), reproduce="race run double-submit --strategy naive --seed 7")
    met = document["counterexample"]
    document["exploration"] = {"verdict": verdict, "reason": "naive does not do the same each time", "size": 3}
    if verdict == "violated":
        smallest = {**met, "says": "2 attempts of one user were at work at once", "file": "results/runs/it.json"}
        document["counterexample"] = {**smallest, "observed": met}
    snapshot(f"run-{name}.txt", in_80_columns(result_screen(document, 1)))


@pytest.mark.parametrize(("size", "why"), [(3, None), (8, None), (16, None), (16, TOLD)])
def test_many_callers_stay_readable(size: int, why: str | None, snapshot: Snapshot) -> None:
    """Three short columns stand side by side, eight become letters in one; of sixteen only some are drawn."""
    letters = "ABCDEFGHIJKLMNOP"[:size]
    commands = (("GET k", "0"), ("SET k 1", "OK"), ("GET k", "1")) if size > 8 else (("GET k", "0"),)
    steps = tuple(
        Row(number, letter, *command)
        for number, (command, letter) in enumerate(((command, letter) for command in commands for letter in letters), 1)
    )
    found = replace(
        measurements.READ_READ_WRITE_WRITE,
        columns=tuple((letter, letter.lower()) for letter in letters),
        rows=steps,
        why=why,
    )
    document = result_document(measurements.violated(counterexample=found), reproduce="race run")
    snapshot(f"run-{size}-callers{'-told' if why else ''}.txt", in_80_columns(result_screen(document, 1)))


def test_of_very_many_steps_the_middle_is_left_out() -> None:
    """The first, the last, and those that the explanation names; how many are missing is said."""
    rows = tuple(Row(number, "AB"[number % 2], f"GET k{number}", "0") for number in range(1, 2_001))
    found = replace(
        measurements.READ_READ_WRITE_WRITE,
        columns=(("A", "a"), ("B", "b")),
        rows=rows,
        why="B decided at 1999 on what it read at 777; step 1000 had made that untrue.",
    )
    screen = result_screen(result_document(measurements.violated(counterexample=found), reproduce="race run"), 1)
    assert "left out: 1,938 steps between 30 and 1971" in " ".join(screen.split())
    drawn = {number for number in range(1, 2_001) if f"GET k{number} " in screen}
    assert {*range(1, 31), 777, 1000, *range(1971, 2_001)} == drawn


@pytest.mark.parametrize(
    ("strategy", "asked", "line"),
    [
        ("naive", "", "race compare double-submit"),
        ("lua:resend", " --rule drop", "race compare double-submit --rules drop"),
        ("./my_fix.py", "", "race compare double-submit --strategies all,./my_fix.py"),
        ("my_fix.py#one:x", "", "race compare double-submit --strategies 'all,my_fix.py#one:x'"),
    ],
)
def test_the_comparison_that_is_offered(strategy: str, asked: str, line: str) -> None:
    """With the user's own script among the others, under the rule that was asked for."""
    measured = measurements.violated(cell=Cell("double-submit", strategy, "drop"))
    reproduce = f"race run double-submit --strategy {strategy}{asked} --seed 7"
    screen = result_screen(result_document(measured, reproduce=reproduce), 1)
    assert screen[screen.index("  Fixes    ") + 11 :].partition("  exit")[0].split() == line.split()


def test_more_reasons_than_one_reads() -> None:
    """Five lines about what is not there are one line about where they are told."""
    reasons = [{"strategy": f"own-{number}", "reason": f"reason {number}"} for number in range(3)]
    screen = comparison_screen({**comparison(), "not_applicable": reasons}, 0)
    assert "Left out own-0, own-1, own-2: they do not apply (race list double-submit says why)" in " ".join(
        screen.split()
    )
    assert "reason 1" not in screen
    assert "reason 1" in comparison_screen({**comparison(), "not_applicable": reasons[:2]}, 0)


def test_who_applies_under_some_of_the_rules() -> None:
    """A strategy with a row above does not stand among those that do not apply at all."""
    document = comparison()
    ran = document["rows"][0]["strategy"]
    reasons = [{"strategy": name, "reason": f"of {name}"} for name in (ran, "own-1", "own-2")]
    screen = " ".join(comparison_screen({**document, "not_applicable": reasons}, 0).split())
    assert "Left out own-1, own-2: they do not apply (race list double-submit says why)" in screen
    assert f"Left out under some of the rules: {ran} " in screen


@pytest.mark.parametrize(("command", "text"), [("(crashes)", "(crashes)"), ("SET k 1", "SET k 1  crash")])
def test_a_crash_is_said_once(command: str, text: str) -> None:
    """Who crashed is told nothing."""
    assert text_of({"command": command, "reply": "", "blocked": False, "outcome": "crash"}) == text


@pytest.mark.parametrize(
    ("resumed", "line"),
    [
        (3, "4 workers in the middle of bursts; 3 open requests asked again, same ids"),
        (0, "4 workers in the middle of bursts; no request was open then, so none was asked again: longer work"),
    ],
)
def test_killed_workers_of_whom_nobody_was_at_work(resumed: int, line: str) -> None:
    """That it held says nothing then of a request that is delivered twice."""
    document = result_document(measurements.held(), reproduce="")
    document["counts"] = {**document["counts"], "killed": 4, "resumed": resumed}
    assert line in " ".join(result_screen(document, OK).split())
