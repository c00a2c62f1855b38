"""What the web UI shows of tests while they run: a piece of a page, for a place of its own in somebody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.judge.verdicts import NEEDED_CONTROL_RATE
from harness.report import terminal
from harness.report.caveats import caveats
from harness.report.figures import bound, count, interval, milliseconds, percent, seconds
from harness.report.html.plots import latency_plot
from harness.report.html.space_time import space_time
from harness.report.html.views import TONES

Document = Mapping[str, Any]
View = dict[str, Any]

_PERCENTILES = {"p50": "median", "p90": "90 %", "p99": "99 %", "p999": "99.9 %", "max": "longest"}
_VARIABLES = re.compile(r":root \{(.*?)\}", re.DOTALL)


def live_view(documents: Sequence[Document], shown: int) -> View:
    """Of test `shown`, counted from 1, or of the last one; and a row for each."""
    number = shown if 0 < shown <= len(documents) else len(documents)
    rows = [_row(place, one) for place, one in enumerate(documents, start=1)]
    if not documents:
        return {"rows": [], "number": 0}
    document = documents[number - 1]
    found, latency = document["counterexample"], document["latency_ms"]
    size = document["load"]["burst_size"]
    drawn = space_time(found, "one order that fits") if found else None
    return {
        "rows": rows,
        "number": number,
        "document": document,
        "running": bool(document.get("running")),
        "title": f"{document['scenario']} under {document['strategy']}",
        "subtitle": f"{seconds(document['duration_s'])}, bursts of {size}, seed {document['seed']}",
        "tone": TONES[document["verdict"]],
        "lead": terminal.sentence(document),
        "evidence": terminal.evidence(document),
        "caveats": caveats(document),
        "cards": list(_cards(document)),
        "decisions": list(_decisions(document)),
        "story": drawn,
        "why": found["why"] if found else "",
        "percentiles": [(told, milliseconds(latency[name])) for name, told in _PERCENTILES.items() if name in latency],
        "latency": latency_plot([document], {"rows": [document]}, tall=True) if latency else None,
    }


def theme(style: str) -> str:
    """The colours of the pages for a host element, which is told by a class whether it is dark."""
    light, dark, *_print = _VARIABLES.findall(style)
    return f":host {{{light}}}\n:host(.dark) {{ color-scheme: dark; {dark}}}"


def _cards(document: Document) -> Iterator[View]:
    counts = document["counts"]
    yield _card("bursts", count(counts["bursts"]), f"{count(counts['requests'])} requests")
    yield _violated(document["violations"])
    yield _overlap(document["overlap"])
    unknown, stuck = counts["unknown"], counts["stuck"]
    more = f"{count(counts['failed'])} failed, {count(unknown)} unknown, {count(stuck)} stuck"
    yield _card("answered", count(counts["ok"]), more, "warn" if unknown or stuck else "")
    yield _card("retries", count(counts["retries"]), f"{count(counts['overruns'])} overran a lease")


def _card(label: str, value: str, more: str, tone: str = "") -> View:
    return {"label": label, "value": value, "more": more, "tone": tone}


def _violated(violations: Document) -> View:
    broken, judged = violations["bursts"], count(violations["judged"])
    if not violations["judged"]:
        return _card("violated", "-", "none judged yet")
    if not broken:
        return _card("violated", "0", f"of {judged}; at most {bound(violations)} %, one-sided 95 %", "good")
    more = f"{count(broken)} of {judged}, 95 %: {interval(violations)}"
    return _card("violated", f"{percent(violations['rate'])} %", more, "bad")


def _overlap(overlap: Document) -> View:
    rate, spread = overlap["control_rate"], overlap["release_spread_us"]
    apart = "" if spread is None else f", released {spread:.0f} us apart"
    if overlap["control"] is None:
        return _card(
            "overlap", "-" if spread is None else f"{spread:.0f} us", "apart; known to break: the control itself"
        )
    shown = f"{count(overlap['control_broken'])} of {count(overlap['control_bursts'])}{apart}"
    tone = "" if rate is None else "good" if rate >= overlap.get("control_needed", NEEDED_CONTROL_RATE) else "warn"
    return _card(f"overlap: {overlap['control']} broke", "-" if rate is None else f"{percent(rate)} %", shown, tone)


def _decisions(document: Document) -> Iterator[View]:
    counts = document["counts"]
    whole = max(1, sum(counts["by_decision"].values()) + sum(counts["errors"].values()))
    for name, number in sorted(counts["by_decision"].items(), key=lambda one: -one[1]):
        yield {"name": name, "number": number, "share": 100 * number / whole, "tone": ""}
    for name, number in sorted(counts["errors"].items(), key=lambda one: -one[1]):
        yield {"name": name, "number": number, "share": 100 * number / whole, "tone": "bad"}


def _row(number: int, document: Document) -> View:
    rate, latency = document["overlap"]["control_rate"], document["latency_ms"]
    return {
        "number": number,
        "strategy": document["strategy"],
        "scenario": document["scenario"],
        "rule": document["rule"],
        "size": document["load"]["burst_size"],
        "verdict": document["verdict"],
        "bursts": document["counts"]["bursts"],
        "violations": document["violations"],
        "control": "" if rate is None else f"{percent(rate)} %",
        "p50": milliseconds(latency["p50"]) if "p50" in latency else "",
    }
