"""Times to live: by the schedule's clock, although the store's is real.

Each is sent to the store as one so long that no schedule outlives it, and that tells when it ends by the schedule's
clock: a millisecond of that clock is a thousand seconds of the store's, after some hundreds of years. So longer is
still longer, whatever a command compares, and however slow the machine is no key ends before the schedule says so.
Who asks how long a key lives is told the schedule's time. What scripts say to the store is seen by `script`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

FAR_MS = 10**13
STRETCH = 10**6
MOST_MS = 3_000_000_000_000
"""What lives for a hundred years does not end in a schedule."""
UNITS = {"EX": (1_000, False), "PX": (1, False), "EXAT": (1_000, True), "PXAT": (1, True)}
"""Options that say when a key ends: milliseconds of a unit, and whether it is an instant."""
WHOLE = {
    "EXPIRE": ("PEXPIRE", "EX"), "PEXPIRE": ("PEXPIRE", "PX"), "EXPIREAT": ("PEXPIRE", "EXAT"),
    "PEXPIREAT": ("PEXPIRE", "PXAT"), "SETEX": ("PSETEX", "EX"), "PSETEX": ("PSETEX", "PX"),
}  # fmt: skip
"""Commands that say so in their third word."""
SETTING = frozenset({*WHOLE, "SET", "GETEX"})
ASKING = frozenset({"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"})
OWN_CLOCK = {
    **dict.fromkeys(("HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HSETEX", "HGETEX"), "fields of a hash end"),
    **dict.fromkeys(("EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"), "what a script by its digest or name does goes"),
    "RESTORE": "what RESTORE brings back ends",
    **dict.fromkeys(("XAUTOCLAIM", "XCLAIM", "XPENDING", "OBJECT"), "how long something has lain idle goes"),
}
"""Commands that go by the store's own clock, or may."""
UNCHOSEN = {
    **dict.fromkeys(("SPOP", "SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER", "RANDOMKEY", "ACL"), "draws"),
    **dict.fromkeys(
        ("INFO", "CLIENT", "DBSIZE", "MEMORY", "LASTSAVE", "SLOWLOG", "LATENCY", "ROLE", "CONFIG", "DEBUG"), "tells"
    ),
}  # fmt: skip
"""Commands whose answers the server draws, or tells of itself."""
_COARSE_MS = 50


class Leases:
    """What the keys of one schedule have left. `began_ms` is when it began by its own clock."""

    def __init__(self, began_ms: int) -> None:
        """Nothing has been asked yet."""
        self.began_ms = began_ms
        self._shortest_ms: float = inf

    def far(self, end_ms: int) -> int:
        """The time to live, for the store, of what ends at an instant of the schedule."""
        return FAR_MS + (end_ms - self.began_ms) * STRETCH

    def sent(self, words: Sequence[Any], now_ms: int) -> tuple[Any, ...]:
        """A command as the store gets it: with a time to live that says when it ends, or asking for one."""
        name = _text(words[0]).upper()
        if name in ASKING and len(words) == 2:
            return ("PTTL", words[1])
        if name in WHOLE and len(words) > 2:
            command, unit = WHOLE[name]
            length = self._length(unit, words[2], now_ms)
            if length is None:
                return tuple(words)
            if length <= 0 and command == "PEXPIRE":
                return (command, words[1], 0, *words[3:])
            return (command, words[1], self.far(now_ms + length), *words[3:]) if length > 0 else tuple(words)
        if name in {"SET", "GETEX"}:
            for place in range(3 if name == "SET" else 2, len(words) - 1):
                length = self._length(_text(words[place]).upper(), words[place + 1], now_ms)
                if length is not None:
                    end = ("PX", self.far(now_ms + length)) if length > 0 else ("PXAT", 1)
                    return (*words[:place], *end, *words[place + 2 :])
        return tuple(words)

    def end_set(self, words: Sequence[Any], now_ms: int) -> int | None:
        """When what a command sets ends; None where it sets nothing."""
        far = next((word for word in self.sent(words, now_ms) if isinstance(word, int) and word >= FAR_MS), None)
        return None if far is None else self.end_of(far)

    def end_of(self, ttl_ms: int) -> int:
        """When by the schedule's clock, of a time to live that tells."""
        return self.began_ms + -(-(ttl_ms - FAR_MS) // STRETCH)

    @staticmethod
    def _length(unit: str, amount: Any, now_ms: int) -> int | None:
        """In how many milliseconds; None for no option of these, or what the store refuses or never ends."""
        if unit not in UNITS:
            return None
        factor, instant = UNITS[unit]
        try:
            length = int(_text(amount)) * factor
        except ValueError:
            return None
        if not instant and length <= 0:
            return None
        length -= now_ms * instant
        return length if length < MOST_MS else None

    def told(self, asked: str, ttl_ms: Any, now_ms: int) -> Any:
        """What somebody is told who asked when a key ends."""
        if not isinstance(ttl_ms, int) or ttl_ms < 0:
            return ttl_ms
        left = self.left_ms(ttl_ms, now_ms)
        known = {"TTL": (left + 500) // 1_000, "PTTL": left, "EXPIRETIME": (now_ms + left + 500) // 1_000}
        return known.get(asked, now_ms + left)

    def left_ms(self, ttl_ms: int, now_ms: int) -> int:
        """What is left by the schedule's clock, where the store says so much."""
        if ttl_ms >= FAR_MS:
            return max(0, self.end_of(ttl_ms) - now_ms)
        # Nobody lengthened it. It is known about, and it must outlast the schedule.
        self._shortest_ms = min(self._shortest_ms, ttl_ms)
        return -(-ttl_ms // _COARSE_MS) * _COARSE_MS

    def outlasted_by(self, elapsed_ms: float) -> bool:
        """Whether so long a schedule may have met a key that really vanished."""
        return elapsed_ms >= self._shortest_ms / 2


def _text(word: Any) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
