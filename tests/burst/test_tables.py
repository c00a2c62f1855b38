"""A scenario's own table, made for real."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Ended

pytestmark = [pytest.mark.load, pytest.mark.stores, pytest.mark.xdist_group("load")]


@pytest.mark.long
def test_where_the_rule_lives(race: Callable[..., Ended]) -> None:
    """Who goes around the rule is refused where the store refuses it, and nowhere else."""
    document = json.loads(race("compare", "six-writers", "--table", "writers", "--seed", "1", "--json").stdout)
    found = [(*row["cells"][0]["texts"][:2], row["explored"]) for row in document["rows"]]
    assert found == [
        ("6 places", "yes", "proved"),
        ("5 places", "yes", "violated"),
        ("1 place", "yes", "proved"),
        ("1 place", "yes", "violated"),
        ("1 place", "yes", "violated"),
        ("1 place", "yes", "violated"),
        ("1 place", "no: 42501", "bounded"),
        ("1 place", "no: NOPERM", "proved"),
    ]
    assert [row["what"] for row in document["rows"] if row["as_claimed"] is False] == []
    assert document["complete"]


@pytest.mark.long
def test_copies_that_lag(race: Callable[..., Ended]) -> None:
    """One truth lets the limit through, and no more, whoever asks; each load has a row."""
    options = ("--table", "copies", "--seed", "1", "--budget", "5", "--json")
    truth, *others = json.loads(race("compare", "rate-limit", *options).stdout)["rows"]
    rows = [(cell["load"], *cell["texts"][:3]) for cell in truth["cells"]]
    names = ["one caller, one by one", "two callers at two edges"]
    assert rows == [(name, "kept", "kept", "60") for name in names]
    assert [row["claim"]["kind"] for row in others] == ["breaks"] * 4
