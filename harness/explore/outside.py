"""What a program takes from outside its session: clocks, chance, files, threads, and what it remembers by itself.

None of it is a choice of the schedule, so that what would have happened had the answer been another one was not run.
It is looked for, at some cost, in the first schedules and in the last one.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

WATCHED = 5
"""So many schedules are watched from the first on."""
_CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"}
_NOWS = {"now", "utcnow", "today"}
_MODULES = {
    **dict.fromkeys(("io", "_io", "_sqlite3", "sqlite3"), "files"), "posix": "the operating system",
    "_thread": "threads of its own", "_socket": "the network", "_posixsubprocess": "other programs",
}  # fmt: skip
_OWN_LOCKS = {"allocate_lock", "get_ident", "RLock", "lock", "acquire", "release", "acquire_lock", "release_lock"}


def named(function: Any) -> str:
    """What a built-in function takes from outside, as it is said; "" for nothing."""
    module, name = getattr(function, "__module__", None), getattr(function, "__name__", "")
    bound = getattr(function, "__self__", None)
    if module == "time" and name in _CLOCKS:
        return f"asks time.{name}()"
    if name in _NOWS and isinstance(bound, type) and bound.__module__ == "datetime":
        return f"asks {bound.__name__}.{name}()"
    if bound is _SHARED or isinstance(bound, random.SystemRandom) or (module == "posix" and name == "urandom"):
        return "draws numbers that no seed gives"
    if name in _OWN_LOCKS:
        return ""
    kind = module if isinstance(module, str) else type(bound).__module__
    if isinstance(bound, ModuleType):
        kind = bound.__name__
    return f"uses {_MODULES[kind]}" if kind in _MODULES and name in _OPENING else ""


_SHARED = random.random.__self__  # type: ignore[attr-defined] # the generator behind the functions of the module
_OPENING = {
    "open", "open_code", "system", "fork", "posix_spawn", "putenv", "start_new_thread", "start_joinable_thread",
    "fork_exec", "socket", "connect",
}  # fmt: skip


@contextmanager
def watching(told: set[str]) -> Iterator[None]:
    """What a program does meanwhile is looked at; what it takes from outside is added, as it is said."""
    before = sys.getprofile()

    def look(frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and not str(frame.f_globals.get("__name__", "")).startswith(_NOT_ASKED):
            found = named(what)
            if found:
                told.add(found)
        elif event == "call" and frame.f_code is _SEED and frame.f_locals.get("a") is None:
            told.add("draws numbers that no seed gives")

    collects = gc.isenabled()
    gc.disable()  # whoever is called back when memory is collected is no part of the program
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()


_SEED = random.Random.seed.__code__
_NOT_ASKED = ("harness.", "logging")
"""Modules whose looking at a clock is not the program's, nor told to it."""
_TELLING_MODULES = {
    "random", "secrets", "uuid", "time", "datetime", "os", "io", "pathlib", "sqlite3", "threading", "socket",
    "subprocess", "open",
}  # fmt: skip


def may_take(things: Iterable[Any]) -> bool:
    """Whether the code of these objects, or what their modules name, lets one think that it takes something so.

    It then is watched in every schedule: the one in which it does may be any of them.
    """
    for thing in things:
        module = sys.modules.get(type(thing).__module__)
        named_there = vars(module) if module is not None else {}
        kinds = [vars(kind) for kind in type(thing).__mro__ if kind.__module__ == type(thing).__module__]
        codes = [found for values in (named_there, *kinds) for value in values.values() for found in _codes(value)]
        names = {name for code in codes for name in code.co_names}
        known = {*named_there, "open", *(name for code in codes for name in code.co_varnames)}
        if names & known & _TELLING_MODULES or any(
            named_there[name] in _NOW_KINDS or named(named_there[name])
            for name in names & named_there.keys()
            if isinstance(named_there[name], type | Callable)
        ):
            return True
    return False


_NOW_KINDS = (datetime, date, random.Random, random.SystemRandom, Path)


def _codes(value: Any) -> Iterator[CodeType]:
    """The code of a function, and of those in it."""
    found = getattr(getattr(value, "__func__", value), "__code__", None)
    waiting = [found] if isinstance(found, CodeType) else []
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [inner for inner in code.co_consts if isinstance(inner, CodeType)]


def kept(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """What of them is another after many schedules, as it is said."""
    changed = _changed(before, after)
    return {f"{changed[0]} is kept from one schedule to the next"} if changed else set()


def shared(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """What a program has changed of them, as it is said: here all callers see it, in life those of its process."""
    changed = _changed(before, after)
    return {f"{changed[0]} is changed by a program, and other processes do not see that"} if changed else set()


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return sorted(name for name in after if before.get(name) != after[name]) if before is not after else []
