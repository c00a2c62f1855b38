"""The screen of an exploration: the verdict, the smallest schedule that breaks, and how far the search went."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.model import REFUSALS
from harness.report.figures import count, plural, wrapped
from harness.report.interleaving import draw
from harness.report.paint import VERDICT_STYLES, Paint, plain
from harness.report.terminal import WIDTH, labelled, last_line

Document = Mapping[str, Any]


def exploration_screen(document: Document, exit_code: int | None, paint: Paint = plain) -> str:
    """What `race explore` prints, from its document."""
    found = document["counterexample"]
    lines = _headline(document["verdict"], (sentence(document), extent(document)), paint)
    lines += _drawn(found, paint)
    below = list(lines_below(document))
    for label, text in below[:-1]:
        lines += labelled(label, text, paint)
    lines += last_line(*below[-1], exit_code, document["duration_s"], paint)
    return "\n".join(lines) + "\n"


def replay_screen(
    outcome: str, says: str, what: str, found: Document | None, again: str, exit_code: int, duration_s: float,
    paint: Paint = plain,
) -> str:  # fmt: skip
    """What `race replay` prints: `violated`, `fixed` or `inconclusive`, of what, and `found` drawn where it broke."""
    lines = [*_headline(outcome, (says, what), paint), *_drawn(found, paint)]
    if found is not None and found["why"]:
        lines += labelled("Why", found["why"], paint)
    return "\n".join([*lines, *last_line("Again", again, exit_code, duration_s, paint)]) + "\n"


def _headline(verdict: str, sentences: Sequence[str], paint: Paint) -> list[str]:
    word = verdict.upper()
    indent = max(len("VIOLATED"), len(word)) + 4
    first, *rest = [line for sentence in sentences for line in wrapped(sentence, WIDTH - indent)]
    lines = [f"  {paint(word, VERDICT_STYLES[verdict])}{' ' * (indent - 2 - len(word))}{first}"]
    return [*lines, *(" " * indent + line for line in rest), ""]


def _drawn(found: Document | None, paint: Paint) -> list[str]:
    return [] if found is None else [*draw({**found, "fits": True}, WIDTH, paint, note="as it was scheduled"), ""]


def sentence(document: Document) -> str:
    """What the verdict says."""
    if document["counterexample"] is not None:
        return str(document["counterexample"]["says"])
    errors = f"; callers are shown {' and '.join(document['errors'])}" if document["errors"] else ""
    if document["verdict"] == "proved":
        requests = plural(document["size"], "request")
        return f"no schedule of {requests} breaks {document['scenario']} under {document['strategy']}{errors}"
    if document["verdict"] == "bounded":
        return f"no schedule that was run breaks it, but they are not all{errors}"
    return str(document["reason"])


def extent(document: Document) -> str:
    """How many schedules were run, and how many of them broke."""
    number = plural(document["schedules"], "schedule")
    if document["violated"]:
        return f"{count(document['violated'])} of {number} broke"
    others = "; the others differ only in the order of independent steps" if document["exhausted"] else ""
    return f"{number} run{others}"


def lines_below(document: Document) -> Iterator[tuple[str, str]]:
    """Label and text of each line below the diagram."""
    found = document["counterexample"]
    if found is not None:
        if found["why"]:
            yield "Why", found["why"]
        faults = f", {plural(found['faults'], 'fault')}" if found["faults"] else ""
        turns = f"{count(found['context_switches'])} {'switch' if found['context_switches'] == 1 else 'switches'}"
        vain = dict.fromkeys(caller for kind, caller in found["choices"] if kind == "persist")
        tries = f"; {' and '.join(vain)} {'try' if len(vain) > 1 else 'tries'} in vain" if vain else ""
        yield "Smallest", f"{turns} between callers{faults}{tries}"
        if found["file"]:
            yield "Replay", f"race replay {shlex.quote(found['file'])}"
    elif document["verdict"] == "bounded":
        yield "Bound", document["reason"]
    elif document["verdict"] == "proved":
        yield (
            "Means",
            f"every order of the steps of {plural(document['size'], 'request')}; not more of them, not other faults",
        )
    if document["overruns"]:
        number = plural(document["overruns"], "schedule")
        yield "Overruns", f"work outlived its own lease in {number}: the risk of any lease"
    if document["errors"]:
        shown = ", ".join(f"{code} in {plural(number, 'schedule')}" for code, number in document["errors"].items())
        refused = document["errors"].keys() <= REFUSALS
        then = "may not write there himself" if refused else "has to try again"
        breaks = "" if found is not None else f": no rule breaks by them, and who is shown one {then}"
        yield "Errors", f"shown to callers: {shown}{breaks}"
    yield "Claim", _claim(document)
    faults = ", ".join(document["faults"]) or "none"
    most = document.get("max_faults", 1)
    yield "Search", f"{document['search']}, faults: {faults}" + (f", at most {most} in a schedule" if most > 1 else "")
    yield "Again", document["reproduce"]


def _claim(document: Document) -> str:
    """`redis-lock holds, but not under pause: as claimed`, or what is wrong with the claim."""
    said = document["claim"]
    under = [fault for fault in document["faults"] if fault in said["breaks_under"]]
    but = f", but not under {' and '.join(under)}" if under and said["kind"] == "holds" else ""
    sentence = f"{document['strategy']} {said['kind']}{but}"
    if document["as_claimed"] is None:
        return f"{sentence}: neither shown nor refuted{_looked_for(document) if under else ''}"
    return f"{sentence}: {'as claimed' if document['as_claimed'] else 'NOT as claimed'}"


def _looked_for(document: Document) -> str:
    """Why what claims to break has not broken, and where it may."""
    if document["verdict"] == "proved":
        more = f"--size {document['size'] + 1}, --max-faults {document.get('max_faults', 1) + 1}"
        return f"; so few do not show it: {more}"
    return " in that time; a longer --budget may" if document["reason"].startswith("stopped after") else ""
