"""What is to be explored, and how."""

from __future__ import annotations

from dataclasses import dataclass

FAULTS = ("crash", "pause", "lost-reply", "duplicate")
SEARCHES = ("exhaustive", "random", "pct")


@dataclass(frozen=True, slots=True)
class Options:
    """What is explored: a burst of `size` over `processes`, at most `most_faults` of `faults` in one schedule.

    `every`: go on after the first violation. `most_switches` bounds how often a caller that could
    go on is left for another.
    """

    size: int = 2
    processes: int = 2
    faults: tuple[str, ...] = ()
    most_faults: int = 1
    search: str = "exhaustive"
    every: bool = False
    most_schedules: int = 100_000
    most_switches: int | None = None
    seed: int = 1
    budget_s: float = 60.0
