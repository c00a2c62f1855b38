"""Sustained throughput against the stores' own benchmark programs, by turns on the same server."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from urllib.parse import quote

from bench import peers
from bench.figures import Figure, Spread, ratio
from bench.loads import measured, per_second, verdict
from harness.burst import Cell, Load, StoresOptions
from harness.stores import PostgresConnection, PostgresTarget, RedisTarget, Stores
from harness.strategy import NotExpressible, RowLayout, StatementForm
from harness.strategy.loader import find_scenario

KEYS, ROWS = 500, 60
"""So few that the control of each breaks, and what is measured is judged, too."""
REDIS_CONNECTIONS = 50
POSTGRES_CONNECTIONS = 16
_FIRST_ROW = 1_000_000_000_000
"""pgbench draws numbers only; thirteen digits are as long as a key of the load engine."""


async def atomic(rounds: int, seconds: float) -> list[Figure]:
    """One process and fifty connections, recorded and judged, over redis-benchmark."""
    claim = "SET bench:user:h1-__rand_int__ 0-a1234567 1790000000000 NX PX 2000"
    command = claim.split(" ")
    command[2:4] = [" ".join(command[2:4])]  # a lease is one value with a space in it
    return [
        await _over_redis_benchmark("double-submit", command, 0.7, rounds, seconds),
        await _over_redis_benchmark("counter", ["INCR", "bench:counter:h1-__rand_int__"], None, rounds, seconds),
    ]


async def _over_redis_benchmark(
    scenario: str, command: list[str], target: float | None, rounds: int, seconds: float
) -> Figure:
    program = peers.redis_benchmark()
    name = f"atomic {scenario} / {Path(program).name if program else 'redis-benchmark'}"
    mix = {
        "double-submit": "store commands (SET NX PX and EVALSHA of compare-and-delete, half each)",
        "counter": "store commands (INCR)",
    }[scenario]
    compares = (
        f"{mix} a second of the sustained load, 1 process, {REDIS_CONNECTIONS} connections, {KEYS} keys, no work,"
        f" recorded and judged, over requests a second of -c {REDIS_CONNECTIONS} with {command[0]} on as many keys"
    )
    if program is None:
        return Figure(name, compares, target=target, skipped="no redis-benchmark or valkey-benchmark on the PATH")
    load = Load(mode="sustained", processes=1, connections=REDIS_CONNECTIONS, keys=KEYS, duration_s=seconds, work_us=0)
    ours, theirs, verdicts = [], [], []
    async with Stores(need={"redis"}) as stores:
        assert isinstance(stores.redis, RedisTarget)
        options = StoresOptions(redis_url=f"unix://{stores.redis.path}")
        stores.keep_apart(load.processes)  # as a load does with a server of its own; for both alike
        for _ in range(rounds):
            measurement = await measured(Cell(scenario, "atomic"), load, options)
            ours.append(per_second(measurement))
            verdicts.append(verdict(measurement))
            theirs.append(await peers.requests_per_s(program, stores.redis, REDIS_CONNECTIONS, seconds, KEYS, command))
    return Figure(
        name, compares, value=ratio(ours, theirs), target=target,
        parts={"race, commands/s": Spread.over(ours), f"{Path(program).name}, requests/s": Spread.over(theirs)},
        note=f"verdicts: {', '.join(sorted(set(verdicts)))}",
    )  # fmt: skip


async def conditional(rounds: int, seconds: float) -> list[Figure]:
    """One process and sixteen connections, recorded and judged, over pgbench with the same statements."""
    program = peers.pgbench()
    name = "pg-conditional double-submit / pgbench"
    compares = (
        f"statements a second of the sustained load, 1 process, {POSTGRES_CONNECTIONS} connections, {ROWS} rows,"
        f" no work, recorded and judged, over those of -M prepared -c {POSTGRES_CONNECTIONS} -j 1 with the same two"
        " statements, each committed by itself; pgbench frees also what it could not take"
    )
    if program is None:
        return [Figure(name, compares, target=0.4, skipped="no pgbench on the PATH")]
    load = Load(
        mode="sustained", processes=1, connections=POSTGRES_CONNECTIONS, keys=ROWS, duration_s=seconds, work_us=0
    )
    ours, theirs, verdicts = [], [], []
    async with Stores(need={"postgres"}) as stores:
        assert isinstance(stores.postgres, PostgresTarget)
        options = StoresOptions(postgres_url=_url(stores.postgres))
        durability = stores.infos[0].durability
        for _ in range(rounds):
            measurement = await measured(Cell("double-submit", "pg-conditional"), load, options)
            ours.append(per_second(measurement))
            verdicts.append(verdict(measurement))
            theirs.append(await _pgbench(program, stores.postgres, seconds))
    figure = Figure(
        name, compares, value=ratio(ours, theirs), target=0.4,
        parts={"race, statements/s": Spread.over(ours), "pgbench, statements/s": Spread.over(theirs)},
        note=f"{durability}; verdicts: {', '.join(sorted(set(verdicts)))}",
    )  # fmt: skip
    return [figure]


async def _pgbench(program: str, target: PostgresTarget, seconds: float) -> float:
    """Statements a second of pgbench on a table like the scenario's, made anew so that both begin with clean rows."""
    statements = pgbench_script()
    schema = f"bench_{secrets.token_hex(4)}"
    rows = find_scenario("double-submit").rows
    assert isinstance(rows, RowLayout)
    connection = await PostgresConnection.open(target)
    try:
        await connection.script("; ".join((f"CREATE SCHEMA {schema}", f"SET search_path = {schema}", *rows.schema)))
        await connection.sql(
            f"INSERT INTO {schema}.{rows.table} (key) SELECT n::text FROM generate_series($1::bigint, $2::bigint) AS n",  # noqa: S608 - names of our own
            _FIRST_ROW,
            _FIRST_ROW + ROWS - 1,
        )
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(statements)
            script.flush()
            rate = await peers.transactions_per_s(
                program, target, schema, POSTGRES_CONNECTIONS, seconds, Path(script.name)
            )
        await connection.script(f"DROP SCHEMA {schema} CASCADE")
    finally:
        await connection.close()
    return 2 * rate


def pgbench_script() -> str:
    """The scenario's claim and free, with pgbench's variables in the places of the arguments."""
    forms = find_scenario("double-submit").forms["sql"]
    assert not isinstance(forms, NotExpressible)
    lines = [
        rf"\set key random({_FIRST_ROW}, {_FIRST_ROW + ROWS - 1})",
        r"\set attempt random(1, 1000000000)",
        r"\set until 2001",
        r"\set now 1",
    ]
    for operation, names in (("start", ("key", "attempt", "until", "now")), ("finish", ("key", "attempt", "now"))):
        form = forms[operation]
        assert isinstance(form, StatementForm)
        statement = form.statement.strip()
        for place, variable in enumerate(names, start=1):
            statement = statement.replace(f"${place}", f":{variable}")
        lines.append(f"{statement};")
    return "\n".join(lines) + "\n"


def _url(target: PostgresTarget) -> str:
    return f"postgresql://{target.user}@/{target.database}?host={quote(target.host)}&port={target.port}"
