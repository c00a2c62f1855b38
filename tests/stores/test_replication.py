"""A replica that lags: by at least as much as it is told, and for as long as it is held up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from harness.model import UsageError
from harness.stores import RedisConnection, Stores

if TYPE_CHECKING:
    from harness.stores import RedisTarget


async def seen(replica: RedisConnection, key: str, value: bytes) -> float:
    """The instant at which a value is there."""
    until = time.monotonic() + 10
    while await replica.execute("GET", key) != value:
        assert time.monotonic() < until, "it never came"
        await asyncio.sleep(0.001)
    return time.monotonic()


def test_it_is_behind() -> None:
    """What is written is there no sooner than the lag allows, and not at all while the link is held."""

    async def work() -> tuple[float, list[bytes | None], str | None, str | None]:
        async with Stores(need={"redis"}) as stores:
            await stores.copied()
            assert stores.redis is not None
            assert stores.replica is not None
            assert stores.link is not None
            primary, replica = [await RedisConnection.open(target) for target in (stores.redis, stores.replica)]
            key = f"{stores.prefix}k"
            stores.link.lag_ms = 150
            began = time.monotonic()
            await primary.execute("SET", key, "1")
            lag_s = await seen(replica, key, b"1") - began
            stores.link.lag_ms = 0
            stores.link.hold()
            await primary.execute("SET", key, "2")
            await asyncio.sleep(0.02)
            values = [await primary.execute("GET", key), await replica.execute("GET", key)]
            stores.link.release()
            await seen(replica, key, b"2")
            sound = await stores.lost()
            stores.link.close()
            lost = await stores.lost()
            for connection in (primary, replica):
                await connection.close()
            return lag_s, values, sound, lost

    lag_s, values, sound, lost = asyncio.run(work())
    assert lag_s >= 0.15
    assert values == [b"2", b"1"]
    assert (sound, lost) == (None, "the embedded Valkey's replica lost its primary")


def test_a_replica_is_started_beside_our_own_server_only(redis: RedisTarget) -> None:
    """Of somebody else's server nobody here makes a replica."""

    async def work() -> None:
        url = f"unix://{redis.path}" if redis.path else f"redis://{redis.shown}"
        async with Stores(redis_url=url, need={"redis"}) as stores:
            await stores.copied()

    with pytest.raises(UsageError, match="beside the embedded server only: leave out --redis-url"):
        asyncio.run(work())
