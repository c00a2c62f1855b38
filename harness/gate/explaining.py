"""What is told of a scenario or a strategy: its story, interleavings found now, its claims, and what it costs."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.burst import Cell, Load, StoresOptions
from harness.burst.cells import CONTROLS, Bound, bind
from harness.explore import Options, explore_with, overlapping
from harness.model import RaceError, StoreFault, UsageError, Verdict
from harness.results.build import counterexample_document
from harness.results.costs import Costs, Row, costs_of
from harness.results.environment import environment
from harness.stores import Stores, require
from harness.strategy import Scenario, store_of
from harness.strategy.library import LibraryCell, cells_of_scenario, cells_of_strategy, claimed
from harness.strategy.loader import bundled, find_scenario, find_strategy, nearest
from harness.strategy.story import story_of

if TYPE_CHECKING:
    from harness.explore import Schedule
    from harness.strategy import Strategy

SCHEMA = "race.explanation/1"
_EXPLORE_S, _FAULT_S = 5.0, 2.0
_FIRST = ("counter", "double-submit")
"""The scenarios in which a strategy is shown, where it is not said in which: those that are read most easily."""

_REPEATED = "duplicate"
"""The fault that almost nothing withstands by itself, and that is shown only where there is no other."""
_DEAR = 0.5
"""With less than so much of the pace of the fastest that held, a strategy has to buy something else."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Explaining:
    """How something is explained: on these stores, with a burst drawn by this seed; costs from this folder."""

    stores: StoresOptions
    seed: int
    folder: Path

    async def scenario(self, spec: str, rule: str, strategy: str) -> Document:
        """A scenario under one of its rules, shown under a strategy, or under one that breaks. Raises UsageError."""
        named = find_scenario(spec)
        rules = list(named().all_rules())
        if rule and rule not in rules:
            raise UsageError(f"unknown rule '{rule}' of {named.name}; {nearest(rule, rules)}")
        noticed = _noticed(named) if not (rule or strategy) else None
        rule = rule or rules[0]
        cells = [cell for cell in cells_of_scenario(named) if cell.rule == rule]
        shown = noticed or (strategy or _breaking(cells), rule)
        pictures = []
        if shown[0]:
            bound = bind(Cell(spec, *shown), Load())
            pictures.append(await self._smallest(bound, Options(seed=self.seed, budget_s=_EXPLORE_S), "breaks"))
            if bound.claim.kind == "holds" and pictures[0]["verdict"] != "violated":
                pictures = [await self._meeting(bound)]
        holding = sum(cell.claim.kind == "holds" for cell in cells)
        costs = costs_of(lambda row: row["scenario"] == named.name and row["rule"] == rule, holding, self.folder)
        return {
            **self._head("scenario", named.name, named.summary, story_of(named)),
            "rule": rule,
            "rules": rules,
            "wrong": {
                **dict(named.wrong),
                **{f"{name} (request by request)": why for name, why in named.split.items()},
            },
            "goes_wrong": named.goes_wrong,
            "symptoms": dict(named.symptoms),
            "invariant": named.invariant,
            "invariants": [{"name": one.name, "says": one.says} for one in named().under(rule).invariants()],
            "example": named().example(),
            "tables": {name: table.title for name, table in named().all_tables().items()},
            "several_ends": named.ending is not Scenario.ending,
            "carried": named.became is not Scenario.became,
            "interleavings": pictures,
            "cells": list(_with_costs(cells, costs)),
            "costs": _source(costs),
            "next": shlex.join(["race", "compare", spec]),
        }

    async def strategy(self, spec: str, scenario: str, rule: str) -> Document:
        """A strategy, or a variant of one, shown in a scenario. Raises UsageError."""
        kind, variant = find_strategy(spec)
        cells = list(cells_of_strategy(kind, variant))
        script = scenario and scenario not in bundled("scenario")
        of_script = [claimed(find_scenario(scenario), one, kind, variant) for one in _rules(scenario)] if script else []
        shown = scenario or _applying(cells)
        pictures = await self._pictures(kind, spec, shown, rule) if shown else []
        applies = {(cell.scenario, cell.rule) for cell in cells if cell.claim.kind != "not-applicable"}
        title = f"{kind.name}:{variant}" if variant else kind.name
        costs = costs_of(lambda row: row["strategy"] == title, len(applies), self.folder, whole=True)
        return {
            **self._head("strategy", title, kind.summary, story_of(kind)),
            "family": kind.family,
            "store": store_of(kind),
            "stops_helping": kind.stops_helping,
            "earns_its_cost": kind.earns_its_cost,
            "variants": dict(kind.variants) if not variant else {},
            "variant": kind.variants.get(variant, ""),
            "interleavings": pictures,
            "cells": list(_with_costs([*of_script, *cells], costs)),
            "costs": _source(costs),
            "next": shlex.join(["race", "list", spec]),
        }

    async def _pictures(self, kind: type[Strategy], spec: str, scenario: str, rule: str) -> list[Document]:
        """How it breaks; or how it holds, and where it stops: under a fault, or with a part of it missing."""
        bound = bind(Cell(scenario, spec, rule), Load())
        if bound.claim.kind == "not-applicable":
            raise UsageError(f"{spec} does not apply to {scenario}: {bound.claim.reason}")
        if bound.claim.kind == "breaks":
            return [await self._smallest(bound, Options(seed=self.seed, budget_s=_EXPLORE_S), "breaks")]
        pictures = [await self._meeting(bound)]
        options = Options(seed=self.seed, budget_s=_EXPLORE_S)
        faults = [fault for fault in bound.claim.breaks_under if fault != _REPEATED]
        for fault in faults:
            found = await self._smallest(bound, replace(options, faults=(fault,), budget_s=_FAULT_S), "stops")
            if found["verdict"] == "violated":
                return [*pictures, found]
        if ":" not in spec.rpartition("/")[2]:
            for variant in kind.variants:
                other = bind(Cell(scenario, f"{spec}:{variant}", rule), Load())
                if other.claim.kind == "breaks":
                    return [*pictures, await self._smallest(other, options, "stops")]
        if _REPEATED in bound.claim.breaks_under:
            return [*pictures, await self._smallest(bound, replace(options, faults=(_REPEATED,)), "stops")]
        return pictures

    @asynccontextmanager
    async def _opened(self, bound: Bound) -> AsyncIterator[Stores]:
        """The one store that a cell needs. Raises RaceError, also where the server is too old."""
        async with self.stores.stores({bound.strategy.store}) as there:
            for info in there.infos:
                require(info, bound.strategy.needs, bound.cell.strategy)
            yield there

    async def _smallest(self, bound: Bound, options: Options, role: str) -> Document:
        """The smallest schedule that breaks, of two requests; where two do not break it, of three."""
        async with self._opened(bound) as there:
            for size in (2, 3):
                asked = replace(options, size=size)
                try:
                    found = await explore_with(bound, there, asked)
                except StoreFault as fault:
                    raise RaceError(str(fault)) from fault
                if found.verdict is not Verdict.PROVED:
                    break
        return self._picture(bound, asked, role, found.verdict.value, found.reason, found.smallest)

    async def _meeting(self, bound: Bound) -> Document:
        """A schedule in which callers meet, and nothing breaks."""
        options = Options(seed=self.seed)
        async with self._opened(bound) as there:
            found = await overlapping(bound, there, options)
        verdict = "inconclusive" if found is None else "violated" if found.says else "held"
        reason = "in no schedule that was drawn everybody was answered" if found is None else ""
        return self._picture(bound, options, "holds", verdict, reason, found)

    def _picture(
        self, bound: Bound, options: Options, role: str, verdict: str, reason: str, schedule: Schedule | None
    ) -> Document:
        words = ["race", "explore", bound.cell.scenario, "--strategy", bound.cell.strategy]
        words += ["--rule", bound.cell.rule] if len(bound.scenario.all_rules()) > 1 else []
        words += ["--size", str(options.size)] if options.size != 2 else []
        words += ["--faults", ",".join(options.faults)] if options.faults else []
        drawn = counterexample_document(schedule.explanation()) if schedule is not None else None
        return {
            "role": role,
            "scenario": bound.cell.scenario,
            "strategy": bound.cell.strategy,
            "rule": bound.cell.rule,
            "variant": bound.strategy.variants.get(bound.strategy.variant, ""),
            "faults": list(options.faults),
            "size": options.size,
            "verdict": verdict,
            "reason": reason,
            "as_claimed": (verdict != "violated" if role == "holds" else True) if schedule is not None else None,
            "says": schedule.says if schedule is not None else "",
            "schedule": drawn,
            "reproduce": shlex.join([*words, "--seed", str(options.seed)]),
        }

    def _head(self, kind: str, name: str, summary: str, story: Sequence[str]) -> Document:
        return {
            "schema": SCHEMA, "kind": kind, "name": name, "summary": summary, "story": list(story),
            "seed": self.seed, "environment": environment(),
        }  # fmt: skip


def _noticed(named: type[Scenario]) -> tuple[str, str] | None:
    """The strategy and the rule under which it breaks as its first symptom says; None where it takes more than that."""
    for asked in list(named.symptoms.values())[:1]:
        words = shlex.split(asked)
        options = dict(zip(words[::2], words[1::2], strict=False))
        if options.keys() <= {"--strategy", "--rule"} and "--strategy" in options:
            return options["--strategy"], options.get("--rule", "")
    return None


def _rules(scenario: str) -> list[str]:
    return list(find_scenario(scenario)().all_rules())


def _breaking(cells: Sequence[LibraryCell]) -> str:
    """The strategy under which a scenario is shown: the control that breaks, else any; else the first that applies."""
    broken = [cell.strategy for cell in cells if cell.claim.kind == "breaks"]
    first = [name for name in CONTROLS.values() if name in broken]
    return next(iter([*first, *broken, *(cell.strategy for cell in cells if cell.claim.kind == "holds")]), "")


def _applying(cells: Sequence[LibraryCell]) -> str:
    """The scenario in which a strategy is shown: one that is read easily, where it is at home."""
    applying = [cell.scenario for cell in cells if cell.claim.kind != "not-applicable"]
    return next(iter([*(name for name in _FIRST if name in applying), *applying]), "")


def _with_costs(cells: Sequence[LibraryCell], costs: Costs | None) -> Iterator[Document]:
    """Each cell with what it cost, and which cheaper one does as well."""
    rows = {(row["scenario"], row["rule"], row["strategy"]): row for row in (costs.rows if costs else ())}
    fastest = {
        (one["scenario"], one["rule"], one["store"]): one["strategy"] for one in (costs.fastest if costs else ())
    }
    known = bundled("scenario")
    wrong = {name: find_scenario(name).wrong for name in {cell.scenario for cell in cells} if name in known}
    for cell in cells:
        earns = find_strategy(cell.strategy)[0].earns_its_cost if cell.strategy in bundled("strategy") else ""
        row = rows.get((cell.scenario, cell.rule, cell.strategy))
        yield {
            "scenario": cell.scenario,
            "rule": cell.rule,
            "strategy": cell.strategy,
            "store": cell.store,
            "claim": {
                "kind": cell.claim.kind, "reason": cell.claim.reason, "breaks_under": list(cell.claim.breaks_under),
                "errors": list(cell.claim.errors),
            },
            "measured": None if row is None else {
                "verdict": row["verdict"], "explored": row["explored"], "starts_per_s": row["starts_per_s"],
                "relative_throughput": row["relative_throughput"], "p99_ms": row["latency_ms"].get("p99"),
                "cheaper": _cheaper(row, fastest.get((cell.scenario, cell.rule, cell.store))),
            },
            "wrong_rule": cell.rule in wrong.get(cell.scenario, {}),
            "earns_its_cost": earns if earns in known else "",
        }  # fmt: skip


def _cheaper(row: Row, fastest: str | None) -> str:
    """The strategy that holds here, too, at twice the pace; "" where there is none."""
    pace = row["relative_throughput"]
    return fastest if fastest and pace is not None and pace < _DEAR and fastest != row["strategy"] else ""


def _source(costs: Costs | None) -> Document | None:
    if costs is None:
        return None
    return {
        "file": costs.file, "bundled": costs.bundled, "here": costs.here, "started_at": costs.started_at,
        "cpus": costs.cpus, "platform": costs.platform,
    }  # fmt: skip
