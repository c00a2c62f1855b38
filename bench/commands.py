"""Whole commands from the prompt: how long they take, and how much memory race's own processes hold."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import Figure, Spread
from bench.judging import million

try:
    import psutil
except ImportError:  # it comes with a store's wheel; where there is none, memory is not measured
    psutil = None

_EVERY_S = 0.02
_SERVERS = ("valkey", "redis", "postgres", "initdb")
_MIB = 1 << 20


@dataclass(slots=True)
class Peak:
    """The most memory held at one time, in bytes, with shared pages counted once for each process.

    `private` leaves shared pages out: files mapped by several processes, the record among them.
    """

    resident: int = 0
    private: int = 0


async def commands(rounds: int, _seconds: float) -> list[Figure]:
    """The default run: `race run double-submit --strategy naive`."""
    arguments = ["run", "double-submit", "--strategy", "naive"]
    elapsed_s, peaks = [], []
    for _ in range(rounds):
        # Apart from each other: looking at processes all the time would slow them down.
        elapsed_s.append(await _timed(arguments))
        peaks.append(await _watched(arguments))
    what = f"race {' '.join(arguments)}"
    return [
        Figure(
            "the default run, from the prompt",
            f"{what}, from the start of its process to its end, embedded Valkey",
            unit="s", value=Spread.over(elapsed_s), target=3.0, better="at most",
        ),
        _memory("the default run, memory", what, peaks, 300),
    ]  # fmt: skip


async def a_minute(_rounds: int, _seconds: float) -> list[Figure]:
    """A sustained run of a minute, at the highest rate there is."""
    arguments = [
        "run", "double-submit", "--strategy", "atomic", "--mode", "sustained", "--duration", "60", "--connections",
        "50", "--keys", "1000", "--work", "0",
    ]  # fmt: skip
    peak = await _watched(arguments)
    return [_memory("a sustained minute, memory", f"race {' '.join(arguments)}", [peak], 1024)]


async def verifying(_rounds: int, _seconds: float) -> list[Figure]:
    """A history of a million operations from a file, once."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        million(file)
        file.flush()
        arguments = ["verify", file.name, "--scenario", "register", "--budget", "300"]
        elapsed_s = await _timed(arguments, whole=True)
        peak = await _watched(arguments)
    what = "race verify of a history of 1,000,000 operations over 10,000 keys with 8 callers each"
    return [
        Figure("verifying a million operations", f"{what}, from the start of its process to its end: held",
               unit="s", value=Spread.over([elapsed_s]), target=60.0, better="at most"),
        _memory("verifying a million operations, memory", what, [peak], 1024),
    ]  # fmt: skip


def _memory(name: str, what: str, peaks: list[Peak | None], target: float) -> Figure:
    compares = (
        f"{what}: the most memory resident in all of its processes together, servers left out, shared pages counted for"
        f" each process; looked at every {_EVERY_S * 1000:.0f} ms"
    )
    known = [peak for peak in peaks if peak is not None]
    if not known:
        return Figure(name, compares, "MiB", target=target, better="at most", skipped="psutil is not installed")
    return Figure(
        name, compares, "MiB",
        value=Spread.over(peak.resident / _MIB for peak in known), target=target, better="at most",
        parts={"of it private to a process, MiB": Spread.over(peak.private / _MIB for peak in known)},
    )  # fmt: skip


async def _timed(arguments: list[str], *, whole: bool = False) -> float:
    """`whole`: it must end with 0."""
    started = time.monotonic()
    process = await _start(arguments)
    await _end(process)
    if whole and process.returncode:
        raise RuntimeError(f"race {arguments[0]} ended with {process.returncode}")
    return time.monotonic() - started


async def _watched(arguments: list[str]) -> Peak | None:
    process = await _start(arguments)
    if psutil is None:
        await _end(process)
        return None
    peak = Peak()
    ending = asyncio.ensure_future(_end(process))
    while not ending.done() and psutil.pid_exists(process.pid):
        resident = private = 0
        for one in _own(process.pid):
            with contextlib.suppress(psutil.Error):
                held = one.memory_info()
                resident += held.rss
                private += held.rss - getattr(held, "shared", 0)
        peak.resident = max(peak.resident, resident)
        peak.private = max(peak.private, private)
        await asyncio.wait([ending], timeout=_EVERY_S)
    await ending
    return peak


def _own(pid: int) -> Iterator[Any]:
    """The process and all below it but the stores' servers."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if not process.name().startswith(_SERVERS):
            yield process
            for child in process.children():
                yield from _own(child.pid)


async def _start(arguments: list[str]) -> asyncio.subprocess.Process:
    folder = tempfile.TemporaryDirectory(prefix="bench-")  # its results go there, not into ours
    program = str(Path(sys.executable).with_name("race"))
    process = await asyncio.create_subprocess_exec(
        program, *arguments,
        cwd=folder.name, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _FOLDERS[process.pid] = folder
    return process


_FOLDERS: dict[int, tempfile.TemporaryDirectory[str]] = {}


async def _end(process: asyncio.subprocess.Process) -> None:
    _out, complaint = await process.communicate()
    _FOLDERS.pop(process.pid).cleanup()
    if process.returncode not in {0, 1}:
        raise RuntimeError(f"race ended with {process.returncode}: {complaint.decode(errors='replace').strip()}")
