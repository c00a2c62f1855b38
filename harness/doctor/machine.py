"""This machine: Python, processors, how many files may be open, the clock."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path

from harness.doctor.checks import Check, Group
from harness.results.environment import cpus, race_version

_FILES = 256
"""Open at once by a run with a few dozen connections and its servers' pipes, with room to spare."""
_READING_NS = 1_000
"""A burst is released by spinning on the clock: a slower one spreads what is to meet within a microsecond."""
_READINGS, _TIMES = 400, 8
"""Who is interrupted meanwhile, by others on a busy machine, is so in some of these times: the quickest tells."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def examine_machine() -> Group:
    """Nothing is started for it."""
    python = f"{platform.python_version()}; race {race_version()}"
    return Group("This machine", (Check("Python", "ok", python), _processors(), _files(), _clock()))


def _processors() -> Check:
    usable, quota, busy = cpus(), _quota(), os.getloadavg()[0]
    says = f"{usable}, load {busy:.1f}"
    if quota is not None and quota < usable:
        says = f"{quota:g} of {usable} by this container's quota, load {busy:.1f}"
        usable = int(quota)
    if usable < 2:
        return Check(
            "processors", "warning", f"{says}: two requests seldom run at once",
            "use a machine with two or more, or race explore, which needs one",
        )  # fmt: skip
    if busy >= usable:
        return Check(
            "processors", "warning", f"{says}: others keep them busy", "wait, or end what runs: figures would be theirs"
        )
    return Check("processors", "ok", says)


def _quota() -> float | None:
    """How many processors' time a container may use; None where nobody limits it."""
    try:
        most, period = _QUOTA.read_text(encoding="ascii").split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError):
        return None


def _files() -> Check:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Check("open files", "ok", "no limit")
    if soft < _FILES:
        return Check("open files", "warning", f"{soft}: few connections fit", f"ulimit -n {4 * _FILES}")
    return Check("open files", "ok", f"{soft:,}")


def _nanoseconds(_time: int) -> int:
    """How long a reading of the clock takes."""
    began = time.monotonic_ns()
    for _ in range(_READINGS):
        time.monotonic_ns()
    return (time.monotonic_ns() - began) // _READINGS


def _clock() -> Check:
    reading = min(map(_nanoseconds, range(_TIMES)))
    try:
        source = f"{_SOURCE.read_text(encoding='ascii').strip()}, "
    except OSError:
        source = ""
    says = f"{source}{reading} ns a reading"
    if reading > _READING_NS:
        return Check(
            "clock", "warning", f"{says}: bursts are released less sharply",
            "choose a faster clock source (tsc, kvm-clock), or expect fewer bursts to overlap",
        )  # fmt: skip
    return Check("clock", "ok", says)
