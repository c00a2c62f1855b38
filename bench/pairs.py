"""Pairs of requests on one key by other load generators, at a cell of `race serve`: double-submit under naive."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from bench.environments import BESIDE, answered, said
from bench.peers import PeerFailed

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """What one start of a load showed: `spread_us` is the median of its pairs, `broke` in per cent of them."""

    requests_per_s: float
    spread_us: float
    broke: float


async def by_locust(python: Path, cell: str, bursts: int, starts: int, form: str) -> list[Start]:
    """So many starts, `bursts` in all of them; `form` as `locust_pairs.py` has them."""
    command = [str(python), str(BESIDE / "locust_pairs.py"), cell, str(bursts), str(starts), form]
    return [Start(**one) for one in (await answered(command, _PATIENCE_S))["starts"]]


async def by_wrk(cell: str, bursts: int, starts: int) -> list[Start]:
    """Two threads of one connection each, so many starts of `bursts` each."""
    server, _, path = cell.removeprefix("http://").partition("/")
    found = []
    for _ in range(starts):
        keys = await _made(cell, bursts)
        command = ["wrk", "-t", "2", "-c", "2", "-d", "1s", "-s", str(BESIDE / "wrk_pairs.lua"), f"http://{server}"]
        found.append(_start((await said([*command, "--", f"/{path}", *keys], _PATIENCE_S)).splitlines()))
    return found


async def by_k6(cell: str, bursts: int, starts: int, form: str) -> list[Start]:
    """So many starts of `bursts` each; `form` as `k6_pairs.js` has them."""
    found = []
    for _ in range(starts):
        keys = await _made(cell, bursts)
        told = ["-e", f"URL={cell}", "-e", f"KEYS={','.join(keys)}", "-e", f"FORM={form}"]
        quiet = ["--quiet", "--no-usage-report", "--no-summary", "--log-format", "raw", "--log-output", "stdout"]
        command = ["k6", "run", *quiet, *told, str(BESIDE / "k6_pairs.js")]
        found.append(_start((await said(command, _PATIENCE_S)).splitlines()))
    return found


def at_hand(program: str) -> bool:
    """Whether it is on the PATH."""
    return shutil.which(program) is not None


async def _made(cell: str, bursts: int) -> Sequence[str]:
    """New keys."""
    run = secrets.token_hex(3)
    keys = [f"user:{run}-{number}" for number in range(bursts)]

    def put() -> None:
        with urlopen(Request(f"{cell}/{','.join(keys)}", method="PUT")):  # noqa: S310 - the bench's own address
            pass

    await asyncio.to_thread(put)
    return keys


def _start(lines: Iterable[str]) -> Start:
    """What the lines `pair NUMBER STATUS ARRIVED_NS` show."""
    pairs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for line in lines:
        match line.split():
            case ["pair", number, status, arrived_ns]:
                pairs[number].append((int(status), int(arrived_ns)))
    whole = [pair for pair in pairs.values() if len(pair) == 2]
    if not whole:
        raise PeerFailed("of two requests on a key never were both answered in time")
    arrived = sorted(at for pair in whole for _status, at in pair)
    return Start(
        (len(arrived) - 1) / (arrived[-1] - arrived[0]) * 1e9,
        statistics.median(abs(one[1] - other[1]) for one, other in whole) / 1000,
        100 * sum(one[0] == other[0] == 200 for one, other in whole) / len(whole),
    )
