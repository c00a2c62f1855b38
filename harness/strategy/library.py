"""What there is, and what is claimed of each cell: a scenario's rule under a strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from harness.model import Claim, Conditions
from harness.strategy.loader import scenarios, strategies
from harness.strategy.scenario import Scenario
from harness.strategy.strategy import Strategy, store_of

OTHERS = "others"
"""The group of those that do not say where they belong."""

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class LibraryCell:
    """One rule of a scenario under one strategy, and what is claimed there."""

    scenario: str
    rule: str
    strategy: str
    store: str
    claim: Claim


def grouped(things: Iterable[Thing], group: Callable[[Thing], str]) -> dict[str, list[Thing]]:
    """The things by group, groups in the order in which each first comes; those without one at the end."""
    found: dict[str, list[Thing]] = {}
    without: list[Thing] = []
    for thing in things:
        (found.setdefault(group(thing), []) if group(thing) else without).append(thing)
    return {**found, **({OTHERS: without} if without else {})}


def claimed(named: type[Scenario], rule: str, kind: type[Strategy], variant: str = "") -> LibraryCell:
    """One cell. The scenario is made anew: `under` may change it."""
    scenario = named().under(rule)
    strategy = kind(scenario, variant)
    return LibraryCell(named.name, rule, strategy.title, store_of(kind), strategy.claim(Conditions()))


def cells_of_scenario(named: type[Scenario], *, variants: bool = False) -> Iterator[LibraryCell]:
    """Under every bundled strategy, rule by rule within each; its variants after it, where they are wanted."""
    rules = list(named().all_rules())
    for kind in strategies():
        for variant in ("", *(kind.variants if variants else ())):
            yield from (claimed(named, rule, kind, variant) for rule in rules)


def cells_of_strategy(kind: type[Strategy], variant: str = "", *, variants: bool = False) -> Iterator[LibraryCell]:
    """Every rule of every bundled scenario under it; its variants one after the other, where they are wanted."""
    for named in scenarios():
        for other in (variant, *(kind.variants if variants and not variant else ())):
            yield from (claimed(named, rule, kind, other) for rule in named().all_rules())
