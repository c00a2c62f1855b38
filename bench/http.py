"""Bursts over HTTP next to plain Locust at the same service: how close together requests arrive."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.environments import BESIDE, NotAtHand, answered, python_with, said
from bench.figures import Figure, Spread, ratio
from harness.burst import Load
from harness.http.engine import run
from harness.http.site import HttpOptions

LOCUST = "locust==2.47.0"
_PLAIN, _GROUP = "Locust, users", "Locust, Group"
_BURSTS = 300
_SIZE = 2
_PATIENCE_S = 60.0
_CELL = "/double-submit/naive"


async def http(rounds: int, seconds: float) -> list[Figure]:
    """GET, IF, SET behind race serve, by bursts of two of race and by two requests of Locust in two ways."""
    compares = (
        f"{_BURSTS} bursts of {_SIZE} in 2 processes at naive behind race serve (2 workers), over HTTP/1.1, next to"
        f" plain {LOCUST.replace('==', ' ')}: two FastHttpUsers that go through as many keys, one every 10 ms each,"
        " without waiting for one another; spread as the service stamps it, median of all bursts"
    )
    harder = (
        "of the same, next to a task of one FastHttpUser that spawns both requests on a key and waits for both: not"
        " what users of Locust do by themselves, but the closest it comes"
    )
    missing = [f"no {name} on the PATH" for name in ("k6", "wrk") if shutil.which(name) is None]
    found: dict[str, list[_Found]] = {"race, HTTP/2": [], "race, HTTP/1.1": [], _PLAIN: [], _GROUP: []}
    rates: list[float] = []
    try:
        python = await python_with("locust", LOCUST)
    except NotAtHand as error:
        return [Figure("http arrival spread, Locust / race", compares, skipped=str(error))]
    async with _service() as url:
        for number in range(rounds):
            found["race, HTTP/2"].append(await _race(url, number + 1, "2"))
            found[_PLAIN].append(await _locust(python, url, "users"))
            found["race, HTTP/1.1"].append(await _race(url, number + 1, "1.1"))
            found[_GROUP].append(await _locust(python, url, "group"))
            if shutil.which("wrk") is not None:
                rates.append(await _wrk(url, seconds))

    def part(name: str, unit: str) -> dict[str, Spread]:
        return {f"{who}, {unit}": Spread.over(getattr(one, name) for one in every) for who, every in found.items()}

    def over(name: str, peer: str, *, inverse: bool = False, least: float = 0.0) -> Spread:
        ours, theirs = ([max(least, getattr(one, name)) for one in found[who]] for who in ("race, HTTP/1.1", peer))
        return ratio(theirs, ours) if inverse else ratio(ours, theirs)

    one_burst = 100 / _BURSTS
    wrk = {"wrk, requests/s": Spread.over(rates)} if rates else {}
    return [
        Figure(
            "http arrival spread, Locust / race", compares, value=over("spread_us", _PLAIN, inverse=True), target=2.0,
            parts=part("spread_us", "us"), note="; ".join(missing),
        ),
        Figure(
            "http bursts of 2 that broke, race / Locust", "of the same bursts; none at all counts as one of them",
            value=over("broke", _PLAIN, least=one_burst), target=1.2, parts=part("broke", "%"),
        ),
        Figure("http arrival spread, Group / race", harder, value=over("spread_us", _GROUP, inverse=True)),
        Figure("http bursts that broke, race / Group", harder, value=over("broke", _GROUP, least=one_burst)),
        Figure(
            "http requests a second, race / Group",
            f"{harder}; with the finishes of race's; plain users keep to their pace; wrk, for comparison, with"
            f" {_SIZE} connections that wait for none but their own",
            value=over("requests_per_s", _GROUP), parts={**part("requests_per_s", "requests/s"), **wrk},
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Found:
    """What one load showed; `broke` in per cent of the bursts."""

    requests_per_s: float
    spread_us: float
    broke: float
    bursts: int


async def _race(url: str, seed: int, version: Literal["1.1", "2"]) -> _Found:
    load = Load(bursts=_BURSTS, size=_SIZE, seed=seed)
    options = HttpOptions(url=url + _CELL, version=version)
    measured, _site = await asyncio.to_thread(asyncio.run, run("double-submit", "", load, options))
    assert measured.overlap.arrival_spread_us is not None
    bursts = measured.counts.bursts
    return _Found(
        measured.commands / measured.elapsed_s, measured.overlap.arrival_spread_us,
        100 * measured.broken_bursts / bursts, bursts,
    )  # fmt: skip


async def _locust(python: Path, url: str, form: Literal["users", "group"]) -> _Found:
    command = [str(python), str(BESIDE / "locust_pairs.py"), url + _CELL, str(_BURSTS), form]
    return _Found(**await answered(command, _PATIENCE_S))


async def _wrk(url: str, seconds: float) -> float:
    """Requests a second of one key, started again and again."""
    script, size = str(BESIDE / "wrk_starts.lua"), str(_SIZE)
    place = f"{url}{_CELL}/user:wrk-{secrets.token_hex(3)}/start"
    text = await said(
        ["wrk", "-t", size, "-c", size, "-d", f"{max(1, round(seconds))}s", "-s", script, place], _PATIENCE_S
    )
    return float(text.partition("Requests/sec:")[2].split()[0])


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
