"""What a step touches, and when two steps may not change places.

Two steps are independent when neither order can be told from the other, by anybody, ever.
The search leaves out orders on the strength of this, so every doubt counts as dependence:
what is not known to be narrow touches everything in its store.

Resources are named by strings: `redis:<key>`, `lock:<key>` and `data:<key>` of PostgreSQL
(who holds a row, what is committed in it), `adv` (advisory locks), `commits` (what a snapshot
above read committed sees), `sequences`, `tied` (what constraints tie to other rows), `ssi`, `pg`
(all of PostgreSQL), `mutex:<name>`, `pool:<process>`, `owner:<name>`, `effects`, `clock`. `ends:<key>`: when a key of
Redis ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

_EMPTY: frozenset[str] = frozenset()


class Touch(NamedTuple):
    """Resources read and written. `invokes`, `returns`: a request begins, or is answered, with this step.

    `adds`: something of its own was done to what many share, as a COMMIT adds to all that is committed. Two who add
    may change places, one who adds and one who reads or writes may not.

    An answer and somebody else's invocation do not change places: whether one request was over
    before another began is what the judge goes by.
    """

    reads: frozenset[str] = _EMPTY
    writes: frozenset[str] = _EMPTY
    everything: bool = False
    invokes: bool = False
    returns: bool = False
    adds: frozenset[str] = _EMPTY

    def conflicts(self, other: Touch) -> bool:
        """Whether the order of two steps of different callers may matter."""
        if self.everything or other.everything:
            return True
        if (self.invokes and other.returns) or (self.returns and other.invokes):
            return True
        if disturbs(self, other) or not self.reads.isdisjoint(other.writes):
            return True
        return bool(other.adds) and not (other.adds.isdisjoint(self.reads) and other.adds.isdisjoint(self.writes))

    def with_(self, other: Touch) -> Touch:
        """Both together."""
        if other is NOWHERE:
            return self
        if self is NOWHERE:
            return other
        return Touch(
            self.reads | other.reads,
            self.writes | other.writes,
            self.everything or other.everything,
            self.invokes or other.invokes,
            self.returns or other.returns,
            self.adds | other.adds,
        )


NOWHERE = Touch()
EVERYTHING = Touch(everything=True)


def disturbs(step: Touch, poll: Touch) -> bool:
    """Whether a step may change what a poll would find."""
    if step.everything:
        return True
    writes, adds = step.writes, step.adds
    if writes and not (writes.isdisjoint(poll.writes) and writes.isdisjoint(poll.reads)):
        return True
    if writes and poll.adds and not writes.isdisjoint(poll.adds):
        return True
    return bool(adds) and not (adds.isdisjoint(poll.reads) and adds.isdisjoint(poll.writes))


def reads(*resources: str) -> Touch:
    """Reads only."""
    return Touch(reads=frozenset(resources))


def writes(*resources: str) -> Touch:
    """Writes only."""
    return Touch(writes=frozenset(resources))


# Redis


@dataclass(frozen=True, slots=True)
class CommandKind:
    """What the server says of a command: where its keys are, and whether it only reads."""

    readonly: bool
    first: int
    last: int
    step: int
    movable: bool


LOCAL = frozenset({"MULTI", "UNWATCH", "DISCARD", "PING", "ECHO"})
"""They concern their own connection only."""

_CONDITIONAL = {
    "SET": None,
    "SETNX": 0,
    "DEL": 0,
    "UNLINK": 0,
    "EXPIRE": 0,
    "PEXPIRE": 0,
    "PERSIST": 0,
    "HSETNX": 0,
    "SADD": 0,
    "SREM": 0,
    "ZREM": 0,
    "HDEL": 0,
    "LREM": 0,
}
"""Writes whose reply tells that they changed nothing."""


def command_touch(words: tuple[str, ...], kinds: Mapping[str, CommandKind | None]) -> Touch:
    """What a command may touch, before it is sent."""
    name = words[0].upper()
    if name in LOCAL:
        return NOWHERE
    kind = kinds.get(name)
    if kind is not None and name in _STREAMS and (streams := _streams(words)):
        return reads(*streams) if kind.readonly else writes(*streams)
    if kind is None or kind.movable or kind.first == 0:
        return EVERYTHING
    last = kind.last if kind.last > 0 else len(words) + kind.last
    keys = [f"redis:{words[place]}" for place in range(kind.first, min(last, len(words) - 1) + 1, kind.step)]
    if name in _ENDS:
        keys += lives(keys)
    if kind.readonly or name == "WATCH":
        return reads(*keys)
    return writes(*keys)


_ENDS = frozenset({"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"})
"""They read when a key ends."""


def lives(keys: Iterable[str]) -> list[str]:
    """When the keys end: a renewal changes that, and nothing that other commands read."""
    return [key.replace("redis:", "ends:", 1) for key in keys]


_STREAMS = frozenset({"XREAD", "XREADGROUP"})
"""The keys are the first half of what follows STREAMS."""


def _streams(words: tuple[str, ...]) -> list[str]:
    place = next((place for place, word in enumerate(words) if word.upper() == "STREAMS"), len(words)) + 1
    return [f"redis:{word}" for word in words[place : place + (len(words) - place) // 2]]


def command_touched(words: tuple[str, ...], before: Touch, reply: object) -> Touch:
    """What it did touch, now that its reply is known: a refused SET NX has only looked."""
    name = words[0].upper()
    if name not in _CONDITIONAL or before.everything:
        return before
    nothing = _CONDITIONAL[name]
    if reply != nothing or (name == "SET" and "GET" in (word.upper() for word in words[3:])):
        return before
    return Touch(reads=before.reads | before.writes)
