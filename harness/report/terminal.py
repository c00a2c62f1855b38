"""The screen of one run: the verdict, what broke and why, and how to see it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from harness.judge.verdicts import NEEDED_CONTROL_RATE
from harness.report.caveats import caveats
from harness.report.contradiction import BARS, draw_contradiction
from harness.report.figures import (
    bound,
    count,
    interval,
    microseconds,
    milliseconds,
    per_second,
    percent,
    plural,
    seconds,
    wrapped,
)
from harness.report.interleaving import draw
from harness.report.paint import VERDICT_STYLES, Paint, plain
from harness.report.service import MEANS, of_service, own, service_lines, service_to_do

WIDTH = 80
SMALLEST = "the smallest that breaks"
_LABEL = 11
"""Indent and label of a line of the lower part."""

_REFUSED = {
    "NOPERM": "give this user the rights +@all -@admin ~race:*, and INFO",
    "READONLY": "give the address of the primary",
    "OOM": "raise the server's maxmemory",
    "NOREPLICAS": "let as many replicas follow the server as its min-replicas-to-write asks for",
    "MISCONF": "make room on the server's disk",
    "25006": "give the address of the primary",
    "53100": "make room on the server's disk",
    "53300": "raise the server's max_connections",
}
"""Errors that are the server's state rather than the strategy's doing, to what to do."""

Document = Mapping[str, Any]


def result_screen(document: Document, exit_code: int | None, paint: Paint = plain) -> str:
    """What `race run` prints, from its document."""
    lines = [*_headline(document, paint), ""]
    found = document["counterexample"]
    if found is not None and timed(document):
        lines += draw_contradiction(found, paint)
    elif found is not None:
        lines += [*draw(found, WIDTH, paint, note=SMALLEST if minimised(document) else ""), ""]
    below = list(lines_below(document))
    for label, text in below[:-1]:
        lines += labelled(label, text, paint)
    lines += last_line(*below[-1], exit_code, document["duration_s"], paint)
    return "\n".join(lines) + "\n"


def timed(document: Document) -> bool:
    """Whether the counterexample is a timeline: under sustained load no steps are traced."""
    return document["load"]["mode"] == "sustained" and "unordered" in document["counterexample"]


def minimised(document: Document) -> bool:
    """Whether the counterexample is the smallest schedule rather than what the load met."""
    return "observed" in document["counterexample"]


def labelled(label: str, text: str, paint: Paint = plain, indent: int = _LABEL) -> list[str]:
    """`  Label    text`, wrapped under itself."""
    parts = wrapped(text, WIDTH - indent - 1)
    head = paint(f"  {label:<{indent - 2}}", "dim")
    return [f"{head}{parts[0]}", *(" " * indent + part for part in parts[1:])]


def last_line(
    label: str, text: str, exit_code: int | None, duration_s: float, paint: Paint = plain, indent: int = _LABEL
) -> list[str]:
    """A labelled line that ends with the exit code, where there is one, and the time taken."""
    end = seconds(duration_s) if exit_code is None else f"exit {exit_code}, {seconds(duration_s)}"
    lines = labelled(label, text, paint, indent)
    length = indent + len(text)
    if len(lines) == 1 and length + 2 + len(end) <= WIDTH - 2:
        return [lines[0] + " " * (WIDTH - 2 - length - len(end)) + paint(end, "dim")]
    return [*lines, " " * (WIDTH - 2 - len(end)) + paint(end, "dim")]


# The verdict


def _headline(document: Document, paint: Paint) -> list[str]:
    verdict = document["verdict"]
    word = verdict.upper()
    indent = max(len("VIOLATED"), len(word)) + 4
    parts = wrapped(sentence(document), WIDTH - indent)
    first = f"  {paint(word, VERDICT_STYLES[verdict])}{' ' * (indent - 2 - len(word))}{parts[0]}"
    rest = [*parts[1:], *wrapped(evidence(document), WIDTH - indent)]
    return [first, *(" " * indent + line for line in rest)]


def sentence(document: Document) -> str:
    """What the verdict says of the rule: in the words of what the load met, since its rate follows."""
    if document["verdict"] == "violated":
        found = document["counterexample"]
        found = found and (found.get("observed") or found)
        return found["says"] if found and found["says"] else _broken_names(document)
    if document["verdict"] == "inconclusive":
        return str(document["reason"])
    return f"{document['strategy']} kept {document['scenario']} right in every {_piece(document)}"


def _broken_names(document: Document) -> str:
    names = [name for name, verdict in document["invariants"].items() if verdict == "violated"]
    if document["order"] == "violated":
        names.append("no one-at-a-time order explains the replies")
    return f"broken: {'; '.join(names)}" if names else str(document["reason"])


def evidence(document: Document) -> str:
    """How often it broke, with the interval."""
    violations, judged = document["violations"], document["violations"]["judged"]
    part = " of an interrupted run" if not document["complete"] else ""
    if not judged:
        return f"no {_piece(document)} was judged{part}"
    if not violations["bursts"]:
        return (
            f"none of {_pieces(document, judged)}{part} broke; at most {bound(violations)} % do,"
            " by the one-sided 95 % bound"
        )
    return (
        f"{count(violations['bursts'])} of {_pieces(document, judged)}{part}"
        f" ({percent(violations['rate'])} %, 95 % CI {interval(violations)})"
    )


def _piece(document: Document) -> str:
    return "burst" if document["load"]["mode"] == "burst" else "group of keys"


_KILLED = ("crash", "duplicate")
"""What it is that a worker is killed, and that its open requests are asked again."""


def _pieces(document: Document, number: int) -> str:
    if document["load"]["mode"] == "burst":
        return f"{plural(number, 'burst')} of {document['load']['burst_size']}"
    return f"{count(number)} {'key' if number == 1 else 'keys'} under sustained load"


# The lines below


def lines_below(document: Document) -> Iterator[tuple[str, str]]:
    """Label and text of each line below the diagram; the last two are commands."""
    found = document["counterexample"]
    if document["verdict"] == "inconclusive":
        yield "Do", what_to_do(document)
    if found is not None and found["why"]:
        yield "Why", found["why"]
    yield from _explored(document)
    if document["violations"]["judged"]:
        yield "Judged", _judged(document)
    if found is not None and timed(document):
        yield "Bars", BARS
    if document["verdict"] != "violated":
        yield from _control(document)
        yield from _cost(document)
    yield from _unpleasant(document)
    yield from minded(document)
    yield from service_lines(document)
    yield "Load", _load(document)
    if not own(document):
        yield "Claim", claim(document)
    yield "Again", document["reproduce"]
    if own(document) and document["verdict"] == "violated" and not document["scenario"].endswith(".py"):
        yield "Compare", _unprotected(document)
    label = "Fixes" if document["verdict"] == "violated" else "Others"
    yield label, _others(document)


def minded(document: Document) -> Iterator[tuple[str, str]]:
    """What a reader has to mind before believing a figure."""
    for one in caveats(document):
        yield "Mind", f"{one.kind}: {one.says}"


def _others(document: Document) -> str:
    """The comparison with the others: under the same rule, and with the user's own script among them."""
    asked = document["reproduce"].split()
    words = ["race", "compare", document["scenario"]]
    words += ["--rules", document["rule"]] if "--rule" in asked else []
    script = document["strategy"].partition(":")[0].partition("#")[0].endswith(".py")
    words += ["--strategies", f"all,{document['strategy']}"] if script else []
    return shlex.join(words)


def _unprotected(document: Document) -> str:
    """The same rule without protection, in every order: step by step what a service does not show of itself."""
    rule = ["--rule", document["rule"]] if "--rule" in document["reproduce"].split() else []
    return shlex.join(["race", "explore", document["scenario"], "--strategy", "naive", *rule])


def _explored(document: Document) -> Iterator[tuple[str, str]]:
    """What exploring added to a load that broke: a schedule to replay, or that it found none."""
    explored, found = document["exploration"], document["counterexample"]
    if explored is None:
        return
    if found is None or not minimised(document):
        yield "Explored", _not_reproduced(explored)
        return
    if of_service(document):
        yield "Shown", f"{document['strategy']} explored on a store of its own, without the service: {found['says']}"
    elif found["says"] != sentence(document):
        yield "Shown", found["says"]
    if found["file"] is not None:
        yield "Replay", f"race replay {shlex.quote(found['file'])}"


def _not_reproduced(explored: Document) -> str:
    requests = plural(explored["size"], "request")
    match explored["verdict"]:
        case "proved":
            return (
                f"no order of {requests} breaks it: it takes more of them, or something that exploring does not"
                " control; shown is what the load met"
            )
        case "bounded":
            return f"no order of {requests} that was tried breaks it: {explored['reason']}; shown is what the load met"
        case _:
            return f"{explored['reason']}; shown is what the load met"


def _judged(document: Document) -> str:
    """Order and rule, apart: the state may be serialised perfectly and the business still be wrong."""
    parts = [f"order: {document['order']}"]
    others: dict[str, list[str]] = {}
    for name, verdict in document["invariants"].items():
        broken = document["violations"]["by_invariant"].get(name, 0)
        if broken:
            amount = document["violations"].get("amounts", {}).get(name, 0)
            more = f" (adding up to {amount:,g})" if amount > broken else ""
            parts.append(f"{name}: {verdict} in {count(broken)}{more}")
        else:
            others.setdefault(verdict, []).append(name)
    parts += [f"{', '.join(names)}: {verdict}" for verdict, names in others.items()]
    return "; ".join(parts)


def _control(document: Document) -> Iterator[tuple[str, str]]:
    overlap = document["overlap"]
    if overlap["control_bursts"]:
        broken = f"{overlap['control']} broke {count(overlap['control_broken'])} of its"
        pieces = plural(overlap["control_bursts"], "burst" if document["load"]["mode"] == "burst" else "key")
        needed = overlap.get("control_needed", NEEDED_CONTROL_RATE)
        where = (
            "" if needed == NEEDED_CONTROL_RATE else f", of {percent(needed / NEEDED_CONTROL_RATE)} % where all meet"
        )
        yield "Control", f"{broken} {pieces} under the same load ({percent(overlap['control_rate'])} %{where})"
    if document["verdict"] == "held":
        sure = MEANS if own(document) else "none was seen although the load finds them: evidence, not a proof"
        yield "Means", sure


def _cost(document: Document) -> Iterator[tuple[str, str]]:
    latency = document["latency_ms"]
    if document["throughput_per_s"] is None or not latency:
        return
    retries = document["counts"]["retries"]
    figures = (
        f"p50 {milliseconds(latency['p50'])} ms, p99 {milliseconds(latency['p99'])} ms,"
        f" max {milliseconds(latency['max'])} ms; {count(retries)} {'retry' if retries == 1 else 'retries'}"
    )
    if document["load"]["mode"] == "sustained":
        figures += f"; {per_second(document['throughput_per_s'])} requests/s,"
        figures += f" {per_second(document['commands_per_s'])} store commands/s"
    yield "Cost", figures


def _unpleasant(document: Document) -> Iterator[tuple[str, str]]:
    """What callers met that is no violation."""
    counts = document["counts"]
    shown = dict(counts["errors"])
    if counts["by_decision"].get("aborted"):
        shown["aborted"] = counts["by_decision"]["aborted"]
    if shown:
        named = set(document["claim"]["errors"])
        parts = [
            f"{code} {_times(number)}" + (" (named by the claim)" if code in named else "")
            for code, number in shown.items()
        ]
        yield "Errors", f"shown to callers: {', '.join(parts)}"
    if counts.get("killed"):
        again = f"{plural(counts['resumed'], 'open request')} asked again, same ids"
        if not counts["resumed"]:  # what comes of a second delivery was not seen
            again = "no request was open then, so none was asked again: longer work shows more (--work, --size)"
        yield "Killed", f"{plural(counts['killed'], 'worker')} in the middle of bursts; {again}"
    if counts["unknown"]:
        yield "Unknown", f"the outcome of {plural(counts['unknown'], 'request')} cannot be known"
    if counts["stuck"]:
        yield "Stuck", f"{plural(counts['stuck'], 'request')} never answered"
    if counts["overruns"]:
        yield "Overruns", f"work outlived its own lease {_times(counts['overruns'])}: the risk of any lease"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{count(number)} times"


def _load(document: Document) -> str:
    load, spread = document["load"], document["overlap"]["release_spread_us"]
    processes = plural(load["processes"], "process")
    if load["mode"] == "sustained":
        return (
            f"{processes}, {plural(load['connections'], 'connection')} in a closed loop on"
            f" {plural(load['keys'], 'hot key')} for {seconds(load['duration_s'])}"
        )
    apart = f", released {microseconds(spread)} apart" if spread is not None else ""
    if own(document):
        return f"{processes}{apart}: the worst case on purpose, not the rate you see in production"
    if load["processes"] == 1:
        return f"{processes}{apart}: a lock in its memory looks right here; two processes would not share it"
    return f"{processes}{apart}: the worst case on purpose, not the rate you see in production"


def claim(document: Document) -> str:
    """`naive breaks: as claimed`, or what is wrong with the claim."""
    said = document["claim"]
    sentence = f"{document['strategy']} {said['kind']}"
    if said["kind"] == "holds" and document["load"].get("kills"):
        under = [fault for fault in _KILLED if fault in said["breaks_under"]]
        sentence += f", but not under {' and '.join(under)}" if under else ""
    if document["as_claimed"] is None:
        return f"{sentence}: neither shown nor refuted"
    if document["as_claimed"]:
        return f"{sentence}: as claimed"
    if said["kind"] == "holds" and document["verdict"] != "violated":
        return f"{sentence}: NOT as claimed: callers were shown errors that the claim does not name"
    return f"{sentence}: NOT as claimed" + (f" ({said['reason']})" if said["reason"] else "")


def what_to_do(document: Document) -> str:
    """The next step after an inconclusive run, from what is known of it."""
    counts, overlap, load = document["counts"], document["overlap"], document["load"]
    sustained = load["mode"] == "sustained"
    if not document["complete"]:
        return f"let it run to its end, or ask for less: {'--duration' if sustained else '--bursts, --budget'}"
    if document["reason"].startswith("the judge failed"):
        return "mend what the scenario's script says wrong, then run it again"
    if (at_service := service_to_do(document)) is not None:
        return at_service
    if document["reason"].startswith("the run was disturbed"):
        return "see that nothing comes between: the store stays up, the clock is not set; then run it again"
    if refused := [_REFUSED[code] for code in counts["errors"] if code in _REFUSED]:
        return f"{refused[0]}, then run it again"
    if wrong := [code for code in counts["errors"] if code.startswith("42") and code != "42501"]:
        return f"mend the statement that PostgreSQL refuses ({wrong[0]}: a name or a word in it is wrong)"
    if counts["unknown"] or counts["stuck"] or not counts["requests"]:
        return "see that the store stays up and answers, then run it again"
    control = overlap["control_rate"] if overlap["control"] is not None else document["violations"]["rate"]
    if (control or 0) < overlap.get("control_needed", NEEDED_CONTROL_RATE):
        first = (
            "wait until this machine is idle, or "
            if any(one.kind == "saturated machine" for one in caveats(document))
            else ""
        )
        return f"{first}make requests overlap more: {_more_overlap(load)}"
    if counts["by_decision"].get("aborted"):
        return "ask for less at once: a smaller --size, or a longer --think"
    return f"run it again with other figures: {'--keys, --duration' if sustained else '--bursts, --size'}"


def _more_overlap(load: Document) -> str:
    """What of this load to change so that more requests meet."""
    wider = "--think 1 between check and write"
    if load["mode"] == "sustained":
        # What meets on one key depends on how many are at work: an eighth of very many is still very many.
        fewer = max(1, min(load["keys"] // 8, 4 * load["connections"]))
        fewer_keys = [f"fewer hot keys (--keys {fewer})"] if fewer < load["keys"] else []
        return f"{', '.join([*fewer_keys, 'more --connections'])}, or {wider}"
    more = [f"--size {max(8, 2 * load['burst_size'])}"]
    more += ["--processes 2"] if load["processes"] == 1 else []
    return f"{', '.join(more)}, or {wider}"
