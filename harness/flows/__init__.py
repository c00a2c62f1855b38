"""Flows: who owns a process that takes several requests and effects, and what becomes of it when something fails."""

from harness.flows.claims import FAULTS, FLOWS, claimed, flows_named
from harness.flows.table import FlowBench, FlowCell, flow_table, refuse

__all__ = ["FAULTS", "FLOWS", "FlowBench", "FlowCell", "claimed", "flow_table", "flows_named", "refuse"]
