"""What a shell completes: names of scenarios, strategies with their variants, and scripts.

Bundled names are read without executing a script: a key was pressed, and somebody waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from harness.strategy.loader import Kind


def scenario(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """A scenario."""
    return _named("scenario", begun)


def strategy(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """A strategy, and after a colon its variants; after `role=` that of a role."""
    before, equals, last = begun.rpartition("=")
    if equals and "," not in last:
        return [
            CompletionItem(f"{before}={item.value}", help=item.help)
            for item in strategy(_context, _parameter, last)
            if item.type == "plain"
        ]
    name, colon, _ = begun.partition(":")
    return _variants(name, begun) if colon else _named("strategy", begun)


def strategies(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The last one of a list with commas."""
    before, comma, last = begun.rpartition(",")
    return [
        CompletionItem(f"{before}{comma}{item.value}", help=item.help)
        for item in strategy(context, parameter, last)
        if item.type == "plain" and item.value not in before.split(",")
    ]


def either(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """A scenario or a strategy."""
    scripts = {item.value for item in scenario(context, parameter, begun)}
    others = [item for item in strategy(context, parameter, begun) if item.value not in scripts]
    return [*scenario(context, parameter, begun), *others]


def flow(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """One flow."""
    from harness.flows import FLOWS

    return [CompletionItem(name, help=what) for name, what in FLOWS.items() if name.startswith(begun)]


def flow_faults(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The last one of a list with commas: what may happen to a flow."""
    from harness.flows import FAULTS

    return _listed({**FAULTS, "all": "all of them"}, begun)


def flows(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The last one of a list with commas."""
    from harness.flows import FLOWS

    return _listed({**FLOWS, "all": "all of them"}, begun)


def _listed(all_of_them: Mapping[str, str], begun: str) -> list[CompletionItem]:
    before, comma, last = begun.rpartition(",")
    taken = before.split(",")
    return [
        CompletionItem(f"{before}{comma}{name}", help=what)
        for name, what in all_of_them.items()
        if name.startswith(last) and name not in taken
    ]


def table(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """A table of the scenario that was named."""
    from harness.model import RaceError
    from harness.strategy.loader import find_scenario

    try:
        tables = find_scenario(context.params.get("scenario") or "")().all_tables()
    except RaceError:
        return []
    return [CompletionItem(name, help=one.title) for name, one in tables.items() if name.startswith(begun)]


def schema(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """A published schema."""
    from harness.results.schema import SCHEMAS

    return [CompletionItem(name) for name in SCHEMAS if name.startswith(begun)]


def _named(kind: Kind, begun: str) -> list[CompletionItem]:
    from harness.strategy.loader import bundled

    if begun.startswith((".", "/", "~")) or "/" in begun:
        return [CompletionItem(begun, type="file")]
    found = [CompletionItem(name) for name in bundled(kind) if name.startswith(begun)]
    scripts = sorted(path.name for path in Path().glob("*.py") if not path.name.startswith("test_"))
    return found + [CompletionItem(name) for name in scripts if name.startswith(begun)]


def _variants(name: str, begun: str) -> list[CompletionItem]:
    from harness.model import UsageError
    from harness.strategy.loader import find_strategy

    try:
        variants = find_strategy(name)[0].variants
    except UsageError:
        return []
    whole = {f"{name}:{variant}": says for variant, says in variants.items()}
    return [CompletionItem(value, help=says) for value, says in whole.items() if value.startswith(begun)]
