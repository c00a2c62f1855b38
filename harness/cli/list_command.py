"""race list: what there is to run, by what goes wrong and by family, and what is claimed of each cell."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from harness.cli import completion
from harness.cli import output as out
from harness.cli.found import either
from harness.cli.options import exports_of, table_options
from harness.model import Conditions
from harness.results.save import check_file
from harness.strategy import store_of
from harness.strategy.library import LibraryCell, cells_of_scenario, cells_of_strategy, grouped
from harness.strategy.loader import scenarios, sentences, strategies

if TYPE_CHECKING:
    from pathlib import Path

    from harness.model import Claim
    from harness.strategy import Scenario, Strategy

_WIDTH = 80
_COLUMN = 22

Document = dict[str, Any]


@click.command("list")
@click.argument("name", required=False, shell_complete=completion.either)
@click.option("--variants", is_flag=True, help="With a name: under every variant, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@table_options
def command(name: str | None, variants: bool, as_json: bool, **options: Path | None) -> None:
    """List scenarios by what goes wrong and strategies by family; with NAME, what is claimed of each cell of it."""
    exports = exports_of(options)
    for path in exports.values():
        check_file(path)
    lines: Iterable[str]
    if name is None:
        document = _everything()
        lines = _everything_lines(document)
    else:
        found = either("list", name)
        if isinstance(found, tuple):
            document = _of_strategy(*found, cells_of_strategy(*found, variants=variants))
            lines = _strategy_lines(document)
        else:
            document = _of_scenario(found, cells_of_scenario(found, variants=variants))
            lines = [*_scenario_lines(document), *([] if variants else _variants_line(document["scenario"]))]
    again = ["race", "list", *([name] if name else []), *(["--variants"] if name and variants else [])]
    document = {"schema": "race.library/1", **document, "reproduce": shlex.join(again)}
    click.echo(out.as_json(document) if as_json else "\n".join([*lines, ""]), nl=False)
    out.export(document, exports)


# Documents


def _everything() -> Document:
    return {
        "scenarios": [_scenario(kind) for kind in scenarios()],
        "strategies": [_strategy(kind) for kind in strategies()],
        "sentences": sentences(),
    }


def _scenario(kind: type[Scenario]) -> Document:
    return {
        "name": kind.name,
        "summary": kind.summary,
        "goes_wrong": kind.goes_wrong,
        "symptoms": dict(kind.symptoms),
        "rules": list(kind().all_rules()),
    }


def _strategy(kind: type[Strategy]) -> Document:
    return {
        "name": kind.name,
        "store": store_of(kind),
        "family": kind.family,
        "needs": dict(kind.needs),
        "summary": kind.summary,
        "stops_helping": kind.stops_helping,
        "variants": dict(kind.variants),
    }


def _of_scenario(kind: type[Scenario], cells: Iterable[LibraryCell]) -> Document:
    """`strategies` holds the claims for the first rule, `cells` all, `wrong` the rules that always break."""
    scenario, cells = kind(), list(cells)
    rules = list(scenario.all_rules())
    first = {cell.strategy: cell.claim for cell in cells if cell.rule == rules[0]}
    return {
        "scenario": kind.name,
        "summary": kind.summary,
        "goes_wrong": kind.goes_wrong,
        "symptoms": dict(kind.symptoms),
        "rules": rules,
        "tables": {name: table.title for name, table in scenario.all_tables().items()},
        "roles": list(scenario.roles),
        "wrong": dict(scenario.wrong),
        "not_shown": list(scenario.not_shown),
        "invariant": scenario.invariant,
        "invariants": [{"name": invariant.name, "says": invariant.says} for invariant in scenario.invariants()],
        "processes": Conditions().processes,
        "strategies": [
            {**_strategy(one), "claim": first[one.name].kind, "reason": first[one.name].reason} for one in strategies()
        ],
        "cells": [{"strategy": cell.strategy, "rule": cell.rule, **_claim(cell.claim)} for cell in cells],
    }


def _of_strategy(kind: type[Strategy], variant: str, cells: Iterable[LibraryCell]) -> Document:
    return {
        "strategy": f"{kind.name}:{variant}" if variant else kind.name,
        **{name: value for name, value in _strategy(kind).items() if name != "name"},
        "processes": Conditions().processes,
        "cells": [
            {"scenario": cell.scenario, "strategy": cell.strategy, "rule": cell.rule, **_claim(cell.claim)}
            for cell in cells
        ],
    }


def _claim(claim: Claim) -> Document:
    return {
        "claim": claim.kind,
        "reason": claim.reason,
        "breaks_under": list(claim.breaks_under),
        "errors": list(claim.errors),
    }


# Screens


def _everything_lines(document: Document) -> Iterator[str]:
    yield "Scenarios, by what goes wrong"
    for group, rows in grouped(document["scenarios"], lambda row: str(row["goes_wrong"])).items():
        yield f" {group}"
        for row in rows:
            yield from _entry(row["name"], row["summary"])
    yield ""
    yield "Strategies, by family; pg- keep their state in PostgreSQL, the others in Redis"
    for group, rows in grouped(document["strategies"], lambda row: str(row["family"])).items():
        yield f" {group}"
        for row in rows:
            yield from _entry(row["name"], row["summary"])
    yield ""
    yield "Often said instead of a fix, and what shows where each stops helping"
    widest = max(map(len, document["sentences"]), default=0)
    for says, shown_by in document["sentences"].items():
        yield f" {says:<{widest}}  {shown_by}"
    yield ""
    yield "race list NAME tells what is claimed of each cell, race explain NAME the rest"


def _scenario_lines(document: Document) -> Iterator[str]:
    yield from _title(document["scenario"], document["summary"])
    if document["symptoms"]:
        yield from _entry("noticed as", "; ".join(document["symptoms"]))
    yield ""
    yield from textwrap.wrap(f"Rules: {', '.join(document['rules'])}", _WIDTH, break_on_hyphens=False)
    for rule, why in document["wrong"].items():
        yield from _entry(rule, f"breaks under every strategy: {why}")
    if document["roles"]:
        roles = ", ".join(document["roles"])
        yield from textwrap.wrap(f"Roles: {roles}: --strategy ROLE=A,*=B", _WIDTH, break_on_hyphens=False)
    if document["tables"]:
        yield f"Tables: race compare {document['scenario']} --table NAME"
    for name, title in document["tables"].items():
        yield from _entry(name, title)
    yield ""
    yield "Must stay true"
    for invariant in document["invariants"]:
        yield from _entry(invariant["name"], invariant["says"], 26)
    if not document["invariants"]:
        yield from _entry("order", document["invariant"] or "some one-at-a-time order explains every reply", 26)
    for what in document["not_shown"]:
        yield from _entry("not shown", what)
    yield ""
    yield f"Claims, with {document['processes']} processes"
    right = [cell for cell in document["cells"] if cell["rule"] not in document["wrong"]]
    for name, cells in _by(right or document["cells"], "strategy").items():
        yield from _claims(name, cells)


def _variants_line(name: str) -> Iterator[str]:
    yield ""
    yield f"race list {name} --variants: with a part of each missing, too"


def _strategy_lines(document: Document) -> Iterator[str]:
    yield from _title(document["strategy"], document["summary"])
    if document["stops_helping"]:
        yield from _entry("stops helping", document["stops_helping"])
    variants = document["variants"] if ":" not in document["strategy"] else {}
    if variants:
        yield ""
        yield "Variants"
        for name, says in variants.items():
            yield from _entry(f":{name}", says)
    yield ""
    yield f"Claims, with {document['processes']} processes"
    for name, cells in _by(document["cells"], "scenario").items():
        for strategy, ones in _by(cells, "strategy").items():
            _, _, variant = strategy.partition(":")
            yield from _claims(f"  :{variant}" if variant and ":" not in document["strategy"] else name, ones)


def _claims(name: str, cells: list[Document]) -> Iterator[str]:
    """A line for each thing that is claimed, with the rules that it is claimed of where they differ."""
    by_claim = _by([{**cell, "says": _says(cell)} for cell in cells], "says")
    for number, (says, alike) in enumerate(by_claim.items()):
        rules = ", ".join(cell["rule"] for cell in alike)
        yield from _entry(name if number == 0 else "", f"[{rules}] {says}" if len(by_claim) > 1 else says)


def _says(cell: Document) -> str:
    """`holds: the row is locked ...; not under pause`."""
    under = f"; not under {', '.join(cell['breaks_under'])}" if cell["breaks_under"] else ""
    shown = f"; callers are shown {', '.join(cell['errors'])}" if cell["errors"] else ""
    reason = f": {cell['reason']}" if cell["reason"] else ""
    return f"{cell['claim']}{reason}{under}{shown}"


def _by(rows: Iterable[Document], name: str) -> Mapping[str, list[Document]]:
    return grouped(rows, lambda row: str(row[name]))


def _title(name: str, summary: str) -> list[str]:
    return textwrap.wrap(f"{name}: {summary}" if summary else name, _WIDTH, break_on_hyphens=False)


def _entry(name: str, text: str, column: int = _COLUMN) -> Iterator[str]:
    """`  name    text`, wrapped under itself."""
    lead = f"  {name:<{column - 2}}"
    if len(name) > column - 4:
        yield f"  {name}"
        lead = " " * column
    for number, part in enumerate(textwrap.wrap(text, _WIDTH - column, break_on_hyphens=False) or [""]):
        yield (lead if number == 0 else " " * column) + part
