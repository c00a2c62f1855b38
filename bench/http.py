"""Bursts over HTTP next to Locust, wrk and k6 at the same service: how close requests arrive, and what that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from bench.environments import NotAtHand, python_with
from bench.figures import Figure, Spread, number, ratio
from bench.pairs import Start, at_hand, by_k6, by_locust, by_wrk
from harness.burst import Load
from harness.http.engine import run
from harness.http.site import HttpOptions

LOCUST = "locust==2.47.0"
_OURS = "race, HTTP/1.1"
_LOCUST = {
    "Locust, no wait": "unpaced",
    "Locust, random waits": "random",
    "Locust, in step": "paced",
    "Locust, Group": "group",
}
_NO_WAIT, _RANDOM, _IN_STEP, _GROUP = _LOCUST
_WRK = "wrk"
_K6 = {"k6, two VUs": "unpaced", "k6, http.batch": "batch"}
_VUS, _BATCH = _K6
_BURSTS = 300
_SIZE = 2
_STARTS = 10
_PATIENCE_S = 60.0
_CELL = "/double-submit/naive"


async def http(rounds: int, _seconds: float) -> list[Figure]:
    """GET, IF, SET behind race serve, by bursts of two of race and by two requests of others."""
    compares = (
        f"{_BURSTS} bursts of {_SIZE} in 2 processes at naive behind race serve (2 workers), over HTTP/1.1, next to"
        f" plain {LOCUST.replace('==', ' ')}: two FastHttpUsers without a wait_time that go through as many keys and"
        f" know nothing of one another, in {_STARTS} starts; spread as the service stamps it for all alike, median of"
        " the bursts of a start, then of the starts of a round; min and max are of the rounds for a ratio, of starts"
        " for its parts"
    )
    waits = "of the same, next to two such users with wait_time = between(0, 20 ms)"
    step = (
        "of the same, next to two such users with wait_time = constant_pacing(10 ms) that begin at the same instant and"
        " the same key: nothing of Locust's keeps them together but that"
    )
    group = (
        "of the same, next to a task of one FastHttpUser that spawns both requests on a key and waits for both: not"
        " what users of Locust do by themselves, but the closest it comes"
    )
    try:
        python = await python_with("locust", LOCUST)
    except NotAtHand as error:
        return [Figure("http arrival spread, Locust / race", compares, skipped=str(error))]
    async with _service() as url:
        found = await _measured(url, rounds, python)

    def part(name: str, unit: str) -> dict[str, Spread]:
        return {
            f"{who}, {unit}": Spread.over(getattr(start, name) for one in every for start in one)
            for who, every in found.items()
        }

    def over(name: str, peer: str, *, inverse: bool = False, least: float = 0.0) -> Spread:
        ours, theirs = (
            [max(least, statistics.median(getattr(start, name) for start in one)) for one in found[who]]
            for who in (_OURS, peer)
        )
        return ratio(theirs, ours) if inverse else ratio(ours, theirs)

    def beside(peer: str, told: str) -> list[Figure]:
        names = f"http arrival spread, {peer} / race", f"http bursts that broke, race / {peer}"
        if peer not in found:
            return [Figure(name, told, skipped=f"{peer.partition(',')[0]} is not installed") for name in names]
        return [Figure(names[0], told, value=spread(peer)), Figure(names[1], told, value=broke(peer))]

    def spread(peer: str) -> Spread:
        return over("spread_us", peer, inverse=True)

    def broke(peer: str) -> Spread:
        return over("broke", peer, least=100 / _BURSTS)

    each = f"{_BURSTS} keys in each of {_STARTS} starts"
    wrk = f"of the same, next to wrk: two threads of one connection each that go through the same keys, {each}"
    vus = f"of the same, next to k6: two VUs that go through the same keys as fast as they are answered, {each}"
    batch = f"of the same, next to k6: one VU that asks for both by http.batch, {each}"
    return [
        Figure(
            "http arrival spread, Locust / race", compares, value=spread(_NO_WAIT), target=2.0,
            parts=part("spread_us", "us"), note=_quartiles(found, "spread_us", "us"),
        ),
        Figure(
            "http bursts of 2 that broke, race / Locust", "of the same bursts; none at all counts as one of them",
            value=broke(_NO_WAIT), target=1.2, parts=part("broke", "%"), note=_quartiles(found, "broke", "%"),
        ),
        Figure("http arrival spread, random waits / race", waits, value=spread(_RANDOM), target=2.0),
        Figure("http bursts that broke, race / random waits", waits, value=broke(_RANDOM), target=1.2),
        Figure("http arrival spread, in step / race", step, value=spread(_IN_STEP)),
        Figure("http bursts that broke, race / in step", step, value=broke(_IN_STEP)),
        Figure("http arrival spread, Group / race", group, value=spread(_GROUP)),
        Figure("http bursts that broke, race / Group", group, value=broke(_GROUP)),
        *beside(_WRK, wrk),
        *beside(_VUS, vus),
        *beside(_BATCH, batch),
        Figure(
            "http requests a second, race / no wait",
            "of the same, with the finishes of race's and its meeting before every burst, which is what the spread"
            " costs; of wrk and k6 between the first and the last arrival of a start",
            value=over("requests_per_s", _NO_WAIT), parts=part("requests_per_s", "requests/s"),
        ),
    ]  # fmt: skip


async def _measured(url: str, rounds: int, python: Path) -> dict[str, list[list[Start]]]:
    """By turns, each of them so many rounds; of each round its starts. Who is not installed is not in it."""
    many = (url + _CELL, _BURSTS, _STARTS)
    others = [_WRK] * at_hand("wrk") + [*_K6] * at_hand("k6")
    found: dict[str, list[list[Start]]] = {who: [] for who in ("race, HTTP/2", _OURS, *_LOCUST, *others)}
    for seed in range(1, rounds + 1):
        found["race, HTTP/2"].append([await _race(url, seed, "2")])
        found[_OURS].append([await _race(url, seed, "1.1")])
        for who, form in _LOCUST.items():
            found[who].append(await by_locust(python, *many, form))
        for who in others:
            asked = by_k6(*many, _K6[who]) if who in _K6 else by_wrk(*many)
            found[who].append(await asked)
    return found


def _quartiles(found: Mapping[str, Sequence[Sequence[Start]]], name: str, unit: str) -> str:
    """Between which a half of all starts of Locust lies."""
    told = []
    for who in _LOCUST:
        values = sorted(getattr(start, name) for one in found[who] for start in one)
        low, _median, high = statistics.quantiles(values, n=4)
        told.append(f"{who.removeprefix('Locust, ')} {number(low)}-{number(high)}")
    return f"half of the starts of Locust, {unit}: {'; '.join(told)}"


async def _race(url: str, seed: int, version: Literal["1.1", "2"]) -> Start:
    load = Load(bursts=_BURSTS, size=_SIZE, seed=seed)
    options = HttpOptions(url=url + _CELL, version=version)
    measured, _site = await asyncio.to_thread(asyncio.run, run("double-submit", "", load, options))
    assert measured.overlap.arrival_spread_us is not None
    return Start(
        measured.commands / measured.elapsed_s, measured.overlap.arrival_spread_us,
        100 * measured.broken_bursts / measured.counts.bursts,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def _service() -> AsyncIterator[str]:
    """Race serve in processes of its own."""
    command = ["-m", "harness", "serve", "double-submit", "--strategies", "naive", "--port", "0", "--json"]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            assert process.stdout is not None
            text = ""
            async with asyncio.timeout(_PATIENCE_S):
                while not text.endswith("\n}\n"):
                    line = await process.stdout.readline()
                    assert line, "race serve did not start"
                    text += line.decode()
            yield str(json.loads(text)["url"]).rstrip("/")
        finally:
            process.terminate()
            await process.wait()
