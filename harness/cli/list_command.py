"""race list: what there is to run, and what each strategy says of itself."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from harness.cli import completion
from harness.model import Conditions
from harness.strategy import store_of
from harness.strategy.loader import find_scenario, scenarios, strategies

if TYPE_CHECKING:
    from harness.strategy import Scenario, Strategy

_WIDTH = 80
_STORES = {"redis": "Redis", "postgres": "PostgreSQL"}


@click.command("list")
@click.argument("scenario", required=False, shell_complete=completion.scenario)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(scenario: str | None, as_json: bool) -> None:
    """List scenarios and strategies; with SCENARIO, what every strategy claims for it."""
    if scenario is None:
        document = _everything()
        lines = _everything_lines(document)
    else:
        document = _one(find_scenario(scenario)())
        lines = _one_lines(document)
    click.echo(json.dumps(document, indent=2) if as_json else "\n".join(lines))


def _everything() -> dict[str, Any]:
    return {
        "scenarios": [
            {"name": kind.name, "summary": kind.summary, "rules": list(kind().all_rules())} for kind in scenarios()
        ],
        "strategies": [_strategy(kind) for kind in strategies()],
    }


def _strategy(kind: type[Strategy]) -> dict[str, Any]:
    return {
        "name": kind.name,
        "store": store_of(kind),
        "needs": dict(kind.needs),
        "summary": kind.summary,
        "variants": dict(kind.variants),
    }


def _one(scenario: Scenario) -> dict[str, Any]:
    conditions = Conditions()
    rows = []
    for kind in strategies():
        claim = kind(scenario).claim(conditions)
        rows.append({**_strategy(kind), "claim": claim.kind, "reason": claim.reason})
    return {
        "scenario": scenario.name,
        "summary": scenario.summary,
        "rules": list(scenario.all_rules()),
        "invariant": scenario.invariant,
        "invariants": [{"name": invariant.name, "says": invariant.says} for invariant in scenario.invariants()],
        "processes": conditions.processes,
        "strategies": rows,
    }


def _everything_lines(document: dict[str, Any]) -> Iterator[str]:
    yield "Scenarios"
    for scenario in document["scenarios"]:
        yield from _entry(scenario["name"], scenario["summary"])
    for store, title in _STORES.items():
        rows = [row for row in document["strategies"] if row["store"] == store]
        if rows:
            yield ""
            yield f"Strategies, state in {title}"
        for row in rows:
            yield from _entry(row["name"], row["summary"])
            if row["variants"]:
                yield from _entry("", f"variants: {', '.join(row['variants'])}")
    yield ""
    yield "race list SCENARIO tells what each strategy claims for it."


def _one_lines(document: dict[str, Any]) -> Iterator[str]:
    title = f"{document['scenario']}: {document['summary']}" if document["summary"] else document["scenario"]
    yield from textwrap.wrap(title, _WIDTH, break_on_hyphens=False)
    yield ""
    yield f"Rules: {', '.join(document['rules'])}"
    yield ""
    yield "Must stay true"
    for invariant in document["invariants"]:
        yield from _entry(invariant["name"], invariant["says"], 26)
    if not document["invariants"]:
        yield from _entry("order", document["invariant"] or "some one-at-a-time order explains every reply", 26)
    yield ""
    yield f"Claims, with {document['processes']} processes"
    for row in document["strategies"]:
        yield from _entry(row["name"], f"{row['claim']}: {row['reason']}" if row["reason"] else row["claim"])


def _entry(name: str, text: str, column: int = 22) -> Iterator[str]:
    """`  name    text`, wrapped under itself."""
    lead = f"  {name:<{column - 2}}"
    if len(name) > column - 4:
        yield f"  {name}"
        lead = " " * column
    for number, part in enumerate(textwrap.wrap(text, _WIDTH - column, break_on_hyphens=False) or [""]):
        yield (lead if number == 0 else " " * column) + part
