"""The isolation table: every cell as PostgreSQL documents it, and a cell that is not is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.explore.isolation import ANOMALIES, CASES, EXPECTED, LEVELS, Case, Played, Unplayable, play, prevents
from harness.report.isolation import isolation_csv, isolation_markdown, isolation_screen
from harness.results.isolation import isolation_document
from harness.results.schema import schema_text
from tests.explore.conftest import Stage

TABLE = Path(__file__).resolve().parents[3] / "shared" / "cases" / "isolation.md"
WAIT = {"G0", "OTV", "PMP", "P4"}


@pytest.fixture(scope="module")
def played(stage: Stage) -> list[Played]:
    """Every case at every level."""
    return stage.run(_alone(stage))


async def _alone(stage: Stage, cases: Any = CASES, levels: Any = LEVELS) -> list[Played]:
    """The stores are shared with other tests, the table is not."""
    from harness.stores import PostgresConnection

    assert stage.stores.postgres is not None
    connection = await PostgresConnection.open(stage.stores.postgres, stage.stores.schema)
    await connection.script("DROP TABLE IF EXISTS test")
    await connection.close()
    return await play(stage.stores, cases, levels)


def document(played: list[Played], expected: Any = EXPECTED, **changes: Any) -> dict[str, Any]:
    """What is saved."""
    from tests.measurements import POSTGRES, STARTED

    found = isolation_document(
        played, expected, [POSTGRES], reproduce="race isolation", started_at=STARTED, duration_s=2.5
    )
    return {**found, **changes}


@pytest.mark.parametrize("level", LEVELS)
def test_every_cell(played: list[Played], level: Any) -> None:
    """Thirty of them."""
    assert {name for name, prevented in prevents(played, level).items() if prevented} == EXPECTED[level]


def test_the_published_table() -> None:
    """What is expected is what was published, where that table is at hand."""
    if not TABLE.exists():
        pytest.skip("the published table of anomalies is not here")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TABLE.read_text().splitlines() if "|" in line]
    head = next(row for row in rows if row[0] == "level")
    for row in rows:
        level = row[0].removesuffix(" *")
        if level in EXPECTED:
            published = {name for name, cell in zip(head[1:], row[1:], strict=True) if cell == "yes"}
            assert published == EXPECTED[level]
    assert set(head[1:]) == set(ANOMALIES)


def test_what_is_seen(played: list[Played]) -> None:
    """Who waited, who was refused, and what stayed: a lost update cannot be told by its rows."""
    at = {(one.case.title, one.level): one.seen for one in played}
    assert at["lost update", "read committed"].rest == at["lost update", "serializable"].rest
    assert at["lost update", "serializable"].errors == {"T1": "", "T2": "40001"}
    assert {one.case.anomaly for one in played if one.seen.waited} == WAIT


def test_a_cell_that_differs_is_told(played: list[Played]) -> None:
    """With what was seen, and everywhere."""
    wrong = {**EXPECTED, "read committed": EXPECTED["read committed"] | {"P4"}}
    found = document(played, wrong)
    assert (found["as_expected"], [one["anomaly"] for one in found["differs"]]) == (False, ["P4"])
    screen = isolation_screen(found, 1)
    assert "possible !" in screen
    assert "P4 at read committed: expected prevented" in " ".join(screen.split())
    assert "read committed,P4,lost update,False,False" in isolation_csv(found)
    assert "Differs: P4" in isolation_markdown(found)


def test_a_lower_level_is_noticed(played: list[Played]) -> None:
    """Were serializable only repeatable read, two cells would say so."""
    lowered = [replace(one, level="serializable") for one in played if one.level == "repeatable read"]
    kept = [one for one in played if one.level != "serializable"]
    assert [one["anomaly"] for one in document([*kept, *lowered])["differs"]] == ["G2-item", "G2"]


def test_a_refusal_for_another_reason_prevents_nothing(stage: Stage) -> None:
    """A table that is not there lets nothing happen, and shows nothing."""
    case = Case("P4", "lost update", [("T1", "UPDATE nowhere SET value = 1")], lambda _seen: True)
    with pytest.raises(Unplayable, match="refused with 42P01"):
        stage.run(_alone(stage, [case], LEVELS[:1]))


def test_who_does_not_wait_as_written_is_no_news(stage: Stage) -> None:
    """A case in another order than it is written shows nothing."""
    case = replace(CASES[0], waits="")
    with pytest.raises(Unplayable, match="T2 waited"):
        stage.run(_alone(stage, [case], LEVELS[:1]))


def test_document_and_screen(played: list[Played], snapshot: Any) -> None:
    """As its schema says, in 80 columns."""
    found = document(played)
    Draft202012Validator(json.loads(schema_text("isolation"))).validate(json.loads(json.dumps(found)))
    screen = isolation_screen(found, 0)
    assert all(len(line) <= 80 for line in screen.splitlines())
    snapshot("isolation.txt", screen)
