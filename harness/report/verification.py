"""The screen of a verified history: the verdict, what contradicts itself, and what was judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.contradiction import BARS, draw_contradiction
from harness.report.figures import count, interval, percent, plural, seconds, wrapped
from harness.report.paint import VERDICT_STYLES, Paint, plain
from harness.report.terminal import WIDTH, labelled, last_line
from harness.report.timeline import printable

Document = Mapping[str, Any]
SLOW_S = 1.0
"""Reading that takes longer is told: no budget limits it."""


def verification_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race verify` prints, from its document."""
    lines = [*_headline(document, paint), ""]
    if document["counterexample"] is not None:
        lines += draw_contradiction(document["counterexample"], paint)
    for label, text in _below(document):
        lines += labelled(label, printable(text), paint)
    lines += last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint)
    return "\n".join(lines) + "\n"


def _headline(document: Document, paint: Paint) -> list[str]:
    verdict = document["verdict"]
    indent = max(len("VIOLATED"), len(verdict)) + 4
    first = f"  {paint(verdict.upper(), VERDICT_STYLES[verdict])}{' ' * (indent - 2 - len(verdict))}"
    sentences = [*wrapped(printable(_sentence(document)), WIDTH - indent), *wrapped(_figures(document), WIDTH - indent)]
    return [first + sentences[0], *(" " * indent + line for line in sentences[1:])]


def _sentence(document: Document) -> str:
    if document["verdict"] == "violated":
        found = document["counterexample"]
        if found is not None:
            return str(found["says"])
        return f"broken: {'; '.join(document['violations']['by_invariant'])}"
    return str(document["reason"])


def _figures(document: Document) -> str:
    violations, rates = document["violations"], document["violations"]["rates"]
    judged = violations["judged"]
    if not violations["pieces"]:
        return f"{_pieces(document, judged)} judged, none broken"
    text = f"{count(violations['pieces'])} of {_pieces(document, judged)}"
    if rates is not None:
        text += f" ({percent(rates['rate'])} %, 95 % CI {interval(rates)})"
    return text


def _pieces(document: Document, number: int) -> str:
    run = document["run"]
    if run is not None and run["mode"] == "burst":
        return plural(number, "burst")
    return f"{count(number)} {'group' if number == 1 else 'groups'} of connected keys"


def _below(document: Document) -> Iterator[tuple[str, str]]:
    if document["verdict"] == "violated" and document["counterexample"] is not None:
        others = [breach["says"] for breach in document["counterexample"]["breaches"]][1:]
        if others:
            yield "Also", "; ".join(dict.fromkeys(others))
    yield "Judged", _judged(document)
    counts = document["counts"]
    if counts["unjudged"]:
        why = document.get("unjudged_why") or "more time (--budget) may give one"
        yield "Unjudged", f"in {_pieces(document, counts['unjudged'])}: {why}"
    left_out = []
    if counts["apart"]:
        left_out.append(f"{_pieces(document, counts['apart'])} in which no two requests overlapped")
    if counts["unfinished"]:
        left_out.append(f"{_pieces(document, counts['unfinished'])} at the end of the file: not whole")
    if left_out:
        yield "Left out", "; ".join(left_out)
    control = document["control"]
    if control is not None and control["bursts"]:
        yield "Control", f"{control['name']} broke {count(control['broken'])} of its {count(control['bursts'])}"
    if document["counterexample"] is not None:
        yield "Bars", BARS
    yield "History", _history(document)
    if document["run"] is not None:
        run = document["run"]
        yield "Run", f"{run['scenario']} under {run['strategy']}, rule {run['rule']}, seed {run['seed']}"


def _judged(document: Document) -> str:
    """Order and every invariant, apart."""
    amounts, broken = document["violations"]["amounts"], document["violations"]["by_invariant"]
    parts = [f"order: {document['order']}"]
    number = document["violations"]["order"]
    if number:
        parts[0] += f" in {count(number)}"
    for name, verdict in document["invariants"].items():
        part = f"{name}: {verdict}"
        if name in broken:
            part += f" in {count(broken[name])}"
            part += f" (adding up to {amounts[name]:g})" if amounts.get(name, 0) > broken[name] else ""
        parts.append(part)
    return "; ".join(parts)


def _history(document: Document) -> str:
    counts = document["counts"]
    text = f"{plural(counts['operations'], 'operation')} in {_pieces(document, counts['pieces'])}"
    rare = [f"{count(counts[name])} {name}" for name in ("failed", "unknown") if counts[name]]
    if rare:
        text += f", {' and '.join(rare)}"
    text += f"; {plural(counts['effects'], 'effect')}" if counts["effects"] else ""
    reading_s = document.get("reading_s", 0.0)
    return text + (f"; read in {seconds(reading_s)}" if reading_s >= SLOW_S else "")
