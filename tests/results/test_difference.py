"""Two results compared: which word each figure gets, and that noise is not taken for news."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.burst import Counts, Load, Overlap
from harness.burst.parts import Part, Parts
from harness.model import UsageError, Verdict
from harness.report.difference import below, difference_csv, difference_markdown, difference_screen
from harness.results import comparison_document, result_document, schema_text
from harness.results.difference import (
    BUSY,
    NO_PARTS,
    OTHER_LOAD,
    OTHER_MACHINE,
    UNKNOWN_OTHERS,
    difference_document,
)
from tests import measurements

Document = dict[str, Any]
SUSTAINED = Load(mode="sustained", connections=16, keys=64, seed=7)


def parts(pace: float, spread: float = 0.01, seed: int = 1) -> list[Part]:
    """Ten parts about a pace of requests; latencies go the other way."""
    random = Random(seed)
    values = [pace * (1 + spread * random.uniform(-1, 1)) for _ in range(10)]
    return [Part(value, value / 2, 1000 / value, 4000 / value) for value in values]


def sustained(pace: float, seed: int = 1, spread: float = 0.01) -> Document:
    """A run under sustained load at this pace."""
    measured = measurements.held(
        load=SUSTAINED,
        counts=Counts(requests=round(pace * 5), attempts=round(pace * 2.5)),
        elapsed_s=5.0,
        latency_ms={"p50": 1000 / pace, "p99": 4000 / pace},
        parts=parts(pace, spread, seed),
        others=0.02,
    )
    return result_document(measured, reproduce="race run double-submit --strategy lua --mode sustained")


def bursts(broken: int, judged: int = 1000, apart_us: float = 2.0, control: int = 245) -> Document:
    """A run of bursts of which so many broke."""
    measured = measurements.held(
        broken_bursts=broken,
        judged_bursts=judged,
        verdict=Verdict.VIOLATED if broken else Verdict.HELD,
        overlap=Overlap("naive", 250, control, apart_us),
        others=0.02,
    )
    return result_document(measured, reproduce="race run double-submit --strategy lua")


def compared(first: Document, second: Document) -> Document:
    """The difference, checked against its schema."""
    document = difference_document(
        (Path("results/runs/0001-a.json"), first), (Path("results/runs/0002-b.json"), second)
    )
    Draft202012Validator(json.loads(schema_text("difference"))).validate(json.loads(json.dumps(document)))
    return document


def words(document: Document) -> dict[str, str]:
    """Figure to word, of a document with one strategy."""
    return {figure["figure"]: figure["word"] for figure in document["figures"]}


@pytest.mark.parametrize(
    ("pace", "word"), [(10_000, "no change"), (10_300, "no change"), (8_000, "regressed"), (13_000, "improved")]
)
def test_costs(pace: float, word: str) -> None:
    """Faster is better for a pace, slower is worse for a latency; a few percent do not matter."""
    found = words(compared(sustained(10_000), sustained(pace, seed=2)))
    assert (found["requests_per_s"], found["p50_ms"], found["p99_ms"]) == (word, word, word)


def test_noise_is_no_news() -> None:
    """Where the parts of a load differ by more than the two loads, there is nothing to tell."""
    found = compared(sustained(10_000, spread=0.5), sustained(10_900, seed=2, spread=0.5))
    assert {figure["word"] for figure in found["figures"] if figure["unit"] == "ratio"} == {"within noise"}


def test_without_repeats_there_is_no_interval() -> None:
    """Results of earlier versions have no parts: the figures stand side by side, and the reason is told."""
    old = {name: value for name, value in sustained(10_000).items() if name not in {"parts", "distribution"}}
    (figure,) = (one for one in compared(old, sustained(5_000))["figures"] if one["figure"] == "requests_per_s")
    assert (figure["first"], figure["second"]) == (10_000, 5_000)
    assert (figure["change"], figure["word"], figure["why"]) == (None, "within noise", NO_PARTS)


def test_times_of_another_machine_are_not_compared() -> None:
    """Nor those of another server; what breaks is."""
    other = sustained(5_000)
    other["environment"]["machine"] = "another"
    server = sustained(5_000)
    server["stores"][0]["version"] = "7.2.4"
    for second in (other, server):
        found = compared(sustained(10_000), second)
        assert {one["why"] for one in found["figures"] if one["unit"] == "ratio"} == {OTHER_MACHINE}
        assert (found["same_machine"], words(found)["verdict"]) == (False, "no change")


@pytest.mark.parametrize(("share", "why"), [(0.4, BUSY), (None, UNKNOWN_OTHERS)])
def test_on_a_busy_machine_times_say_nothing(share: float | None, why: str) -> None:
    """Half the pace is shown, with its interval, but may be the other programs' doing."""
    second = sustained(5_000)
    second["environment"]["others_cpu"] = share
    figures = [one for one in compared(sustained(10_000), second)["figures"] if one["unit"] == "ratio"]
    assert {(one["word"], one["why"]) for one in figures} == {("within noise", why)}
    assert figures[0]["change"] == -0.5


@pytest.mark.parametrize(
    ("before", "after", "word", "verdict"),
    [
        ((0, 1000), (0, 1000), "no change", "no change"),
        ((0, 30), (0, 30), "within noise", "no change"),
        ((0, 1000), (1, 1000), "no change", "regressed"),
        ((0, 1000), (9, 1000), "regressed", "regressed"),
        ((9, 1000), (0, 1000), "improved", "improved"),
        ((900, 1000), (300, 1000), "improved", "no change"),
        ((300, 1000), (340, 1000), "within noise", "no change"),
    ],
)
def test_rates(before: tuple[int, int], after: tuple[int, int], word: str, verdict: str) -> None:
    """By Fisher's test; a verdict that turns is told even where a rate shows nothing."""
    found = words(compared(bursts(*before), bursts(*after)))
    assert (found["broken"], found["verdict"]) == (word, verdict)


@pytest.mark.parametrize("other", [{"apart_us": 90.0}, {"control": 150}])
def test_a_rate_of_another_load_says_nothing(other: dict[str, float]) -> None:
    """Where requests met less often, fewer bursts break, whatever the strategy; that one breaks at all is news."""
    found = compared(bursts(900), bursts(300, **other))  # type: ignore[arg-type]
    (figure,) = (one for one in found["figures"] if one["figure"] == "broken")
    assert (figure["word"], figure["why"]) == ("within noise", OTHER_LOAD)
    assert words(compared(bursts(0), bursts(300, **other)))["broken"] == "regressed"  # type: ignore[arg-type]


def test_an_unclear_verdict_is_no_change() -> None:
    """Of two of which one says nothing, nothing can be said."""
    unclear = result_document(measurements.inconclusive(), reproduce="race run")
    assert words(compared(bursts(0), unclear))["verdict"] == "within noise"


def comparison(change: Callable[[str], float], only: Iterable[str] = ()) -> Document:
    """A comparison in which each strategy is faster by a factor."""
    whole = measurements.compared(others=0.02)
    rows = [
        replace(
            row,
            sustained=replace(
                row.sustained,
                counts=Counts(attempts=round(10_000 * change(row.strategy)), requests=20_000),
                parts=parts(20_000 * change(row.strategy), seed=place),
            ),
        )
        for place, row in enumerate(whole.rows)
        if not only or row.strategy in only
    ]
    return comparison_document(
        replace(whole, rows=rows), Load(), measurements.explored()[: len(rows)], reproduce="race compare"
    )


def test_a_slower_machine_is_told_from_a_slower_strategy() -> None:
    """Where all are slower, only the one that is slower than the others has regressed relative to them."""
    found = compared(comparison(lambda _name: 1), comparison(lambda name: 0.3 if name == "lua" else 0.7))
    relative = {one["strategy"]: one["word"] for one in found["figures"] if one["figure"] == "relative"}
    absolute = {one["word"] for one in found["figures"] if one["figure"] == "starts_per_s"}
    assert absolute == {"regressed"}
    assert (relative["lua"], relative["pg-conditional"]) == ("regressed", "no change")


def test_what_is_in_one_only() -> None:
    """Is named."""
    found = compared(comparison(lambda _name: 1), comparison(lambda _name: 1, only={"naive", "lua"}))
    assert (len(found["only_first"]), found["only_second"]) == (7, [])
    assert {figure["strategy"] for figure in found["figures"]} == {"naive", "lua"}


def test_what_cannot_be_compared() -> None:
    """A run and a comparison, bursts and sustained load, two scenarios: one line."""
    with pytest.raises(UsageError, match=r"two of a kind are compared$"):
        compared(bursts(0), comparison(lambda _name: 1))
    with pytest.raises(UsageError, match=r"is of burst load, .* of sustained load$"):
        compared(bursts(0), sustained(1000))
    with pytest.raises(UsageError, match=r"a\.json is of mine\.py, .*b\.json of other\.py: what changed shows"):
        compared({**bursts(0), "scenario": "mine.py"}, {**bursts(0), "scenario": "other.py"})


def test_what_is_another_strategy_s() -> None:
    """Two runs may be of two strategies or rules: it is told. A script may have moved."""
    first = {**bursts(0), "scenario": "mine.py"}
    found = compared(first, {**first, "scenario": "./old/mine.py", "strategy": "naive", "rule": "wait"})
    changed = {"strategy": [first["strategy"], "naive"], "rule": [first["rule"], "wait"]}
    assert found["load"] == changed
    assert dict(below(found))["Differ"] == ", ".join(f"{name} {a} and {b}" for name, (a, b) in changed.items())


def test_renderings(snapshot: Callable[[str, str], None]) -> None:
    """A comparison in which one strategy got slower: what a reader sees."""
    first = comparison(lambda _name: 1, only={"naive", "atomic", "lua", "watch"})
    second = comparison(lambda name: 0.5 if name == "lua" else 1, only={"naive", "atomic", "lua", "watch", "mutex"})
    second["load"]["processes"] = 4
    for document in (first, second):
        document["environment"]["commit"] = "3fa2c91b7d04"
    found = compared(first, second)
    snapshot("report-diff.txt", difference_screen(found))
    snapshot("report-diff.md", difference_markdown(found))
    assert max(map(len, difference_screen(found).splitlines())) <= 80
    assert difference_csv(found).count("\n") == 1 + len(found["figures"])


def test_a_load_in_parts() -> None:
    """Equal parts by time; what came after the end is in none. An empty part is slow, not missing."""
    load = Parts.of_time(1_000, 1.0)
    for place in range(1_000, 800_001_000, 1_000_000):
        load.add(place, 2_000_000, start=place % 2_000_000 == 1_000)
    load.add(1_000_001_000, 9_000_000, start=True)
    assert load.values() == [*[Part(1000.0, 500.0, None, None)] * 4, Part(0.0, 0.0, None, None)]
    for place in range(800_001_000, 1_000_001_000, 1_000_000):
        load.add(place, 2_000_000, start=True)
    assert load.values() == [*[Part(1000.0, 500.0, 2.0, 2.0)] * 4, Part(1000.0, 1000.0, 2.0, 2.0)]


def test_bursts_in_parts() -> None:
    """They have no pace; those that were not made are in no part."""
    bursts = Parts(0, 1000)
    for burst in range(250):
        for _request in range(2):
            bursts.add(burst, 3_000_000, start=True)
    assert bursts.values() == [Part(None, None, 3.0, 3.0)] * 3
    assert Parts(0, 30).values() == []
