"""What each page shows, from its document: texts and geometry, ready for a template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.report import exploration, isolation, terminal
from harness.report.advice import advice, again, failures, title
from harness.report.by_rule import rules_of, together, told_by_exploring
from harness.report.caveats import caveats
from harness.report.check_screen import counterexample_of, failed
from harness.report.comparison_rows import claim_met, control_line, groups, not_applicable
from harness.report.contradiction import draw_contradiction
from harness.report.figures import count, plural, seconds
from harness.report.html.plots import latency_plot, pace_plot, parts_plot
from harness.report.html.space_time import space_time
from harness.report.interleaving import draw

Document = Mapping[str, Any]
View = dict[str, Any]

TONES = {
    "violated": "bad", "failed": "bad", "occurs": "warn", "held": "good", "proved": "good", "bounded": "good",
    "passed": "good", "prevented": "good", "inconclusive": "warn", "unclear": "warn", "interrupted": "warn",
    "shows nothing": "warn", "as expected": "good", "as claimed": "good", "-": "none", "not as claimed": "bad",
    "NO": "bad", "?": "warn", "holds": "none", "breaks": "none", "not come to": "warn", "does not apply": "none",
}  # fmt: skip
"""Each word's tone; a sign and the word itself go with it, so that none rests on colour."""

MEANINGS = {
    "work": "work goes on",
    "waits": "waits for another caller",
    "stale": "what it had read is no longer true",
    "decided": "the caller is told",
    "paused": "asleep, past every lease",
    "crash": "it crashes",
    "fault": "a fault: a reply is lost, or a request comes twice",
    "error": "the store refused",
}

_ELSEWHERE = frozenset({"Why", "Again", "Fixes", "Others", "Judged", "Bars", "Replay", "Mind"})
"""Lines of the screen that have a place of their own on a page."""
_KEPT = ("violated", "held", "inconclusive")
"""What is said of all invariants together: one that has no answer is counted beside it."""


def result_view(document: Document) -> View:
    """The page of `race run`."""
    found = document["counterexample"]
    timed = found is not None and terminal.timed(document)
    smallest = found is not None and terminal.minimised(document)
    note = terminal.SMALLEST if smallest else ""
    below = list(terminal.lines_below(document))
    facts = [(label, text) for label, text in below if label not in _ELSEWHERE]
    commands = [("The same run", document["reproduce"])]
    commands += [("This schedule, step by step", text) for label, text in below if label == "Replay"]
    commands += [("The same rule under every strategy", text) for label, text in below if label in {"Fixes", "Others"}]
    story = None if found is None or timed else space_time(found, note)
    timeline = "\n".join(draw_contradiction(found)) if found is not None and timed else ""
    contents = [("how", "How it breaks")] if story or timeline else []
    return {
        **common(document, f"{document['scenario']} under {document['strategy']}", commands),
        "tone": TONES[document["verdict"]],
        "lead": terminal.sentence(document),
        "evidence": terminal.evidence(document),
        "caveats": caveats(document),
        "why": found["why"] if found else None,
        "story": story,
        "timeline": timeline,
        "as_text": "\n".join(draw(found, 100, note=note)) if story else "",
        "observed": space_time(found["observed"]) if smallest and found and "observed" in found else None,
        "facts": facts,
        "latency": latency_plot([document], {"rows": [document]}, tall=True),
        "pace": parts_plot(document),
        "contents": [*contents, ("judged", "Judged"), ("cost", "Cost"), *ENDS],
    }


def comparison_view(document: Document) -> View:
    """The page of `race compare`."""
    rows = document["rows"]
    met = [row["as_claimed"] for row in rows]
    word, tone = ("failed", "bad") if False in met else ("unclear", "warn") if None in met else ("as claimed", "good")
    if not document["complete"]:
        word, tone = "interrupted", "warn"
    load = document["load"]
    stores = [_store(heading, own, document) for heading, own in groups(document)]
    commands = [("All of it", document["reproduce"])]
    commands += [(title(row, document), again(row, document)) for row in rows]
    under = f"{plural(load['processes'], 'process')}, bursts of {load['burst_size']}"
    broke = sum(row["verdict"] == "violated" for row in rows)
    beside, rules = together(document), rules_of(document)
    ways = plural(len({row["strategy"] for row in rows}), "way") + " of protecting it"
    return {
        **common(document, f"{document['scenario']} under {ways}{f' and {len(rules)} rules' * bool(beside)}", commands),
        "word": word,
        "tone": tone,
        "lead": f"{count(broke)} of {len(rows)} broke under the load",
        "more": [under],
        "caveats": caveats(document),
        "advice": [*failures(document), *advice(document)],
        "stores": stores,
        "rules": rules,
        "beside": [
            {"names": names, "cells": [{"tone": _tone_of(word), "word": word, "ends": ends} for word, *ends in cells]}
            for names, *cells in beside
        ],
        "told": told_by_exploring(document),
        "left_out": list(not_applicable(document)),
        "contents": [
            ("choose", "What to choose"), *([("rules", "By rule")] if beside else []), ("matrix", "Every strategy"),
            ("pace", "Throughput"), ("latency", "Latency"), *ENDS,
        ],
    }  # fmt: skip


def _tone_of(word: str) -> str:
    """The tone of `held, broken`: that of the worse of the two."""
    return next((tone for part, tone in (("broken", "bad"), ("?", "warn"), ("held", "good")) if part in word), "none")


def exploration_view(document: Document) -> View:
    """The page of `race explore`."""
    found = document["counterexample"]
    below = list(exploration.lines_below(document))
    commands = [("The same search", document["reproduce"])]
    commands += [("This schedule, step by step", text) for label, text in below if label == "Replay"]
    note = "as it was scheduled"
    return {
        **common(document, f"{document['scenario']} under {document['strategy']}, in every order", commands),
        "tone": TONES[document["verdict"]],
        "lead": exploration.sentence(document),
        "evidence": exploration.extent(document),
        "why": found["why"] if found else None,
        "story": space_time({**found, "fits": True}, note) if found else None,
        "as_text": "\n".join(draw({**found, "fits": True}, 100, note=note)) if found else "",
        "facts": [(label, text) for label, text in below if label not in _ELSEWHERE],
        "contents": [*([("how", "How it breaks")] if found else []), ("search", "The search"), *ENDS],
    }


def isolation_view(document: Document) -> View:
    """The page of `race isolation`."""
    differs = [
        {"says": case["says"], "drawn": _case(case), "id": f"differs-{place}"}
        for place, case in enumerate(document["differs"])
    ]
    as_expected = document["as_expected"] and not document["differs"] and not document["reason"]
    word = "as expected" if as_expected else "shows nothing" if document["reason"] else "failed"
    rows = [
        {"name": name, "code": code, "means": document["means"][code], "cells": list(_cells(document, code))}
        for code, name in document["anomalies"].items()
    ]
    heading = ", ".join(f"{info['product']} {info['version']}" for info in document["stores"])
    return {
        **common(document, f"Isolation on {heading}", [("All of it", document["reproduce"])]),
        "word": word,
        "tone": TONES[word],
        "lead": dict(isolation.lines_below(document))["Expected"],
        "more": [document["reason"]],
        "levels": [entry["level"] for entry in document["levels"]],
        "rows": rows,
        "differs": differs,
        "cases": [
            {
                "name": f"{document['anomalies'][case['anomaly']]}{' (' + case['case'] + ')' if case['case'] else ''}",
                "level": case["level"], "word": _prevented(case["prevents"]), "drawn": _case(case),
                "id": f"case-{place}",
            }
            for place, case in enumerate(document["cases"])
        ],
        "facts": [*isolation.lines_below(document), *(("Source", source) for source in document["sources"])],
        "contents": [("table", "The table"), ("cases", "Step by step"), *ENDS],
    }  # fmt: skip


def check_view(document: Document) -> View:
    """The page of `race check`."""
    counts = document["counts"]
    word = document["outcome"] if document["complete"] else "interrupted"
    cells = [_cell(cell, f"cell-{place}") for place, cell in enumerate(document["cells"])]
    schedules = [{**one, "why": one["why"]} for one in document["schedules"]]
    if schedules:
        story = next((one for one in schedules if one["mark"] == "failed" and one["counterexample"]), None)
        drawn_story = story and space_time({**story["counterexample"], "fits": True}, "as it was scheduled")
        cells.insert(0, {
            "id": "schedules", "name": "Saved schedules", "rules": schedules, "caveats": [], "story": drawn_story,
            "says": story["counterexample"]["says"] if story else "", "why": "",
        })  # fmt: skip
    commands = [("All of it", document["reproduce"])]
    for cell in document["cells"]:
        again_ = dict.fromkeys(rule["reproduce"] for rule in cell["rules"] if rule["reproduce"])
        commands += [(cell["name"], command) for command in again_]
        commands += [(f"{cell['name']}, the schedule", f"race replay {cell['file']}")] if cell["file"] else []
    more = [f"{count(counts['failed'])} failed"] if counts["failed"] else []
    more += [f"{count(counts['unclear'])} without an answer"] if counts["unclear"] else []
    return {
        **common(document, f"What must hold: {document['config']}", commands),
        "word": word,
        "tone": TONES[word],
        "lead": f"{count(counts['passed'])} of {plural(sum(counts.values()), 'rule')} passed",
        "more": [", ".join(more)],
        "cells": cells,
        "contents": [*((cell["id"], cell["name"]) for cell in cells), *ENDS],
    }


VIEWS: Mapping[str, Callable[[Document], View]] = {
    "result": result_view,
    "comparison": comparison_view,
    "exploration": exploration_view,
    "isolation": isolation_view,
    "check": check_view,
}

ENDS = [("again", "Again"), ("environment", "Where")]
"""The last two of each page's contents."""
_ENVIRONMENT = (
    ("platform", "Platform"), ("cpus", "Processors"), ("python", "Python"), ("race", "race"), ("commit", "Commit")
)  # fmt: skip
_COMMANDS = {
    "result": "run", "comparison": "compare", "exploration": "explore", "isolation": "isolation", "check": "check",
    "matrix": "compare --all", "table": "compare --table", "flows": "compare --flow",
    "flow": "run --flow",
}  # fmt: skip


def common(document: Document, heading: str, commands: Sequence[tuple[str, str]]) -> View:
    """What every page has: its head, its commands and where it was made."""
    started = datetime.fromisoformat(document["started_at"])
    seed = f", seed {document['seed']}" if "seed" in document else ""
    cut_short = "" if document["complete"] else ", interrupted: these figures are incomplete"
    when = f"{started:%Y-%m-%d %H:%M} UTC" if started.utcoffset() is not None else f"{started:%Y-%m-%d %H:%M}"
    return {
        "command": _COMMANDS[document["schema"].removeprefix("race.").partition("/")[0]],
        "title": heading,
        "subtitle": f"{when}, took {seconds(document['duration_s'])}{seed}{cut_short}",
        "again": commands,
        "where": list(_where(document)),
        "version": document["environment"].get("race", "?"),
    }


def _where(document: Document) -> Iterator[tuple[str, str]]:
    for info in _stores(document):
        where = "started by race" if info["embedded"] else "external"
        yield "Server", f"{info['product']} {info['version']}, {where}, {info['durability']}"
    environment = document["environment"]
    names = (
        ("platform", "Platform"),
        ("cpus", "Processors"),
        ("python", "Python"),
        ("race", "race"),
        ("commit", "Commit"),
    )
    for name, told in names:
        if environment.get(name) is not None:
            yield told, str(environment[name])
    if environment.get("others_cpu") is not None:
        yield "Other programs", f"{round(100 * environment['others_cpu'])} % of the processors meanwhile"
    if "load" in document:
        yield "Load", ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in document["load"].items())


def _stores(document: Document) -> list[Document]:
    """The servers used; a check's are those of its cells, each once."""
    if "stores" in document:
        return list(document["stores"])
    parts = [cell[name] for cell in document["cells"] for name in ("explored", "load", "cost") if cell[name]]
    found = {tuple(sorted(info.items())): info for part in parts for info in part.get("stores", [])}
    return list(found.values())


def _store(heading: str, rows: Sequence[Document], document: Document) -> View:
    return {
        "heading": heading.replace("  ", ", "),
        "name": heading.split("  ", maxsplit=1)[0],
        "control": control_line(list(rows)),
        "rows": [_row(row, document) for row in rows],
        "pace": pace_plot(rows, document),
        "latency": latency_plot(rows, document),
    }


def _row(row: Document, document: Document) -> View:
    found = row["exploration"]
    verdicts = list(row["invariants"].values())
    kept = next((word for word in _KEPT if word in verdicts), "-")
    several = len({other["rule"] for other in document["rows"]}) > 1
    return {
        **row,
        "rule_name": row["rule"] if several else "",
        "kept": kept,
        "unanswered": verdicts.count("inconclusive") if kept != "inconclusive" else 0,
        "invariants": "; ".join(f"{name}: {verdict}" for name, verdict in row["invariants"].items()),
        "explored": row["explored"] or "-",
        "explored_why": found["reason"] if found else "",
        "relative": row["relative_throughput"],
        "errors": sum(row["errors"].values()),
        "claim": claim_met(row),
    }


def _cells(document: Document, code: str) -> Iterator[View]:
    for seen, expected in zip(document["levels"], document["expected"], strict=True):
        prevents = seen["prevents"][code]
        yield {
            "word": _prevented(prevents),
            "differs": prevents is not None and prevents is not expected["prevents"][code],
        }


def _prevented(prevents: bool | None) -> str:
    return {True: "prevented", False: "occurs", None: "shows nothing"}[prevents]


def _case(case: Document) -> Any:
    return space_time(isolation.counterexample_of_case(case), "as it was played")


def _cell(cell: Document, anchor: str) -> View:
    found = counterexample_of(cell) if failed(cell) else None
    smallest = found is not None and "context_switches" in found
    shown = {**found, "fits": True} if smallest and found is not None else found
    return {
        "id": anchor,
        "name": cell["name"],
        "rules": cell["rules"],
        "caveats": caveats({"cells": [cell]}),
        "story": space_time(shown, terminal.SMALLEST if smallest else "") if shown is not None else None,
        "says": found["says"] if found else "",
        "why": (found["why"] or "") if found else "",
    }
