"""How fast the explorer is: schedules a second, time until all have been run, and the same with frontrun."""

from __future__ import annotations

import time
from typing import Any

from bench.environments import BESIDE, NotAtHand, answered, python_with
from bench.figures import Figure, Spread
from harness.burst.cells import bind
from harness.burst.plan import Cell, Load
from harness.explore import Exploration, Explorer, Options, searching
from harness.stores import RedisTarget, Stores

_FRONTRUN = ("frontrun==0.7.0", "redis==8.1.0")
_PATIENCE_S = 45.0
"""So long the peer may take; three callers it had not finished in that time."""
_SIZES = (2, 3, 4)
_EXHAUSTED_S = {3: 1.0, 4: 5.0}


async def exploring(rounds: int, seconds: float) -> list[Figure]:
    """A counter that is read and then written, on Valkey and, as two transactions, on PostgreSQL."""
    async with Stores() as stores:
        figures = [
            await _rate(stores, "naive", "Valkey, GET and SET of two", 2_000, rounds, seconds),
            await _rate(stores, "pg-read-committed", "PostgreSQL, two transactions", 400, rounds, seconds),
        ]
        whole = {size: [await _explored(stores, "naive", Options(size=size, every=True)) for _ in range(rounds)]
                 for size in _SIZES}  # fmt: skip
        figures += [_exhausted(size, found) for size, found in whole.items()]
        assert isinstance(stores.redis, RedisTarget)
        for size in (2, 3):
            figures += await _beside_frontrun(stores.redis.path, size, whole[size])
    return figures


async def _rate(stores: Stores, strategy: str, what: str, target: float, rounds: int, seconds: float) -> Figure:
    rates = []
    for number in range(rounds):
        options = Options(every=True, search="random", most_schedules=1_000_000, seed=number, budget_s=seconds)
        found = await _explored(stores, strategy, options)
        rates.append(found.schedules / found.elapsed_s)
    return Figure(
        f"explored schedules/s, {what}",
        f"race explore counter --strategy {strategy} --all --search random, size 2: schedules run on fresh keys, each"
        " judged, a second",
        value=Spread.over(rates), target=target,
    )  # fmt: skip


async def _explored(stores: Stores, strategy: str, options: Options) -> Exploration:
    bound = bind(Cell("counter", strategy), Load(processes=options.processes))
    async with Explorer(bound, stores, options) as explorer:
        began = time.monotonic()
        found = await explorer.explore(searching(options))
        found.elapsed_s = time.monotonic() - began
        return found


def _exhausted(size: int, found: list[Exploration]) -> Figure:
    if not all(one.exhausted for one in found):
        raise AssertionError(f"not every schedule was run: {found[0].reason}")
    return Figure(
        f"a counter of {size} exhausted",
        f"race explore counter --strategy naive --all --size {size}, without starting the server:"
        f" {found[0].schedules:,} schedules run, {found[0].violated:,} broke",
        unit="s", value=Spread.over(one.elapsed_s for one in found), target=_EXHAUSTED_S.get(size), better="at most",
    )  # fmt: skip


async def _beside_frontrun(socket: str, size: int, mine: list[Exploration]) -> list[Figure]:
    name = f"explored / frontrun, a counter of {size}"
    compares = (
        f"schedules a second of race explore counter --strategy naive --all --size {size} over those of frontrun"
        f" ({_FRONTRUN[0]}, dpor, no bound) on the same counter with redis-py, on the same server"
    )
    try:
        python = await python_with("frontrun", *_FRONTRUN)
    except NotAtHand as why:
        return [Figure(name, compares, skipped=str(why))]
    command = [str(python.with_name("frontrun")), str(python), str(BESIDE / "frontrun_counter.py")]
    theirs: Any = await answered([*command, socket, str(size), str(_PATIENCE_S)], 2 * _PATIENCE_S)
    rate = theirs["schedules"] / theirs["elapsed_s"]
    ended = "" if theirs["finished"] else "; it was not at its end: lower bounds"
    return [
        Figure(
            name, compares,
            value=Spread.over(one.schedules / one.elapsed_s / rate for one in mine),
            parts={
                "race, schedules/s": Spread.over(one.schedules / one.elapsed_s for one in mine),
                "frontrun, schedules/s": Spread.over([rate]),
                "race, schedules needed": Spread.over(float(one.schedules) for one in mine),
                "frontrun, schedules needed": Spread.over([float(theirs["schedules"])]),
                "time to exhaust, frontrun / race": Spread.over(theirs["elapsed_s"] / one.elapsed_s for one in mine),
            },
            note=f"frontrun took {theirs['elapsed_s']:.3g} s{ended}",
        )
    ]  # fmt: skip
