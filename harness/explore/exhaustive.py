"""Every schedule, but for those that differ from another only in the order of independent steps.

Depth first. Where two steps of a schedule depend on each other and could have come the other
way round, the other way is tried, too (dynamic partial-order reduction: Flanagan and Godefroid
2005, with the source sets of Abdulla et al. 2014); what was tried already sleeps until
something that it depends on happens (sleep sets: Godefroid 1996). Faults are tried wherever they
can happen. With `reduce` False every order is run: the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.explore.event import Choice, Event, differs
from harness.explore.touch import Touch

_BY_ITSELF = ("victim", "time")


@dataclass(slots=True)
class _Node:
    """A point of the schedule at which something was chosen."""

    choices: tuple[Choice, ...]
    todo: list[Choice]
    sleeping: dict[Choice, Touch]
    chosen: Choice
    switches: int
    did: tuple[object, ...] | None = None
    done: dict[Choice, Touch] = field(default_factory=dict)


class Exhaustive:
    """Depth first. `most_switches` bounds how often a caller that could go on is left for another."""

    persists = False

    def __init__(self, *, reduce: bool = True, most_switches: int | None = None) -> None:
        """`exhausted` is only true without a bound, or where the bound left nothing out."""
        self.exhausted = False
        self.pruned = 0
        self.diverged = ""
        self.bounded = False
        self._reduce = reduce
        self._most_switches = most_switches
        self._nodes: list[_Node] = []
        self._depth = 0
        self._at: list[int] = []
        self._known = 0
        """So many of the nodes were there when this schedule began."""

    def choose(self, choices: Sequence[Choice], events: Sequence[Event]) -> Choice | None:
        """Along the path to the last branching point, then whatever does not sleep, the same caller first."""
        if self._depth < len(self._nodes):
            node = self._nodes[self._depth]
            self._depth += 1
            self._at.append(len(events))
            if node.choices == tuple(choices):
                return node.chosen
            self.diverged = f"after {len(events)} steps {_told(node.choices)} could go on, and then {_told(choices)}"
            return None
        before = self._nodes[-1] if self._nodes else None
        sleeping = self._still_asleep(before, events) if before is not None and self._reduce else {}
        awake = [choice for choice in choices if choice not in sleeping]
        allowed = self._within_bound(awake, before, choices)
        if not allowed:
            self.pruned += 1
            return None
        chosen = _first(allowed, before.chosen.caller if before is not None else "")
        switches = 0 if before is None else before.switches + _switched(before.chosen, chosen, choices)
        others = [choice for choice in allowed if choice != chosen]
        todo = [choice for choice in others if not self._reduce or choice.kind != "step"]
        self._nodes.append(_Node(tuple(choices), todo, sleeping, chosen, switches))
        self._at.append(len(events))
        self._depth += 1
        return chosen

    def finished(self, events: Sequence[Event]) -> bool:
        """Add what this schedule showed to be worth trying; go back to the last point with something left."""
        nodes = self._nodes
        if self._depth < len(nodes) and not self.diverged:
            self.diverged = f"a schedule ended after {len(events)} steps that had gone on"
        for place, node in enumerate(nodes):
            if place < len(self._at) and self._at[place] < len(events):
                event = events[self._at[place]]
                did = event.did
                if node.did is not None and node.did != did:
                    self.diverged = self.diverged or differs(node.did, did)
                    continue
                node.did = did
                node.done[node.chosen] = event.touch
        if self.diverged:
            return False
        if self._reduce:
            self._add_reversals(events)
        while nodes:
            node = nodes[-1]
            node.sleeping.setdefault(node.chosen, node.done.get(node.chosen, Touch(everything=True)))
            todo = [choice for choice in node.todo if choice not in node.done and choice not in node.sleeping]
            if todo:
                node.todo = todo
                before = nodes[-2] if len(nodes) > 1 else None
                node.chosen, node.did = todo[0], None
                node.switches = (
                    0 if before is None else before.switches + _switched(before.chosen, node.chosen, node.choices)
                )
                self._known = len(nodes)
                self.again()
                return True
            nodes.pop()
        self.exhausted = not self.bounded
        return False

    def again(self) -> None:
        """Along the same path."""
        del self._nodes[self._known :]
        self.diverged = ""
        self._depth = 0
        self._at = []

    def _still_asleep(self, before: _Node, events: Sequence[Event]) -> dict[Choice, Touch]:
        """What slept, or was tried, before the last step and has nothing to do with it."""
        event = events[-1]
        if event.choice.kind in _BY_ITSELF:
            return {}
        touch = event.touch
        return {
            choice: tried
            for choice, tried in before.sleeping.items()
            if choice.caller != event.choice.caller and choice != before.chosen and not tried.conflicts(touch)
        }

    def _within_bound(self, awake: list[Choice], before: _Node | None, choices: Sequence[Choice]) -> list[Choice]:
        if self._most_switches is None or before is None:
            return awake
        left = self._most_switches - before.switches
        allowed = [choice for choice in awake if _switched(before.chosen, choice, choices) <= left]
        self.bounded = self.bounded or len(allowed) < len(awake)
        return allowed

    # Races

    def _add_reversals(self, events: Sequence[Event]) -> None:
        """For each pair of dependent steps that nothing ordered: try the later one at the place of the earlier."""
        node_of = dict(zip(self._at, self._nodes, strict=False))
        touches = [event.touch for event in events]
        happens = _happens_before(events, touches)
        for late, event in enumerate(events):
            if late in node_of:
                _try_before(node_of[late], event.ended)
            earlier = happens[late] & ~(1 << late)
            for early in range(late - 1, -1, -1):
                if not earlier >> early & 1:
                    continue
                caller = event.choice.caller
                if caller == events[early].choice.caller or caller in events[early].woke:
                    continue  # its own step before, or the one that made it possible
                # Something in between that both are tied to orders them already.
                between = earlier & ~((1 << (early + 1)) - 1)
                if any(between >> middle & 1 and happens[middle] >> early & 1 for middle in range(early + 1, late)):
                    continue
                node = node_of.get(early)
                if node is not None:
                    self._try_instead(node, early, late, events, happens)

    def _try_instead(self, node: _Node, early: int, late: int, events: Sequence[Event], happens: Sequence[int]) -> None:
        """Source sets: one of those who could begin an order in which the later step comes first."""
        apart = [place for place in range(early + 1, late) if not happens[place] >> early & 1] + [late]
        mask = sum(1 << place for place in apart)
        initials = {events[place].choice for place in apart if not happens[place] & mask & ~(1 << place)}
        # One that sleeps will do: what it begins has been run already (Abdulla et al. 2014, the test of optimal DPOR).
        known = {*node.done, *node.todo, node.chosen, *node.sleeping}
        if any(choice in known for choice in initials if choice in node.choices):
            return
        possible = [choice for choice in node.choices if choice in initials]
        if possible:
            node.todo.append(possible[0])
        else:  # whoever it is could not move there: anybody may have made it possible
            node.todo += [choice for choice in node.choices if choice not in known and choice.kind == "step"]


def _try_before(node: _Node, ended: Sequence[str]) -> None:
    """Whoever was ended by this step may take one of its own before: that it never did, no race would show."""
    for caller in ended:
        choice = Choice("step", caller)
        if choice in node.choices and choice not in {*node.done, *node.todo, node.chosen, *node.sleeping}:
            node.todo.append(choice)


def _happens_before(events: Sequence[Event], touches: Sequence[Touch]) -> list[int]:
    """For each event the events, as bits, that come before it in every equivalent order, and itself."""
    happens: list[int] = []
    last: dict[str, int] = {}
    for place, event in enumerate(events):
        bits = 1 << place
        mine = {event.choice.caller, *event.woke}
        for caller in mine:
            if caller in last:
                bits |= last[caller]
        touch = touches[place]
        for other in range(place - 1, -1, -1):
            if not bits >> other & 1 and touches[other].conflicts(touch):
                bits |= happens[other]
        happens.append(bits)
        for caller in mine:
            last[caller] = bits
    return happens


def _told(choices: Sequence[Choice]) -> str:
    return (
        " ".join(f"{choice.caller}" + f" ({choice.kind})" * (choice.kind != "step") for choice in choices) or "nobody"
    )


def _first(choices: Sequence[Choice], caller: str) -> Choice:
    """Go on with the same caller where that is possible: the schedules with few switches come first."""
    steps = [choice for choice in choices if choice.kind not in _FAULTS]
    return next((choice for choice in steps if choice.caller == caller), (steps or list(choices))[0])


_FAULTS = ("crash", "crash-late", "pause", "later", "lost-reply", "duplicate", "persist")


def _switched(before: Choice, after: Choice, choices: Sequence[Choice]) -> int:
    """1 where a caller that could have gone on was left for another."""
    return int(
        after.caller != before.caller and any(one.caller == before.caller and one.kind == "step" for one in choices)
    )
