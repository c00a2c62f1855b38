"""The explorer: every interleaving of one burst on real stores, one step at a time."""

from harness.explore.brief import Brief, explore_briefly
from harness.explore.engine import (
    FAULTS,
    SEARCHES,
    Exploration,
    Explorer,
    Options,
    Schedule,
    searching,
)
from harness.explore.event import Choice, Event
from harness.explore.exhaustive import Exhaustive
from harness.explore.files import commands, read_schedule, schedule_document
from harness.explore.replay import Replay
from harness.explore.shrink import switches

__all__ = [
    "FAULTS",
    "SEARCHES",
    "Brief",
    "Choice",
    "Event",
    "Exhaustive",
    "Exploration",
    "Explorer",
    "Options",
    "Replay",
    "Schedule",
    "commands",
    "explore_briefly",
    "read_schedule",
    "schedule_document",
    "searching",
    "switches",
]
