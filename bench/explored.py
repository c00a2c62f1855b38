"""The table of explored verdicts: every strategy, two and three requests, without faults and with each.

`python -m bench.explored` writes results/explored.json and results/explored.md. It ends with 1 where a schedule
refutes a claim. A claim to break that no schedule of so few requests bears out is not refuted: it is told. What breaks
is looked for longer than what holds. With `--go-on` what an earlier run has decided stays, on a busy machine, say.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import uvloop

from harness.burst.cells import Bound, bind
from harness.burst.plan import Cell, Load
from harness.explore import FAULTS, Explorer, Options, searching
from harness.model import Verdict
from harness.results.claims import breaks, explored_as_claimed
from harness.results.environment import environment
from harness.stores import Stores
from harness.strategy.loader import strategies

SCHEMA = "race.explored/1"
SCENARIOS = ("double-submit", "counter")
SIZES = (2, 3)
_PATIENCE = 5
"""So many times the seconds of another cell has one that claims to break: it ends once it does."""
WORDS = {"violated": "broken", "proved": "proved", "bounded": "bounded", "inconclusive": "?"}


@dataclass(frozen=True, slots=True)
class Row:
    """One cell: `fault` is "" without one; `claims_to_break` says what was claimed under it."""

    scenario: str
    strategy: str
    size: int
    fault: str
    verdict: str
    reason: str
    says: str
    schedules: int
    overruns: int
    errors: dict[str, int]
    elapsed_s: float
    claims_to_break: bool
    as_claimed: bool | None
    most_faults: int = 1


@cache
def titles(scenario: str) -> tuple[str, ...]:
    """Every strategy, and the variants that hold as it does and claim to break under other faults."""
    return tuple(_titles(scenario))


def _titles(scenario: str) -> Iterator[str]:
    for kind in strategies():
        base = bind(Cell(scenario, kind.name), Load()).claim
        yield kind.name
        for variant in kind.variants:
            claim = bind(Cell(scenario, f"{kind.name}:{variant}"), Load()).claim
            if claim.kind == base.kind == "holds" and set(claim.breaks_under) ^ set(base.breaks_under):
                yield f"{kind.name}:{variant}"


async def explored(bound: Bound, stores: Stores, size: int, fault: str, budget_s: float) -> Row:
    """One cell, up to its first violation; where it claims to break and one fault does not do it, with two."""
    row = await _explored(bound, stores, size, fault, budget_s, 1)
    if not fault or not row.claims_to_break or row.verdict == "violated":
        return row
    twice = await _explored(bound, stores, size, fault, budget_s, 2)
    return twice if twice.verdict == "violated" else row


async def _explored(bound: Bound, stores: Stores, size: int, fault: str, budget_s: float, most_faults: int) -> Row:
    faults = (fault,) if fault else ()
    patience = _PATIENCE if breaks(bound.claim, faults) else 1
    options = Options(size=size, faults=faults, most_faults=most_faults, budget_s=budget_s * patience)
    async with Explorer(bound, stores, options) as explorer:
        found = await explorer.explore(searching(options, bound.claim))
    if not found.complete:  # exploring keeps what was found before: half a cell is none
        raise asyncio.CancelledError
    return Row(
        scenario=bound.scenario.name,
        strategy=bound.strategy.title,
        size=size,
        fault=fault,
        verdict=found.verdict.value,
        reason=found.reason,
        says=found.first.says if found.first is not None else "",
        schedules=found.schedules,
        overruns=found.overruns,
        errors=found.errors,
        elapsed_s=round(found.elapsed_s, 3),
        claims_to_break=breaks(bound.claim, faults),
        as_claimed=explored_as_claimed(bound.claim, found.verdict, found.errors, faults),
        most_faults=most_faults,
    )


def claimed(bound: Bound, row: Row) -> Row:
    """What was decided, beside what is claimed today."""
    faults = (row.fault,) if row.fault else ()
    as_claimed = explored_as_claimed(bound.claim, Verdict(row.verdict), row.errors, faults)
    return replace(row, claims_to_break=breaks(bound.claim, faults), as_claimed=as_claimed)


Decided = dict[tuple[str, str, int, str], Row]
"""By scenario, strategy, size and fault."""


def decided(path: Path) -> Decided:
    """What a file says of which nobody doubts the verdict."""
    if not path.exists():
        return {}
    rows = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    known = [row for row in rows if row.verdict == "violated" or (row.verdict == "proved" and not row.claims_to_break)]
    return {(row.scenario, row.strategy, row.size, row.fault): row for row in known}


async def everything(budget_s: float, known: Decided, save: Callable[[Sequence[Row]], None]) -> list[Row]:
    """All cells, one after the other, but those that are `known`. What there is so far is saved after each."""
    rows: list[Row] = []
    async with Stores() as stores:
        for scenario in SCENARIOS:
            for title in titles(scenario):
                bound = bind(Cell(scenario, title), Load())
                if bound.claim.kind == "not-applicable":
                    continue
                for size in SIZES:
                    for fault in ("", *FAULTS):
                        row = known.get((scenario, title, size, fault))
                        if row is None:
                            row = await explored(bound, stores, size, fault, budget_s)
                        else:
                            row = claimed(bound, row)
                        rows.append(row)
                        if (scenario, title, size, fault) not in known:
                            save([*rows, *(row for cell, row in known.items() if cell not in cells_of(rows))])
                        line = (
                            f"  {scenario} {title} of {size}, {fault or 'no fault'}: {row.verdict}, {row.elapsed_s} s"
                        )
                        print(line, file=sys.stderr, flush=True)
    return rows


def cells_of(rows: Sequence[Row]) -> set[tuple[str, str, int, str]]:
    """Which cells these are."""
    return {(row.scenario, row.strategy, row.size, row.fault) for row in rows}


def saved(
    chosen: argparse.Namespace, started_at: str, surroundings: Mapping[str, Any], rows: Sequence[Row], *, complete: bool
) -> None:
    """Both files, each written whole or not at all."""
    document = {
        "schema": SCHEMA,
        "started_at": started_at,
        "budget_s": chosen.budget,
        "complete": complete,
        "environment": surroundings,
        "rows": [asdict(row) for row in rows],
    }
    folder = chosen.folder
    folder.mkdir(parents=True, exist_ok=True)
    table = markdown(rows, chosen.budget, complete=complete)
    partly = "" if complete else "\nNot complete: it was interrupted, or goes on.\n"
    for name, text in (("explored.json", json.dumps(document, indent=2) + "\n"), ("explored.md", table + partly)):
        new = folder / f".{name}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(folder / name)


def markdown(rows: Sequence[Row], budget_s: float, *, complete: bool = True) -> str:
    """A table for each scenario: strategies down; faults across, two and three requests in each cell."""
    lines = [
        "# Every order, with and without faults",
        "",
        (
            "What exploring says of two / three requests. `proved`: every schedule was run, or differs from one only in"
            f" the order of independent steps; `bounded`: none broke in {budget_s:g} s, but they are not all."
            f" **Bold** is what the strategy claims to break under, and is looked for {_PATIENCE} times as long."
            " One fault in a schedule; `broken by 2` where it takes two. A bold `proved` takes more requests:"
            " two who steal one lock, say, and a third whose it was. Made by `make results`."
        ),
    ]
    for scenario in SCENARIOS:
        lines += [
            "",
            f"## {scenario}",
            "",
            f"| strategy | no fault | {' | '.join(FAULTS)} |",
            "|---" * (len(FAULTS) + 2) + "|",
        ]
        for title in titles(scenario):
            cells = [
                [row for row in rows if (row.scenario, row.strategy, row.fault) == (scenario, title, fault)]
                for fault in ("", *FAULTS)
            ]
            lines.append(f"| `{title}` | {' | '.join(_cell(cell, complete=complete) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(rows: Sequence[Row], *, complete: bool) -> str:
    if not rows:
        return "does not apply" if complete else "-"
    words = [
        WORDS[row.verdict]
        + (f" by {row.most_faults}" if row.most_faults > 1 else "")
        + (" (NOT as claimed)" if row.as_claimed is False else "")
        for row in rows
    ]
    text = words[0] if len(set(words)) == 1 else " / ".join(words)
    return f"**{text}**" if rows[0].claims_to_break else text


def main() -> None:
    """Explore, save, and end with 1 where a claim was refuted."""
    parser = argparse.ArgumentParser(prog="python -m bench.explored", description=__doc__)
    parser.add_argument("--budget", type=float, default=5.0, help="seconds for each cell (default 5)")
    parser.add_argument("--folder", type=Path, default=Path("results"), help="where both files go (default results)")
    parser.add_argument("--go-on", action="store_true", help="keep what the folder's file has decided already")
    chosen = parser.parse_args()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    known = decided(chosen.folder / "explored.json") if chosen.go_on else {}
    save = partial(saved, chosen, started_at, environment())
    try:
        rows = uvloop.run(everything(chosen.budget, known, partial(save, complete=False)))
    except KeyboardInterrupt:
        print("interrupted: what was explored is saved, and --go-on goes on from there", file=sys.stderr)
        sys.exit(130)
    save(rows, complete=True)
    refuted = [row for row in rows if row.as_claimed is False]
    for row in refuted:
        print(
            f"refuted: {row.scenario} {row.strategy} of {row.size}, {row.fault or 'no fault'}: {row.says}",
            file=sys.stderr,
        )
    sys.exit(1 if refuted else 0)


if __name__ == "__main__":
    main()
