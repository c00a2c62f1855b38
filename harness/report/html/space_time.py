"""A counterexample as a space-time diagram: a line of life for each caller, time downwards. Geometry only.

What a step is, is read from the words of its explanation, which are the same for every rendering.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from harness.report.figures import cut, wrapped
from harness.report.interleaving import answer_of, fewer, head, since_beginning

Document = Mapping[str, Any]
Kind = Literal["step", "effect", "decided", "fault", "crash", "pause", "error"]

_CHAR = 7.25
"""Width of a character, in pixels: the diagrams' font is of fixed width."""
_LINE, _GAP, _TOP, _SIDE = 17, 13, 46, 44
_WIDE, _NARROW = 1040, 40
"""Of the whole diagram, and between lines of life where texts stand beside all of them."""
_MOST_LINES = 4
_MOST_BESIDE = 3
"""So many callers have their texts in columns of their own."""
_TIP_CHARS = 64
_STORY = [re.compile(rf"\b{words} (\d+)") for words in ("it read at", "decided at", "step")]
"""How an explanation names the read, the decision, and what made untrue what was read."""


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text: where its baseline is, and what it is of (`command`, `reply`, `outcome`)."""

    x: float
    y: float
    words: str
    of: str


@dataclass(frozen=True, slots=True)
class Stroke:
    """A piece of a line of life, or of work that goes on: `alive`, `waits`, `paused`, `work`, `stale`."""

    x: float
    top: float
    bottom: float
    kind: str


@dataclass(frozen=True, slots=True)
class Tip:
    """What hovering over a step, or going to it by keyboard, shows."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A step: a mark on its caller's line, with its texts."""

    number: int
    caller: str
    x: float
    y: float
    top: float
    height: float
    kind: Kind
    told: bool
    waited: bool
    lost: bool
    leader: float | None
    texts: tuple[Text, ...]
    label: str
    tip: Tip


@dataclass(frozen=True, slots=True)
class Lane:
    """A caller: its heading, and from where to where it lives."""

    letter: str
    name: str
    x: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class SpaceTime:
    """All that is to be drawn, in pixels."""

    width: float
    height: float
    lanes: tuple[Lane, ...]
    strokes: tuple[Stroke, ...]
    nodes: tuple[Node, ...]
    arrow: tuple[float, float, float] | None
    """Of the step that made untrue what had been read: from x, to x, at y."""
    note: str
    left_out: str = ""
    legend: tuple[str, ...] = field(default=())


def space_time(counterexample: Document, note: str = "") -> SpaceTime | None:
    """The diagram of a counterexample's steps; None where it has none. Of many callers, those that tell the story.

    A step that waited stands where it was answered; with `as_sent`, where it was sent.
    """
    every = [letter for letter, _name in counterexample["columns"]]
    why = counterexample.get("why") or ""
    steps, begins = since_beginning(counterexample["steps"])
    steps, letters, left_out = fewer(steps, every, why)
    left_out = "; ".join(filter(None, (begins, left_out)))
    if not steps:
        return None
    grid = _Grid.of(letters)
    told = {int(number) for number in re.findall(r"\b(?:at|step) (\d+)", why)}
    nodes: list[Node] = []
    y = float(_TOP)
    for step in steps:
        above = 2 * len(nodes) >= len(steps)
        node = _node(step, grid, y, told=step["step"] in told, above=above)
        nodes.append(node)
        y += node.height
    bottom = y + 4
    lanes = [Lane(letter, head(letter), grid.x(letter), _TOP - 12, bottom) for letter in letters]
    lanes = [_ended(lane, nodes) for lane in lanes]
    waits_after = bool(counterexample.get("as_sent"))
    strokes = [stroke for lane in lanes for stroke in _strokes(lane, nodes, waits_after=waits_after)]
    arrow, stale = _story(why, nodes)
    note = note or (
        "one order that fits the times"
        if counterexample.get("fits", True)
        else "in the order of the answers: no order was found that fits"
    )
    strokes = [*stale, *strokes]
    height = max(bottom + 22, *(node.tip.y + node.tip.height + 6 for node in nodes))
    return SpaceTime(
        _WIDE, height, tuple(lanes), tuple(strokes), tuple(nodes), arrow, note, left_out, _legend(strokes, nodes)
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where callers and texts stand."""

    letters: Sequence[str]
    pitch: float
    text: float | None
    """Where all texts begin; None where each stands beside its caller's line."""

    @classmethod
    def of(cls, letters: Sequence[str]) -> _Grid:
        if len(letters) <= _MOST_BESIDE:
            return cls(letters, (_WIDE - _SIDE) / len(letters), None)
        return cls(letters, _NARROW, _SIDE + _NARROW * len(letters))

    def x(self, letter: str) -> float:
        return _SIDE + 16 + self.pitch * self.letters.index(letter)

    def beside(self, letter: str) -> tuple[float, int]:
        """Where texts of a caller begin, and how many characters there is room for."""
        x = self.x(letter) + 18 if self.text is None else self.text
        room = self.pitch - 44 if self.text is None else _WIDE - self.text - 8
        return x, int(room / _CHAR)


def _node(step: Document, grid: _Grid, top: float, *, told: bool, above: bool) -> Node:
    x, room = grid.beside(step["caller"])
    lines = [(words, "command") for words in _fitted(step["command"], room)]
    lost = step["reply"] == "(reply lost)"
    if step["reply"]:
        waited = "  (waited)" if step["blocked"] else ""
        lines += [(words, "lost" if lost else "reply") for words in _fitted(f"→ {step['reply']}{waited}", room)]
    if step["outcome"] and _kind(step) != "crash":  # nobody is there to be told
        lines += [(words, "outcome") for words in _fitted(answer_of(step), room)]
    texts = tuple(Text(x, top + 4 + _LINE * place, words, of) for place, (words, of) in enumerate(lines))
    return Node(
        number=step["step"],
        caller=step["caller"],
        x=grid.x(step["caller"]),
        y=top,
        top=top - _LINE / 2 - _GAP / 2,
        height=_LINE * len(lines) + _GAP,
        kind=_kind(step),
        told=told,
        waited=bool(step["blocked"]),
        lost=lost,
        leader=None if grid.text is None else grid.text - 6,
        texts=texts,
        label=_label(step),
        tip=_tip(step, x, top, above=above),
    )


def _fitted(text: str, room: int) -> list[str]:
    """The text in a few lines, without its middle where they would be too many."""
    lines = wrapped(text, room, "  ")
    longest = room * _MOST_LINES
    while len(lines) > _MOST_LINES:
        longest -= 8
        lines = wrapped(cut(text, longest), room, "  ")
    return lines


def _kind(step: Document) -> Kind:
    command = step["command"]
    if command.startswith("(crashes"):
        return "crash"
    if command.startswith("(paused"):
        return "pause"
    if command.startswith("(") or step["reply"] == "(reply lost)":
        return "fault"
    if step["reply"].startswith("! "):
        return "error"
    if _effect(command) is not None and not step["reply"]:
        return "effect"
    return "decided" if step["outcome"] else "step"


def _effect(command: str) -> tuple[str, bool] | None:
    """Name of an effect, and whether it begins."""
    name, _space, verb = command.rpartition(" ")
    return (name, verb == "begins") if name and verb in {"begins", "ends"} else None


def _label(step: Document) -> str:
    """For who hears the diagram."""
    parts = [f"Step {step['step']}, {head(step['caller'])}: {step['command']}"]
    parts += ["it had to wait"] if step["blocked"] else []
    parts += [f"reply: {step['reply']}"] if step["reply"] else []
    parts += [f"the caller is told: {answer_of(step)}"] if answer_of(step) else []
    return "; ".join(parts)


def _tip(step: Document, x: float, y: float, *, above: bool) -> Tip:
    """The whole of a step, whatever was cut beside its line; above it or below, where more of the diagram is."""
    lines = [(f"{step['step']}  {head(step['caller'])}", "heading")]
    lines += [(words, "command") for words in wrapped(step["command"], _TIP_CHARS, "  ")[:12]]
    lines += [("it had to wait for another caller", "wait")] if step["blocked"] else []
    reply = step["reply"] or "no reply: nothing was asked of a store"
    lines += [(words, "reply") for words in wrapped(f"→ {reply}", _TIP_CHARS, "  ")[:8]]
    lines += [(f"the caller is told: {answer_of(step)}", "outcome")] if answer_of(step) else []
    width = max(len(words) for words, _of in lines) * _CHAR + 24
    left = min(x - 8, _WIDE - width - 4)
    height = _LINE * len(lines) + 14
    top = y - height - 12 if above and y - height - 12 > 0 else y + 12
    texts = tuple(Text(left + 12, top + 19 + _LINE * place, words, of) for place, (words, of) in enumerate(lines))
    return Tip(left, top, width, height, texts)


def _ended(lane: Lane, nodes: Sequence[Node]) -> Lane:
    """A line ends where its caller crashes, unless somebody goes on under its name."""
    own = [node for node in nodes if node.caller == lane.letter]
    if own and own[-1].kind == "crash":
        return Lane(lane.letter, lane.name, lane.x, lane.top, own[-1].y)
    return lane


def _strokes(lane: Lane, nodes: Sequence[Node], *, waits_after: bool) -> Iterator[Stroke]:
    """How a caller spends its time: between two of its steps it is alive, waits, or is paused; below, at work."""
    own = [node for node in nodes if node.caller == lane.letter]
    if own[:1] and own[0].waited and not waits_after:
        yield Stroke(lane.x, lane.top, own[0].y, "waits")
    for before, after in pairwise([*own, None]):
        assert before is not None
        end = lane.bottom if after is None else after.y
        if before.waited and waits_after:
            freed = _freed(before, end, nodes)
            yield Stroke(lane.x, before.y, freed, "waits")
            yield Stroke(lane.x, freed, end if after is not None else freed, "alive")
        elif after is not None:
            waited = after.waited and not waits_after
            kind = "waits" if waited else "paused" if before.kind == "pause" else "alive"
            yield Stroke(lane.x, before.y, after.y, kind)
    yield from _work(lane, own)


def _freed(waiting: Node, end: float, nodes: Sequence[Node]) -> float:
    """Where a statement that stands where it was sent has its answer: behind the end of another transaction."""
    for node in nodes:
        over = node.texts[0].words in {"COMMIT", "ROLLBACK"} or node.kind == "error"
        if waiting.y < node.y < end and node.caller != waiting.caller and over:
            return node.y
    return end


def _work(lane: Lane, own: Sequence[Node]) -> Iterator[Stroke]:
    """From the begin of an effect to its end; one that has none goes on."""
    begun: dict[str, float] = {}
    for node in own:
        effect = _effect(node.texts[0].words) if node.kind == "effect" else None
        if effect is None:
            continue
        name, begins = effect
        if begins:
            begun[name] = node.y
        elif name in begun:
            yield Stroke(lane.x, begun.pop(name), node.y, "work")
    for top in begun.values():
        yield Stroke(lane.x, top, lane.bottom, "work")


def _story(why: str, nodes: Sequence[Node]) -> tuple[tuple[float, float, float] | None, list[Stroke]]:
    """What was read and had become untrue: from the read to the decision, and the step between that did it."""
    by_number = {node.number: node for node in nodes}
    found = [pattern.search(why) for pattern in _STORY]
    read, decided, untrue = (by_number.get(int(match[1])) if match else None for match in found)
    if read is None or decided is None or untrue is None or untrue.x == decided.x:
        return None, []
    inward = 1 if decided.x > untrue.x else -1
    begin, end = untrue.x + 8 * inward, decided.x - 8 * inward
    text = untrue.texts[0]
    if untrue.x < text.x < end:  # its own text stands in the way
        begin = min(text.x + _CHAR * len(text.words) + 8, end - 16)
    return (begin, end, untrue.y), [Stroke(decided.x, untrue.y, decided.y, "stale")]


def _legend(strokes: Sequence[Stroke], nodes: Sequence[Node]) -> tuple[str, ...]:
    """What of the signs occurs."""
    kinds = [stroke.kind for stroke in strokes] + [node.kind for node in nodes]
    return tuple(
        kind for kind in ("work", "waits", "stale", "decided", "paused", "crash", "fault", "error") if kind in kinds
    )
