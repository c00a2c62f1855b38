"""How well bursts overlap: the spread of their release, and the share of `naive` bursts that broke."""

from __future__ import annotations

from bench.figures import Figure, Spread
from bench.loads import measured
from harness.burst import Cell, Load, StoresOptions
from harness.stores import RedisTarget, Stores

_BURSTS = 1000
_TARGETS = {2: 95.0, 8: 99.0}


async def overlap(rounds: int, _seconds: float) -> list[Figure]:
    """Bursts of two and of eight, without an artificial delay."""
    broke: dict[int, list[float]] = {size: [] for size in _TARGETS}
    apart_us: dict[int, list[float]] = {size: [] for size in _TARGETS}
    async with Stores(need={"redis"}) as stores:
        assert isinstance(stores.redis, RedisTarget)
        options = StoresOptions(redis_url=f"unix://{stores.redis.path}")
        for number in range(rounds):
            for size in _TARGETS:
                load = Load(bursts=_BURSTS, size=size, seed=number + 1)
                measurement = await measured(Cell("double-submit", "naive"), load, options)
                # Of all bursts, those that did not even overlap among them.
                broke[size].append(100 * measurement.broken_bursts / measurement.counts.bursts)
                if measurement.overlap.release_spread_us is not None:
                    apart_us[size].append(measurement.overlap.release_spread_us)
    return [
        Figure(
            f"naive bursts of {size} that broke",
            f"the share of {_BURSTS:,} bursts of {size} of double-submit in 2 processes, with its work and without"
            " --think; bursts that did not overlap count as not broken",
            unit="%",
            value=Spread.over(broke[size]),
            target=target,
            parts={"released apart, us": Spread.over(apart_us[size])} if apart_us[size] else {},
        )
        for size, target in _TARGETS.items()
    ]
