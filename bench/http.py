"""Bursts over HTTP next to plain Locust, and wrk, at the same service: how close together requests arrive."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.environments import BESIDE, NotAtHand, answered, python_with, said
from bench.figures import Figure, Spread, ratio
from harness.burst import Load
from harness.http.engine import run
from harness.http.site import HttpOptions
from harness.stores import RedisTarget, Stores

LOCUST = "locust==2.47.0"
_EXAMPLE = Path(__file__).parents[1] / "examples" / "service"
_BURSTS = 300
_SIZE = 2
_PATIENCE_S = 60.0


async def http(rounds: int, seconds: float) -> list[Figure]:
    """The example's GET, IF, SET, by bursts of two, and by two users of Locust and two connections of wrk."""
    compares = (
        f"{_BURSTS} bursts of {_SIZE} in 2 processes over HTTP/1.1 at the example service's GET, IF, SET, next to"
        f" {_SIZE} users of plain {LOCUST.replace('==', ' ')} (FastHttpUser), and wrk with {_SIZE} connections, that go"
        f" through the same keys for {seconds:g} s; spread as the service stamps it, median of all bursts"
    )
    missing = [f"no {name} on the PATH" for name in ("k6", "wrk") if shutil.which(name) is None]
    found: dict[str, list[_Found]] = {"race": [], "Locust": [], "wrk": []}
    try:
        python = await python_with("locust", LOCUST)
    except NotAtHand as error:
        return [Figure("http arrival spread, Locust / race", compares, skipped=str(error))]
    async with Stores(need={"redis"}) as stores:
        assert isinstance(stores.redis, RedisTarget)
        async with _service(f"unix://{stores.redis.path}") as url:
            for number in range(rounds):
                found["race"].append(await _race(url, number + 1))
                command = [str(python), str(BESIDE / "locust_pairs.py"), url, str(_SIZE), str(seconds)]
                found["Locust"].append(_Found(**await answered(command, _PATIENCE_S)))
                if shutil.which("wrk") is not None:
                    found["wrk"].append(await _wrk(url, seconds))

    def part(name: str, unit: str) -> dict[str, Spread]:
        return {
            f"{who}, {unit}": Spread.over(getattr(one, name) for one in every) for who, every in found.items() if every
        }

    def over(name: str, *, inverse: bool = False) -> Spread:
        ours, theirs = ([getattr(one, name) for one in found[who]] for who in ("race", "Locust"))
        return ratio(theirs, ours) if inverse else ratio(ours, theirs)

    return [
        Figure(
            "http arrival spread, Locust / race", compares, value=over("spread_us", inverse=True), target=2.0,
            parts=part("spread_us", "us"), note="; ".join(missing),
        ),
        Figure(
            "http bursts of 2 that broke", "of the same bursts, and of the keys that both users or connections used",
            unit="%", value=Spread.over(one.broke for one in found["race"]), parts=part("broke", "%"),
        ),
        Figure(
            "http requests a second, race / Locust",
            "all requests of the same loads; a burst waits for its last answer, the others for none but their own",
            value=over("requests_per_s"), parts=part("requests_per_s", "requests/s"),
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Found:
    """What one load showed; `broke` in per cent of the bursts."""

    requests_per_s: float
    spread_us: float
    broke: float
    bursts: int


async def _race(url: str, seed: int) -> _Found:
    options = HttpOptions(url=url, target=_EXAMPLE / "looks-first.toml", version="1.1")
    load = Load(bursts=_BURSTS, size=_SIZE, seed=seed)
    measured, _site = await asyncio.to_thread(asyncio.run, run("double-submit", "", load, options))
    assert measured.overlap.arrival_spread_us is not None
    bursts = measured.counts.bursts
    return _Found(
        measured.commands / measured.elapsed_s, measured.overlap.arrival_spread_us,
        100 * measured.broken_bursts / bursts, bursts,
    )  # fmt: skip


async def _wrk(url: str, seconds: float) -> _Found:
    script, size = str(BESIDE / "wrk_pairs.lua"), str(_SIZE)
    command = [
        "wrk",
        "-t",
        size,
        "-c",
        size,
        "-d",
        f"{max(1, round(seconds))}s",
        "-s",
        script,
        url,
        "--",
        secrets.token_hex(3),
    ]
    text = await said(command, _PATIENCE_S)
    by_key: dict[str, list[tuple[int, int]]] = {}
    for words in (line.split() for line in text.partition("answers")[2].splitlines()):
        if len(words) == 3:
            by_key.setdefault(words[0], []).append((int(words[1]), int(words[2])))
    whole = [answers for answers in by_key.values() if len(answers) == _SIZE]
    spreads = [(max(at for _, at in one) - min(at for _, at in one)) / 1000 for one in whole]
    broke = sum(sum(status == 202 for status, _ in one) > 1 for one in whole)
    rate = float(text.rpartition("rate ")[2].split()[0])
    return _Found(rate, statistics.median(spreads), 100 * broke / len(whole), len(whole))


@contextlib.asynccontextmanager
async def _service(redis_url: str) -> AsyncIterator[str]:
    """The example service in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(_EXAMPLE / "service.py"), str(port), redis_url, stdout=log, stderr=log
        )
        try:
            until = time.monotonic() + 10
            while True:
                with contextlib.suppress(OSError):
                    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                assert time.monotonic() < until, "the example service did not start"
                await asyncio.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            await process.wait()
