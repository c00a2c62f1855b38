"""Where a result was measured: enough to judge its figures by, nothing that is secret."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

DISTRIBUTION = "race-harness"


def race_version() -> str:
    """The version of race, as installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def environment() -> dict[str, Any]:
    """Python, platform, processors, version of race, the commit of the folder worked in, and which machine it was."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": cpus(),
        "race": race_version(),
        "commit": commit(),
        "machine": machine(),
    }


def machine() -> str:
    """A name for this machine that tells nothing about it: the same only on the same one.

    Hosts of one image share /etc/machine-id, so the host's name and its processors belong to it, too.
    """
    parts = [platform.node(), str(cpus())]
    for path, wanted in (("/etc/machine-id", ""), ("/proc/cpuinfo", "model name")):
        try:
            lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        parts += sorted({line for line in lines if line.startswith(wanted)})
    return hashlib.sha256("\n".join([*parts, platform.machine()]).encode()).hexdigest()[:16]


def cpus() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def commit() -> str | None:
    """The git commit of the working directory, with `-dirty` where it was changed; None outside of git."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607 - the user's git
            capture_output=True,
            text=True,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
