"""The load engine: several processes, warm connections, a rendezvous, a record, and a control."""

from harness.burst.engine import compare, run
from harness.burst.measurement import (
    CompareRow,
    Comparison,
    Counts,
    Measurement,
    Overlap,
    Progress,
    StoresOptions,
)
from harness.burst.plan import Cell, Load

__all__ = [
    "Cell",
    "CompareRow",
    "Comparison",
    "Counts",
    "Load",
    "Measurement",
    "Overlap",
    "Progress",
    "StoresOptions",
    "compare",
    "run",
]
