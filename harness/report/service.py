"""What a screen says of a service under test: where it is, how requests met in it, what to do where nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.figures import count, microseconds, percent, plural

Document = Mapping[str, Any]


def of_service(document: Document) -> Document | None:
    """What the document says of a service; None where no service was tried."""
    found: Document | None = document.get("service")
    return found


def own(document: Document) -> bool:
    """Whether it is a service of one's own: nothing is claimed of it and no control can run."""
    service = of_service(document)
    return service is not None and not service["race_serve"]


def service_lines(document: Document) -> Iterator[tuple[str, str]]:
    """Where it is, and how requests met at its door and inside."""
    service, overlap = of_service(document), document["overlap"]
    if service is None:
        return
    described = f", by {service['target']}" if service["target"] else ""
    yield "Service", f"{service['url']}, HTTP/{service['http']}{described}"
    if many := service.get("bursts_not_let_in"):
        yield "Login", f"ran out in {plural(many, 'burst')}, of which nothing is counted, and was made again"
    spread, meeting = overlap.get("arrival_spread_us"), overlap.get("meeting")
    parts = [] if spread is None else [f"requests arrived {microseconds(spread)} apart, by its own stamps"]
    if meeting is not None and meeting["known"]:
        how = ", by your figures" if meeting["given"] else ""
        share = percent(meeting["met"] / meeting["known"])
        parts.append(f"met inside it in {count(meeting['met'])} of {count(meeting['known'])} bursts ({share} %){how}")
    if parts:
        yield "Door", "; ".join(parts)


MEANS = (
    "none was seen although requests met inside: evidence, not a proof; a gap between read and write that is much"
    " shorter than a whole handler may be missed"
)
"""What `held` means of a service of one's own."""


def service_to_do(document: Document) -> str | None:
    """The next step after a run at a service that showed nothing; None where others know better."""
    service = of_service(document)
    if service is None:
        return None
    errors = document["counts"]["errors"]
    if statuses := [code.removeprefix("http-") for code in errors if code.startswith("http-")]:
        where = service["target"] or service["url"]
        mend = "or mend the service, if it should not answer so"
        return f"say what {', '.join(statuses)} means, in replies of {where}; {mend}"
    if "is gone" in document["reason"] or errors.get("connection-lost") or errors.get("timeout"):
        return "see that the service stays up and answers, then run it again"
    if set(document["counts"]["by_decision"]) == {"aborted"}:
        return "see why the service turns everybody away: it may limit how much is asked of it"
    meeting = document["overlap"].get("meeting")
    if meeting is None:
        return None
    if not document["violations"]["judged"] or 2 * meeting["known"] < document["violations"]["judged"]:
        if service.get("senseless_stamps"):
            return (
                "mend the stamps of the service: by Race-Arrived-Ns and Race-Returned-Ns its handlers were at work"
                " before they had the whole request, its body too, or for longer than the request took"
            )
        return (
            "let the service send the headers Race-Arrived-Ns and Race-Returned-Ns (monotonic nanoseconds, when the"
            " request was read and when the handler was done); or give arrival_us and handler_us in [given]"
        )
    if 2 * meeting["met"] < meeting["known"]:
        more = max(8, 2 * document["load"]["burst_size"])
        return f"make requests meet more: --size {more}, --http 2 where the service speaks it, more of its processes"
    return None
