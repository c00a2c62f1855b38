"""What a reader has to mind before believing a figure: a closed list, in the same words wherever it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from harness.judge.verdicts import NEEDED_CONTROL_RATE
from harness.report.advice import STORE_NAMES
from harness.report.figures import bound, count, microseconds, percent, plural

Document = Mapping[str, Any]

Kind = Literal["control near its limit", "few bursts", "saturated machine", "shared cores", "durability off"]

NEAR = 1.2
"""A control that broke in fewer than so many times what is needed is near that: with less, nothing could be said."""
FEW = 100
BUSY = 0.25
"""Of the processors, used by other programs."""
APART_US = 50.0
_OFF = ("memory only", "fsync off", "synchronous_commit off")


class Caveat(NamedTuple):
    """One of the list, and what it means here."""

    kind: Kind
    says: str


def caveats(document: Document) -> list[Caveat]:
    """Of the document of a run, a comparison, or a check of them. Others have none: nothing in them is a load."""
    if "cells" in document:
        parts = (cell[name] for cell in document["cells"] for name in ("load", "cost") if cell[name] is not None)
        return _once(one for part in parts for one in caveats(part))
    if "loads" in document:  # of a table: its lines are bursts, and its own loads are what costs are taken from
        rows = document["rows"]
        return [*_control(rows), *([*_saturated(document, rows), *_servers(document)] if document["loads"] else [])]
    if "load" not in document:
        return []
    rows = document.get("rows", [document])
    costs = "rows" in document or document["load"]["mode"] == "sustained"
    few = _few(rows) if document["load"]["mode"] == "burst" or "rows" in document else ()
    return [*_control(rows), *few, *_saturated(document, rows), *(_servers(document) if costs else ())]


def _once(found: Iterable[Caveat]) -> list[Caveat]:
    """Of many loads, the first of each kind: one is enough to be careful."""
    kinds: dict[str, Caveat] = {}
    for one in found:
        kinds.setdefault(one.kind, one)
    return list(kinds.values())


def _control(rows: list[Document]) -> Iterator[Caveat]:
    found = {
        (one["control"], one["control_broken"], one["control_bursts"], one.get("control_needed", NEEDED_CONTROL_RATE))
        for one in (row["overlap"] for row in rows)
        if one["control_rate"] is not None
    }
    for control, broken, bursts, needed in sorted(one for one in found if 1 <= one[1] / one[2] / one[3] < NEAR):
        least = "half" if needed == NEEDED_CONTROL_RATE else f"{percent(needed)} %"
        yield Caveat(
            "control near its limit",
            f"the control {control} broke in {percent(broken / bursts)} % of {count(bursts)}: with less than {least},"
            " nothing could be said. A larger --size or --think 1 makes it surer",
        )


def _few(rows: list[Document]) -> Iterator[Caveat]:
    few = [row for row in rows if row["verdict"] == "held" and 0 < row["violations"]["judged"] < FEW]
    if few:
        worst = min(few, key=lambda row: row["violations"]["judged"])
        judged = plural(worst["violations"]["judged"], "burst")
        who = worst["strategy"] if len(few) == 1 else f"{worst['strategy']} and {len(few) - 1} more"
        yield Caveat(
            "few bursts",
            f"{who}: only {judged} judged, so that {bound(worst['violations'])} % could break unseen",
        )


def _saturated(document: Document, rows: list[Document]) -> Iterator[Caveat]:
    share = document["environment"].get("others_cpu")
    spreads = [row["overlap"]["release_spread_us"] for row in rows]
    apart = max((spread for spread in spreads if spread is not None), default=0.0)
    signs = []
    if share is not None and share > BUSY:
        signs.append(f"other programs had {round(100 * share)} % of the processors")
    if apart >= APART_US:
        signs.append(f"requests were released {microseconds(apart)} apart")
    if signs:
        yield Caveat("saturated machine", f"{' and '.join(signs)}: pace and latency are those of a busy machine")


def _servers(document: Document) -> Iterator[Caveat]:
    kinds = {info["kind"] for info in document["stores"] if info["embedded"]}
    embedded = [name for kind, name in STORE_NAMES.items() if kind in kinds]
    if embedded:
        verb = "share" if len(embedded) > 1 else "shares"
        cpus = plural(document["environment"]["cpus"], "processor")
        yield Caveat(
            "shared cores",
            f"{' and '.join(embedded)}, started by race, {verb} {cpus} with the load: compare strategies, not servers",
        )
    for info in document["stores"]:
        off = [setting for setting in _OFF if setting in info["durability"]]
        if off:
            yield Caveat(
                "durability off",
                f"{info['product']} may lose what it has answered ({', '.join(off)}): a server that keeps it is slower",
            )
