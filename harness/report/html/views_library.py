"""What the pages of the wide tables show: the matrix of the library, and the flows of one attempt."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.report import flow, flows, matrix, table
from harness.report.advice import again
from harness.report.caveats import caveats
from harness.report.comparison_rows import claim_met, control_line, store_heading
from harness.report.figures import count, plural
from harness.report.html.views import ENDS, TONES, common
from harness.report.interleaving import draw

Document = Mapping[str, Any]
View = dict[str, Any]

_STORES = ("redis", "postgres")
_FLOW_TONES = {"once": "good", "undone": "warn", None: "warn"}
"""Each end's tone; of those not named here it is bad."""


# Matrix


def matrix_view(document: Document) -> View:
    """The page of `race compare --all`: a table of words for each store, then each scenario with its figures."""
    counts = document["counts"]
    word, tone = _outcome([row["as_claimed"] for row in document["rows"]], document)
    scenarios = list(dict.fromkeys(one["scenario"] for name in _LISTS for one in document[name]))
    anchors = {scenario: f"scenario-{place}" for place, scenario in enumerate(scenarios)}
    broke = sum(row["verdict"] == "violated" for row in document["rows"])
    return {
        **common(document, "Every scenario under every strategy", list(_commands(document))),
        "word": word,
        "tone": tone,
        "lead": matrix.summary(document),
        "more": [
            document["reason"] if not document["complete"] else "",
            f"{count(broke)} of {plural(counts['cells'], 'cell')} broke under the load",
        ],
        "caveats": caveats(document),
        "facts": list(matrix.lines_below(document)),
        "anchors": anchors,
        "digest": list(matrix.digested(document)),
        "grids": list(_grids(document)),
        "scenarios": [_scenario(scenario, document) for scenario in scenarios],
        "contents": [
            ("glance", "At a glance"), ("fastest", "What held"),
            *((anchor, scenario) for scenario, anchor in anchors.items()), *ENDS,
        ],
    }  # fmt: skip


_LISTS = ("rows", "not_applicable", "missing")


def _grids(document: Document) -> Iterator[View]:
    """Of each store: rules down, strategies across, a word in each cell."""
    several = _with_several_rules(document)
    for kind, heading in _headings(document):
        strategies = list(dict.fromkeys(row["strategy"] for row in document["rows"] if row["store"] == kind))
        cells = {
            (one["scenario"], one["rule"], one["strategy"]): cell
            for name, make in (("missing", _not_come_to), ("not_applicable", _left_out), ("rows", _glance))
            for one in document[name]
            if one["strategy"] in strategies
            for cell in (make(one),)
        }
        places = dict.fromkeys((scenario, rule) for scenario, rule, _strategy in cells)
        order = dict.fromkeys((one["scenario"], one["rule"]) for name in _LISTS for one in document[name])
        yield {
            "heading": heading,
            "strategies": strategies,
            "rows": [
                {
                    "scenario": scenario,
                    "rule": rule if scenario in several else "",
                    "cells": [cells.get((scenario, rule, strategy)) for strategy in strategies],
                }
                for scenario, rule in order
                if (scenario, rule) in places
            ],
        }


def _glance(row: Document) -> View:
    """The worst that was found of a cell: a schedule that breaks it is a violation, where a load met none, too."""
    broke = row["verdict"] == "violated"
    explored = row["explored"] == "violated" and not broke
    where = "order" if row["order"] == "violated" else "rule"
    return {
        "word": "violated" if broke or explored else row["verdict"],
        "more": where if broke else "explored" if explored else "",
        "note": row["reason"],
        "unlike": {False: "not as claimed", None: "?", True: ""}[row["as_claimed"]],
    }


def _left_out(one: Document) -> View:
    return {"word": "does not apply", "more": "", "note": one["reason"], "unlike": ""}


def _not_come_to(_one: Document) -> View:
    return {"word": "not come to", "more": "", "note": "it was interrupted before", "unlike": ""}


def _scenario(scenario: str, document: Document) -> View:
    """One of the library: a table for each of its rules, each store's strategies together."""
    mine = {name: [one for one in document[name] if one["scenario"] == scenario] for name in _LISTS}
    rules = dict.fromkeys(row["rule"] for row in mine["rows"])
    return {
        "name": scenario,
        "rules": [
            {
                "name": rule if scenario in _with_several_rules(document) else "",
                "stores": list(_stores(rule, mine["rows"], document)),
            }
            for rule in rules
        ],
        "left_out": matrix.reasons_apart(mine["not_applicable"]),
        "missing": sorted({f"{one['strategy']} ({one['rule']})" for one in mine["missing"]}),
    }


def _stores(rule: str, rows: Sequence[Document], document: Document) -> Iterator[View]:
    """A rule's rows, by store."""
    for kind, heading in _headings(document):
        mine = [row for row in rows if row["rule"] == rule and row["store"] == kind]
        if mine:
            yield {"heading": heading, "control": control_line(mine), "rows": [_row(row) for row in mine]}


def _row(row: Document) -> View:
    found = row["exploration"]
    return {
        **row,
        "kept": matrix.rule_verdict(row) or "-",
        "invariants": "; ".join(f"{name}: {verdict}" for name, verdict in row["invariants"].items()),
        "explored": row["explored"] or "-",
        "explored_why": found["reason"] if found else "",
        "errors": sum(row["errors"].values()),
        "error_names": ", ".join(f"{code} {number}" for code, number in row["errors"].items() if number),
        "claim": claim_met(row),
        "claim_why": row["claim"]["reason"],
    }


def _headings(document: Document) -> Iterator[tuple[str, str]]:
    """Kind and heading of each store."""
    for info in sorted(document["stores"], key=lambda info: _STORES.index(info["kind"])):
        yield info["kind"], store_heading(info).replace("  ", ", ")


def _with_several_rules(document: Document) -> set[str]:
    rules: dict[str, set[str]] = {}
    for name in _LISTS:
        for one in document[name]:
            rules.setdefault(one["scenario"], set()).add(one["rule"])
    return {scenario for scenario, names in rules.items() if len(names) > 1}


def _commands(document: Document) -> Iterator[tuple[str, str]]:
    """All of it, each cell that is not as claimed, and each rule of each scenario with all its strategies."""
    yield "All of it", document["reproduce"]
    for row in document["rows"]:
        if not row["as_claimed"]:
            explore = row["explored"] == "violated"
            alone = again(row, {**document, "scenario": row["scenario"]}, explore=explore)
            yield f"{row['scenario']} under {row['strategy']}, rule {row['rule']}", alone
    load = document["load"]
    measured: dict[tuple[str, str], list[str]] = {}
    for row in document["rows"]:
        measured.setdefault((row["scenario"], row["rule"]), []).append(row["strategy"])
    for (scenario, rule), strategies in measured.items():
        words = ["race", "compare", scenario, "--rules", rule]
        words += ["--strategies", ",".join(strategies)] if "--strategies" in document["reproduce"] else []
        words += [
            word
            for name, (option, usual) in _LOAD.items()
            if load[name] != usual
            for word in (option, f"{load[name]:g}")
        ]
        yield f"{scenario}, rule {rule}", shlex.join([*words, "--seed", str(document["seed"])])


_LOAD = {
    "processes": ("--processes", 2), "connections": ("--connections", 16), "keys": ("--keys", 64),
    "bursts": ("--bursts", 1000), "burst_size": ("--size", 2),
    "work_us": ("--work", 300), "think_ms": ("--think", 0),
}  # fmt: skip
"""A load's figures: the option that sets each, and what it is without."""


# A scenario's own table


def table_view(document: Document) -> View:
    """The page of `race compare --table`."""
    rows = document["rows"]
    word, tone = _outcome([row["as_claimed"] for row in rows], document)
    met = sum(row["as_claimed"] is True for row in rows)
    commands = [("All of it", document["reproduce"])]
    commands += [(row["what"], table.again(row, document)) for row in rows]
    return {
        **common(document, f"{document['scenario']}: {document['title']}", commands),
        "word": word,
        "tone": tone,
        "lead": f"{count(met)} of {plural(len(rows), 'line')} as claimed",
        "more": [],
        "by_load": any(cell["load"] for row in rows for cell in row["cells"]),
        "word_tones": _WORD_TONES,
        "facts": list(table.lines_below(document)),
        "contents": [("table", "The table"), ("read", "What it means"), *ENDS],
    }


_WORD_TONES = {"broken": "bad", "held": "good", "kept": "good", "?": "warn"}


# Flows


def flows_view(document: Document) -> View:
    """The page of `race compare --flow`."""
    cells = [cell for one in document["flows"] for cell in one["cells"]]
    word, tone = _outcome([cell["as_claimed"] for cell in cells], document)
    met = sum(cell["as_claimed"] is True for cell in cells)
    faults = {"": "without a fault", **document["faults"]}
    return {
        **common(document, f"Flows of {document['scenario']}", [("All of it", document["reproduce"])]),
        "word": word,
        "tone": tone,
        "lead": f"{count(met)} of {plural(len(cells), 'cell')} as claimed",
        "more": [f"rule {document['rule']}, under {document['strategy']}"],
        "faults": list(faults.values()),
        "rows": [
            {"flow": one["flow"], "what": one["what"], "cells": _flow_cells(one, faults)} for one in document["flows"]
        ],
        "facts": list(flows.lines_below(document)),
        "contents": [("flows", "Flows and faults"), ("read", "What it means"), *ENDS],
    }  # fmt: skip


def flow_view(document: Document) -> View:
    """The page of `race run --flow`."""
    found = document["counterexample"]
    controls = {case["fault"]: _flow_cell(case) for case in document["control"]["cases"]}
    controls = controls if document["control"]["flow"] != document["flow"] else {}
    rows = [
        {
            "fault": flow.case_name(case["fault"], document),
            "cells": [_flow_cell(case), *([controls.get(case["fault"])] if controls else [])],
        }
        for case in document["cases"]
    ]
    commands = [("All of it", document["reproduce"])]
    commands += [("Every flow", text) for label, text in flow.lines_below(document) if label in {"Others", "Fixes"}]
    note = f"{flow.case_name(found['fault'], document)}, {flow.NOTE}" if found else ""
    return {
        **common(document, f"{document['scenario']}, carried by {document['flow']}", commands),
        "tone": TONES[document["verdict"]],
        "lead": flow.sentence(document),
        "extent": flow.extent(document),
        "drawn": "\n".join(draw(found, 100, note=note)) if found else "",
        "rows": rows,
        "controls": bool(controls),
        "facts": [pair for pair in flow.lines_below(document) if pair[0] not in {"Others", "Fixes", "Again"}],
        "contents": [
            *([("how", "Step by step")] if found else []),
            ("flows", "Under each fault"),
            ("read", "What it means"),
            *ENDS,
        ],
    }


def _flow_cells(one: Document, faults: Mapping[str, str]) -> list[View | None]:
    """The cells of a flow, by fault; those that were not reached are None."""
    cells = {cell["fault"]: _flow_cell(cell) for cell in one["cells"]}
    return [cells.get(fault) for fault in faults]


def _flow_cell(cell: Document) -> View:
    effects = ", ".join(f"{name} {number}" for name, number in cell["effects"].items())
    return {
        "word": "?" if cell["end"] is None else cell["says"],
        "tone": _FLOW_TONES.get(cell["end"], "bad"),
        "note": cell["reason"],
        "effects": effects,
        "unlike": str(cell["claimed_says"]) if cell["as_claimed"] is False else "",
        "why": cell["reason"] if cell["end"] is None else "",
    }


def _outcome(met: Sequence[bool | None], document: Document) -> tuple[str, str]:
    """Of all claims together; one that failed is not hidden by an interrupt."""
    if False in met:
        return "failed", "bad"
    if not document["complete"]:
        return "interrupted", "warn"
    return ("unclear", "warn") if None in met or not met else ("as claimed", "good")


LIBRARY_VIEWS: Mapping[str, Callable[[Document], View]] = {
    "matrix": matrix_view,
    "table": table_view,
    "flows": flows_view,
    "flow": flow_view,
}
