"""One run, or one exploration, as Markdown: for an issue or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.report import exploration, terminal
from harness.report.contradiction import draw_contradiction
from harness.report.interleaving import draw
from harness.report.markdown import escaped

Document = Mapping[str, Any]

_WIDTH = 100
_COMMANDS = frozenset({"Again", "Replay", "Compare", "Fixes", "Others"})


def result_markdown(document: Document) -> str:
    """The verdict, how it breaks, and what the screen says below that."""
    found = document["counterexample"]
    drawn: Sequence[str] = []
    if found is not None and terminal.timed(document):
        drawn = list(draw_contradiction(found))
    elif found is not None:
        drawn = draw(found, _WIDTH, note=terminal.SMALLEST if terminal.minimised(document) else "")
    heading = f"{document['scenario']} under {document['strategy']}"
    told = [terminal.sentence(document), terminal.evidence(document)]
    return _page(document, heading, told, drawn, terminal.lines_below(document))


def exploration_markdown(document: Document) -> str:
    """The verdict, the smallest schedule that breaks, and how far the search went."""
    found = document["counterexample"]
    drawn = draw({**found, "fits": True}, _WIDTH, note="as it was scheduled") if found is not None else []
    heading = f"{document['scenario']} under {document['strategy']}, in every order"
    told = [exploration.sentence(document), exploration.extent(document)]
    return _page(document, heading, told, drawn, exploration.lines_below(document))


def _page(
    document: Document, heading: str, told: Sequence[str], drawn: Sequence[str], below: Iterable[tuple[str, str]]
) -> str:
    lines = [f"# {escaped(heading)}", "", f"**{document['verdict']}**: {'; '.join(map(escaped, told))}.", ""]
    lines += ["```text", *(line.replace("```", "'''") for line in drawn), "```", ""] if drawn else []
    lines += [f"* {label}: {f'`{text}`' if label in _COMMANDS else escaped(text)}" for label, text in below]
    return "\n".join(lines) + "\n"
