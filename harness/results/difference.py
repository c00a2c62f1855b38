"""Two kept documents compared: each figure's change with its interval, and one of four words.

`improved` and `regressed` are said of what the interval shows; `no change` where it shows that there is none that
matters; all else is `within noise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median
from typing import TYPE_CHECKING, Any, Literal

from harness.judge import compare_rates, ratio_interval
from harness.model import UsageError, Verdict
from harness.report.kept import run_line
from harness.results.claims import shown_to_callers
from harness.results.schema import kind_of
from harness.results.shelf import number_of

if TYPE_CHECKING:
    from harness.results.build import Document

Word = Literal["improved", "regressed", "no change", "within noise"]

COST_MARGIN = 0.1
"""A cost that is known to have changed by less is called the same."""
RATE_MARGIN = 0.02
"""Likewise a rate: two points."""
CONFIDENCE = 0.95
FEWEST_OTHERS = 3
BUSY_SHARE = 0.1
"""Of the processors, used by others: from here on a load competes.

Fifteen runs and three comparisons of one commit, on a machine that others used at times, compared with each other:
107 of 230 figures were called improved or regressed without this limit, none with it.
"""
_ALIKE = 3.0
"""The processes of a burst were released so many times further apart: that is another load."""
_LOAD = ("processes", "connections", "burst_size", "keys", "work_us", "think_ms")

NO_PARTS = "one of them has too few repeats within its load for an interval"
OTHER_MACHINE = "another machine or server: times are not compared"
UNKNOWN_OTHERS = "nobody knows what else the machine did during the loads"
BUSY = "other programs had much of the processors during one of the loads"
OTHER_LOAD = "requests did not meet as often in both: a rate of what breaks says as much of the machine"
NO_TRIALS = "nothing was counted in one of them"
COUNTED = "retries of one request depend on each other"


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy of a document, however the document says it."""

    name: str
    rule: str
    store: str
    verdict: str
    explored: str | None
    violations: Mapping[str, Any]
    overlap: Mapping[str, Any]
    pace: tuple[str, float | None]
    parts: list[Mapping[str, Any]]
    latency_ms: Mapping[str, float]
    requests: int
    retries: int
    errors: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What is the same in both."""
        return self.name, self.rule, self.store


def difference_document(first: tuple[Path, Document], second: tuple[Path, Document]) -> Document:
    """The `race.difference/1` document. Raises UsageError where the two cannot be compared."""
    (path, one), (other_path, other) = first, second
    was, now = _rows(path, one), _rows(other_path, other)
    if kind_of(one["schema"]) != kind_of(other["schema"]):
        raise UsageError(f"{path} is a {one['schema']}, {other_path} a {other['schema']}: two of a kind are compared")
    if Path(one["scenario"]).name != Path(other["scenario"]).name:  # a script may lie elsewhere now
        raise UsageError(
            f"{path} is of {one['scenario']}, {other_path} of {other['scenario']}: what changed shows within a scenario"
        )
    if isinstance(one["load"].get("mode"), str) and one["load"]["mode"] != other["load"]["mode"]:
        raise UsageError(f"{path} is of {one['load']['mode']} load, {other_path} of {other['load']['mode']} load")
    if len(was) == len(now) == 1 and kind_of(one["schema"]) == "result":
        pairs = [(was[0], now[0])]
        differs = _changed(one, other, ("strategy", "rule"))
    else:
        differs = {}
        by_key = {row.key: row for row in now}
        pairs = [(row, by_key[row.key]) for row in was if row.key in by_key]
    same = _same_machine(one, other)
    doubt = _doubt(one, other, same_machine=same)
    both = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    figures = [
        {"strategy": new.name, "rule": new.rule, "store": new.store, **figure}
        for old, new in pairs
        for figure in [*_figures(old, new, doubt), *_relative(old, new, *both, doubt)]
    ]
    words = [figure["word"] for figure in figures]
    return {
        "schema": "race.difference/1",
        "first": run_line(number_of(path), str(path), one),
        "second": run_line(number_of(other_path), str(other_path), other),
        "same_machine": same,
        "load": {**differs, **_changed(one["load"], other["load"], _LOAD)},
        "counts": {word: words.count(word) for word in ("improved", "regressed", "no change", "within noise")},
        "figures": figures,
        "only_first": [row.name for row in was if row.key not in {pair[0].key for pair in pairs}],
        "only_second": [row.name for row in now if row.key not in {pair[1].key for pair in pairs}],
        "confidence": CONFIDENCE,
        "margins": {"cost": COST_MARGIN, "rate": RATE_MARGIN},
    }


def _rows(path: Path, document: Document) -> list[Row]:
    match kind_of(document["schema"]):
        case "result":
            counts = document["counts"]
            sustained = document["load"]["mode"] == "sustained"
            return [
                Row(
                    document["strategy"], document["rule"], document["store"], document["verdict"], None,
                    document["violations"], document["overlap"],
                    ("requests_per_s", document["throughput_per_s"] if sustained else None),
                    document.get("parts", []), document["latency_ms"], counts["requests"], counts["retries"],
                    sum(shown_to_callers(counts["errors"], counts["by_decision"]).values()),
                )
            ]  # fmt: skip
        case "comparison":
            return [
                Row(
                    row["strategy"], row["rule"], row["store"], row["verdict"], row["explored"], row["violations"],
                    row["overlap"], ("starts_per_s", row["starts_per_s"]), row.get("parts", []), row["latency_ms"],
                    row["requests"], row["retries"], sum(row["errors"].values()),
                )
                for row in document["rows"]
            ]  # fmt: skip
        case kind:
            raise UsageError(f"{path} is of another kind ({kind}): what race run and race compare kept can be compared")


def _doubt(one: Document, other: Document, *, same_machine: bool) -> str:
    """Why times that differ may be the machine's doing; empty where they are the load's."""
    if not same_machine:
        return OTHER_MACHINE
    shares = [document["environment"].get("others_cpu") for document in (one, other)]
    if None in shares:
        return UNKNOWN_OTHERS
    return BUSY if max(shares) > BUSY_SHARE else ""


def _same_machine(one: Document, other: Document) -> bool:
    """Whether times may be compared; those who do not say which machine it was are told by what it was like."""
    names = {document["environment"].get("machine") for document in (one, other)}
    if None in names:
        names = {(document["environment"]["platform"], document["environment"]["cpus"]) for document in (one, other)}
    servers = [
        {(info["kind"], info["product"], info["version"], info["embedded"], info["durability"]) for info in stores}
        for stores in (one["stores"], other["stores"])
    ]
    shared = {server[0] for server in servers[0]} & {server[0] for server in servers[1]}
    alike = [{server for server in one_side if server[0] in shared} for one_side in servers]
    return len(names) == 1 and alike[0] == alike[1]


def _changed(one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, list[Any]]:
    return {name: [one[name], other[name]] for name in names if one[name] != other[name]}


def _figures(old: Row, new: Row, doubt: str) -> Iterator[Document]:
    yield _verdicts("verdict", old.verdict, new.verdict)
    if old.explored is not None and new.explored is not None:
        yield _verdicts("every order", old.explored, new.explored)
    yield _broken(old, new, doubt)
    if old.errors or new.errors:
        yield _rate("errors shown", (old.errors, old.requests), (new.errors, new.requests))
    if old.retries or new.retries:
        rates = [row.retries / row.requests if row.requests else None for row in (old, new)]
        word: Word = "no change" if rates[0] == rates[1] else "within noise"
        yield _figure("retries", "a request", rates[0], rates[1], None, word, COUNTED)
    name, pace = old.pace
    if pace is not None and new.pace[1] is not None:
        yield _cost(name, (pace, new.pace[1]), (_part(old, name), _part(new, name)), doubt, more_is_better=True)
    for name in ("p50", "p99"):
        one, other = old.latency_ms.get(name), new.latency_ms.get(name)
        if one is not None and other is not None:
            samples = _part(old, f"{name}_ms"), _part(new, f"{name}_ms")
            yield _cost(f"{name}_ms", (one, other), samples, doubt, more_is_better=False)


def _relative(old: Row, new: Row, was: list[Row], now: list[Row], doubt: str) -> Iterator[Document]:
    """Pace over that of the others in the same run: what the machine did to all of them falls out.

    How the others changed is their median, so that none of them decides; with fewer than three one would.
    """
    both = zip(was, now, strict=True)
    others = [
        (before.pace[1] or 0.0, after.pace[1] or 0.0)
        for before, after in both
        if before.key != old.key and before.store == old.store
    ]
    others = [pair for pair in others if all(pair)]
    if len(others) < FEWEST_OTHERS or old.pace[1] is None or new.pace[1] is None:
        return
    mean = geometric_mean(before for before, _after in others)
    drift = median(after / before for before, after in others)
    bases = (mean, mean * drift)
    values = old.pace[1] / mean, new.pace[1] / bases[1]
    samples = [[value / over for value in _part(row, row.pace[0])] for row, over in zip((old, new), bases, strict=True)]
    busy = doubt if doubt in {BUSY, UNKNOWN_OTHERS} else ""
    yield _cost("relative", values, (samples[0], samples[1]), busy, more_is_better=True)


def _part(row: Row, name: str) -> list[float]:
    return [part[name] for part in row.parts if part[name] is not None]


def _verdicts(name: str, old: str, new: str) -> Document:
    unclear = Verdict.INCONCLUSIVE.value in {old, new}
    word: Word = "no change"
    if unclear and old != new:
        word = "within noise"
    elif not unclear and Verdict(old).good is not Verdict(new).good:
        word = "improved" if Verdict(new).good else "regressed"
    return _figure(name, "", old, new, None, word, "")


def _broken(old: Row, new: Row, doubt: str) -> Document:
    """Two rates of what breaks are compared only where requests met alike; that something breaks now needs no such."""
    before, after = ((row.violations["bursts"], row.violations["judged"]) for row in (old, new))
    found = _rate("broken", before, after)
    if not (before[0] and after[0]) or found["word"] not in {"improved", "regressed"}:
        return found
    why = doubt or ("" if _met_alike(old, new) else OTHER_LOAD)
    return {**found, "word": "within noise", "why": why} if why else found


def _met_alike(old: Row, new: Row) -> bool:
    spreads = [row.overlap["release_spread_us"] for row in (old, new)]
    if None not in spreads and max(spreads) > _ALIKE * max(min(spreads), 1.0):
        return False
    one, other = ((row.overlap["control_broken"], row.overlap["control_bursts"]) for row in (old, new))
    return not (one[1] and other[1]) or compare_rates(one, other).p_value >= 1 - CONFIDENCE


def _rate(name: str, old: tuple[int, int], new: tuple[int, int]) -> Document:
    """Fisher's exact test decides whether it changed, Newcombe's interval by how much."""
    rates = [part / whole if whole else None for part, whole in (old, new)]
    if not old[1] or not new[1]:
        return _figure(name, "rate", rates[0], rates[1], None, "within noise", NO_TRIALS)
    capped = [(min(part, whole), whole) for part, whole in (old, new)]
    found = compare_rates(capped[0], capped[1], CONFIDENCE)
    word: Word = "within noise"
    if found.p_value < 1 - CONFIDENCE:
        word = "improved" if found.difference < 0 else "regressed"
    elif found.low >= -RATE_MARGIN and found.high <= RATE_MARGIN:
        word = "no change"
    return _figure(name, "rate", rates[0], rates[1], (found.difference, found.low, found.high), word, "")


def _cost(
    name: str, values: tuple[float, float], samples: tuple[list[float], list[float]], doubt: str, *,
    more_is_better: bool,
) -> Document:  # fmt: skip
    """By the parts of both loads; the change is that of the figures. `doubt`: why it may be the machine's."""
    old, new = values
    found = ratio_interval(*samples, CONFIDENCE)
    if doubt == OTHER_MACHINE or found is None or not old:
        why = doubt if doubt == OTHER_MACHINE else NO_PARTS
        return _figure(name, "ratio", old, new, None, "within noise", why)
    ratio = new / old
    low, high = min(found.low, ratio), max(found.high, ratio)
    word: Word = "within noise"
    if doubt:
        pass
    elif low >= 1 - COST_MARGIN and high <= 1 + COST_MARGIN:
        word = "no change"
    elif (low > 1 and ratio > 1 + COST_MARGIN) or (high < 1 and ratio < 1 - COST_MARGIN):
        word = "improved" if (ratio > 1) is more_is_better else "regressed"
    return _figure(name, "ratio", old, new, (ratio - 1, low - 1, high - 1), word, doubt)


def _figure(
    name: str, unit: str, old: Any, new: Any, change: tuple[float, float, float] | None, word: Word, why: str
) -> Document:  # fmt: skip
    """`change`, `low` and `high`: of a rate the difference, of a cost the share by which it is larger."""
    return {
        "figure": name, "unit": unit, "first": old, "second": new,
        "change": change and change[0], "low": change and change[1], "high": change and change[2],
        "word": word, "why": why,
    }  # fmt: skip
