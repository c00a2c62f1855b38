"""What is served, told to programs as JSON and to people as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from random import Random
from typing import Any

from harness.burst import Cell, Load
from harness.burst.cells import CONTROLS, Bound, bind
from harness.model import Attempt, Request, UsageError
from harness.results.environment import race_version
from harness.serve.catalogue import Catalogue
from harness.serve.refused import Refused
from harness.serve.service import held_whole
from harness.strategy.loader import find_scenario, find_strategy

_WIDTH = 79


class Pages:
    """Made when they are asked for: `url`, `pids` and `stores` are known once all has started."""

    def __init__(self, catalogue: Catalogue, workers: int) -> None:
        """`workers` is how many processes serve."""
        self.catalogue = catalogue
        self.workers = workers
        self.url = ""
        self.pids: Sequence[int] = ()
        self.stores: Sequence[str] = ()
        self._bound = cache(self._bind)
        self._scenario = cache(self._find)

    def _bind(self, cell: Cell) -> Bound:
        try:
            return bind(cell, Load(processes=self.workers))
        except UsageError as error:
            raise Refused(500, str(error)) from None

    def _find(self, name: str) -> Any:
        return find_scenario(self.catalogue.scenario(name))

    def _variants(self, name: str, way: str) -> list[str]:
        """The variants of a strategy that apply to a scenario."""
        variants = find_strategy(self.catalogue.strategies[way])[0].variants
        cells = {variant: self.catalogue.cell(name, f"{way}:{variant}", "") for variant in variants}
        return [variant for variant, cell in cells.items() if self._bound(cell).claim.kind != "not-applicable"]

    # JSON

    def index(self) -> dict[str, Any]:
        """Everything by name."""
        scenarios = {
            name: {"summary": self._scenario(name).summary, "strategies": list(self.catalogue.strategies)}
            for name in self.catalogue.scenarios
        }
        return {
            "server": "race serve", "race": race_version(), "workers": list(self.pids), "stores": list(self.stores),
            "scenarios": scenarios,
        }  # fmt: skip

    def scenario(self, name: str) -> dict[str, Any]:
        """A scenario, and what each strategy claims for its default rule."""
        kind = self._scenario(name)
        ways = []
        for way in self.catalogue.strategies:
            bound = self._bound(self.catalogue.cell(name, way, ""))
            variants = self._variants(name, way)
            ways.append({"name": way, "store": bound.strategy.store, "claim": _claim(bound), "variants": variants})
        return {
            "scenario": name, "summary": kind.summary, "invariant": kind.invariant, "rules": list(kind().all_rules()),
            "operations": _operations(kind()), "strategies": ways,
        }  # fmt: skip

    def cell(self, name: str, strategy: str, rule: str) -> dict[str, Any]:
        """All that a client needs to know of one cell. Raises Refused."""
        bound = self._bound(self.catalogue.cell(name, strategy, rule))
        scenario, executed = bound.scenario, bound.scenario.all_rules()[bound.cell.rule]
        whole_for = [role for role in scenario.duties if bound.strategy.applied(executed, role) is executed]
        control = CONTROLS[bound.strategy.store]
        other = control if control != bound.cell.strategy and control in self.catalogue.strategies else None
        return {
            "scenario": name,
            "strategy": strategy,
            "rule": bound.cell.rule,
            "rules": list(scenario.all_rules()),
            "store": bound.strategy.store,
            "applies": bound.claim.kind != "not-applicable",
            "claim": _claim(bound),
            "unserved": held_whole(bound.strategy) if _whole(bound) else "",
            "whole_for": whole_for,
            "bundled": bound.cell.strategy == strategy,
            "operations": _operations(scenario),
            "keys": list(_example(scenario).keys),
            "initial": scenario.initial_value,
            "leases_ms": scenario.leases_ms,
            "control": f"/{name}/{other}" if other else None,
            "workers": self.workers,
        }

    # Text

    def index_text(self) -> str:
        """For a browser, or curl without more."""
        return "\n".join(self._index_lines()) + "\n"

    def _index_lines(self) -> Iterator[str]:
        yield f"race {race_version()}: business rules as a service, under every way of protecting them"
        yield ""
        yield "  POST /SCENARIO/STRATEGY/KEY/OPERATION   one request, its arguments as JSON"
        yield "  GET  /SCENARIO/STRATEGY/KEY             the state of a key"
        yield "  GET  /SCENARIO                          its operations and strategies"
        yield ""
        yield from self.examples()
        yield ""
        yield "Scenarios"
        width = max(map(len, self.catalogue.scenarios))
        for name in self.catalogue.scenarios:
            yield from _entry(name, self._scenario(name).summary, width)
        yield ""
        yield from _wrapped("Strategies: ", ", ".join(self.catalogue.strategies))
        yield ""
        yield f"On {' and '.join(self.stores)}"
        yield from _wrapped(f"{self.workers} worker processes: ", ", ".join(map(str, self.pids)))

    def examples(self) -> Iterator[str]:
        """Two commands to begin with."""
        name, way = next(iter(self.catalogue.scenarios)), next(iter(self.catalogue.strategies))
        scenario = self._scenario(name)()
        keys = ",".join(f"{key}:1" for key in _example(scenario).keys)
        operation = next(iter(scenario.operations), "") or getattr(_example(scenario), "operation", "OPERATION")
        at = f"{self.url}/{name}/{way}/{keys}"
        yield f"  curl -X POST {at}/{operation}"
        yield f"  curl {at}"

    def scenario_text(self, name: str) -> str:
        """The same for one scenario."""
        return "\n".join(self._scenario_lines(name)) + "\n"

    def _scenario_lines(self, name: str) -> Iterator[str]:
        found = self.scenario(name)
        yield from _wrapped(f"{name}: ", found["summary"])
        yield f"  {found['invariant']}"
        yield ""
        for operation, told in found["operations"].items():
            args = ", ".join(f'"{arg}": {kind}' for arg, kind in told["args"].items())
            yield f"  POST {self.url}/{name}/STRATEGY/{_keys(name, self)}/{operation}" + (
                f"  {{{args}}}" if args else ""
            )
        yield ""
        if len(found["rules"]) > 1:
            yield from _wrapped("Rules (?rule=NAME): ", ", ".join(found["rules"]))
            yield ""
        yield "Strategies, and what they claim"
        width = max(len(way["name"]) for way in found["strategies"])
        for way in found["strategies"]:
            kind, reason = way["claim"]["kind"], way["claim"]["reason"]
            yield from _entry(way["name"], f"{kind}: {reason}" if reason else kind, width)
        variants = [f"{way['name']}:{variant}" for way in found["strategies"] for variant in way["variants"]]
        if variants:
            yield ""
            yield from _wrapped("Variants: ", ", ".join(variants))


def _claim(bound: Bound) -> dict[str, Any]:
    claim = bound.claim
    return {
        "kind": claim.kind, "reason": claim.reason, "breaks_under": list(claim.breaks_under),
        "errors": list(claim.errors),
    }  # fmt: skip


def _whole(bound: Bound) -> bool:
    """Whether what is held together is what no client can ask for: an attempt with its effects."""
    return bound.strategy.scope == "flow" and isinstance(_example(bound.scenario), Attempt)


def _example(scenario: Any) -> Any:
    return scenario.burst(Random(0), 2)[0]


def _keys(name: str, pages: Pages) -> str:
    return ",".join(f"{key}:1" for key in _example(pages._scenario(name)()).keys)  # noqa: SLF001 - of this module


def _operations(scenario: Any) -> dict[str, Any]:
    """What can be asked; where the scenario does not say, what its bursts ask."""
    if scenario.operations:
        return {
            operation: {"args": {name: kind.__name__ for name, kind in signature.args.items()}}
            for operation, signature in scenario.operations.items()
        }
    drawn = [item for number in range(20) for item in scenario.burst(Random(number), 2)]
    return {
        item.operation: {"args": {name: type(value).__name__ for name, value in item.args.items()}}
        for item in drawn
        if isinstance(item, Request)
    }


def _entry(name: str, says: str, width: int) -> Iterator[str]:
    start = f"  {name.ljust(width)}  "
    yield from textwrap.wrap(says, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start)) or [start.rstrip()]


def _wrapped(start: str, says: str) -> Iterator[str]:
    yield from textwrap.wrap(start + says, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
