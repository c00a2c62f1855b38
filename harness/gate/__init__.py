"""The gate: what must hold of which cells, measured by the engines, with schedules that failed kept."""

from harness.gate.baseline import Baseline
from harness.gate.check import Check
from harness.gate.first import write_first
from harness.gate.foretold import foretell
from harness.gate.plan import FILE, Plan, find_plan, read_plan

__all__ = ["FILE", "Baseline", "Check", "Plan", "find_plan", "foretell", "read_plan", "write_first"]
