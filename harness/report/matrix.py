"""The matrix of the library: what each cell showed, as a screen, as Markdown and as CSV; and a digest of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.report.by_rule import order_of
from harness.report.caveats import caveats
from harness.report.comparison_rows import EXPLORED, claim_met, store_heading
from harness.report.figures import MISSING, bound, count, interval, milliseconds, per_second, plural, seconds, wrapped
from harness.report.markdown import escaped, table_row
from harness.report.paint import Paint, plain
from harness.report.terminal import WIDTH, labelled, last_line

Document = Mapping[str, Any]
Row = Mapping[str, Any]

_DIGEST = (
    ("scenario", ":--"), ("rule", ":--"), ("held", "--:"), ("order broke", "--:"), ("order held, rule broke", "--:"),
    ("not applicable", "--:"), ("fastest that held: Redis", ":--"), ("PostgreSQL", ":--"),
)  # fmt: skip
_CELLS = (
    ("rule", ":--"), ("strategy", ":--"), ("order", "--:"), ("rule holds", "--:"), ("every order of two", "--:"),
    ("broken bursts", "--:"), ("95 % CI in %", "--:"), ("starts/s", "--:"), ("relative", "--:"), ("p99 ms", "--:"),
    ("errors shown", "--:"), ("claim", ":--"),
)  # fmt: skip
_INDENT = 14
_MOST_NAMED = 3
"""So many cells without a verdict are named for one reason; of more, how many and of what."""


# Digest


def digest(document: Document) -> str:
    """One line for each scenario and rule, as a Markdown table: how many held, how many broke, and in what."""
    lines = [table_row([name for name, _ in _DIGEST]), table_row([align for _, align in _DIGEST])]
    lines += [table_row([f"`{scenario}`", rule, *texts]) for scenario, rule, *texts in digested(document)]
    return "\n".join(lines) + "\n"


def summary(document: Document) -> str:
    """How many cells there are, and how many did as they claim."""
    counts = document["counts"]
    parts = [f"{plural(counts['cells'], 'cell')}: {count(counts['as_claimed'])} as claimed"]
    parts += [f"{count(counts['not_as_claimed'])} NOT as claimed"] if counts["not_as_claimed"] else []
    parts += [f"{count(counts['unclear'])} unclear"] if counts["unclear"] else []
    apart = f"; {count(counts['not_applicable'])} do not apply"
    return ", ".join(parts) + apart + (f"; {count(counts['missing'])} not come to" if counts["missing"] else "")


def digested(document: Document) -> Iterator[list[str]]:
    """One text for each column of the digest, for each scenario and rule."""
    apart = [(one["scenario"], one["rule"]) for one in document["not_applicable"]]
    fastest = {(one["scenario"], one["rule"], one["store"]): one["strategy"] for one in document["references"]}
    for (scenario, rule), rows in _by_rule(document["rows"]).items():
        broken = [row for row in rows if row["verdict"] == "violated"]
        order = sum(order_of(row) == "violated" for row in broken)
        yield [
            scenario,
            rule if len({row["rule"] for row in document["rows"] if row["scenario"] == scenario}) > 1 else "",
            count(sum(row["verdict"] in {"held", "proved", "bounded"} for row in rows)),
            count(order),
            count(len(broken) - order),
            count(apart.count((scenario, rule))),
            *(fastest.get((scenario, rule, store), MISSING) for store in ("redis", "postgres")),
        ]


def _by_rule(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["scenario"], row["rule"]), []).append(row)
    return found


# Screen


def matrix_screen(document: Document, exit_code: int, paint: Paint = plain) -> str:
    """What `race compare --all` prints: a line for each scenario and rule, then each claim that was not met."""
    head = summary(document)
    head = head if document["complete"] else f"{head}; {document['reason']}"
    lines = [*(paint(line, "bold") for line in wrapped(head, WIDTH)), ""]
    heads = ["scenario", "held", "order", "only", "not", "fastest that held"]
    below = ["  and rule", "", "broke", "rule", "appl.", "Redis, PostgreSQL"]
    rows = list(_lines(document))
    widths = [max(len(row[place]) for row in [heads, below, *rows]) for place in range(len(heads))]
    for number, row in enumerate([heads, below, *rows]):
        cells = [
            f"{text:>{width}}" if 1 <= place < 5 else f"{text:<{width}}"
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = f"  {' '.join([*cells[:5], ' ' + cells[5]])}".rstrip()
        lines.append(paint(line, "dim") if number < 2 else line)
    lines.append("")
    for label, text in lines_below(document):
        lines += labelled(label, text, paint, _INDENT)
    return (
        "\n".join(
            [*lines, *last_line("Again", document["reproduce"], exit_code, document["duration_s"], paint, _INDENT)]
        )
        + "\n"
    )


def _lines(document: Document) -> Iterator[list[str]]:
    """The digest for a narrow screen: the rules of a scenario, where it has several, below its name."""
    before = ""
    for scenario, rule, *texts in digested(document):
        if rule and scenario != before:
            yield [scenario, *[""] * 5]
        before = scenario
        yield [f"  {rule}" if rule else scenario, *texts[:4], ", ".join(texts[4:])]


def lines_below(document: Document) -> Iterator[tuple[str, str]]:
    """Each claim that was not met, then what has no verdict, then what is missing."""
    for row in document["rows"]:
        if row["as_claimed"] is False:
            yield "Failed", f"{_title(row)} {_otherwise(row)}; {_again(row)}"
    unclear: dict[str, list[Row]] = {}
    for row in document["rows"]:
        if row["as_claimed"] is None:
            unclear.setdefault(row["reason"], []).append(row)
    for reason, rows in unclear.items():
        names = [_title(row) for row in rows]
        if len(names) > _MOST_NAMED:
            names = [f"{plural(len(rows), 'cell')} of {', '.join(dict.fromkeys(row['scenario'] for row in rows))}"]
        yield "Unclear", f"{', '.join(names)}: {reason}"
    missing = list(dict.fromkeys(one["scenario"] for one in document["missing"]))
    if missing:
        yield "Not come to", ", ".join(missing)


def _title(row: Row) -> str:
    return f"{row['scenario']} under {row['strategy']}, rule {row['rule']}"


def _otherwise(row: Row) -> str:
    """How a row differs from its claim."""
    if row["verdict"] == "violated" or (row["explored"] == "violated" and row["claim"]["kind"] == "holds"):
        return "claims that it holds, but broke"
    if row["claim"]["kind"] == "breaks":
        return "claims that it breaks, but held"
    return f"showed its callers {', '.join(row['errors'])}, which its claim does not name"


def _again(row: Row) -> str:
    command = "explore" if row["explored"] == "violated" else "run"
    return f"race {command} {row['scenario']} --strategy {row['strategy']} --rule {row['rule']}"


# Files


def matrix_markdown(document: Document) -> str:
    """The digest, then a table for each scenario, and why strategies are not in it."""
    load, environment = document["load"], document["environment"]
    about = (
        f"{summary(document)}. {load['processes']} processes, bursts of {load['burst_size']}, seed {document['seed']};"
        f" {'; '.join(store_heading(info).replace('  ', ', ') for info in document['stores'])};"
        f" {environment['cpus']} CPUs, {environment['platform']}, Python {environment['python']},"
        f" race {environment['race']}, {document['started_at']}, {seconds(document['duration_s'])}."
        f" Made by `{document['reproduce']}`."
    )
    lines = ["# Every scenario under every strategy", "", escaped(about)]
    if not document["complete"]:
        lines += ["", f"**Incomplete: {escaped(document['reason'])}. Cells that were not come to are missing.**"]
    lines += ["", HOW_TO_READ, "", digest(document).rstrip()]
    lines += ["", *(f"* {label}: {escaped(text)}" for label, text in lines_below(document))]
    lines += [f"* {one.kind}: {escaped(one.says)}" for one in caveats(document)]
    for scenario in dict.fromkeys(row["scenario"] for row in document["rows"]):
        lines += ["", f"## {scenario}", "", table_row([name for name, _ in _CELLS])]
        lines.append(table_row([align for _, align in _CELLS]))
        mine = [row for row in document["rows"] if row["scenario"] == scenario]
        order = {rule: number for number, rule in enumerate(dict.fromkeys(row["rule"] for row in mine))}
        lines += [table_row(_cells(row)) for row in sorted(mine, key=lambda row: order[row["rule"]])]
        apart = reasons_apart([one for one in document["not_applicable"] if one["scenario"] == scenario], "`")
        lines += ["", *(f"* {escaped(one)}" for one in apart)] if apart else []
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


HOW_TO_READ = (
    "`order`: does some one-at-a-time order explain every answer and what was left; `rule holds`: the invariants of the"
    " business. Where the order held and the rule broke no strategy helps: the rule is wrong. `every order of two` is"
    " what exploring says, `proved` or `part` of them; figures are of short loads, so compare their size, not their"
    " last digit. Where no burst broke, `<=` is the one-sided 95 % bound. `relative` is over the fastest of its store"
    " that held."
)


def _cells(row: Row) -> list[str]:
    """One text for each column."""
    violations = row["violations"]
    rate = MISSING
    if violations["judged"]:
        rate = interval(violations, digits=1) if violations["bursts"] else f"<={bound(violations)}"
    relative = row["relative_throughput"]
    return [
        row["rule"],
        f"`{row['strategy']}`",
        _word(order_of(row)),
        _word(rule_verdict(row)),
        MISSING if row["explored"] is None else EXPLORED[row["explored"]],
        f"{violations['bursts']}/{violations['judged']}",
        rate,
        per_second(row["starts_per_s"]),
        MISSING if relative is None else f"{relative:.2f}",
        milliseconds(row["latency_ms"].get("p99")),
        ", ".join(f"{code} {number}" for code, number in row["errors"].items() if number),
        claim_met(row),
    ]


def rule_verdict(row: Row) -> str:
    """The worst verdict of its invariants; "" where the scenario has none but order."""
    found = list(row["invariants"].values())
    return next((word for word in ("violated", "inconclusive", *found) if word in found), "")


def _word(verdict: str) -> str:
    return {"violated": "broke", "inconclusive": "?", "": MISSING}.get(verdict, verdict)


def reasons_apart(entries: Sequence[Mapping[str, str]], quote: str = "") -> list[str]:
    """`atomic, multi (blind): why`: each reason once; `quote` stands around each strategy."""
    every = {one["rule"] for one in entries}
    reasons: dict[str, dict[str, list[str]]] = {}
    for one in entries:
        reasons.setdefault(one["reason"], {}).setdefault(one["strategy"], []).append(one["rule"])
    return [
        ", ".join(
            f"{quote}{name}{quote}" if set(rules) == every else f"{quote}{name}{quote} ({', '.join(rules)})"
            for name, rules in names.items()
        )
        + f": {reason}"
        for reason, names in reasons.items()
    ]


def matrix_csv(document: Document) -> str:
    """One line for each cell."""
    from harness.report.comma_separated import lines_of

    names = (
        "scenario", "rule", "strategy", "store", "verdict", "order", "rule_verdict", "explored", "claim", "as_claimed",
        "broken_bursts", "judged_bursts", "rate", "starts_per_s", "relative_throughput", "p50_ms", "p99_ms", "retries",
        "errors_shown",
    )  # fmt: skip
    rows = (
        [
            *(row[name] for name in names[:6]), rule_verdict(row), row["explored"], row["claim"]["kind"],
            row["as_claimed"], row["violations"]["bursts"], row["violations"]["judged"], row["violations"]["rate"],
            row["starts_per_s"], row["relative_throughput"], row["latency_ms"].get("p50"),
            row["latency_ms"].get("p99"), row["retries"], sum(row["errors"].values()),
        ]
        for row in document["rows"]
    )  # fmt: skip
    return lines_of(names, rows)
