"""What strategies and scenarios keep in their process, as texts that can be compared from one step to the next.

To write all of it down takes longer than the step. So it is noted what the texts were made of, and as long as each of
those objects is the same one, so are the texts.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
from abc import ABCMeta
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType, NoneType
from typing import Any

_NO_REPR: object = object.__repr__
_PLAIN = (int, float, str, bytes, bool, type(None), list, dict, set, tuple, frozenset)
_FINAL = {int, float, complex, str, bytes, bool, NoneType, FunctionType, BuiltinFunctionType, type}
_HOLDING = (dict, MappingProxyType, list, set)


class Memories:
    """What these objects, their classes and the modules of those hold."""

    def __init__(self) -> None:
        """Nothing was written down yet."""
        self._own: list[Mapping[str, Any]] = []
        self._made_of: list[Collection[Any]] = []
        self._sizes: list[int] = []
        self._content: list[Any] = []
        self._opaque: list[tuple[str, Any]] = []
        self._texts: dict[str, str] = {}

    def texts(self, things: Sequence[Any]) -> Mapping[str, str]:
        """What each name holds. The same mapping as the last time, where nothing has changed."""
        own = [vars(thing) for thing in things]
        if not self._same_ones(own) or not self._unchanged():
            self._own = own
            self._note(things)
        elif any(self._texts[name] != repr(value) for name, value in self._opaque):
            self._texts = {**self._texts, **{name: repr(value) for name, value in self._opaque}}
        return self._texts

    def _same_ones(self, own: Sequence[Mapping[str, Any]]) -> bool:
        return len(own) == len(self._own) > 0 and all(map(operator.is_, own, self._own))

    def _unchanged(self) -> bool:
        """Whether all of it holds the very objects that it did: the sizes say that none has passed on to another."""
        same = [*map(len, self._made_of)] == self._sizes
        return same and all(map(operator.is_, chain.from_iterable(self._made_of), self._content))

    def _note(self, things: Sequence[Any]) -> None:
        opaque: dict[str, Any] = {}
        texts: dict[str, str] = {}
        self._made_of = []
        for where, values in _places(things):
            self._made_of += values.keys(), values.values()
            for key, value in values.items():
                if _may_change(key, value):
                    name = f"{key} of {where}"
                    texts[name] = repr(value)
                    opaque.pop(name, None)
                    if not self._walk(value):
                        opaque[name] = value
        self._texts, self._opaque = texts, [*opaque.items()]
        self._sizes, self._content = [*map(len, self._made_of)], [*chain.from_iterable(self._made_of)]

    def _walk(self, value: Any, depth: int = 0) -> bool:
        """Note what a text was made of; whether that is all that it depends on."""
        kind = type(value)
        if kind in _FINAL or kind is ABCMeta or kind.__module__ == "pathlib":
            return True
        if depth > _DEEPEST:
            return False
        if kind in _HOLDING:
            parts = (value.keys(), value.values()) if kind in {dict, MappingProxyType} else (value,)
            self._made_of += parts
            inner: Iterable[Any] = [*chain.from_iterable(parts)]
        elif kind in {tuple, frozenset}:
            inner = value
        elif _frozen(kind):
            inner = [getattr(value, field.name) for field in dataclasses.fields(value) if field.repr]
        else:
            return False
        return all([self._walk(one, depth + 1) for one in inner])  # noqa: C419 - all of them are to be noted


_DEEPEST = 20
"""What holds itself has no end."""


def _places(things: Iterable[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for thing in things:
        kind = type(thing)
        yield kind.__name__, vars(thing)
        for one in kind.__mro__:
            if one.__module__ == kind.__module__:
                yield one.__name__, vars(one)
        module = sys.modules.get(kind.__module__)
        if module is not None and not kind.__module__.startswith("harness."):
            yield Path(module.__file__ or "").name, vars(module)


def _frozen(kind: type) -> bool:
    """Whether its objects are values of ours: what they show are their fields, which stay."""
    return (
        kind.__module__.startswith("harness.")
        and dataclasses.is_dataclass(kind)
        and bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined] # documented nowhere, and stable
    )


def _may_change(name: str, value: Any) -> bool:
    if name.startswith("__") or isinstance(value, type | ModuleType | Callable):
        return False
    return isinstance(value, _PLAIN) or getattr(type(value), "__repr__", None) is not _NO_REPR
