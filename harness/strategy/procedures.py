"""Functions in PostgreSQL: what a scenario gives the strategy `pg-procedure`, and its mutant that locks nothing.

They lie beside the scenario, in a file called like its script, `refund.sql`: as one would write them in a migration.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from harness.model import UsageError
from harness.strategy.child_rows import ChildRowLayout
from harness.strategy.forms import Forms, StatementForm
from harness.strategy.layouts import RowLayout, TableLayout

_BEGINS = "CREATE OR REPLACE FUNCTION"
_EACH = re.compile(rf"^{_BEGINS} .*?^END \$\$;$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(FUNCTION|SELECT|FROM) (\w+)\(")
_LOCKS = re.compile(r" FOR UPDATE\b|^ *PERFORM pg_advisory_xact_lock\(.*\n", re.MULTILINE)


def procedure_layouts(rows: RowLayout | ChildRowLayout, script: str) -> dict[str, TableLayout]:
    """The tables of both families, with the functions beside `script` (`__file__`), and the same without their locks.

    A function of that .sql file begins with CREATE OR REPLACE FUNCTION and ends with END $$; on a line of its own.
    Raises UsageError where one does not.
    """
    file = Path(script).with_suffix(".sql")
    text = file.read_text(encoding="utf-8")
    functions = [found.removesuffix(";") for found in _EACH.findall(text)]
    if not functions or len(functions) != text.count(_BEGINS):
        raise UsageError(f"{file.name}: each function begins a line with {_BEGINS} and ends with a line END $$;")
    both = replace(rows, functions=(*functions, *map(unlocked, functions)))
    return {"procedure": both, "procedure-unlocked": both}


def procedure_forms(**calls: StatementForm) -> dict[str, Forms]:
    """The forms of both families, by operation: calls of the functions, and of the same without their locks."""
    free = {operation: replace(call, statement=unlocked(call.statement)) for operation, call in calls.items()}
    return {"procedure": calls, "procedure-unlocked": free}


def unlocked(source: str) -> str:
    """A function that takes no lock, under a name of its own, or a call of it."""
    return _NAME.sub(r"\1 \2_unlocked(", _LOCKS.sub("", source), count=1)
