"""A scenario's own table as a screen, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.report.comma_separated import lines_of
from harness.report.comparison_rows import store_heading
from harness.report.figures import plural, wrapped
from harness.report.markdown import escaped, table_row
from harness.report.paint import Paint, plain
from harness.report.terminal import WIDTH, labelled, last_line, minded

Document = Mapping[str, Any]

_INDENT, _GAP = 14, "  "
_STYLES = {"broken": "red", "held": "green", "kept": "green", "?": "yellow"}
_FIELDS = ("scenario", "table", "what", "strategy", "rule", "load")
_JUDGED = ("verdict", "explored", "claim", "as_claimed")
_TRIED = (
    "each line in bursts of 2, beside a strategy known to break, and in every order of 2 requests, which tells what the"
    " bursts could not: order, rule, and whether the claim is met"
)
NOT_COVERED = (
    "more than two requests in every order; crashes, pauses past a lease, lost or repeated messages"
    " (race explore --faults all)"
)


def table_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race compare --table` prints, from its document."""
    head = f"{document['scenario']}: {document['title']}" + ("" if document["complete"] else ", interrupted")
    lines = [paint(head, "bold"), *(paint(store_heading(info), "dim") for info in document["stores"]), ""]
    lines += [*_rows(document, paint), "", *(f"  {line}" for line in wrapped(document["says"], WIDTH - 2)), ""]
    for label, text in lines_below(document):
        lines += labelled(label, text, paint, _INDENT)
    lines += last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint, _INDENT)
    return "\n".join(lines) + "\n"


def table_markdown(document: Document) -> str:
    """The same for a wiki or a pull request."""
    by_load = any(cell["load"] for row in document["rows"] for cell in row["cells"])
    heads = ["", "strategy", "rule", *(["load"] if by_load else []), *document["columns"], "every order of two"]
    lines = [f"# {escaped(document['scenario'])}: {escaped(document['title'])}", "", escaped(document["says"]), ""]
    if not document["complete"]:
        lines += ["**Interrupted: this table is incomplete.**", ""]
    lines += [table_row(heads), table_row([":--"] * len(heads))]
    for row in document["rows"]:
        for cell in row["cells"]:
            names = [row["what"], f"`{row['strategy']}`", row["rule"], *([cell["load"]] if by_load else [])]
            lines.append(table_row([*names, *cell["texts"], _explored(row)]))
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in lines_below(document))]
    lines += ["", f"Again: `{document['reproduce']}`"]
    return "\n".join(lines) + "\n"


def table_csv(document: Document) -> str:
    """A heading and a line for each row of the table."""
    rows = []
    for row in document["rows"]:
        whole = {**document, **row, "claim": row["claim"]["kind"]}
        for cell in row["cells"]:
            names = [{**whole, "load": cell["load"]}[name] for name in _FIELDS]
            rows.append([*names, *cell["texts"], *(whole[name] for name in _JUDGED)])
    return lines_of([*_FIELDS, *document["columns"], *_JUDGED], rows)


def lines_below(document: Document) -> Iterator[tuple[str, str]]:
    """Label and text of each line below the table."""
    for row in document["rows"]:
        if row["as_claimed"] is False:
            yield (
                "Failed",
                f"{row['what']}: claims that it {row['claim']['kind']}; {_found(row)}; {again(row, document)}",
            )
        elif row["as_claimed"] is None:
            yield "Unclear", f"{row['what']}: {row['reason']}"
    for one in document["not_applicable"]:
        yield "Left out", f"{one['what']}: {one['reason']}"
    yield "Tried", _TRIED
    for name, load in document["loads"].items():
        yield "Load", f"{name}: {_load(load)}"
    yield "Not covered", NOT_COVERED
    yield from minded(document)


def again(row: Document, document: Document) -> str:
    """The command that runs a line alone."""
    rule = f" --rule {row['rule']}" if row["rule"] else ""
    strategy = f"'{row['strategy']}'" if "*" in row["strategy"] else row["strategy"]
    return f"race run {document['scenario']} --strategy {strategy}{rule} --seed {document['seed']}"


def _found(row: Document) -> str:
    explored = f", {row['explored']} in every order of two" if row["explored"] != row["verdict"] else ""
    return f"{row['verdict']}{explored}"


def _explored(row: Document) -> str:
    return f"{row['explored']}: {row['says']}" if row["says"] else str(row["explored"])


def _load(load: Document) -> str:
    slow = f"; decisions about one of them take {load['slow_ms']:g} ms longer" if load["slow_ms"] else ""
    callers, keys = plural(load["connections"], "caller"), plural(load["keys"], "key")
    return f"{callers} in {plural(load['processes'], 'process')} on {keys} for {load['duration_s']:g} s{slow}"


def _rows(document: Document, paint: Paint) -> Iterator[str]:
    """Each line's name beside its cells, and below it the cell that was run; or a row below it for each load."""
    cells = [cell for row in document["rows"] for cell in row["cells"]]
    heads = document["headings"]
    widths = [max(map(len, [*heads[place], *(cell["texts"][place] for cell in cells)])) for place in range(len(heads))]
    room = WIDTH - 2 - sum(len(_GAP) + width for width in widths)
    names = [row["what"] for row in document["rows"]] + [f"  {cell['load']}" for cell in cells if cell["load"]]
    by_load = any(cell["load"] for cell in cells)
    room = min(room, max(map(len, names[len(document["rows"]) if by_load else 0 :]), default=0))
    for line in zip(*heads, strict=True):
        yield paint(_line("", line, widths, room), "dim")
    for row in document["rows"]:
        cell = f"{row['strategy']}, rule {row['rule']}" + (f": {row['says']}" if row["says"] and not by_load else "")
        if by_load:
            yield from (f"  {part}" for part in wrapped(row["what"], WIDTH - 2))
            yield from (paint(f"    {part}", "dim") for part in wrapped(cell, WIDTH - 4))
            for one in row["cells"]:
                yield _line(f"  {one['load']}", one["texts"], widths, room, paint)
            continue
        first, *others = wrapped(row["what"], room)
        yield _line(first, row["cells"][0]["texts"], widths, room, paint)
        yield from (f"  {part}" for part in others)
        yield from (paint(f"    {part}", "dim") for part in wrapped(cell, WIDTH - 4))


def _line(name: str, texts: Sequence[str], widths: Sequence[int], room: int, paint: Paint = plain) -> str:
    """A name and its cells; colours do not count for the width."""
    padded = [f"{text:<{width}}" for text, width in zip(texts, widths, strict=True)]
    parts = [paint(text, _STYLES[text.strip()]) if text.strip() in _STYLES else text for text in padded]
    return f"  {name:<{room}}{''.join(_GAP + part for part in parts)}".rstrip()
