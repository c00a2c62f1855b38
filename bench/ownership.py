"""Three tables: where a rule lives and who can get around it; what an owner costs; one truth, or copies that lag.

`python -m bench.ownership` writes results/ownership.json and results/ownership.md. Every cell is explored first, two
requests in every order, and then loaded. It ends with 1 where either refutes a claim.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import uvloop

from harness.burst import Load
from harness.burst.bench import Bench
from harness.burst.cells import bind, control_of
from harness.burst.engine import measured
from harness.burst.fleet import Fleet
from harness.burst.others import Others
from harness.burst.plan import Cell, slow
from harness.burst.tally import Tally
from harness.explore import Explorer, Options, searching
from harness.judge import Finding
from harness.model import Evidence, Verdict
from harness.results.claims import as_claimed, explored_as_claimed, shown_to_callers
from harness.results.environment import environment
from harness.stores import Stores

SCHEMA = "race.ownership/1"
BURSTS = 100
MOST = 6
"""So many times more bursts where a busy machine let nothing be said."""
SLOW_MS = 20.0
WORDS = {"violated": "broken", "held": "held", "proved": "proved", "bounded": "held", "inconclusive": "?"}
EVERYBODY = "shared method, all call it"

WRITERS = (
    ("six complete copies, behind locks", "copies", "pg-for-update", "6"),
    ("six copies, one clause missing in cron's", "cron-forgets", "pg-for-update", "5"),
    (EVERYBODY, "method", "pg-for-update", "1"),
    ("that; admin locks, and does not ask", "bypass", "pg-for-update", "1"),
    ("that; admin goes around it", "bypass", "admin=pg-read-committed,*=pg-for-update", "1"),
    ("in the database; admin goes around it", "bypass", "admin=pg-read-committed,*=pg-procedure", "1"),
    ("in the database, behind REVOKE; admin tries", "bypass", "admin=pg-read-committed,*=pg-procedure:revoked", "1"),
    ("in an owner with the only credentials; admin tries", "bypass", "admin=naive,*=actor:credentials", "1"),
)
"""What it is called, rule, strategy, and in how many places the whole rule lives."""
OWNERS = (
    ("locks, for comparison", "method", "redis-lock"),
    ("queue", "method", "queue"),
    ("queue, and an admin who writes directly", "bypass", "admin=naive,*=queue"),
    ("queue whose consumer alone has the credentials, and that admin", "bypass", "admin=naive,*=queue:credentials"),
    ("queue in a table", "method", "pg-queue"),
    ("actor", "method", "actor"),
    ("actor for each key", "method", "actors"),
    ("actor, and an admin who writes directly", "bypass", "admin=naive,*=actor"),
    ("actor that alone has the credentials, and that admin", "bypass", "admin=naive,*=actor:credentials"),
)
COPIES = (
    ("one truth: a script at the primary", "lua"),
    ("one truth, looked at before it is counted", "naive"),
    ("a copy, behind by its own delay", "replica-lag:own-delay"),
    ("a copy, 20 ms behind", "replica-lag"),
    ("a copy, 200 ms behind", "replica-lag:200-ms"),
)
_FIRST = count(step=100_000)
"""Where each bench begins to number its bursts: keys of its own, on the same stores."""
REFUSALS = {"NOPERM", "42501"}


class Watched(Tally):
    """A tally that also keeps how long the other keys' requests took, and how many were let through at most."""

    def watch(self) -> Watched:
        """Begin with nothing."""
        self.others_ns: list[int] = []
        self.most = 0
        return self

    def add(self, evidence: Evidence, finding: Finding, burst: int | None = None) -> None:
        """Look at the operations as well."""
        super().add(evidence, finding, burst)
        answered = [one for one in evidence.operations if one.reply is not None and one.returned_ns is not None]
        self.others_ns += [
            one.returned_ns - one.invoked_ns
            for one in answered
            if one.returned_ns is not None and not slow(one.request.key)
        ]
        self.most = max(self.most, _let_through(answered))


def _let_through(answered: Sequence[Any]) -> int:
    """How many of one user before a token can have come back."""
    hits = [one for one in answered if one.request.operation == "hit"]
    if not hits:
        return 0
    limit, first_ms = hits[0].request.args["limit"], min(one.now_ms for one in hits)
    until_ms = min(first_ms + 60_000 // limit, (first_ms // 60_000 + 1) * 60_000)
    return sum(one.reply.decision == "admitted" and one.now_max_ms < until_ms for one in hits)


@dataclass(slots=True)
class Row:
    """One cell. `p99_ms` holds the 99th percentiles of other keys by how slow the first key is, in milliseconds.

    `most` is the largest number let through by how many callers there were.
    """

    what: str
    scenario: str
    strategy: str
    rule: str
    explored: str
    reason: str
    says: str
    verdict: str
    order: str
    invariants: dict[str, str]
    refused: dict[str, int]
    as_claimed: bool | None
    places: str = ""
    p99_ms: dict[str, float] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)


def p99_ms(durations_ns: Iterable[int]) -> float:
    """In milliseconds; nought where there are too few."""
    durations = list(durations_ns)
    return round(statistics.quantiles(durations, n=100)[98] / 1e6, 2) if len(durations) > 1 else 0.0


async def watched(stores: Stores, cell: Cell, load: Load, *, control: bool = True) -> tuple[Watched, Any]:
    """A load of its own processes: nothing is left over from the one before."""
    bound = bind(cell, load)
    async with Fleet(stores, load.processes, owners=bound.strategy.serving) as fleet:
        bench = Bench(stores, fleet, lambda _progress: None, next(_FIRST))
        tally = Watched(bound, control_of(bound, load) if control else None).watch()
        if load.mode == "sustained":
            await bench.sustained(tally, load)
            return tally, None
        for _ in range(MOST):
            await bench.bursts(tally, load, load.bursts)
            found = measured(tally, load, stores.infos, await stores.lost(), "", tally.elapsed_s, complete=True)
            if found.verdict is not Verdict.INCONCLUSIVE:
                break
        return tally, found


async def row(stores: Stores, what: str, cell: Cell, places: str = "") -> Row:
    """One cell: explored, then loaded."""
    bound = bind(cell, Load())
    async with Explorer(bound, stores, Options(every=True, budget_s=20)) as explorer:
        explored = await explorer.explore(searching(explorer.options))
    _tally, found = await watched(stores, cell, Load(bursts=BURSTS, size=2))
    shown = shown_to_callers(found.counts.errors, found.counts.by_decision)
    claims = (
        explored_as_claimed(bound.claim, explored.verdict, explored.errors, ()),
        as_claimed(bound.claim, found.verdict, shown),
    )
    made = Row(
        what, cell.scenario, cell.strategy, bound.cell.rule, explored.verdict.value, explored.reason,
        explored.first.says if explored.first is not None else "", found.verdict.value, found.order.value,
        {name: verdict.value for name, verdict in found.invariants.items()},
        {code: count for code, count in shown.items() if code in REFUSALS},
        False if False in claims else claims[1], places,
    )  # fmt: skip
    print(f"  {what}: {made.explored}, {made.verdict}, {made.says}", file=sys.stderr, flush=True)
    return made


@dataclass(slots=True)
class Tables:
    """All of them, and the share of the processors that other programs used meanwhile, where that is known."""

    rows: dict[str, list[Row]]
    others: float | None


async def everything(seconds: float) -> Tables:
    """All three tables."""
    others = Others()
    tables: dict[str, list[Row]] = {"writers": [], "owners": [], "copies": []}
    async with Stores() as stores:
        for store in ("redis", "postgres"):
            await stores.admit(store)
        await stores.copied()
        for what, rule, strategy, places in WRITERS:
            tables["writers"].append(await row(stores, what, Cell("six-writers", strategy, rule), places))
        for what, rule, strategy in OWNERS:
            cell = Cell("six-writers", strategy, rule)
            made = await row(stores, what, cell)
            for slow_ms in (0.0, SLOW_MS):
                load = Load(mode="sustained", connections=8, keys=8, duration_s=seconds, slow_ms=slow_ms)
                tally, _found = await watched(stores, cell, load, control=False)
                made.p99_ms[f"{slow_ms:g}"] = p99_ms(tally.others_ns)
            tables["owners"].append(made)
        for what, strategy in COPIES:
            cell = Cell("rate-limit", strategy)
            made = await row(stores, what, cell)
            for callers, processes in ((1, 1), (2, 2)):
                load = Load(mode="sustained", processes=processes, connections=callers, keys=4, duration_s=seconds)
                tally, _found = await watched(stores, cell, load, control=False)
                made.most[str(callers)] = tally.most
                made.p99_ms[str(callers)] = p99_ms(tally.others_ns)
            tables["copies"].append(made)
    return Tables(tables, others.share())


def _rule(made: Row) -> str:
    return "broken" if "violated" in made.invariants.values() else WORDS[made.verdict]


def _refusal(made: Row) -> str:
    return f"no: {next(iter(made.refused))}" if made.refused else "yes"


def markdown(tables: dict[str, list[Row]], others: float | None) -> str:
    """The tables as a page."""
    lines = [
        "# Who owns the rule",
        "",
        (
            "Every cell was explored, two requests in every order, and then loaded. `order`: whether some order of what"
            " was done explains every answer; `rule`: whether the account is right. Made by `make results`."
            + (f" Other programs used {others:.0%} of the processors meanwhile." if others is not None else "")
        ),
        "",
        "## One account, six writers",
        "",
        "Locks keep writers apart. They do not make them agree, and they do not stop one who does not ask.",
        "",
        "| | strategy | whole rule lives in | can it be bypassed | order | rule | |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {made.what} | `{made.strategy}` | {made.places} place{'s' * (made.places != '1')} | {_refusal(made)}"
        f" | {WORDS[made.order]} | {_rule(made)} | {made.says} |"
        for made in tables["writers"]
    ]
    lines += [
        "",
        "## An owner, and who writes around it",
        "",
        (
            f"p99 of *other* keys in milliseconds, with all keys alike and with one whose decisions take {SLOW_MS:g} ms"
            " longer, 8 callers on 8 keys. An owner that takes one request after the other makes all keys wait for the"
            " slow one."
        ),
        "",
        "| | order | rule | bypass refused | p99, all alike | p99, one slow |",
        "|---|---|---|---|---|---|",
    ]
    for made in tables["owners"]:
        bypassed = (
            "nobody tries" if made.rule != "bypass" else ("yes: " + "".join(made.refused) if made.refused else "no")
        )
        quick, held_up = made.p99_ms["0"], made.p99_ms[f"{SLOW_MS:g}"]
        lines.append(
            f"| {made.what} | {WORDS[made.order]} | {_rule(made)} | {bypassed} | {quick:.1f} | {held_up:.1f} |"
        )
    lines += [
        "",
        "## One truth, or copies that lag",
        "",
        (
            "A limit of 60 a minute, in a closed loop on four users. `exact` and `at most 120 %` say whether the rule"
            " is kept in each; the largest number let through and p99 are those of one caller, one request after the"
            " other, and of two callers at two edges."
        ),
        "",
        (
            "| | exact, 1 caller | at most 120 % | most let through | p99, ms"
            " | exact, 2 edges | at most 120 % | most let through | p99, ms |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for made in tables["copies"]:
        cells = []
        for callers in ("1", "2"):
            most = made.most[callers]
            cells += [_kept(most, 60), _kept(most, 72), str(most), f"{made.p99_ms[callers]:.2f}"]
        lines.append(f"| {made.what} (`{made.strategy}`) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _kept(most: int, limit: int) -> str:
    return "kept" if most <= limit else "broken"


def main() -> None:
    """Measure, save, and end with 1 where a claim was refuted."""
    parser = argparse.ArgumentParser(prog="python -m bench.ownership", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each sustained load (default 1.5)")
    parser.add_argument("--folder", type=Path, default=Path("results"), help="where both files go (default results)")
    chosen = parser.parse_args()
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    found = uvloop.run(everything(chosen.seconds))
    tables = found.rows
    document = {
        "schema": SCHEMA,
        "started_at": started_at,
        "environment": environment(),
        "others": found.others,
        **{name: [asdict(made) for made in rows] for name, rows in tables.items()},
    }
    chosen.folder.mkdir(parents=True, exist_ok=True)
    (chosen.folder / "ownership.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (chosen.folder / "ownership.md").write_text(markdown(tables, found.others), encoding="utf-8")
    refuted = [made for rows in tables.values() for made in rows if made.as_claimed is False]
    for made in refuted:
        print(f"refuted: {made.scenario} {made.strategy}, rule {made.rule}: {made.says}", file=sys.stderr)
    sys.exit(1 if refuted else 0)


if __name__ == "__main__":
    main()
