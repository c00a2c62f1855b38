"""Documents: what they say of a measurement, and that they are what the schemas promise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.burst import Counts, Load
from harness.model import Claim, Verdict
from harness.results import SCHEMAS, as_claimed, comparison_document, result_document, schema_text
from harness.results.claims import both_as_claimed
from tests import measurements


def check(document: dict[str, Any], schema: str) -> None:
    """Raise where a document is not what its schema promises, or names what the schema does not know."""
    described = json.loads(schema_text(schema))
    Draft202012Validator(described).validate(json.loads(json.dumps(document)))
    assert list(document) == list(described["properties"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_schemas(name: str) -> None:
    """Each published schema is valid JSON Schema, draft 2020-12."""
    Draft202012Validator.check_schema(json.loads(schema_text(name)))


@pytest.mark.parametrize(
    "measured", [measurements.held(), measurements.violated(), measurements.inconclusive(), measurements.lost_adds()]
)
def test_results_follow_their_schema(measured: Any) -> None:
    """Every verdict gives a document that its schema accepts, with nothing beside it."""
    check(result_document(measured, reproduce="race run"), "result")


def test_comparisons_follow_their_schema() -> None:
    """A comparison's document is what its schema promises."""
    compared = measurements.compared()
    check(comparison_document(compared, Load(), reproduce="race compare"), "comparison")
    check(comparison_document(compared, Load(), measurements.explored(), reproduce="race compare"), "comparison")


def test_a_result_names_what_was_measured() -> None:
    """The figures of the document are those of the measurement, rates worked out."""
    document = result_document(measurements.violated(), reproduce="race run x")
    assert document["violations"] == {
        "bursts": 996,
        "judged": 1000,
        "total": 996,
        "rate": 0.996,
        "low": pytest.approx(0.98979, abs=1e-5),
        "high": pytest.approx(0.99891, abs=1e-5),
        "confidence": 0.95,
        "unordered": 0,
        "by_invariant": {"one at work": 996},
        "amounts": {},
    }
    assert document["throughput_per_s"] == 2000.0
    assert document["counterexample"]["steps"][2] == {
        "step": 3,
        "caller": "B",
        "command": "SET user:17 processing",
        "reply": "OK",
        "blocked": False,
        "outcome": "accepted",
    }


def test_nothing_broken_gives_the_one_sided_bound() -> None:
    """None of 1,000: at most about 3 in 1,000."""
    violations = result_document(measurements.held(), reproduce="")["violations"]
    assert violations["low"] == 0.0
    assert violations["high"] == pytest.approx(3 / 1000, rel=0.01)


def test_nothing_judged_has_no_rate() -> None:
    """Without a judged burst there is neither a rate nor an interval."""
    violations = result_document(measurements.inconclusive(judged_bursts=0), reproduce="")["violations"]
    assert (violations["rate"], violations["low"], violations["high"]) == (None, None, None)


@pytest.mark.parametrize(
    ("claim", "verdict", "shown", "met"),
    [
        (Claim("holds"), Verdict.HELD, {}, True),
        (Claim("holds"), Verdict.VIOLATED, {}, False),
        (Claim("breaks"), Verdict.VIOLATED, {"40001": 2}, True),
        (Claim("breaks"), Verdict.HELD, {}, False),
        (Claim("holds"), Verdict.INCONCLUSIVE, {}, None),
        (Claim("holds"), Verdict.HELD, {"40001": 2}, False),
        (Claim("holds", errors=("40001",)), Verdict.HELD, {"40001": 2}, True),
        (Claim("holds", errors=("40001",)), Verdict.HELD, {"aborted": 1}, False),
    ],
)
def test_claims_against_verdicts(claim: Claim, verdict: Verdict, shown: dict[str, int], met: bool | None) -> None:
    """A claim is met by its verdict, and by no error that it does not name."""
    assert as_claimed(claim, verdict, shown) is met


@pytest.mark.parametrize(
    ("kind", "by_load", "explored", "met"),
    [
        ("holds", True, "violated", False),
        ("holds", None, "violated", False),
        ("holds", True, "proved", True),
        ("holds", True, "inconclusive", True),
        ("holds", None, "proved", None),
        ("holds", False, "proved", False),
        ("breaks", True, "proved", True),
        ("breaks", False, "violated", False),
        ("holds", True, None, True),
    ],
)
def test_claims_against_every_order(kind: Any, by_load: bool | None, explored: str | None, met: bool | None) -> None:
    """One schedule that breaks refutes a claim to hold, however calm the load; nothing else changes the answer."""
    assert both_as_claimed(Claim(kind), by_load, explored) is met


def test_the_reference_is_the_fastest_that_held() -> None:
    """A faster strategy that broke is no reference; the others are measured by the reference."""
    rows = [
        measurements.row("naive", measurements.violated(), 900),
        measurements.row("atomic", measurements.held(), 800),
        measurements.row("lua", measurements.held(), 400),
    ]
    document = comparison_document(measurements.compared(rows=rows), Load(), reproduce="")
    assert document["references"] == {"redis": "atomic"}
    assert [row["relative_throughput"] for row in document["rows"]] == [1.125, 1.0, 0.5]


def test_sustained_load_can_only_worsen_a_verdict() -> None:
    """What bursts did not show, but sustained load did, is violated."""
    burst = measurements.held()
    row = measurements.row("lua", burst, 100)
    worse = replace(row, sustained=replace(row.sustained, verdict=Verdict.VIOLATED))
    document = comparison_document(measurements.compared(rows=[worse]), Load(), reproduce="")
    assert (document["rows"][0]["verdict"], document["rows"][0]["as_claimed"]) == ("violated", False)


def test_requests_are_counted_where_there_are_no_attempts() -> None:
    """A scenario without attempts starts as often as it requests."""
    row = measurements.row("lua", measurements.held(), 100)
    counts = Counts(requests=250)
    plain = replace(row, sustained=replace(row.sustained, counts=counts))
    document = comparison_document(measurements.compared(rows=[plain]), Load(), reproduce="")
    assert document["rows"][0]["starts_per_s"] == 250.0
