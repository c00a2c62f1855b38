"""What `race explain` prints by default: half a page, which is read at one glance; `--all` prints the whole.

What is left out is counted, never silently dropped: the table keeps those that have no cheaper equal first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from harness.report.explanation import (
    FAULT_WORDS,
    INDENT,
    REPEATED,
    ROLES,
    aligned,
    cheaper_one,
    first_rule,
    headline,
    holds,
    measured_figures,
    named,
    note_of,
    shared_faults,
    tables_of,
    under_what,
)
from harness.report.figures import cut, plural, wrapped
from harness.report.interleaving import draw, since_beginning, text_of
from harness.report.paint import Paint, plain
from harness.report.terminal import WIDTH, labelled

Document = Mapping[str, Any]
Cell = Mapping[str, Any]
Steps = Sequence[Mapping[str, Any]]

LINES = 35
"""As many as fit beside the prompt of a small terminal; half a printed page."""
_STORY, _FEWEST_DRAWN, _FEWEST_ROWS, _MOST_ROWS = 4, 6, 3, 7
_LONG_VALUE, _NAMED = 10, 3
_VALUE = re.compile(r"[0-9a-f]{13,}|\d{8,}")
"""Tokens, and instants that are not the schedule's: that they are the same, or not, shows in their ends as well."""
_IN_TIME = re.compile(r"\bT(\+\d+)?\b")
_LEGEND, _LEGEND_LATER = " (T: when it begins", "; T+2000: 2 s later"
_TOLD = re.compile(r"\b(?:at|step) (\d+)")


def half_page(document: Document, paint: Paint = plain) -> str:
    """The story's beginning, one interleaving, what holds at which cost, and what does not."""
    above = [paint(line, "bold") for line in wrapped(headline(document), WIDTH)]
    above += [f"  {line}" for line in story(document)] + [""]
    under = [line for label, text in _below(document) for line in labelled(label, text, paint, INDENT)]
    rows = _rows(document)
    picture = _worth_showing(document["interleavings"])
    table = len(_table(document, rows, 0, plain))
    space = max(_FEWEST_DRAWN, LINES - len(above) - len(under) - table - 1)
    drawn = _picture(picture, document, space, paint) if picture else []
    room = LINES - len(above) - len(drawn) - len(under) - 1
    held = _table(document, rows, room, paint)
    return "\n".join([*above, *drawn, *held, *([""] if held else []), *under]) + "\n"


def story(document: Document) -> list[str]:
    """As many sentences as fit in a few lines; its first paragraph is the headline over again."""
    paragraphs = document["story"][1:] or document["story"]
    told: list[str] = []
    for sentence in re.split(r"(?<=[.!?]) (?=[A-Z\"])", " ".join(paragraphs)):
        longer = wrapped(" ".join([*told, sentence]), WIDTH - 2)
        if told and len(longer) > _STORY:
            break
        told.append(sentence)
    return wrapped(" ".join(told), WIDTH - 2) if told[0] else []


# The interleaving


def _worth_showing(pictures: Sequence[Document]) -> Document | None:
    """What is other than claimed, or shows nothing; else the last: how it breaks, or where it stops."""
    unlike = [one for one in pictures if one["as_claimed"] is not True]
    return next(iter([*unlike, *pictures[::-1]]), None)


def _picture(picture: Document, document: Document, room: int, paint: Paint) -> list[str]:
    """Its title, its steps in at most so many lines, and what broke."""
    head = f"{ROLES[picture['role']]}: {under_what(picture, document)}"
    lines = [paint(line, "bold") for line in wrapped(head, WIDTH)]
    drawn, said = picture["schedule"], dict(_said(picture))
    steps, begins = since_beginning(drawn["steps"]) if drawn is not None else ((), "")

    def below(legend: str) -> list[str]:
        texts = [f"{text}{legend * (place == 0)}" for place, text in enumerate(said.values())]
        return [line for text in zip(said, texts, strict=True) for line in labelled(*text, paint, INDENT)]

    if drawn is not None:
        room -= len(lines) + len(below(f"{_LEGEND}{_LEGEND_LATER})" if begins else ""))
        lines += _drawn({**drawn, "fits": True, "steps": steps}, note_of(picture), room, paint)
    seen = [found[0] for line in lines for found in _IN_TIME.finditer(line)] if begins else []
    later = any("+" in instant for instant in seen)
    return [*lines, *below(f"{_LEGEND}{_LEGEND_LATER * later})" if seen else ""), ""]


def _said(picture: Document) -> Iterator[tuple[str, str]]:
    drawn = picture["schedule"]
    if picture["verdict"] == "violated":
        why = f". {drawn['why']}" if drawn is not None and drawn["why"] else ""
        yield "Broke", f"{picture['says']}{why}"
    elif drawn is None or picture["role"] != "holds":
        yield "Found none", f"{picture['verdict']}: {picture['reason']}"
    if picture["as_claimed"] is False:
        yield "Claim", "holds: NOT as claimed"


def _drawn(whole: Document, note: str, room: int, paint: Paint) -> list[str]:
    """The diagram; where it is too long, without steps that no sentence names: such as say little, then the last."""
    uncut = {**whole, "steps": [_shortened(step) for step in whole["steps"]]}
    lines = draw(uncut, WIDTH, paint, note=note, most_columns=_COLUMNS)
    if len(lines) <= min(room, _MOST_UNCUT):
        return lines
    room_of_one = _ROOM.get(len(whole["columns"]), 60)
    steps = [_brief(step, room_of_one) for step in whole["steps"]]
    named = {int(number) for number in _TOLD.findall(whole["why"] or "")}
    left_out = 0
    while True:
        says = f"{note}; {plural(left_out, 'step')} left out" if left_out else note
        lines = draw({**whole, "steps": steps}, WIDTH, paint, note=says, most_columns=_COLUMNS)
        unnamed = [place for place, step in enumerate(steps) if step["step"] not in named]
        spare = [place for place in unnamed if place > 1 or _says_little(steps[place])]
        if len(lines) <= max(room, _FEWEST_DRAWN) or not spare:
            return lines
        del steps[next((place for place in spare[::-1] if _says_little(steps[place])), spare[-1])]
        left_out += 1


def _says_little(step: Mapping[str, Any]) -> bool:
    """Whether it ends a transaction, looked in vain or was refused, and answered nobody: what others do shows more."""
    idle = step["command"] in _ENDS or step["reply"] == "0 rows" or step["reply"].startswith("! ")
    return idle and not step["outcome"]


def _shortened(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step with its tokens and instants shortened."""
    texts = {name: _VALUE.sub(lambda found: cut(found[0], _LONG_VALUE), step[name] or "") for name in _TEXTS}
    return {**step, **texts}


def _brief(step: Mapping[str, Any], room: int) -> dict[str, Any]:
    """A step with its tokens and instants shortened, and its command cut so that it fits on a line."""
    texts = {name: _shortened(step)[name] for name in _TEXTS}
    texts["reply"] = cut(texts["reply"], max(_LONGEST_REPLY, room - len(texts["command"]) - len(" -> ")))
    others = len(text_of({**step, **texts, "command": ""}))
    width = max(_SHORTEST_COMMAND, room - others)
    return {**step, **texts, "command": cut(_statement(texts["command"], width), width)}


def _statement(text: str, width: int) -> str:
    """A statement without what says least, as far as it is too long: which row, which table, what it answers."""
    for clause, instead in _CLAUSES:
        if len(text) > width:
            text = clause.sub(instead, text, count=1).replace(".. ..", "..")
    return f"{text[: width - 2]}.." if len(text) > width and text.startswith("UPDATE") else text


_TEXTS = ("command", "reply")
_MOST_UNCUT = 14
"""With so many lines at most, every command is told in full, and the table below has fewer rows."""
_SHORTEST_COMMAND, _LONGEST_REPLY = 20, 24
_CLAUSES = (
    (re.compile(r" WHERE key = \S+"), " .."),
    (re.compile(r"(?<!DELETE) FROM \w+"), " .."),
    (re.compile(r" RETURNING .*"), " .."),
    (re.compile(r"^UPDATE \w+"), "UPDATE .."),
)
_ENDS = frozenset({"COMMIT", "ROLLBACK", "UNWATCH"})
_COLUMNS = 2
"""With more of them, each step has a line of its own, which is told apart by its caller's name."""
_ROOM = {1: 74, 2: 44}
"""What a column has for a step, by how many there are."""


# What protects, and what it costs


def _rows(document: Document) -> list[Cell]:
    """The cells that hold: where it pays, those without a cheaper equal, by pace; of a strategy each scenario once."""
    cells = [cell for cell in document["cells"] if holds(cell)]
    if document["kind"] == "strategy":
        cells = [cell for cell in cells if cell["rule"] == first_rule(document, cell)]
    return sorted(cells, key=lambda cell: (not _pays(document, cell), bool(cheaper_one(cell)), -_relative(cell)))


def _pays(document: Document, cell: Cell) -> bool:
    """Whether this is the scenario for which one takes this strategy, although another is faster."""
    return bool(document["kind"] == "strategy" and cell["earns_its_cost"] == cell["scenario"])


def _relative(cell: Cell) -> float:
    measured = cell["measured"]
    return 0.0 if measured is None or measured["relative_throughput"] is None else measured["relative_throughput"]


def _name(document: Document, cell: Cell) -> str:
    return str(cell["strategy"] if document["kind"] == "scenario" else cell["scenario"])


def _held(document: Document, cell: Cell) -> str:
    """The same, with the rule where it is not the scenario's first: under that one it does not hold."""
    name = _name(document, cell)
    if document["kind"] == "scenario":
        return name
    return name if cell["rule"] == _usual_rule(document, cell) else f"{name} ({cell['rule']})"


def _usual_rule(document: Document, cell: Cell) -> str:
    """The first rule of a cell's scenario."""
    return str(next(one["rule"] for one in document["cells"] if one["scenario"] == cell["scenario"]))


def _table(document: Document, rows: Sequence[Cell], room: int, paint: Paint) -> list[str]:
    """As many rows as there is room for, and the names of the others, by what does as well."""
    if not rows:
        return []
    heads = [
        "holds here" if document["kind"] == "scenario" else "holds in",
        "orders",
        "starts/s",
        "relative",
        "p99 ms",
        "",
    ]
    shared = shared_faults(document)
    worth = [cell for cell in rows if _pays(document, cell) or not (cheaper_one(cell) and cell["earns_its_cost"])]
    shown = worth if document["kind"] == "strategy" else rows
    for number in range(min(len(shown), _MOST_ROWS), 0, -1):
        lines = aligned([heads, *(_row(document, cell, shared) for cell in shown[:number])], paint)
        others = [cell for cell in rows if cell not in shown[:number]]
        lines += [line for text in _others(document, others) for line in labelled(*text, paint, INDENT)]
        if len(lines) <= room or number <= _FEWEST_ROWS:
            break
    return lines


def _row(document: Document, cell: Cell, shared: set[str]) -> list[str]:
    cheaper = cheaper_one(cell)
    under = [fault for fault in cell["claim"]["breaks_under"] if fault not in shared]
    but = [f"{cheaper} does as well"] if cheaper else []
    but += ["pays where others write around the rule"] if _pays(document, cell) else []
    but += [f"not under {', '.join(under)}"] if under else []
    return [_held(document, cell), *measured_figures(cell), "; ".join(but)]


def _others(document: Document, cells: Sequence[Cell]) -> Iterator[tuple[str, str]]:
    """Those that the table has no room for: which cheaper one does as well, or that none does."""
    by: dict[str, list[str]] = {}
    dear = document["kind"] == "strategy" and any(cell["earns_its_cost"] for cell in cells)
    for cell in cells:
        by.setdefault(cheaper_one(cell), []).append(_held(document, cell))
    said = []
    for cheaper, names in by.items():
        few = _few(names)
        if document["kind"] == "scenario":
            said.append(f"{cheaper} does as well as {few}" if cheaper else few)
        else:
            said.append(f"{few} ({cheaper} does as well)" if cheaper else few)
    if said:
        yield "Buys nothing" if dear and "" not in by else "Hold, too", "; ".join(said)


def _below(document: Document) -> Iterator[tuple[str, str]]:
    """What does not protect, where the figures are from, and what to ask next."""
    if document.get("example"):
        yield "Example", document["example"]
    shared = shared_faults(document)
    others = [FAULT_WORDS[fault] for fault in FAULT_WORDS if fault in shared and fault != REPEATED]
    if others:
        yield "None holds", f"where {' or where '.join(others)}"
    if document["kind"] == "strategy" and document["stops_helping"]:
        yield "Stops helping", document["stops_helping"]
    yield from _wrong(document)
    yield from _breaking(document)
    yield from tables_of(document)
    if any(holds(cell) for cell in document["cells"]):
        yield "Cost", _cost(document)
    yield "More", f"race explain {document['next'].split(' ', 2)[2]} --all; {document['next']}"


def _wrong(document: Document) -> Iterator[tuple[str, str]]:
    """The rules that no strategy helps, or none that holds single requests, with the first reason."""
    rules = document["wrong"] if document["kind"] == "scenario" else {}
    names = [name for name in rules if " (" not in name]
    apart = [name.partition(" (")[0] for name in rules if name not in names]
    if names:
        yield "Whose rule?", f"{', '.join(names)}: breaks under every strategy: {rules[names[0]]}"
    if apart:
        yield "Whose flow?", f"{', '.join(apart)}: breaks wherever others come between an attempt's requests"


def _breaking(document: Document) -> Iterator[tuple[str, str]]:
    """What breaks: the reason that one does not expect, and the names of all others."""
    breaking: dict[str, dict[str, list[str]]] = {}
    usual: set[str] = set()
    for cell in document["cells"]:
        if cell["claim"]["kind"] == "breaks" and not (document["kind"] == "strategy" and cell["wrong_rule"]):
            found = breaking.setdefault(cell["claim"]["reason"], {})
            found.setdefault(_name(document, cell), []).append(cell["rule"])
            if cell["rule"] == _usual_rule(document, cell):
                usual.add(cell["claim"]["reason"])
    if not breaking:
        return
    # Under another rule whatever holds single requests may break, and any strategy with it.
    telling = [why for why, found in breaking.items() if not _UNPROTECTED & set(found)]
    reason = next(iter([*(why for why in telling if why in usual), *telling, *breaking]))
    first = breaking.pop(reason)
    more = dict.fromkeys(name for found in breaking.values() for name in found if name not in first)
    also = f"; also {_few(list(more))}" if more else ""
    names = [named({name: rules}, document) for name, rules in first.items()]
    yield "Breaks", f"{_few(names)}: {reason}{also}"


_UNPROTECTED = frozenset({"naive", "pg-read-committed", "mutex", "replica-lag"})
"""Of them everybody expects it."""


def _few(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    if len(names) <= _NAMED + 1:
        return ", ".join(names)
    return ", ".join(names[:_NAMED]) + f" and {len(names) - _NAMED} more"


def _cost(document: Document) -> str:
    source = document["costs"]
    if source is None:
        return "not measured yet: race compare measures it"
    day = datetime.fromisoformat(source["started_at"]).strftime("%Y-%m-%d")
    where = "this machine" if source["here"] else f"another machine ({source['cpus']} CPUs)"
    return f"on {where}, {day}; relative to its store's fastest"
