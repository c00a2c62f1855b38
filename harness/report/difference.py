"""What changed between two kept documents, as a screen, as Markdown and as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from harness.report.comma_separated import lines_of
from harness.report.figures import MISSING, count, cut, milliseconds, per_second, percent
from harness.report.kept import short_commit
from harness.report.markdown import escaped, table_row
from harness.report.paint import Paint, plain
from harness.report.terminal import WIDTH, labelled

Document = Mapping[str, Any]

HEADINGS = ("figure", "first", "second", "change", "95 % CI", "")
FIELDS = ("strategy", "rule", "store", "figure", "unit", "first", "second", "change", "low", "high", "word", "why")
NAMES = {
    "starts_per_s": "starts/s", "requests_per_s": "requests/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms",
}  # fmt: skip
WORDS = {"improved": "green", "regressed": "red", "no change": "", "within noise": "dim"}
RELATIVE = "to the others in the same run: what made all of them slower is left out"
INTERVALS = (
    "of costs are made of equal parts of each load: what the machine did between the two runs is not in them."
    " What matters shows again when both are run again"
)
_WIDTHS = (13, 12, 12, 9, 14)
_INDENT = 12


def difference_screen(document: Document, paint: Paint = plain) -> str:
    """What `race report diff` prints, from its document."""
    lines = [_run("first", document["first"], paint), _run("second", document["second"], paint), ""]
    lines += [paint(_line(HEADINGS), "dim")]
    for title, figures in grouped(document):
        lines.append(paint(title, "bold"))
        for figure in figures:
            *texts, word = texts_of(figure)
            lines.append(f"{_line([*texts, ''])}  {paint(word, WORDS[word]) if WORDS[word] else word}")
    lines.append("")
    for label, text in below(document):
        lines += labelled(label, text, paint, _INDENT)
    return "\n".join(lines) + "\n"


def difference_markdown(document: Document) -> str:
    """The same for a pull request."""
    lines = ["# What changed", ""]
    lines += [f"* {name}: {escaped(told(document[name]))}" for name in ("first", "second")]
    for title, figures in grouped(document):
        lines += ["", f"## {escaped(title)}", "", table_row([*HEADINGS]), table_row([":--", *["--:"] * 4, ":--"])]
        for figure in figures:
            *texts, word = texts_of(figure)
            lines.append(table_row([*texts, f"**{word}**" if word in {"improved", "regressed"} else word]))
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in below(document))]
    return "\n".join(lines) + "\n"


def difference_csv(document: Document) -> str:
    """One line for each figure, as they are."""
    return lines_of(FIELDS, ([figure[name] for name in FIELDS] for figure in document["figures"]))


def texts_of(figure: Document) -> list[str]:
    """One text for each of HEADINGS; the last is the word."""
    name = NAMES.get(figure["figure"], figure["figure"])
    values = [_value(figure, figure[side]) for side in ("first", "second")]
    change, interval = MISSING, MISSING
    if figure["change"] is not None:
        change = _signed(figure["change"], figure["unit"], round)
        low = _signed(figure["low"], figure["unit"], math.floor)
        high = _signed(figure["high"], figure["unit"], math.ceil)
        interval = f"{low} to {high}"
        change += " %" if figure["unit"] == "ratio" else " pt"
    return [name, *values, change, interval, figure["word"]]


def below(document: Document) -> Iterator[tuple[str, str]]:
    """What has to be known beside the figures."""
    words = ", ".join(f"{word} {number}" for word, number in document["counts"].items() if number)
    yield "Words", words or "nothing is in both"
    if document["load"]:
        changed = ", ".join(f"{name} {one} and {other}" for name, (one, other) in document["load"].items())
        yield "Differ", changed
    for label, names in (("Gone", document["only_first"]), ("New", document["only_second"])):
        if names:
            yield label, ", ".join(names)
    reasons = dict.fromkeys(figure["why"] for figure in document["figures"] if figure["why"])
    for reason in reasons:
        concerned = dict.fromkeys(
            NAMES.get(figure["figure"], figure["figure"]) for figure in document["figures"] if figure["why"] == reason
        )
        yield "Noise", f"{', '.join(concerned)}: {reason}"
    if any(figure["figure"] == "relative" for figure in document["figures"]):
        yield "Relative", RELATIVE
    if any(figure["unit"] == "ratio" and figure["change"] is not None for figure in document["figures"]):
        yield "Intervals", INTERVALS


def grouped(document: Document) -> Iterator[tuple[str, Sequence[Document]]]:
    """The figures of each strategy, below what it is called."""
    several = len({figure["rule"] for figure in document["figures"]}) > 1
    for (strategy, rule, _store), figures in groupby(
        document["figures"], key=lambda figure: (figure["strategy"], figure["rule"], figure["store"])
    ):
        yield f"{strategy} ({rule})" if several else strategy, list(figures)


def _value(figure: Document, value: Any) -> str:
    if value is None:
        return MISSING
    match figure["figure"], figure["unit"]:
        case (("starts_per_s" | "requests_per_s"), _):
            return per_second(value)
        case "relative", _:
            return f"{value:.2f}"
        case _, "ratio":
            return milliseconds(value)
        case _, "rate":
            return f"{percent(value)} %"
        case _, "a request":
            return f"{value:.2f}" if value < 100 else count(round(value))
        case _:
            return str(value)


def _signed(value: float, unit: str, rounding: Any) -> str:
    """In percent or points, one digit where that says something; an interval is never narrowed."""
    scaled = 100 * value
    digits = 1 if unit == "rate" or abs(scaled) < 10 else 0
    rounded = rounding(round(scaled * 10**digits, 6)) / 10**digits
    text = f"{rounded:+,.{digits}f}"
    return "0" if float(text.replace(",", "")) == 0 else text


def _line(texts: Sequence[str]) -> str:
    first, *others = texts
    parts = [f"{cut(first, _WIDTHS[0]):<{_WIDTHS[0]}}"]
    parts += [f"{text:>{width}}" for text, width in zip(others[:-1], _WIDTHS[1:], strict=False)]
    return f"  {' '.join(parts)}"


def _run(name: str, line: Document, paint: Paint) -> str:
    return paint(f"{name:<8}", "dim") + cut(told(line), WIDTH - 8)


def told(line: Document) -> str:
    """`run 3, compare double-submit, 2026-11-26 22:41, commit 3fa2c91`."""
    number = line["file"] if line["run"] is None else f"run {line['run']}"
    when = datetime.fromisoformat(line["started_at"]).strftime("%Y-%m-%d %H:%M")
    commit = "no commit" if line["commit"] is None else f"commit {short_commit(line['commit'])}"
    return f"{number}, {line['what']}, {when}, {commit}"
