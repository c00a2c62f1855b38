"""The state of keys, written before the first request and read when all is at rest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from harness.burst.session import LoadSession
from harness.strategy import Strategy


async def seed(session: LoadSession, strategy: Strategy, keys: Sequence[str]) -> None:
    """Give every key its initial value, and every key of PostgreSQL its row. Raises StoreFault."""
    scenario = strategy.scenario
    value = scenario.initial_value
    if strategy.store == "postgres":
        await strategy.make_tables(session.sql)
        await strategy.rows.seed(session.sql, keys, value)
    elif value is not None:
        await strategy.values.save(session, dict.fromkeys(keys, value), int(time.time() * 1000))


async def at_rest(session: LoadSession, strategy: Strategy, keys: Sequence[str]) -> dict[str, Any]:
    """The value of every key; None where there is no row. Raises StoreFault."""
    if strategy.store == "postgres":
        values = await strategy.rows.at_rest(session.sql, keys)
    else:
        found = await strategy.values.all(session.redis, [*map(session.key, keys)])
        values = dict(zip(keys, found, strict=True))
    return {key: values.get(key) for key in keys}
