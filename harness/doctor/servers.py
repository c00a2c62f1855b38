"""The two stores: found or startable, which version, with room, with rights, and what time they think it is."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeVar

from harness.doctor.checks import Check, Group
from harness.doctor.rights import try_postgres, try_redis
from harness.model import CommandRefused, RaceError, StoreFault
from harness.stores import (
    Embedded,
    PostgresConnection,
    PostgresTarget,
    RedisConnection,
    RedisTarget,
    StoreInfo,
    parse_postgres,
    parse_redis,
)
from harness.stores.health import look_postgres, look_redis
from harness.stores.namespace import new_run_id

Target = TypeVar("Target", RedisTarget, PostgresTarget)

_ROOM = 24
"""Connections: sustained load has 16 of its own, beside those that watch over a run."""
_APART_MS = 100.0
_TRYING_S = 10.0
_LISTENING_S = 0.2


@dataclass(frozen=True, slots=True)
class Asked:
    """Which servers to examine; embedded ones where there is no URL."""

    redis_url: str | None = None
    postgres_url: str | None = None
    allow_hosts: Collection[str] = ()


async def examine_servers(asked: Asked) -> list[Group]:
    """One group for each store; what is started is ended. Raises UsageError for URLs that cannot be."""
    redis = parse_redis(asked.redis_url, asked.allow_hosts) if asked.redis_url else None
    postgres = parse_postgres(asked.postgres_url, asked.allow_hosts) if asked.postgres_url else None
    embedded: Embedded | None = None
    try:
        if redis is None or postgres is None:
            embedded = Embedded.open()
        return [await _redis(redis, embedded), await _postgres(postgres, embedded)]
    except RaceError as error:  # no folder for embedded servers
        return [Group("Stores", (_failed(error),))]
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.close)


async def _redis(target: RedisTarget | None, embedded: Embedded | None) -> Group:
    async def of(place: RedisTarget) -> list[Check]:
        checks = await _looked(look_redis(place, embedded=target is None), "maxclients")
        return await _tried(
            checks, lambda: _redis_clock(place), lambda: try_redis(place, f"race:{new_run_id()}:doctor")
        )

    if target is not None:
        return Group(f"Redis at {target.shown}", await of(target))
    assert embedded is not None
    hint = _listening(6379, "--redis-url redis://127.0.0.1:6379")
    return Group("Valkey, embedded", [*await _started(embedded.start_valkey, of), *hint])


async def _postgres(target: PostgresTarget | None, embedded: Embedded | None) -> Group:
    async def of(place: PostgresTarget) -> list[Check]:
        checks = await _looked(look_postgres(place, embedded=target is None), "max_connections")
        return await _tried(checks, lambda: _postgres_clock(place), lambda: try_postgres(place, f"race_{new_run_id()}"))

    if target is not None:
        return Group(f"PostgreSQL at {target.shown}", await of(target))
    assert embedded is not None
    hint = _listening(5432, "--postgres-url postgresql://USER@127.0.0.1:5432/DATABASE")
    return Group("PostgreSQL, embedded", [*await _started(embedded.start_postgres, of), *hint])


async def _started(
    start: Callable[[], Awaitable[Target]], of: Callable[[Target], Awaitable[list[Check]]]
) -> list[Check]:
    """What an embedded server shows, and how long it took to start."""
    began = time.monotonic()
    try:
        place = await start()
    except RaceError as error:
        return [_failed(error)]
    took_s = time.monotonic() - began
    server, *others = await of(place)
    return [replace(server, says=f"{server.says}; started in {took_s:.1f} s"), *others]


def _listening(port: int, option: str) -> list[Check]:
    """A hint at a server of the user's that was not asked for."""
    with socket.socket() as probe:
        probe.settimeout(_LISTENING_S)
        found = probe.connect_ex(("127.0.0.1", port)) == 0
    return [Check("beside it", "ok", f"a server listens on 127.0.0.1:{port}; for that one: {option}")] if found else []


async def _looked(looking: Awaitable[StoreInfo], setting: str) -> list[Check]:
    """What it is, and how many connections it has left."""
    try:
        info = await looking
    except RaceError as error:
        return [_failed(error)]
    says = f"room for {info.room:,} more"
    room = Check("connections", "ok", says)
    if info.room < _ROOM:
        room = Check("connections", "warning", says, f"raise {setting}, or end other clients")
    return [Check("server", "ok", f"{info.title}, {info.durability}"), room]


def _failed(error: RaceError) -> Check:
    """What is wrong, and after the last colon what to do."""
    says, _, remedy = str(error).rpartition(": ")
    return Check("server", "failed", says or remedy, remedy if says else "")


async def _tried(checks: list[Check], *works: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    """Those checks and what came of the others, while the server can be reached."""
    for work in works:
        try:
            async with asyncio.timeout(_TRYING_S):
                checks = [*checks, *await work()]
        except (StoreFault, TimeoutError) as error:
            why = str(error) or f"no answer within {_TRYING_S:.0f} s"
            if checks[0].state != "failed":
                return [*checks, Check("rights", "failed", f"cannot be tried: {why}", "see to it that it stays up")]
            return checks
    return checks


async def _redis_clock(target: RedisTarget) -> list[Check]:
    connection = await RedisConnection.open(target)
    try:
        before = time.time()
        seconds, micros = await connection.execute("TIME")
        return _apart(int(seconds) + int(micros) / 1e6, before, time.time())
    except CommandRefused:  # the rights tell
        return []
    finally:
        await connection.close()


async def _postgres_clock(target: PostgresTarget) -> list[Check]:
    connection = await PostgresConnection.open(target)
    try:
        before = time.time()
        found = await connection.sql("SELECT extract(epoch FROM clock_timestamp())::float8")
        return _apart(found.rows[0][0], before, time.time())
    finally:
        await connection.close()


def _apart(theirs: float, before: float, after: float) -> list[Check]:
    """How far the server's clock is from this machine's, at least: it was read between the two times."""
    apart_ms = 1000 * max(before - theirs, theirs - after, 0.0)
    if apart_ms > _APART_MS:
        says = f"{apart_ms:,.0f} ms from this machine's: times that a rule stores mislead there"
        return [Check("clock", "warning", says, "synchronise both machines (chrony, systemd-timesyncd)")]
    return [Check("clock", "ok", "as this machine's" if apart_ms < 1 else f"{apart_ms:.0f} ms from this machine's")]
