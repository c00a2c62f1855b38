"""race: one business rule under every way of protecting it, on real stores.

This is the whole public API: what a scenario script or a strategy script needs.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.http.calls import Answer, Call, Service
    from harness.model import (
        ABORTED,
        DONE,
        Attempt,
        Breach,
        Claim,
        CommandRefused,
        Conditions,
        ConnectionLost,
        Effect,
        Evidence,
        GaveUp,
        Invariant,
        Outcome,
        Reply,
        Request,
        Rule,
        Signature,
        State,
        StatementRefused,
        Status,
        Stretches,
    )
    from harness.strategy import (
        ORDER,
        RULE,
        ChildRowLayout,
        Column,
        CommandForm,
        CommandsForm,
        Daemon,
        End,
        Flow,
        Forms,
        HashLayout,
        Isolation,
        Line,
        MessagesForm,
        NotExpressible,
        RowLayout,
        Rows,
        Scenario,
        ScriptForm,
        Seen,
        Session,
        StatementForm,
        Strategy,
        Table,
        Transaction,
        ValueLayout,
        at_once,
        first_value,
        out_of_order,
        procedure_forms,
        procedure_layouts,
        replay,
        row_count,
    )

__all__ = [
    "ABORTED",
    "DONE",
    "ORDER",
    "RULE",
    "Answer",
    "Attempt",
    "Breach",
    "Call",
    "ChildRowLayout",
    "Claim",
    "Column",
    "CommandForm",
    "CommandRefused",
    "CommandsForm",
    "Conditions",
    "ConnectionLost",
    "Daemon",
    "Effect",
    "End",
    "Evidence",
    "Flow",
    "Forms",
    "GaveUp",
    "HashLayout",
    "Invariant",
    "Isolation",
    "Line",
    "MessagesForm",
    "NotExpressible",
    "Outcome",
    "Reply",
    "Request",
    "RowLayout",
    "Rows",
    "Rule",
    "Scenario",
    "ScriptForm",
    "Seen",
    "Service",
    "Session",
    "Signature",
    "State",
    "StatementForm",
    "StatementRefused",
    "Status",
    "Strategy",
    "Stretches",
    "Table",
    "Transaction",
    "ValueLayout",
    "at_once",
    "first_value",
    "out_of_order",
    "procedure_forms",
    "procedure_layouts",
    "replay",
    "row_count",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a name when it is asked for: pytest loads this package wherever it is installed, used or not."""
        if name not in __all__:
            raise AttributeError(f"module 'harness' has no attribute '{name}'")
        from harness import model, strategy

        if name in {"Answer", "Call", "Service"}:
            from harness.http import calls

            value = globals()[name] = getattr(calls, name)
            return value
        value = globals()[name] = getattr(model if hasattr(model, name) else strategy, name)
        return value
