"""Which file formats there are for which document: every table and every page, by the document's kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.report.check_markdown import check_markdown
from harness.report.comma_separated import check_csv, comparison_csv, exploration_csv, result_csv
from harness.report.difference import difference_csv, difference_markdown
from harness.report.explanation import explanation_markdown
from harness.report.flow import flow_csv, flow_markdown
from harness.report.flows import flows_csv, flows_markdown
from harness.report.isolation import isolation_csv, isolation_markdown
from harness.report.kept import runs_csv, runs_markdown
from harness.report.library import library_csv, library_markdown
from harness.report.markdown import comparison_markdown
from harness.report.matrix import matrix_csv, matrix_markdown
from harness.report.single_markdown import exploration_markdown, result_markdown
from harness.report.table import table_csv, table_markdown

Document = Mapping[str, Any]
Form = Callable[[Document], str]


def forms_of(document: Document) -> Mapping[str, Form]:
    """Format to what makes it, beside JSON, of which every document consists."""
    return _FORMS.get(document["schema"].removeprefix("race.").partition("/")[0], {})


def page(document: Document) -> str:
    """The document as one HTML file."""
    from harness.report.html import page as made  # its library is imported for who asks

    return made(document)


_FORMS: Mapping[str, Mapping[str, Form]] = {
    "result": {"markdown": result_markdown, "csv": result_csv, "html": page},
    "comparison": {"markdown": comparison_markdown, "csv": comparison_csv, "html": page},
    "exploration": {"markdown": exploration_markdown, "csv": exploration_csv, "html": page},
    "isolation": {"markdown": isolation_markdown, "csv": isolation_csv, "html": page},
    "table": {"markdown": table_markdown, "csv": table_csv, "html": page},
    "flows": {"markdown": flows_markdown, "csv": flows_csv, "html": page},
    "flow": {"markdown": flow_markdown, "csv": flow_csv, "html": page},
    "check": {"markdown": check_markdown, "csv": check_csv, "html": page},
    "runs": {"markdown": runs_markdown, "csv": runs_csv, "html": page},
    "library": {"markdown": library_markdown, "csv": library_csv, "html": page},
    "explanation": {"markdown": explanation_markdown},
    "matrix": {"markdown": matrix_markdown, "csv": matrix_csv, "html": page},
    "difference": {"markdown": difference_markdown, "csv": difference_csv, "html": page},
}
