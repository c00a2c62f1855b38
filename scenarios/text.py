"""Texts under get, put and append; every text is empty at first.

A log, a list of tags, a note that several people add to: who reads, adds and writes back
drops what others have added meanwhile. There is nothing to it but order, so it serves to
try the harness itself, and histories that others have recorded.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from random import Random
from string import ascii_lowercase
from typing import Any

from harness import (
    DONE,
    Claim,
    CommandForm,
    NotExpressible,
    Outcome,
    Reply,
    Request,
    RowLayout,
    Rows,
    Scenario,
    ScriptForm,
    Signature,
    State,
    StatementForm,
    Stretches,
    ValueLayout,
)

WRITTEN = Reply(DONE)
MOST_TRIED = 20_000_000
"""At more places than that nobody looks for parts that begin alike."""


def got(raw: bytes | None, request: Request) -> Reply:
    """Read what the store answered to GET."""
    return Reply(DONE, {"value": (raw or b"").decode()})


def row_got(rows: Rows, request: Request) -> Reply:
    """Read the row."""
    return Reply(DONE, {"value": rows.rows[0][0]})


def written(answer: Any, request: Request) -> Reply:
    """Whatever the store answered to a write."""
    return WRITTEN


def value(request: Request, now_ms: int) -> tuple[str]:
    """The argument of a script that writes."""
    return (request.args["value"],)


def key_and_value(request: Request, now_ms: int) -> tuple[str, str]:
    """The arguments of a statement that writes."""
    return (request.key, request.args["value"])


class Text(Scenario):
    """Texts that grow at their end, or are put in one another's place."""

    name = "text"
    summary = "get, put, append on many texts; nothing that was appended is dropped"
    goes_wrong = "nothing but order: for histories of others"
    symptoms = {
        "a line that somebody added is gone": "--strategy naive",
    }
    invariant = "some order of the requests explains every answer"
    initial_value = ""
    operations = {
        "get": Signature({}, {"value": str}, decisions=(DONE,)),
        "put": Signature({"value": str}, decisions=(DONE,)),
        "append": Signature({"value": str}, decisions=(DONE,)),
    }
    looking = ("get",)
    blind = {"put": True, "append": False}
    values = ValueLayout(str, str)
    rows = RowLayout({"value": "text"}, lambda text: (text,), lambda row: row[0], "texts")
    forms = {
        "command": {
            "get": CommandForm(lambda key, _request, _now_ms: ("GET", key), got),
            "put": CommandForm(lambda key, request, _: ("SET", key, request.args.get("value", "")), written),
            "append": CommandForm(lambda key, request, _: ("APPEND", key, request.args.get("value", "")), written),
        },
        "multi": NotExpressible("each request is one command: see atomic"),
        "lua": {
            "get": ScriptForm("return redis.call('GET', KEYS[1])", lambda *_: (), got),
            "put": ScriptForm("redis.call('SET', KEYS[1], ARGV[1])", value, written),
            "append": ScriptForm("return redis.call('APPEND', KEYS[1], ARGV[1])", value, written),
        },
        "unique": NotExpressible("a value is no claim"),
        "sql": {
            "get": StatementForm(
                "SELECT coalesce(value, '') FROM texts WHERE key = $1", lambda request, _: (request.key,), row_got
            ),
            "put": StatementForm("UPDATE texts SET value = $2 WHERE key = $1", key_and_value, written),
            "append": StatementForm(
                "UPDATE texts SET value = coalesce(value, '') || $2 WHERE key = $1", key_and_value, written
            ),
        },
    }
    claims = {
        "pg-conditional:ignore-count": Claim("not-applicable", "no statement of this rule decides by its row count")
    }

    def rule(self, state: State, request: Request, now_ms: int) -> Outcome:
        """Answer the text, put another in its place, or add to its end."""
        text = state[request.key] or ""
        if request.operation == "get":
            return Outcome({}, Reply(DONE, {"value": text}))
        if request.operation == "put":
            return Outcome({request.key: request.args["value"]}, WRITTEN)
        return Outcome({request.key: text + request.args["value"]}, WRITTEN)

    def view(self, value: Any, now_ms: int) -> str:
        """No text is an empty one."""
        return value or ""

    def within_reach(self, state: State, request: Request, reply: Reply, between: Sequence[Request]) -> bool:
        """A text grows at its end, unless one is put in its place."""
        if request.operation != "get":
            return True
        seen, text = reply.values["value"], state[request.key] or ""
        if seen == text or (seen.startswith(text) and made_of(seen, len(text), between)):
            return True
        for other in between:
            if other.operation == "put":
                put = other.args["value"]
                if seen.startswith(put) and made_of(seen, len(put), between):
                    return True
        return False

    def stretches(self, initial: Any, asked: Sequence[tuple[Request, Reply | None]]) -> Stretches | None:
        """A text whose parts are all different says in which order they came."""
        return None if initial else told_by_texts(asked)

    def at_rest(self, key: str, value: Any) -> tuple[Request, Reply]:
        """What is left could be got."""
        return Request("get", (key,)), Reply(DONE, {"value": value})

    def burst(self, rng: Random, size: int) -> Sequence[Request]:
        """Two that append at once, then anything; alone, anything."""
        first = [Request("append", ("text",), {"value": letter}) for letter in "ab"] if size > 1 else []
        return [*first, *(anything(rng) for _ in range(size - len(first)))]


def made_of(text: str, start: int, requests: Sequence[Request]) -> bool:
    """Whether the text from `start` on may be what some of these append, one after the other; True where in doubt."""
    parts = [request.args["value"] for request in requests if request.operation == "append"]
    while start < len(text):
        next_ones = [part for part in parts if part and text.startswith(part, start)]
        if not next_ones:
            return False
        part = next_ones[0]
        if len(next_ones) > 1 and any(other != part for other in next_ones):
            return True
        parts.remove(part)
        start += len(part)
    return True


def told_by_texts(asked: Sequence[tuple[Request, Reply | None]]) -> Stretches | None:
    """The parts of every text that was got, in order; None where they may be others as well."""
    seen: dict[str, list[int]] = {"": []}
    parts: dict[str, int] = {}
    twice, free = set[int](), list[int]()
    for place, (request, reply) in enumerate(asked):
        if request.operation == "get":
            if reply is not None:
                seen.setdefault(reply.values["value"], []).append(place)
        elif part := request.args["value"]:
            if parts.setdefault(part, place) != place:
                twice.add(parts[part])
        elif request.operation == "append":
            free.append(place)
        else:
            return None
    puts = {place for place in parts.values() if asked[place][0].operation == "put"}
    if any(longer.startswith(part) for part, longer in pairwise(sorted(parts))):
        tried = sum(map(len, seen)) * len({len(part) for part in parts})
        written = {text: places_of(text, parts) for text in seen} if tried < MOST_TRIED else {}
        if None in written.values() or not written:
            return None
        # Each part becomes a letter, so that none begins with another; what nobody wrote is no part at all.
        seen = {
            "".join(map(chr, places or [len(asked)])) * (text != ""): seen[text] for text, places in written.items()
        }
        parts = {chr(place): place for place in parts.values()}
    found = runs_of(seen, parts, puts, twice)
    return found and found._replace(free=free)


def places_of(text: str, parts: Mapping[str, int]) -> list[int] | None:
    """Whose parts a text is made of, one after the other; none where it is not, None where it may be in two ways."""
    lengths = {len(part) for part in parts}
    before: dict[int, list[tuple[int, int]]] = {0: []}
    coming = [0]
    while coming:
        start = heappop(coming)
        for end in [start + length for length in lengths if start + length <= len(text)]:
            place = parts.get(text[start:end])
            if place is not None:
                if end not in before:
                    heappush(coming, end)
                before.setdefault(end, []).append((start, place))
    places, end = list[int](), len(text)
    while end and end in before:
        if len(before[end]) > 1:
            return None
        ((end, place),) = before[end]
        places.append(place)
    return places[::-1]


def runs_of(
    seen: Mapping[str, list[int]], parts: Mapping[str, int], puts: Collection[int], twice: Collection[int]
) -> Stretches | None:
    """The runs of texts that were got, by whom: each begins with a put, the first with nothing.

    None where a part was got that several wrote.
    """
    first = run = [seen[""]]
    runs, whole, saw = [first], "", dict[int, list[int]]()
    for text, gets in sorted(seen.items())[1:]:  # longer ones that begin alike come after shorter ones
        if not text.startswith(whole):
            run, whole = first, ""
        for at, place in parts_of(text, len(whole), parts):
            if place in twice:
                return None
            if place in puts and at == 0:
                run = []
                runs.append(run)
            elif place < 0 or place in puts:
                return Stretches(wrong=gets)
            elif at == 0 and len(first) > 1:  # what was first of all is another
                return Stretches(wrong=[*gets, *run[-1]])
            if place in saw:
                return Stretches(wrong=[*gets, *saw[place]])
            saw[place] = gets
            run.append([place])
        run.append(gets)
        whole = text
    return Stretches(runs)


def parts_of(text: str, start: int, parts: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Where each part begins, from one place on, and whose it is; -1 where it is nobody's, and that is the last."""
    lengths = {len(part) for part in parts}
    while start < len(text):
        place, end = next(
            ((parts[part], start + length) for length in lengths if (part := text[start : start + length]) in parts),
            (-1, len(text)),
        )
        yield start, place
        start = end


def anything(rng: Random) -> Request:
    """Half of them appends, a third gets, now and then a put: texts stay short."""
    operation = rng.choice(("append", "append", "append", "get", "get", "put"))
    args = {} if operation == "get" else {"value": rng.choice(ascii_lowercase)}
    return Request(operation, ("text",), args)
