"""The interfaces that scenarios and strategies are written against."""

from harness.strategy.child_rows import ChildRowLayout
from harness.strategy.forms import (
    CommandForm,
    CommandsForm,
    Form,
    Forms,
    MessagesForm,
    NotExpressible,
    ScriptForm,
    StatementForm,
)
from harness.strategy.invariants import at_once, out_of_order, replay
from harness.strategy.layouts import RowLayout, TableLayout, ValueLayout, json_row
from harness.strategy.procedures import procedure_forms, procedure_layouts
from harness.strategy.scenario import End, Flow, Scenario
from harness.strategy.session import OWN, Isolation, Rows, Session, Transaction
from harness.strategy.spec import RuleSpec
from harness.strategy.strategy import Daemon, Store, Strategy, store_of

__all__ = [
    "OWN",
    "ChildRowLayout",
    "CommandForm",
    "CommandsForm",
    "Daemon",
    "End",
    "Flow",
    "Form",
    "Forms",
    "Isolation",
    "MessagesForm",
    "NotExpressible",
    "RowLayout",
    "Rows",
    "RuleSpec",
    "Scenario",
    "ScriptForm",
    "Session",
    "StatementForm",
    "Store",
    "Strategy",
    "TableLayout",
    "Transaction",
    "ValueLayout",
    "at_once",
    "json_row",
    "out_of_order",
    "procedure_forms",
    "procedure_layouts",
    "replay",
    "store_of",
]
