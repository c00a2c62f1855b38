"""The end of embedded servers: by the guard, a small shell that outlives race, or by a later run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

PREFIX = "race-"
PIDS = "pids"
LOCK = "lock"
_END_S = 7.0
"""PostgreSQL itself kills what does not hear it after five seconds."""
_LONGEST_BASE = 60
"""A unix socket's whole path has room for about a hundred bytes."""

# SIGQUIT is PostgreSQL's immediate shutdown, SIGCONT lets a stopped one hear it; Valkey keeps nothing. Only processes
# whose command line names the folder are touched: a number may belong to somebody else by now. initdb leads a group.
GUARD = r"""
trap '' INT TERM HUP
folder=$1
cat >/dev/null
cd /
ours() {
  if [ -r /proc/self/cmdline ]; then tr '\0' ' ' <"/proc/$1/cmdline"; else ps -ww -o args= -p "$1"; fi |
    grep -qF -- "$folder"
}
end() {
  while read -r kind pid; do
    ours "$pid" || continue
    case $kind in
      postgres) kill -QUIT "$pid"; kill -CONT "$pid" ;;
      *) kill -KILL "-$pid" ;;
    esac
  done <"$folder/pids"
  n=0
  while read -r kind pid; do
    while ours "$pid" && [ $n -lt 140 ]; do sleep 0.05; n=$((n + 1)); done
    if ours "$pid"; then kill -KILL "$pid"; fi
  done <"$folder/pids"
}
# A dying process may still be writing, so once may not be enough.
n=0
while [ -e "$folder" ] && [ $n -lt 50 ]; do
  end
  rm -rf "$folder" && break
  sleep 0.1
  n=$((n + 1))
done
"""


def base() -> Path:
    """Where private folders are made: where sockets have room and, as root, PostgreSQL's own user may pass."""
    place = Path(tempfile.gettempdir())
    fits = len(os.fsencode(place)) <= _LONGEST_BASE
    closed = os.geteuid() == 0 and place.is_dir() and not passable(place)
    return place if fits and not closed else Path("/tmp")  # noqa: S108 - mkdtemp makes it private


def passable(folder: Path) -> bool:
    """Whether everybody may pass through a folder and all those above it."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


def sweep() -> int:
    """Remove what killed runs left: folders whose lock nobody holds, and their servers. How many. Never raises."""
    swept = 0
    with contextlib.suppress(OSError):
        for folder in base().glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                swept += _swept(folder)
    return swept


def _swept(folder: Path) -> bool:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or not (folder / PIDS).exists():
        return False
    with (folder / LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(folder)
    return not folder.exists()


def remove(folder: Path) -> None:
    """End the servers of a folder and remove it, as the guard does."""
    servers = [(line.split()[0], int(line.split()[1])) for line in (folder / PIDS).read_text().splitlines()]
    ours = [(kind, pid) for kind, pid in servers if _runs_in(pid, folder)]
    for kind, pid in ours:
        with contextlib.suppress(ProcessLookupError):
            if kind == "postgres":
                os.kill(pid, signal.SIGQUIT)
                os.kill(pid, signal.SIGCONT)
            else:
                os.killpg(pid, signal.SIGKILL)
    give_up = time.monotonic() + _END_S
    for _kind, pid in ours:
        while _runs_in(pid, folder):
            if time.monotonic() > give_up:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def _runs_in(pid: int, folder: Path) -> bool:
    """Whether that process is alive and a server of this folder, not another that got the same number."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        if Path("/proc/self/cmdline").exists():
            return False
        told = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, check=False)  # noqa: S603, S607
        command = told.stdout
    return os.fsencode(folder) in command
