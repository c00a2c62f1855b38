"""Documents turned into what people read: one file for each rendering."""

from harness.report.check_markdown import check_markdown
from harness.report.check_screen import check_screen, foretold_screen
from harness.report.comma_separated import comparison_csv
from harness.report.comparison_screen import comparison_screen
from harness.report.exploration import exploration_screen, replay_screen
from harness.report.exports import forms_of, page
from harness.report.github import github_annotations
from harness.report.isolation import isolation_csv, isolation_markdown, isolation_screen
from harness.report.markdown import comparison_markdown
from harness.report.paint import coloured, plain
from harness.report.terminal import result_screen
from harness.report.verification import verification_screen

__all__ = [
    "check_markdown",
    "check_screen",
    "coloured",
    "comparison_csv",
    "comparison_markdown",
    "comparison_screen",
    "exploration_screen",
    "foretold_screen",
    "forms_of",
    "github_annotations",
    "isolation_csv",
    "isolation_markdown",
    "isolation_screen",
    "page",
    "plain",
    "replay_screen",
    "result_screen",
    "verification_screen",
]
