"""Instants of a schedule, whose clock begins in the year 2100, as they are drawn."""

from __future__ import annotations

from harness.explore.world import BASE_MS
from harness.report.html.space_time import space_time
from harness.report.interleaving import draw

NOT_ONE = 4_102_444_799_999


def drawn(*instants: int) -> dict[str, object]:
    """A counterexample of one step for each instant."""
    steps = [
        {
            "step": place, "caller": "A", "command": f"SET user {at}", "reply": f"a1 {at}", "blocked": False,
            "outcome": None,
        }
        for place, at in enumerate(instants, 1)
    ]  # fmt: skip
    return {"columns": [["A", "r1"]], "steps": steps, "fits": True, "why": None}


def test_instants_are_told_from_the_beginning() -> None:
    """And what they are told from is said in one line; other numbers stay."""
    lines = draw(drawn(BASE_MS, BASE_MS + 2_000, NOT_ONE), 100)
    assert [line.split("  ", 2)[-1].strip() for line in lines[1:4]] == [
        "SET user T -> a1 T", "SET user T+2000 -> a1 T+2000", f"SET user {NOT_ONE} -> a1 {NOT_ONE}",
    ]  # fmt: skip
    assert [line for line in lines if "T: when the schedule begins" in line]
    page = space_time(drawn(BASE_MS + 2_000))
    assert page is not None
    assert page.left_out == "T: when the schedule begins; T+2000: 2 s later"
    assert "SET user T+2000" in str(page)
    assert str(BASE_MS + 2_000) not in str(page)
    began = space_time(drawn(BASE_MS))
    assert began is not None
    assert began.left_out == "T: when the schedule begins"  # none is later: nothing to tell of that


def test_nothing_is_said_where_there_is_none() -> None:
    """Most diagrams have no instants."""
    assert not [line for line in draw(drawn(5), 100) if "T:" in line]
