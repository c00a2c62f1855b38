"""States as small integers: freezing values, and asking the specification what may follow.

The search compares and remembers states millions of times. Each distinct state is interned
once, by content, and the search works with its number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.model import NOTHING, Operation, Reply, Request, Rule, Spec, State, Stretches

_STATE_BYTES = 300
_PLAIN = frozenset({str, int, type(None), bytes})
_SURE_MS = 20
"""An instant known less well than this is guessed: both ends are tried, and in between the rule may say a third."""


def freeze(value: Any, *, exact: bool = False) -> Any:
    """A hashable stand-in for a JSON-like value that is equal where the content is equal.

    Lists and tuples are the same thing, as they are in JSON; True is not 1. With `exact`, 1.0 is not 1: a rule may
    tell them apart. Raises TypeError for a value that is neither JSON-like nor hashable.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is bool:
        return ("bool", value)
    if kind is float and exact:
        return ("float", repr(value))
    if isinstance(value, list | tuple):
        return ("list", *[freeze(inner, exact=exact) for inner in value])
    if isinstance(value, Mapping):
        return ("map", frozenset((key, freeze(inner, exact=exact)) for key, inner in value.items()))
    if isinstance(value, set | frozenset):
        return ("set", frozenset(freeze(inner, exact=exact) for inner in value))
    hash(value)
    return value


Reach = Callable[[State, Request, Reply, Sequence[Request]], bool]
"""What a specification may offer as `within_reach(state, request, reply, between)`.

Whether `reply` can still be right for `request` in some state that some of the requests `between`, in some
order, lead to from `state`. True where in doubt: False cuts the search short.
"""


Runs = Callable[[Any, Sequence[tuple[Request, Reply | None]]], Stretches | None]
"""What a specification may offer as `stretches(initial value, operations)`: what answers say of their order."""


class Entry(NamedTuple):
    """An operation as the search sees it: one that must be ordered, or one that may be.

    `returned_ns` None means open to the end: it may be ordered anywhere after its invocation,
    or never. `reply` None means that any answer will do. `instants` are the Unix times
    (ms) at which the rule is asked; `guessed` says that nobody recorded them, or a stall lies between them.
    """

    id: str
    request: Request
    reply: Reply | None
    invoked_ns: int
    returned_ns: int | None
    instants: tuple[int, ...]
    guessed: bool = False


def twin_key(entry: Entry) -> Any:
    """Equal for entries that ask for the same, and are answered the same."""
    request, reply = entry.request, entry.reply
    answer = (reply.decision, freeze(reply.values)) if reply else None
    return (request.operation, request.keys, freeze(request.args), request.role, answer)


class Rest(NamedTuple):
    """What was read once everything had come to rest, and when (Unix ms)."""

    values: Mapping[str, Any]
    at_ms: int


def entries_of(operations: Iterable[Operation], unix_ns: int, end_ms: int = 0) -> list[Entry]:
    """The operations that say something about the order.

    `unix_ns` added to a monotonic time gives Unix time. An unknown operation without a recorded instant is tried at
    its invocation and at `end_ms`, the last instant that is known of (Unix ms).
    """
    entries = []
    for operation in operations:
        request, _caller, invoked_ns, returned_ns, status, reply, now_ms, now_max_ms, _error = operation
        if status == "failed" or (reply is not None and reply.decision == "aborted"):
            continue
        instants = (now_ms, now_max_ms) if now_max_ms > now_ms else (now_ms,)
        guessed = now_max_ms - now_ms > _SURE_MS
        if status == "unknown" or returned_ns is None:
            returned_ns = reply = None
            # Where the store's clock decides, it may do so long after the caller has given up.
            first_ms = now_ms or (unix_ns and (invoked_ns + unix_ns) // 1_000_000)
            if first_ms and (not now_ms or now_ms != now_max_ms):
                instants = (first_ms, max(first_ms, now_max_ms, end_ms))
                guessed = True
        entries.append(Entry(request.id, request, reply, invoked_ns, returned_ns, instants, guessed))
    return entries


class States:
    """The states of one partition by number, and the transitions between them.

    `start` is the number of the initial state. `guessed` becomes true when the answer of the
    specification depended on an instant that nobody recorded.
    """

    def __init__(
        self,
        spec: Spec,
        keys: Sequence[str],
        entries: Sequence[Entry],
        initial: Mapping[str, Any],
        rest: Rest | None,
    ) -> None:
        """`initial` may lack keys: their value is None. `rest` is checked by `fits`."""
        self._made_of = (spec, keys, entries, initial, rest)
        self.keys = tuple(keys)
        self.guessed = False
        self.size_bytes = 0
        self._spec = spec
        self._entries = entries
        self.blind: Mapping[str, bool] = getattr(spec, "blind", NOTHING)
        self.looking: Collection[str] = getattr(spec, "looking", ())
        self._at_rest: Callable[[str, Any], tuple[Request, Reply]] | None = getattr(spec, "at_rest", None)
        self._reach: Reach | None = getattr(spec, "within_reach", None)
        self._decides: Rule | None = getattr(spec, "decides", None)
        self._stretches: Runs | None = getattr(spec, "stretches", None)
        self._next = 0
        self._ids: dict[Any, int] = {}
        self._values: dict[int, Any] = {}
        self._frozen: dict[int, tuple[Any, ...]] = {}
        self._only = self.keys[0] if len(self.keys) == 1 else None
        self._place = {key: place for place, key in enumerate(self.keys)}
        self._rest_ms = rest.at_ms if rest else 0
        self._rest = {
            key: freeze(spec.view(rest.values[key], rest.at_ms)) for key in self.keys if rest and key in rest.values
        }
        self.start = self.number(initial)

    def anew(self) -> States:
        """The same, as it was at first: nothing has been asked yet."""
        return States(*self._made_of)

    def without_rest(self) -> States:
        """The same, where nobody looked at rest."""
        return States(*self._made_of[:-1], None)

    def __len__(self) -> int:
        """How many states are remembered."""
        return len(self._ids)

    def number(self, state: Mapping[str, Any]) -> int:
        """Intern a whole state."""
        if self._only is not None:
            value = state.get(self._only)
            return self._intern(freeze(value, exact=True), value)
        values = tuple(state.get(key) for key in self.keys)
        return self._intern(tuple(freeze(value, exact=True) for value in values), values)

    def state(self, number: int) -> dict[str, Any]:
        """The state behind a number."""
        values = self._values[number]
        if self._only is not None:
            return {self._only: values}
        return dict(zip(self.keys, values, strict=True))

    def forget_but(self, live: Iterable[int]) -> None:
        """Forget every state but these, to keep memory bounded. Numbers are never used twice."""
        kept = set(live)
        self.size_bytes = self.size_bytes * len(kept) // max(1, len(self._ids))
        self._ids = {frozen: number for frozen, number in self._ids.items() if number in kept}
        self._values = {number: self._values[number] for number in kept}
        if self._only is None:
            self._frozen = {number: self._frozen[number] for number in kept}

    def fits(self, number: int) -> bool:
        """Whether this state is what was found at rest."""
        if not self._rest:
            return True
        state, view = self.state(number), self._spec.view
        return all(freeze(view(state[key], self._rest_ms)) == found for key, found in self._rest.items())

    @property
    def looks_ahead(self) -> bool:
        """Whether it can also tell who looks."""
        return self._reach is not None and bool(self.looking)

    @property
    def looks_at_rest(self) -> bool:
        """Whether what was found at rest counts as a look."""
        return bool(self._rest) and self._only is not None and self._at_rest is not None

    def rest_within_reach(self, number: int, between: Sequence[Request]) -> bool:
        """Whether some of `between`, in some order, may still leave what was found at rest."""
        if self._only is None or self._at_rest is None or self._reach is None:
            return True
        request, reply = self._at_rest(self._only, self._rest[self._only])
        return self._reach({self._only: self._values[number]}, request, reply, between)

    def look_at_rest(self) -> tuple[Request, Reply] | None:
        """Who would look at what was found at rest, and what for an answer."""
        rest = self._made_of[-1]
        if self._only is None or self._at_rest is None or rest is None or self._only not in rest.values:
            return None
        return self._at_rest(self._only, self._spec.view(rest.values[self._only], rest.at_ms))

    def stretches(self, asked: Sequence[tuple[Request, Reply | None]]) -> Stretches | None:
        """What the answers say of the order; None where they do not say it, or the specification cannot tell."""
        if self._only is None or self._stretches is None or (self._rest and self._at_rest is None):
            return None
        return self._stretches(self._made_of[3].get(self._only), asked)

    @property
    def foresees(self) -> bool:
        """Whether the specification can tell what is out of reach."""
        return self._reach is not None

    def within_reach(self, number: int, place: int, between: Sequence[Request]) -> bool:
        """Whether entry `place` may still get its answer, after some of `between` in some order."""
        entry = self._entries[place]
        if self._reach is None or entry.reply is None:
            return True
        if self._only is not None:
            return self._reach({self._only: self._values[number]}, entry.request, entry.reply, between)
        state = self.state(number)
        mine = {key: state[key] for key in entry.request.keys}
        return self._reach(mine, entry.request, entry.reply, between)

    def after(self, place: int, number: int) -> tuple[int, ...]:
        """The states in which entry `place` may leave state `number`; none if it cannot happen there."""
        entry = self._entries[place]
        found = self._ask(entry, number, entry.instants[0])
        if len(entry.instants) > 1:
            later = self._ask(entry, number, entry.instants[-1])
            if later != found:
                self.guessed = self.guessed or entry.guessed
                found = tuple(dict.fromkeys(found + later))
        return found

    def _ask(self, entry: Entry, number: int, now_ms: int) -> tuple[int, ...]:
        key = self._only
        values = self._values[number]
        if key is not None and self._decides is not None:
            # What `allowed` would say, in half the time: most of the judge's time is spent here.
            changes, answer = self._decides({key: values}, entry.request, now_ms)
            if entry.reply is not None and not answer.same(entry.reply):
                return ()
            if key not in changes or (value := changes[key]) is values:
                return (number,)
            frozen = value if type(value) in _PLAIN else freeze(value, exact=True)
            known = self._ids.get(frozen)
            return (self._intern(frozen, value) if known is None else known,)
        found: list[int] = []
        if key is not None:
            for after in self._spec.allowed({key: values}, entry.request, now_ms, entry.reply):
                value = after.get(key, values)
                if value is values:
                    found.append(number)
                else:
                    frozen = value if type(value) in _PLAIN else freeze(value, exact=True)
                    known = self._ids.get(frozen)
                    found.append(self._intern(frozen, value) if known is None else known)
        else:
            place = self._place
            keys = entry.request.keys
            before = {key: values[place[key]] for key in keys}
            for after in self._spec.allowed(before, entry.request, now_ms, entry.reply):
                changed = {key: after[key] for key in keys if key in after and after[key] is not before[key]}
                found.append(self._changed(number, values, changed) if changed else number)
        return tuple(found) if len(found) < 2 else tuple(dict.fromkeys(found))

    def _changed(self, number: int, values: tuple[Any, ...], changed: Mapping[str, Any]) -> int:
        copy, frozen = list(values), list(self._frozen[number])
        for key, value in changed.items():
            place = self._place[key]
            copy[place], frozen[place] = value, freeze(value, exact=True)
        return self._intern(tuple(frozen), tuple(copy))

    def _intern(self, frozen: Any, value: Any) -> int:
        number = self._ids.get(frozen)
        if number is None:
            number = self._ids[frozen] = self._next
            self._values[number] = value
            self._next = number + 1
            if self._only is None:
                self._frozen[number] = frozen
            self.size_bytes += _STATE_BYTES
            if isinstance(frozen, str | bytes | tuple):
                self.size_bytes += len(frozen) * (1 if self._only and isinstance(frozen, str) else 16)
        return number
