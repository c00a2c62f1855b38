"""Options that are given, and name nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Ended


@pytest.mark.parametrize(("option", "line"), [("--rules", "rule"), ("--table", "table"), ("--flow", "flow")])
@pytest.mark.parametrize("value", ["", " ,"])
def test_an_empty_name(race: Callable[..., Ended], option: str, line: str, value: str) -> None:
    """A shell's variable that was not set asks for no other comparison than the one meant: nothing is run."""
    ended = race("compare", "counter", option, value)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"race: {option} names no {line}\n")


@pytest.mark.parametrize(
    "words",
    [("explore", "counter", "--strategy", "lua"), ("run", "double-submit", "--flow", "saga")],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("value", ["", " ,"])
def test_empty_faults(race: Callable[..., Ended], words: tuple[str, ...], value: str) -> None:
    """It is not for this program to say whether that is none of them, or all."""
    ended = race(*words, "--faults", value)
    says = "race: --faults names no fault: say which of crash, pause, lost-reply, duplicate, or leave it out\n"
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", says)
