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
    first_value,
    row_count,
)
from harness.strategy.invariants import at_once, out_of_order, replay
from harness.strategy.layouts import HashLayout, RowLayout, TableLayout, ValueLayout, json_row
from harness.strategy.procedures import procedure_forms, procedure_layouts
from harness.strategy.scenario import End, Flow, Scenario, disordered
from harness.strategy.session import OWN, Isolation, Rows, Session, Transaction
from harness.strategy.spec import RuleSpec
from harness.strategy.strategy import Daemon, Store, Strategy, store_of
from harness.strategy.tables import ORDER, RULE, Column, Figures, Line, Seen, Table

__all__ = [
    "ORDER",
    "OWN",
    "RULE",
    "ChildRowLayout",
    "Column",
    "CommandForm",
    "CommandsForm",
    "Daemon",
    "End",
    "Figures",
    "Flow",
    "Form",
    "Forms",
    "HashLayout",
    "Isolation",
    "Line",
    "MessagesForm",
    "NotExpressible",
    "RowLayout",
    "Rows",
    "RuleSpec",
    "Scenario",
    "ScriptForm",
    "Seen",
    "Session",
    "StatementForm",
    "Store",
    "Strategy",
    "Table",
    "TableLayout",
    "Transaction",
    "ValueLayout",
    "at_once",
    "disordered",
    "first_value",
    "json_row",
    "out_of_order",
    "procedure_forms",
    "procedure_layouts",
    "replay",
    "row_count",
    "store_of",
]
