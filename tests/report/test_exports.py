"""Every document in every format: Markdown, CSV and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from harness.report import forms_of
from tests import measurements
from tests.report import documents

Snapshot = Callable[[str, str], None]


@pytest.mark.parametrize("kind", sorted(documents.KINDS))
def test_every_format(kind: str) -> None:
    """There is one for each that the command line offers; tables have a heading and as many fields in each line."""
    document = documents.KINDS[kind]()
    forms = forms_of(document)
    assert sorted(forms) == ["csv", "html", "markdown"]
    heading, *lines = csv.reader(io.StringIO(forms["csv"](document)))
    assert lines
    assert {len(line) for line in lines} == {len(heading)}
    assert forms["markdown"](document).startswith("#")
    assert forms["html"](document).lstrip().startswith("<!doctype html>")


def test_a_run_as_markdown(snapshot: Snapshot) -> None:
    """The verdict, the diagram as it stands on the screen, and the lines below."""
    document = documents.result()
    snapshot("run.md", forms_of(document)["markdown"](document))


def test_an_exploration_as_markdown(snapshot: Snapshot) -> None:
    """Likewise."""
    document = documents.exploration()
    snapshot("explore.md", forms_of(document)["markdown"](document))


def test_a_run_has_the_line_of_a_comparison() -> None:
    """The same fields, so that runs and comparisons can be put below each other; bursts have no pace."""
    run, comparison = documents.result(), documents.comparison()
    heading, line = csv.reader(io.StringIO(forms_of(run)["csv"](run)))
    assert heading == next(csv.reader(io.StringIO(forms_of(comparison)["csv"](comparison))))
    cells = dict(zip(heading, line, strict=True))
    assert (cells["strategy"], cells["broken_bursts"], cells["starts_per_s"]) == ("naive", "996", "")
    sustained = documents.result(measurements.lost_adds())
    cells = dict(zip(heading, forms_of(sustained)["csv"](sustained).splitlines()[1].split(","), strict=True))
    assert float(cells["starts_per_s"]) > 0


def test_a_fence_is_not_closed_from_within() -> None:
    """A reply with three backticks stays within the diagram."""
    document = documents.exploration()
    document["counterexample"]["steps"][0]["reply"] = "``` # not a heading"
    assert forms_of(document)["markdown"](document).count("```") == 2
