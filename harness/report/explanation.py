"""All about a scenario or a strategy: its story, interleavings, what protects, and what that costs."""

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

INDENT = 16
ROLES = {"holds": "How it holds", "stops": "Where it stops", "breaks": "How it breaks"}
FAULT_WORDS = {
    "crash": "a caller dies", "pause": "a caller sleeps past every lease", "lost-reply": "a reply is lost",
    "duplicate": "a request is delivered twice",
}  # fmt: skip
REPEATED = "duplicate"
_PROTECTING = ("holds here", "every order", "starts/s", "relative", "p99 ms", "but")
_COSTING = ("scenario", "every order", "starts/s", "relative", "p99 ms", "but")


def explanation_screen(document: Document, paint: Paint = plain) -> str:
    """What `race explain --all` prints."""
    lines = [paint(line, "bold") for line in wrapped(headline(document), WIDTH)]
    for paragraph in document["story"]:
        lines += ["", *(f"  {line}" for line in wrapped(paragraph, WIDTH - 2))]
    lines.append("")
    for label, text in _about(document):
        lines += labelled(label, text, paint, INDENT)
    for picture in document["interleavings"]:
        head = f"{ROLES[picture['role']]}: {under_what(picture, document)}"
        lines += ["", *(paint(line, "bold") for line in wrapped(head, WIDTH))]
        if picture["schedule"] is not None:
            lines += draw({**picture["schedule"], "fits": True}, WIDTH, paint, note=note_of(picture))
        for label, text in _below(picture):
            lines += labelled(label, text, paint, INDENT)
    table = list(held_cells(document))
    if table:
        lines += ["", *aligned([_heads(document), *table], paint)]
    lines.append("")
    for label, text in claims(document):
        lines += labelled(label, text, paint, INDENT)
    lines += labelled("Cost", cost(document), paint, INDENT)
    lines += labelled("Next", document["next"], paint, INDENT)
    return "\n".join(lines) + "\n"


def explanation_markdown(document: Document) -> str:
    """The same as Markdown."""
    lines = [f"# {escaped(headline(document))}"]
    for paragraph in document["story"]:
        lines += ["", escaped(paragraph)]
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in _about(document))]
    for picture in document["interleavings"]:
        lines += ["", f"## {ROLES[picture['role']]}: {escaped(under_what(picture, document))}", ""]
        if picture["schedule"] is not None:
            drawn = draw({**picture["schedule"], "fits": True}, 100, plain, note=note_of(picture))
            lines += ["```text", *drawn, "```", ""]
        lines += [f"* {label}: {escaped(text)}" for label, text in _below(picture)]
    table = list(held_cells(document))
    if table:
        lines += ["", table_row(list(_heads(document))), table_row([":--", *["--:"] * 4, ":--"])]
        lines += [table_row(row) for row in table]
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in claims(document))]
    lines += [f"* Cost: {escaped(cost(document))}", f"* Next: `{document['next']}`"]
    return "\n".join(lines) + "\n"


def headline(document: Document) -> str:
    """Name, rule and summary."""
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
        if document.get("example"):
            yield "Example", document["example"]
        others = [rule for rule in document["rules"] if rule != document["rule"]]
        if others:
            yield "Other rules", ", ".join(others)
        for rule, why in document["wrong"].items():
            yield "Whose rule?", f"{rule} breaks under every strategy: {why}"
        yield from tables_of(document)
        return
    store = {"redis": "Redis", "postgres": "PostgreSQL"}[document["store"]]
    yield "Family", f"{document['family']}; its state is in {store}"
    if document["stops_helping"]:
        yield "Stops helping", document["stops_helping"]


def tables_of(document: Document) -> Iterator[tuple[str, str]]:
    """What else can be laid side by side: the scenario's own tables, its rules, and who carries an attempt."""
    for name, title in document.get("tables", {}).items():
        yield "Table", f"{title}: race compare {document['name']} --table {name}"
    if document.get("several_ends"):
        yield "Rules", f"race compare {document['name']} --rules all: race cannot choose one"
    if document.get("carried"):
        yield "Flows", f"race compare {document['name']} --flow all: and the worker is killed"


def under_what(picture: Document, document: Document) -> str:
    """`double-submit under redis-lock, where one caller pauses`; with its rule, where all else is about another."""
    variant = f" ({picture['variant']})" if picture["variant"] else ""
    rule = f", rule {picture['rule']}," if document.get("rule", picture["rule"]) != picture["rule"] else ""
    where = f", and {' and '.join(FAULT_WORDS[fault] for fault in picture['faults'])}" if picture["faults"] else ""
    return f"{picture['scenario']}{rule} under {picture['strategy']}{variant}{where}"


def note_of(picture: Document) -> str:
    """What is said below a diagram."""
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


def measured_figures(cell: Cell) -> list[str]:
    """Every order, starts a second, those over the fastest's, and p99, as far as they were measured."""
    measured = cell["measured"]
    if measured is None:
        return [MISSING] * 4
    relative = measured["relative_throughput"]
    return [
        MISSING if measured["explored"] is None else EXPLORED[measured["explored"]],
        per_second(measured["starts_per_s"]),
        MISSING if relative is None else f"{relative:.2f}",
        milliseconds(measured["p99_ms"]),
    ]


def _heads(document: Document) -> Sequence[str]:
    return _PROTECTING if document["kind"] == "scenario" else _COSTING


def held_cells(document: Document) -> Iterator[list[str]]:
    """A line for each cell that claims to hold: of a scenario its strategies, of a strategy its scenarios."""
    shared = shared_faults(document)
    for cell in document["cells"]:
        if not holds(cell):
            continue
        name = cell["strategy"]
        if document["kind"] == "strategy":
            if cell["rule"] != first_rule(document, cell):
                continue
            name = cell["scenario"]
        yield [name, *measured_figures(cell), "; ".join(but(cell, shared))]


def first_rule(document: Document, cell: Cell) -> str:
    """The first rule of a cell's scenario that the strategy holds."""
    return next(str(one["rule"]) for one in document["cells"] if one["scenario"] == cell["scenario"] and holds(one))


def holds(cell: Cell) -> bool:
    """Whether it claims to."""
    return bool(cell["claim"]["kind"] == "holds")


def cheaper_one(cell: Cell) -> str:
    """The cheaper strategy that does as well here; "" where there is none, or nothing was measured."""
    return str(cell["measured"]["cheaper"]) if cell["measured"] is not None else ""


def shared_faults(document: Document) -> set[str]:
    """The faults that break all, or almost all: told once."""
    under = [set(cell["claim"]["breaks_under"]) for cell in document["cells"] if holds(cell)]
    return set.intersection(*under) | ({REPEATED} & set.union(*under)) if len(under) > 1 else set()


def but(cell: Cell, shared: set[str]) -> Iterator[str]:
    """What is to be said against it here: a cheaper one that does as well, and faults."""
    measured = cell["measured"]
    if measured is not None and cheaper_one(cell):
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


def claims(document: Document) -> Iterator[tuple[str, str]]:
    """What breaks, and what does not apply: each reason once, with all that it is the reason for."""
    shared = shared_faults(document)
    others = [FAULT_WORDS[fault] for fault in FAULT_WORDS if fault in shared and fault != REPEATED]
    if others:
        yield "Under faults", f"none of these holds where {' or where '.join(others)}"
    if REPEATED in shared:
        name, where = ("strategy", "under") if document["kind"] == "scenario" else ("scenario", "in")
        but = dict.fromkeys(
            cell[name] for cell in document["cells"] if holds(cell) and REPEATED not in cell["claim"]["breaks_under"]
        )
        yield "Sent twice", "a request counts twice" + (f", but {where} {', '.join(but)}" if but else "")
    for kind, label in (("breaks", "Breaks"), ("not-applicable", "Not for")):
        reasons: dict[str, dict[str, list[str]]] = {}
        for cell in document["cells"]:
            if cell["claim"]["kind"] == kind and not (document["kind"] == "strategy" and cell["wrong_rule"]):
                name = cell["strategy"] if document["kind"] == "scenario" else cell["scenario"]
                reasons.setdefault(cell["claim"]["reason"], {}).setdefault(name, []).append(cell["rule"])
        for number, (reason, names) in enumerate(reasons.items()):
            yield label if number == 0 else "", f"{named(names, document)}: {reason}"
    if document["kind"] == "strategy":
        wrong = dict.fromkeys(
            f"{cell['scenario']} ({cell['rule']})" for cell in document["cells"] if cell["wrong_rule"]
        )
        if wrong:
            yield "Whose rule?", f"no strategy saves {', '.join(wrong)}: the order is right, and the rule is wrong"


def named(names: Mapping[str, Iterable[str]], document: Document) -> str:
    """The names, each with the rules that it is about, where it is not about all."""
    found = []
    for name, rules in names.items():
        every = {one["rule"] for one in document["cells"] if name in {one["strategy"], one["scenario"]}}
        found.append(name if set(rules) == every else f"{name} ({', '.join(rules)})")
    return ", ".join(found)


def cost(document: Document) -> str:
    """Where the figures are from."""
    source = document["costs"]
    if source is None:
        return "not measured yet: race compare measures it"
    where = "on this machine" if source["here"] else f"on another machine ({source['cpus']} CPUs, {source['platform']})"
    which = "the table that comes with race" if source["bundled"] else source["file"]
    day = datetime.fromisoformat(source["started_at"]).strftime("%Y-%m-%d")
    return f"measured {where}, {day}, short loads: {which}. `relative` is over the fastest of its store that held"


def aligned(rows: Sequence[Sequence[str]], paint: Paint) -> list[str]:
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
