"""What the web UI shows of tests while they run."""

from __future__ import annotations

import re

from harness.report.html import live
from harness.results import result_document
from tests import measurements

VIOLATED = result_document(measurements.violated(), reproduce="race run double-submit --strategy naive --seed 7")
HELD = result_document(measurements.held(), reproduce="race run double-submit --strategy lua --seed 7")


def test_before_the_first_test() -> None:
    """It says what will stand there; and what gets ready, with nothing to show yet."""
    assert "No test yet" in live([], 0)
    assert "Getting ready: counter under lua" in live([], 0, "counter under lua")


def test_the_last_test_is_shown_and_all_are_rows() -> None:
    """A number chooses another; one that there is not is the last."""
    documents = [VIOLATED, {**HELD, "running": True}]
    heading = "<h1>double-submit under {}</h1>"
    for shown, strategy in ((0, "lua"), (2, "lua"), (1, "naive"), (9, "lua")):
        page = live(documents, shown)
        assert heading.format(strategy) in page
        assert [f'data-test="{number}"' in page for number in (1, 2, 3)] == [True, True, False]


def test_a_violation_has_its_interval_and_its_story() -> None:
    """In the words of the screen, with the diagram of the pages."""
    page = live([VIOLATED], 1)
    assert "VIOLATED" in page
    assert 'id="story"' in page
    assert "95 %: " in page
    assert "None: no burst of this test broke anything." not in page


def test_what_held_says_by_what_right() -> None:
    """The bound, said to be a one-sided one, and how often the control broke."""
    page = live([HELD], 1)
    assert re.search(r"at most [\d.]+ %, one-sided 95 %", page)
    assert "overlap: naive broke" in page
    assert "None: no burst of this test broke anything." in page


def test_nothing_of_a_script_or_a_store_is_markup() -> None:
    """Names and decisions are the user's."""
    evil = "<img src=x onerror=alert(1)>"
    counts = {**VIOLATED["counts"], "by_decision": {evil: 3}, "errors": {evil: 1}}
    invariants = {evil: "violated"}
    page = live([{**VIOLATED, "scenario": evil, "strategy": evil, "rule": evil, "counts": counts,
                  "invariants": invariants, "reproduce": evil}], 1, evil)  # fmt: skip
    assert "<img" not in page
    assert "&lt;img" in page
