"""What the pages show that measured nothing: two kept runs compared, the list of all, and what there is to run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from harness.report import difference, kept, library
from harness.report.figures import count, plural
from harness.report.html.views import ENDS, TONES

Document = Mapping[str, Any]
View = dict[str, Any]

_SIDES = ("first", "second")
_WORD_TONES = {"improved": "good", "regressed": "bad", "no change": "none", "within noise": "none"}


def difference_view(document: Document) -> View:
    """The page of `race report diff`."""
    counts = document["counts"]
    word, tone = next(
        ((word, tone) for word, tone in (("regressed", "bad"), ("improved", "good")) if counts[word]),
        ("no change" if counts["no change"] and not counts["within noise"] else "within noise", "warn"),
    )
    below = list(difference.below(document))
    runs = [(name.capitalize(), difference.told(document[name])) for name in _SIDES]
    return {
        **_common("report diff", "What changed", " and ".join(document[name]["what"] for name in _SIDES)),
        "word": word,
        "tone": tone,
        "lead": dict(below)["Words"],
        "more": [f"{name}: {text}" for name, text in runs],
        "headings": difference.HEADINGS,
        "groups": [
            {"title": title, "rows": [_figure(figure) for figure in figures]}
            for title, figures in difference.grouped(document)
        ],
        "facts": [(label, text) for label, text in below if label != "Words"],
        "again": [("The same", shlex.join(["race", "report", "diff", *(document[name]["file"] for name in _SIDES)]))],
        "where": [*runs, ("Machine", "the same" if document["same_machine"] else "another one, or other servers")],
        "contents": [("figures", "Every figure"), *ENDS],
    }


def _figure(figure: Document) -> Document:
    *texts, word = difference.texts_of(figure)
    return {"texts": texts, "word": word, "tone": _WORD_TONES[word], "why": figure["why"]}


def runs_view(document: Document) -> View:
    """The page of `race report list`."""
    rows = []
    for line in document["runs"]:
        *texts, found = kept.texts_of(line)
        first = next((word for word in (found.split(",")[0], found.split(" ")[0]) if word in TONES), "-")
        rows.append({"texts": texts, "found": found, "tone": TONES[first]})
    before = document["before"]
    return {
        **_common("report list", "Results that were kept", document["folder"]),
        "fields": kept.FIELDS,
        "rows": rows,
        "before": f"{count(before)} before these" if before else "",
        "unreadable": document["unreadable"],
        "again": [("The list", shlex.join(["race", "report", "list", *_results(document["folder"])]))],
        "where": [("Folder", document["folder"]), ("Runs", plural(len(rows), "run"))],
        "contents": [("runs", "Runs"), *ENDS],
    }


def library_view(document: Document) -> View:
    """The page of `race list`."""
    title, tables, facts = library.title(document), library.tables(document), list(library.facts(document))
    return {
        **(common := _common("list", title, f"{sum(len(table.rows) for table in tables):,} lines")),
        "tables": tables,
        "facts": facts,
        "again": [("The list", document["reproduce"])],
        "where": [("race", common["version"])],
        "contents": [
            *([("about", "What it is")] if facts else []),
            *((f"table-{place}", table.title) for place, table in enumerate(tables, 1)),
            *ENDS,
        ],
    }


def _results(folder: str) -> list[str]:
    """The option that says where they are kept, unless it is the usual place."""
    results = folder.rpartition("/")[0]
    return [] if results == "results" else ["--results", results]


def _common(command: str, title: str, subtitle: str) -> View:
    try:
        own = version("race-harness")
    except PackageNotFoundError:  # beside its sources, not installed
        own = "?"
    return {"command": command, "title": title, "subtitle": subtitle, "version": own}


KEPT_VIEWS: Mapping[str, Callable[[Document], View]] = {
    "difference": difference_view,
    "runs": runs_view,
    "library": library_view,
}
