"""What a word on the command line names: a scenario, a strategy, or something that is asked for elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.model import UsageError
from harness.strategy.loader import find_either, scenarios

if TYPE_CHECKING:
    from harness.strategy import Scenario, Strategy


def either(command: str, name: str) -> type[Scenario] | tuple[type[Strategy], str]:
    """The scenario, or the strategy with its variant. Raises UsageError, which says where flows and rules are told."""
    try:
        return find_either(name)
    except UsageError as unknown:
        from harness.flows.claims import FLOWS

        if name in FLOWS:
            raise UsageError(f"'{name}' is a flow: race compare subscription --flow {name} shows it") from unknown
        having = [kind.name for kind in scenarios() if name in kind().all_rules()]
        if having:
            of = f"race {command} {having[0]}" + (f" --rule {name}" if command == "explain" else "")
            raise UsageError(f"'{name}' is a rule of {', '.join(having)}: {of} tells of it") from unknown
        raise
