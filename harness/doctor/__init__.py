"""Whether race can work here: the machine, its stores, and each right that race needs, tried one by one."""

from harness.doctor.checks import Check, Group, document, state_of
from harness.doctor.machine import examine_machine
from harness.doctor.servers import Asked, examine_servers

__all__ = ["Asked", "Check", "Group", "document", "examine_machine", "examine_servers", "state_of"]
