"""A whole row is saved whose column refers to a row that was deleted meanwhile: what the database does, callers see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.explore import Exhaustive, Options
from harness.model import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.explore.conftest import Stage

pytestmark = pytest.mark.stores
PLANNED = """
from harness import *
class Jobs(RowLayout):
    @property
    def schema(self):
        return (
            "CREATE TABLE IF NOT EXISTS calendars (key text, name text, PRIMARY KEY (key, name))",
            '''CREATE TABLE IF NOT EXISTS planned_jobs (
            key text PRIMARY KEY, calendar text, last int, version bigint NOT NULL DEFAULT 0,
            FOREIGN KEY (key, calendar) REFERENCES calendars ON DELETE SET NULL (calendar))''',
        )
    async def seed(self, sql, keys, value):
        await sql("INSERT INTO calendars SELECT unnest($1::text[]), 'workdays'", keys)
        await super().seed(sql, keys, value)
class Planned(Scenario):
    name = "planned"
    initial_value = {"calendar": "workdays", "last": 6}
    operations = {"tick": Signature({}, {}, "", ("run",)), "drop": Signature({}, {}, "", ("dropped",))}
    rows = Jobs(
        {"calendar": "text", "last": "int"},
        lambda job: (job["calendar"], job["last"]),
        lambda row: {"calendar": row[0], "last": row[1]},
        "planned_jobs",
    )
    def rule(self, state, request, now_ms):
        change, told = {"tick": ({"last": 7}, "run"), "drop": ({"calendar": None}, "dropped")}[request.operation]
        return Outcome({request.key: {**state[request.key], **change}}, Reply(told))
    def burst(self, rng, size):
        return [Request("tick", ("job",)), Request("drop", ("job",))]
    def invariants(self):
        return []
"""
DROPS = """
from harness import *
from harness.strategy.loader import find_strategy
class Drops(find_strategy("{}")[0]):
    name = "drops"
    async def apply(self, session, request, rule):
        if request.operation == "tick":
            return await super().apply(session, request, rule)
        await session.sql("DELETE FROM calendars WHERE key = $1", request.key)
        return Reply("dropped")
"""
NOTED, NOT_NOTED = "{'calendar': None, 'last': 7}", "{'calendar': None, 'last': 6}"


@pytest.mark.parametrize(
    ("strategy", "errors", "left"),
    [
        ("pg-read-committed", {"23503"}, {NOTED, NOT_NOTED}),
        ("pg-version", {"23503"}, {NOTED, NOT_NOTED}),
        ("pg-read-committed:columns", set(), {NOTED}),
        ("pg-for-update", set(), {NOTED}),
    ],
)
def test_who_saves_a_reference_that_is_gone(
    stage: Stage, tmp_path: Path, strategy: str, errors: set[str], left: set[str]
) -> None:
    """Is refused, and has noted nothing; what the database itself sets to NULL raises no version.

    No proof, since nobody notes what deleting a calendar touches.
    """
    base, colon, variant = strategy.partition(":")
    scenario, drops = tmp_path / "planned.py", tmp_path / "drops.py"
    scenario.write_text(PLANNED, encoding="utf-8")
    drops.write_text(DROPS.format(base), encoding="utf-8")
    found, _ = stage.explore(str(scenario), f"{drops}{colon}{variant}", Exhaustive, Options(every=True))
    assert (found.verdict, set(found.errors)) == (Verdict.BOUNDED, errors), found.reason
    assert {rest for _told, (rest,), _broke in found.outcomes} == left
