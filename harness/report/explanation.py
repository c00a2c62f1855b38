"""Half a page about a scenario or a strategy: its story, the interleaving, what protects, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.report.comparison_rows import EXPLORED
from harness.report.figures import MISSING, milliseconds, per_second, wrapped
from harness.report.interleaving import draw
from harness.report.markdown import escaped, table_row
from harness.report.paint import Paint, plain
from harness.report.terminal import WIDTH, labelled

Document = Mapping[str, Any]
Cell = Mapping[str, Any]

_INDENT = 16
_ROLES = {"holds": "How it holds", "stops": "Where it stops", "breaks": "How it breaks"}
_FAULTS = {
    "crash": "a caller dies", "pause": "a caller sleeps past every lease", "lost-reply": "a reply is lost",
    "duplicate": "a request is delivered twice",
}  # fmt: skip
_REPEATED = "duplicate"
_PROTECTING = ("holds here", "every order", "starts/s", "relative", "p99 ms", "but")
_COSTING = ("scenario", "every order", "starts/s", "relative", "p99 ms", "but")


def explanation_screen(document: Document, paint: Paint = plain) -> str:
    """What `race explain` prints."""
    lines = [paint(line, "bold") for line in wrapped(_headline(document), WIDTH)]
    for paragraph in document["story"]:
        lines += ["", *(f"  {line}" for line in wrapped(paragraph, WIDTH - 2))]
    lines.append("")
    for label, text in _about(document):
        lines += labelled(label, text, paint, _INDENT)
    for picture in document["interleavings"]:
        head = f"{_ROLES[picture['role']]}: {_under(picture)}"
        lines += ["", *(paint(line, "bold") for line in wrapped(head, WIDTH))]
        if picture["schedule"] is not None:
            lines += draw({**picture["schedule"], "fits": True}, WIDTH, paint, note=_note(picture))
        for label, text in _below(picture):
            lines += labelled(label, text, paint, _INDENT)
    table = list(_table(document))
    if table:
        lines += ["", *_aligned([_heads(document), *table], paint)]
    lines.append("")
    for label, text in _claims(document):
        lines += labelled(label, text, paint, _INDENT)
    lines += labelled("Cost", _cost(document), paint, _INDENT)
    lines += labelled("Next", document["next"], paint, _INDENT)
    return "\n".join(lines) + "\n"


def explanation_markdown(document: Document) -> str:
    """The same as Markdown."""
    lines = [f"# {escaped(_headline(document))}"]
    for paragraph in document["story"]:
        lines += ["", escaped(paragraph)]
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in _about(document))]
    for picture in document["interleavings"]:
        lines += ["", f"## {_ROLES[picture['role']]}: {escaped(_under(picture))}", ""]
        if picture["schedule"] is not None:
            drawn = draw({**picture["schedule"], "fits": True}, 100, plain, note=_note(picture))
            lines += ["```text", *drawn, "```", ""]
        lines += [f"* {label}: {escaped(text)}" for label, text in _below(picture)]
    table = list(_table(document))
    if table:
        lines += ["", table_row(list(_heads(document))), table_row([":--", *["--:"] * 4, ":--"])]
        lines += [table_row(row) for row in table]
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in _claims(document))]
    lines += [f"* Cost: {escaped(_cost(document))}", f"* Next: `{document['next']}`"]
    return "\n".join(lines) + "\n"


def _headline(document: Document) -> str:
    rule = f", rule {document['rule']}" if len(document.get("rules", ())) > 1 else ""
    summary = document.get("variant") or document["summary"]
    return f"{document['name']}{rule}: {summary}" if summary else f"{document['name']}{rule}"


def _about(document: Document) -> Iterator[tuple[str, str]]:
    if document["kind"] == "scenario":
        if document["symptoms"]:
            yield "Noticed as", "; ".join(document["symptoms"])
        if document["invariants"]:
            yield "Must hold", "; ".join(one["says"] for one in document["invariants"])
        else:
            yield "Must hold", document["invariant"] or "some one-at-a-time order explains every answer"
        others = [rule for rule in document["rules"] if rule != document["rule"]]
        if others:
            yield "Other rules", ", ".join(others)
        for rule, why in document["wrong"].items():
            yield "Whose rule?", f"{rule} breaks under every strategy: {why}"
        return
    store = {"redis": "Redis", "postgres": "PostgreSQL"}[document["store"]]
    yield "Family", f"{document['family']}; its state is in {store}"
    if document["stops_helping"]:
        yield "Stops helping", document["stops_helping"]


def _under(picture: Document) -> str:
    """`double-submit under redis-lock, where one caller pauses`."""
    variant = f" ({picture['variant']})" if picture["variant"] else ""
    where = f", and {' and '.join(_FAULTS[fault] for fault in picture['faults'])}" if picture["faults"] else ""
    return f"{picture['scenario']} under {picture['strategy']}{variant}{where}"


def _note(picture: Document) -> str:
    return "one order of many" if picture["role"] == "holds" else "the smallest that breaks"


def _below(picture: Document) -> Iterator[tuple[str, str]]:
    drawn = picture["schedule"]
    if picture["verdict"] == "violated":
        yield "Broke", picture["says"]
        if drawn is not None and drawn["why"]:
            yield "Why", drawn["why"]
    elif picture["role"] != "holds":
        yield "Found none", f"{picture['verdict']}: {picture['reason']}"
    elif drawn is None:
        yield "Found none", picture["reason"]
    if picture["as_claimed"] is False:
        yield "Claim", "holds: NOT as claimed"
    yield "Found by", picture["reproduce"]


# What protects, and what it costs


def _heads(document: Document) -> Sequence[str]:
    return _PROTECTING if document["kind"] == "scenario" else _COSTING


def _table(document: Document) -> Iterator[list[str]]:
    """A line for each cell that claims to hold: of a scenario its strategies, of a strategy its scenarios."""
    shared = _shared(document)
    for cell in document["cells"]:
        if not _holds(cell):
            continue
        name = cell["strategy"]
        if document["kind"] == "strategy":
            if cell["rule"] != _first(document, cell):
                continue
            name = cell["scenario"]
        measured = cell["measured"]
        figures = [MISSING] * 4
        if measured is not None:
            relative = measured["relative_throughput"]
            figures = [
                MISSING if measured["explored"] is None else EXPLORED[measured["explored"]],
                per_second(measured["starts_per_s"]),
                MISSING if relative is None else f"{relative:.2f}",
                milliseconds(measured["p99_ms"]),
            ]
        yield [name, *figures, "; ".join(_but(cell, shared))]


def _first(document: Document, cell: Cell) -> str:
    """The first rule of a cell's scenario that the strategy holds."""
    return next(str(one["rule"]) for one in document["cells"] if one["scenario"] == cell["scenario"] and _holds(one))


def _holds(cell: Cell) -> bool:
    return bool(cell["claim"]["kind"] == "holds")


def _shared(document: Document) -> set[str]:
    """The faults that break all, or almost all: told once."""
    under = [set(cell["claim"]["breaks_under"]) for cell in document["cells"] if _holds(cell)]
    return set.intersection(*under) | ({_REPEATED} & set.union(*under)) if len(under) > 1 else set()


def _but(cell: Cell, shared: set[str]) -> Iterator[str]:
    """What is to be said against it here: a cheaper one that does as well, and faults."""
    measured = cell["measured"]
    if measured is not None and measured["cheaper"]:
        elsewhere = cell["earns_its_cost"]
        if elsewhere and elsewhere != cell["scenario"]:
            yield f"buys nothing here: {measured['cheaper']} does; see {elsewhere}"
        elif not elsewhere:
            yield f"{measured['cheaper']} does as well"
    under = [fault for fault in cell["claim"]["breaks_under"] if fault not in shared]
    if under:
        yield f"not under {', '.join(under)}"
    if cell["claim"]["errors"]:
        yield f"shows {', '.join(cell['claim']['errors'])}"


def _claims(document: Document) -> Iterator[tuple[str, str]]:
    """What breaks, and what does not apply: each reason once, with all that it is the reason for."""
    shared = _shared(document)
    others = [_FAULTS[fault] for fault in _FAULTS if fault in shared and fault != _REPEATED]
    if others:
        yield "Under faults", f"none of these holds where {' or where '.join(others)}"
    if _REPEATED in shared:
        name, where = ("strategy", "under") if document["kind"] == "scenario" else ("scenario", "in")
        but = dict.fromkeys(
            cell[name] for cell in document["cells"] if _holds(cell) and _REPEATED not in cell["claim"]["breaks_under"]
        )
        yield "Sent twice", "a request counts twice" + (f", but {where} {', '.join(but)}" if but else "")
    for kind, label in (("breaks", "Breaks"), ("not-applicable", "Not for")):
        reasons: dict[str, dict[str, list[str]]] = {}
        for cell in document["cells"]:
            if cell["claim"]["kind"] == kind and not (document["kind"] == "strategy" and cell["wrong_rule"]):
                name = cell["strategy"] if document["kind"] == "scenario" else cell["scenario"]
                reasons.setdefault(cell["claim"]["reason"], {}).setdefault(name, []).append(cell["rule"])
        for number, (reason, names) in enumerate(reasons.items()):
            yield label if number == 0 else "", f"{_named(names, document)}: {reason}"
    if document["kind"] == "strategy":
        wrong = dict.fromkeys(
            f"{cell['scenario']} ({cell['rule']})" for cell in document["cells"] if cell["wrong_rule"]
        )
        if wrong:
            yield "Whose rule?", f"no strategy saves {', '.join(wrong)}: the order is right, and the rule is wrong"


def _named(names: Mapping[str, Iterable[str]], document: Document) -> str:
    """The names, each with the rules that it is about, where it is not about all."""
    found = []
    for name, rules in names.items():
        every = {one["rule"] for one in document["cells"] if name in {one["strategy"], one["scenario"]}}
        found.append(name if set(rules) == every else f"{name} ({', '.join(rules)})")
    return ", ".join(found)


def _cost(document: Document) -> str:
    source = document["costs"]
    if source is None:
        return "not measured yet: race compare measures it"
    where = "on this machine" if source["here"] else f"on another machine ({source['cpus']} CPUs, {source['platform']})"
    which = "the table that comes with race" if source["bundled"] else source["file"]
    day = datetime.fromisoformat(source["started_at"]).strftime("%Y-%m-%d")
    return f"measured {where}, {day}, short loads: {which}. `relative` is over the fastest of its store that held"


def _aligned(rows: Sequence[Sequence[str]], paint: Paint) -> list[str]:
    """Columns; the last one, which may be long, is wrapped under itself."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    lines = []
    for number, row in enumerate(rows):
        first, *figures = row[:-1]
        lead = f"  {first:<{widths[0]}}" + "".join(
            f"  {text:>{width}}" for text, width in zip(figures, widths[1:], strict=True)
        )
        parts = wrapped(row[-1], max(14, WIDTH - len(lead) - 2))
        whole = [f"{lead}  {parts[0]}".rstrip(), *(" " * (len(lead) + 2) + part for part in parts[1:])]
        lines += [paint(line, "dim") for line in whole] if number == 0 else whole
    return lines
