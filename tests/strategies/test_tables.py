"""A scenario's own tables are a script's: what is wrong with one is told in one line."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.model import UsageError
from harness.strategy import ORDER, Line, Table
from harness.strategy.loader import scenarios
from harness.strategy.tables import checked

LINES = (Line("nothing", "naive"),)


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ([], "mine: tables must be a dict of harness.Table by name, not []"),
        ({"a": 3}, "mine: table 'a' is a harness.Table, not 3"),
        ({"a": Table("", "", (), (ORDER,))}, "mine: table 'a' has no lines"),
        ({"a": Table("", "", LINES, ())}, "mine: table 'a' has no columns"),
        ({"a": Table("", "", LINES, (ORDER,), {"b": {"kyes": 3}})}, "mine: load 'b' of table 'a' has no kyes: "),
        (
            {"a": Table("", "", LINES, (ORDER,), {"b": {"keys": 0.5}})},
            "mine: keys of load 'b' of table 'a' cannot be 0.5",
        ),
        ({"a": Table("", "", LINES, (ORDER,), {"b": {"keys": 0}})}, "mine: keys of load 'b' of table 'a' cannot be 0"),
    ],
)
def test_what_is_no_table(tables: Any, says: str) -> None:
    """Each mistake, before anything is run."""
    with pytest.raises(UsageError, match=re.escape(says)):
        checked("mine", tables)


def test_those_that_come_along() -> None:
    """Those of the bundled scenarios are tables."""
    found = {kind.name: list(kind().all_tables()) for kind in scenarios() if kind.tables}
    assert found == {"rate-limit": ["copies"], "six-writers": ["writers", "owners"]}
