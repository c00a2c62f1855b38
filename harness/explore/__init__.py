"""The explorer: every interleaving of one burst on real stores, one step at a time."""

from harness.explore.anomalies import ANOMALIES, LEVELS, Anomaly, Case
from harness.explore.brief import Brief, explore_briefly, explore_with, overlapping, wrong_in_order
from harness.explore.engine import Exploration, Explorer, Schedule, searching
from harness.explore.event import Choice, Event
from harness.explore.exhaustive import Exhaustive
from harness.explore.files import commands, read_schedule, schedule_document
from harness.explore.isolation import IsolationTable, Played, play_anomalies
from harness.explore.opening import explore_alone, explore_briefly_alone, opened
from harness.explore.options import FAULTS, SEARCHES, Options
from harness.explore.replay import Replay
from harness.explore.shrink import switches

__all__ = [
    "ANOMALIES",
    "FAULTS",
    "LEVELS",
    "SEARCHES",
    "Anomaly",
    "Brief",
    "Case",
    "Choice",
    "Event",
    "Exhaustive",
    "Exploration",
    "Explorer",
    "IsolationTable",
    "Options",
    "Played",
    "Replay",
    "Schedule",
    "commands",
    "explore_alone",
    "explore_briefly",
    "explore_briefly_alone",
    "explore_with",
    "opened",
    "overlapping",
    "play_anomalies",
    "read_schedule",
    "schedule_document",
    "searching",
    "switches",
    "wrong_in_order",
]
