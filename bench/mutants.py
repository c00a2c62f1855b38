"""The table of mutants: every strategy with its protection broken, and whether it was caught.

`python -m bench.mutants` writes results/mutants.json and results/mutants.md. A mutant is caught
where the load finds a violation, where the base strategy's claim is broken by the errors that
callers are shown, or where a schedule of two requests breaks it, if need be under a fault that
it claims to break under and its base does not, and of three where every one of two was tried in vain. Where the
scenario does not show it (no schedule of two breaks, and none of three was met) it is no mutant there. Beside the
mutants stand the forms that look wrong and are safe: nothing may be said against them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from urllib.parse import quote

from bench.explored import WORDS
from bench.loads import measured
from harness.burst import Cell, Load, Measurement, StoresOptions
from harness.burst.cells import Bound, bind
from harness.explore import Exploration, Explorer, Options, searching
from harness.model import Claim, Verdict
from harness.results.claims import shown_to_callers
from harness.results.environment import environment
from harness.stores import PostgresTarget, RedisTarget, Stores
from harness.strategy.loader import strategies

SCHEMA = "race.mutants/1"
SCENARIOS = ("double-submit", "counter", "last-owner")
TRIES = 3
BUDGET_S = 10.0
MOST_DRAWN = 400
ONE_PROCESS = {"watch:shared-connection", "pg-for-update:second-connection", "pg-advisory:second-connection"}
"""What the callers of a process share is shown by one process."""
TOLD_ELSEWHERE = {"redis-lock:no-token", "redis-lock:constant-token", "redis-lock:watch-without-multi"}
"""What breaks here only under a fault under which the strategy breaks without the change, too: that catches nothing.
Work under a lease (lock-lease) tells these apart, which the tests assert."""
SAFE = "(safe"
"""How the line about a variant says that it is no mutant."""


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in one scenario.

    `by` is "load: rule" or "load: order" (an invariant, or at least an order, was violated), "claim:
    CODE" (callers were shown an error that the base strategy does not name), "explored: FAULT" (load alone
    does not show it, a schedule with this fault does; without a fault: "explored"), "as its base: FAULT" (so it does,
    and one of the strategy without the change as well: that is no catch), or "" where it should have been caught and
    was not. `fault` is what was explored, "" for none, and how far: `explored` is the verdict.
    """

    strategy: str
    mutant: str
    changes: str
    scenario: str
    caught: bool
    by: str
    verdict: str
    reason: str
    order: str
    invariants: dict[str, str]
    bursts: int
    broken: int
    errors: dict[str, int]
    control: str | None
    control_bursts: int
    control_broken: int
    explored: str
    fault: str
    schedules: int
    explored_s: float


def row(measurement: Measurement, changes: str, base: Claim, exploration: Exploration, fault: str) -> Row:
    """What became of one variant; `base` is the claim of the strategy without it."""
    strategy, _, mutant = measurement.cell.strategy.partition(":")
    by = "" if SAFE in changes else caught_by(measurement, base)
    if not by and SAFE not in changes and told_apart(exploration, base):
        how = "as its base" if fault in base.breaks_under else "explored"
        by = f"{how}: {fault}" if fault else "explored"
    overlap = measurement.overlap
    return Row(
        strategy=strategy,
        mutant=mutant,
        changes=changes,
        scenario=measurement.cell.scenario,
        caught=bool(by) and not by.startswith("as its base"),
        by=by,
        verdict=measurement.verdict.value,
        reason=measurement.reason,
        order=measurement.order.value,
        invariants={name: verdict.value for name, verdict in measurement.invariants.items()},
        bursts=measurement.counts.bursts,
        broken=measurement.broken_bursts,
        errors=_shown(measurement),
        control=overlap.control,
        control_bursts=overlap.control_bursts,
        control_broken=overlap.control_broken,
        explored=exploration.verdict.value,
        fault=fault,
        schedules=exploration.schedules,
        explored_s=round(exploration.elapsed_s, 4),
    )


def caught_by(measurement: Measurement, base: Claim) -> str:
    """What gave the variant away."""
    if Verdict.VIOLATED in measurement.invariants.values():
        return "load: rule"
    if measurement.verdict is Verdict.VIOLATED:
        return "load: order"
    shown = [code for code in _shown(measurement) if code not in base.errors]
    if shown:
        return f"claim: {', '.join(sorted(shown))}"
    return ""


def base_of(strategy: str, changes: str) -> str:
    """What a variant is one of: the strategy, or the variant that its line names, as in "as `resumed`, but ..."."""
    named = re.match(r"as `([\w-]+)`", changes)
    return f"{strategy}:{named[1]}" if named else strategy


def told_apart(exploration: Exploration, base: Claim) -> bool:
    """Whether exploring found what the base strategy does not do: a violation, or an error that it does not name."""
    return exploration.verdict is Verdict.VIOLATED or not set(exploration.errors) <= set(base.errors)


def load_for(title: str, bursts: int) -> Load:
    """Under which load a variant is shown."""
    return Load(bursts=bursts, processes=1) if title in ONE_PROCESS else Load(bursts=bursts)


async def explored(
    bound: Bound, base: Claim, stores: Stores, *, safe: bool, processes: int = 2
) -> tuple[Exploration, str, bool]:
    """Every order of two requests; then with the faults that tell it from its base, then of three with those.

    What told something, or else the last; under which fault; and whether of two requests every order was tried before.
    Nothing tells a safe form from its base: a fault that breaks both says nothing against it.
    """
    faults = (
        []
        if safe
        else [fault for fault in bound.claim.breaks_under if fault not in base.breaks_under]
        or [fault for fault in bound.claim.breaks_under if fault != "duplicate"]
    )
    every = True
    for size, fault in [(2, ""), *((2, fault) for fault in faults), *((3, fault) for fault in faults)]:
        options = Options(size=size, faults=(fault,) if fault else (), budget_s=BUDGET_S, processes=processes)
        # In the order of a search for all of them one that breaks may come late; who draws meets it sooner.
        for search in (options, replace(options, search="random", most_schedules=MOST_DRAWN)):
            async with Explorer(bound, stores, search) as explorer:
                found = await explorer.explore(searching(search))
            if told_apart(found, base):
                return found, fault, every
            if safe or found.verdict is not Verdict.BOUNDED:
                break
        every = every and (size > 2 or found.verdict is Verdict.PROVED)
    return found, fault, every


def _shown(measurement: Measurement) -> dict[str, int]:
    return shown_to_callers(measurement.counts.errors, measurement.counts.by_decision)


async def everything(bursts: int) -> tuple[list[Row], list[Row]]:
    """All mutants, and all safe forms, in every scenario that has what they change."""
    mutants: list[Row] = []
    safe: list[Row] = []
    async with Stores() as stores:
        options = options_for(stores)
        for strategy in strategies():
            for variant, changes in strategy.variants.items():
                load = load_for(f"{strategy.name}:{variant}", bursts)
                for scenario in SCENARIOS:
                    bound = bind(Cell(scenario, f"{strategy.name}:{variant}"), load)
                    if bound.claim.kind == "not-applicable":
                        continue
                    base = bind(Cell(scenario, base_of(strategy.name, changes)), load).claim
                    loaded = await conclusive(bound.cell, load, options)
                    *tried, every = await explored(bound, base, stores, safe=SAFE in changes, processes=load.processes)
                    found = row(loaded, changes, base, *tried)
                    title = f"{bound.cell.strategy} in {scenario}"
                    print(f"  {title:<50} {found.by or found.verdict}", file=sys.stderr, flush=True)
                    if SAFE in changes:
                        safe.append(found)
                    elif found.by or not every:  # else nobody can tell it from its base here
                        mutants.append(found)
    return mutants, safe


def applies(strategy: str, variant: str) -> bool:
    """Whether any of the scenarios has what it changes."""
    cells = (Cell(scenario, f"{strategy}:{variant}") for scenario in SCENARIOS)
    return any(bind(cell, Load()).claim.kind != "not-applicable" for cell in cells)


async def conclusive(cell: Cell, load: Load, options: StoresOptions) -> Measurement:
    """One run; where a busy machine let nothing be said, more bursts, a few times."""
    for times in range(1, TRIES + 1):
        found = await measured(cell, replace(load, bursts=load.bursts * times), options)
        if found.verdict is not Verdict.INCONCLUSIVE:
            break
    return found


def options_for(stores: Stores) -> StoresOptions:
    """Servers that run already, as the options of a run."""
    redis, postgres = stores.redis, stores.postgres
    assert isinstance(redis, RedisTarget)
    assert isinstance(postgres, PostgresTarget)
    return StoresOptions(
        redis_url=f"unix://{redis.path}",
        postgres_url=f"postgresql://{postgres.user}@/{postgres.database}?host={quote(postgres.host)}&port={postgres.port}",
    )


def markdown(mutants: Sequence[Row], safe: Sequence[Row]) -> str:
    """The table for people: a line for each variant, a column for each scenario."""
    names = list(dict.fromkeys(found.scenario for found in mutants))
    total = {(found.strategy, found.mutant) for found in mutants}
    ways = {
        way: {(found.strategy, found.mutant) for found in mutants if found.by.startswith(way)}
        for way in ("load", "claim", "explored")
    }
    only = ways["explored"] - ways["load"] - ways["claim"]
    elsewhere = sorted(total - set.union(*ways.values()))
    quick = [found.explored_s for found in mutants if found.explored == "violated"]
    summary = (
        f"Every strategy with its protection broken: {len(set.union(*ways.values()))} of {len(total)} mutants are"
        f" caught, {len(ways['load'] | ways['claim'])} of them by load or by their claim, {len(only)} only by"
        " exploring: under a fault that load does not bring, or in an order that it hardly meets. Exploring every"
        " order of two requests"
        f" breaks {len(quick)} of the {len(mutants)} cells, half of these within {1_000 * median(quick):.0f} ms."
    )
    if elsewhere:
        named = ", ".join(f"`{strategy}:{mutant}`" for strategy, mutant in elsewhere)
        summary += (
            f" The other {len(elsewhere)} ({named}) break here only where the strategy breaks without the change, too:"
            " `lock-lease` tells them apart."
        )
    reading = (
        "First what load shows: broken bursts among all bursts of two requests from two processes; `held` there is no"
        " proof, and for a mutant says only that load does not meet what exploring shows. `claim` means that"
        " callers were shown an error which the strategy does not name. Then what exploring shows, and after how many"
        " schedules. Made by `make results`."
    )
    lines = [
        "# Mutants",
        "",
        summary,
        "",
        reading,
        "",
        *_table(mutants, names),
        "",
        "Nothing is said against what looks wrong and is safe:",
        "",
        *_table(safe, names),
    ]
    return "\n".join(lines) + "\n"


def _table(found: Sequence[Row], names: Sequence[str]) -> list[str]:
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in found:
        cells.setdefault((one.strategy, one.mutant, one.changes), {})[one.scenario] = _cell(one)
    absent = "nothing to change, or to tell"
    return [
        f"| strategy | variant | what is changed | {' | '.join(names)} |",
        "|---|---|---|" + "---|" * len(names),
        *(
            f"| `{strategy}` | `{mutant}` | {changes} | {' | '.join(by.get(name, absent) for name in names)} |"
            for (strategy, mutant, changes), by in cells.items()
        ),
    ]


def _cell(found: Row) -> str:
    if found.by.startswith("load"):
        loaded = f"{found.by} ({found.broken:,} of {found.bursts:,})"
    else:
        loaded = found.by if found.by.startswith("claim") else f"{found.verdict} (none of {found.bursts:,})"
    under = f" under {found.fault}" if found.fault else ""
    shown = f", callers shown {', '.join(sorted(found.errors))}" if found.by.startswith("claim") else ""
    schedules = "1 schedule" if found.schedules == 1 else f"{found.schedules:,} schedules"
    under += ", as without the change" if found.by.startswith("as its base") else ""
    explored = f"{WORDS[found.explored]}{under}{shown} ({schedules}, {1_000 * found.explored_s:,.0f} ms)"
    return f"{loaded}; explored: {explored}"


def main() -> None:
    """Run, save, and end with 1 where a mutant got away or a safe form was blamed."""
    parser = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__)
    parser.add_argument("--bursts", type=int, default=100, help="bursts of each variant in each scenario (default 100)")
    parser.add_argument("--folder", type=Path, default=Path("results"), help="where both files go (default results)")
    chosen = parser.parse_args()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    mutants, safe = asyncio.run(everything(chosen.bursts))
    document = {
        "schema": SCHEMA,
        "started_at": started_at,
        "environment": environment(),
        "rows": [asdict(found) for found in mutants],
        "safe": [asdict(found) for found in safe],
    }
    chosen.folder.mkdir(parents=True, exist_ok=True)
    (chosen.folder / "mutants.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (chosen.folder / "mutants.md").write_text(markdown(mutants, safe), encoding="utf-8")
    away = [f"{found.strategy}:{found.mutant} in {found.scenario}" for found in mutants if not found.by]
    shown = {(found.strategy, found.mutant) for found in mutants}
    caught = {f"{found.strategy}:{found.mutant}" for found in mutants if found.caught}
    away += sorted({f"{found.strategy}:{found.mutant}" for found in mutants} - caught - TOLD_ELSEWHERE)
    away += [
        f"{kind.name}:{variant} in any scenario"
        for kind in strategies()
        for variant, changes in kind.variants.items()
        if SAFE not in changes and (kind.name, variant) not in shown and applies(kind.name, variant)
    ]
    blamed = [
        f"{found.strategy}:{found.mutant} in {found.scenario}: {found.reason}"
        for found in safe
        if found.verdict != "held" or found.explored not in {"proved", "bounded"}
    ]
    for name in away:
        print(f"not caught: {name}", file=sys.stderr)
    for name in blamed:
        print(f"safe, but not found to hold: {name}", file=sys.stderr)
    sys.exit(1 if away or blamed else 0)


if __name__ == "__main__":
    main()
