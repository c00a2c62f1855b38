"""The table of mutants: every strategy with its protection broken, and whether it was caught.

`python -m bench.mutants` writes results/mutants.json and results/mutants.md. A mutant is caught
where the load finds a violation, or where the base strategy's claim is broken by the errors
that callers are shown. What only a fault brings out is said to need it. Beside the mutants
stand the forms that look wrong and are safe: nothing may be said against them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from bench.loads import measured
from harness.burst import Cell, Load, Measurement, StoresOptions
from harness.burst.cells import bind
from harness.model import Claim, Verdict
from harness.results.claims import shown_to_callers
from harness.results.environment import environment
from harness.stores import PostgresTarget, RedisTarget, Stores
from harness.strategy.loader import scenarios, strategies

SCHEMA = "race.mutants/1"
TRIES = 3
SAFE = "(safe"
"""How the line about a variant says that it is no mutant."""


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in one scenario.

    `by` is "load: rule" or "load: order" (an invariant, or at least an order, was violated), "claim:
    CODE" (callers were shown an error that the base strategy does not name), "needs a fault:
    NAME", or "" where it should have been caught and was not.
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


def row(measurement: Measurement, changes: str, base: Claim) -> Row:
    """What became of one variant; `base` is the claim of the strategy without it."""
    strategy, _, mutant = measurement.cell.strategy.partition(":")
    by = "" if SAFE in changes else caught_by(measurement, base)
    overlap = measurement.overlap
    return Row(
        strategy=strategy,
        mutant=mutant,
        changes=changes,
        scenario=measurement.cell.scenario,
        caught=by.startswith(("load", "claim")),
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
    faults = measurement.claim.breaks_under
    # Where the base breaks under a fault, too, the one that it does not know tells them apart.
    new = [fault for fault in faults if fault not in base.breaks_under] or [
        fault for fault in faults if fault != "duplicate"
    ]
    return f"needs a fault: {', '.join(new)}" if new else ""


def _shown(measurement: Measurement) -> dict[str, int]:
    return shown_to_callers(measurement.counts.errors, measurement.counts.by_decision)


async def everything(bursts: int) -> tuple[list[Row], list[Row]]:
    """All mutants, and all safe forms, in every scenario that has what they change."""
    mutants: list[Row] = []
    safe: list[Row] = []
    load = Load(bursts=bursts)
    async with Stores() as stores:
        options = options_for(stores)
        for strategy in strategies():
            for variant, changes in strategy.variants.items():
                for scenario in scenarios():
                    bound = bind(Cell(scenario.name, f"{strategy.name}:{variant}"), load)
                    if bound.claim.kind == "not-applicable":
                        continue
                    base = bind(Cell(scenario.name, strategy.name), load).claim
                    found = row(await conclusive(bound.cell, load, options), changes, base)
                    (safe if SAFE in changes else mutants).append(found)
                    title = f"{bound.cell.strategy} in {scenario.name}"
                    print(f"  {title:<50} {found.by or found.verdict}", file=sys.stderr, flush=True)
    return mutants, safe


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
    caught = {(found.strategy, found.mutant) for found in mutants if found.caught}
    total = {(found.strategy, found.mutant) for found in mutants}
    faults = {(found.strategy, found.mutant) for found in mutants if found.by.startswith("needs")} - caught
    summary = (
        f"Every strategy with its protection broken: {len(caught)} of {len(total)} mutants are caught by load or by"
        f" their claim, {len(faults)} need a fault that load alone does not bring."
    )
    reading = (
        "Broken bursts are counted among all bursts of two requests from two processes. `claim` means that callers"
        " were shown an error which the strategy does not name. Made by `make results`."
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
    absent = "nothing to change"
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
        return f"{found.by} ({found.broken:,} of {found.bursts:,})"
    waiting = found.by.startswith("needs") and found.verdict == "held"
    return found.by if found.caught or waiting else found.verdict


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
    blamed = [
        f"{found.strategy}:{found.mutant} in {found.scenario}: {found.reason}"
        for found in safe
        if found.verdict != "held"
    ]
    for name in away:
        print(f"not caught: {name}", file=sys.stderr)
    for name in blamed:
        print(f"safe, but not found to hold: {name}", file=sys.stderr)
    sys.exit(1 if away or blamed else 0)


if __name__ == "__main__":
    main()
