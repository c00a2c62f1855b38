"""Of a name there is one row, and everybody is given it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.explore.random_walk import RandomWalk
from harness.model import Verdict
from harness.results.claims import breaks

if TYPE_CHECKING:
    from tests.explore.conftest import Stage


@pytest.mark.parametrize("strategy", ["multi", "lua", "pg-unique", "pg-advisory", "pg-serializable"])
def test_both_are_given_the_first_ones_row(stage: Stage, strategy: str) -> None:
    """In every order one has made it, and the other has found it."""
    found, _ = stage.explore("get-or-create", strategy, Exhaustive, Options(every=True))
    assert found.verdict is Verdict.PROVED, found.reason
    for text in map(repr, found.outcomes):
        rows = set(re.findall(r"'row': '(\w+)'", text))
        assert (text.count("'created'"), text.count("'found'"), len(rows)) == (1, 1, 1), text


def test_from_then_on_every_get_is_an_error(stage: Stage) -> None:
    """Of three, the one that comes after two is told that there are two."""
    found, _ = stage.explore(
        "get-or-create", "pg-read-committed", lambda: RandomWalk(1, 60), Options(size=3, every=True)
    )
    assert found.verdict is Verdict.VIOLATED
    assert any("ambiguous" in text for text in map(repr, found.outcomes))


@pytest.mark.parametrize("fault", ["crash", "lost-reply"])
@pytest.mark.parametrize("strategy", ["queue:no-dedupe", "pg-queue:two-transactions"])
def test_what_is_done_twice_is_found_done(stage: Stage, strategy: str, fault: str) -> None:
    """A consumer that forgets what it has done breaks other scenarios; here the rule itself knows."""
    options = Options(faults=(fault,))
    found, _ = stage.explore("get-or-create", strategy, lambda: RandomWalk(1, 30), options)
    assert found.verdict is Verdict.BOUNDED, found.reason
    assert not breaks(stage.explorer("get-or-create", strategy, options).bound.claim, (fault,))
