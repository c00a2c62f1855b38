"""Flows: who owns a process that takes several requests and effects, and what becomes of it when something fails."""

from harness.flows.claims import BROKEN, CONTROL, FAULTS, FLOWS, broken_claims, claimed, faults_named, flows_named
from harness.flows.one import FlowRun, flow_run
from harness.flows.table import FlowBench, FlowCell, FlowStep, flow_table, refuse

__all__ = [
    "BROKEN", "CONTROL", "FAULTS", "FLOWS", "FlowBench", "FlowCell", "FlowRun", "FlowStep", "broken_claims", "claimed",
    "faults_named", "flow_run", "flow_table", "flows_named", "refuse",
]  # fmt: skip
