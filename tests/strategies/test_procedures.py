"""Functions in a file beside a scenario: what is made of them, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import RowLayout, StatementForm, procedure_forms, procedure_layouts
from harness.model import UsageError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = RowLayout({"seats": "int"}, lambda seats: (seats,), lambda row: row[0], "shows")
BODY = """CREATE OR REPLACE FUNCTION buy_seat(show text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(1, hashtext(show));  -- there may be no row
  PERFORM FROM shows WHERE key = show FOR UPDATE;
  RETURN (SELECT count(*) FROM shows WHERE key = show);
END $$"""
UNLOCKED = """CREATE OR REPLACE FUNCTION buy_seat_unlocked(show text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM shows WHERE key = show;
  RETURN (SELECT count(*) FROM shows WHERE key = show);
END $$"""


def test_the_mutant_is_the_function_without_its_locks(tmp_path: Path) -> None:
    """Both are made, whichever is called: roles may call one each."""
    (tmp_path / "shows.sql").write_text(f"-- A comment.\n\n{BODY};\n")
    layouts = procedure_layouts(ROWS, str(tmp_path / "shows.py"))
    expected = (*ROWS.schema, BODY, UNLOCKED)
    assert {name: layout.schema for name, layout in layouts.items()} == dict.fromkeys(
        ("procedure", "procedure-unlocked"), expected
    )


@pytest.mark.parametrize(
    ("call", "free"),
    [
        ("SELECT buy_seat($1)", "SELECT buy_seat_unlocked($1)"),
        ("SELECT a, b FROM buy_seat($1)", "SELECT a, b FROM buy_seat_unlocked($1)"),
        ("SELECT seats FROM shows WHERE key = $1", "SELECT seats FROM shows WHERE key = $1"),
    ],
)
def test_the_mutant_is_called(call: str, free: str) -> None:
    """By its own name; what calls no function stays."""
    forms = procedure_forms(buy=StatementForm(call, lambda *_: (), lambda *_: None))
    assert [getattr(forms[family]["buy"], "statement", "") for family in ("procedure", "procedure-unlocked")] == [
        call,
        free,
    ]


@pytest.mark.parametrize("text", ["", BODY, f"{BODY};\n{BODY}\n", f"  {BODY};\n"])
def test_a_function_that_does_not_end_is_refused(text: str, tmp_path: Path) -> None:
    """It would not be made, and be missed only when it is called."""
    (tmp_path / "shows.sql").write_text(text)
    with pytest.raises(UsageError, match=r"^shows.sql: each function begins a line with"):
        procedure_layouts(ROWS, str(tmp_path / "shows.py"))
