"""Whether two values are the same JSON, which is not what Python's == says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PLAIN = frozenset({str, int, float, type(None)})


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON-like values say the same: true is not 1; a tuple is a list; 1.0 is the number 1."""
    kind, kind_of_other = type(one), type(other)
    if kind in _PLAIN and kind_of_other in _PLAIN:
        return bool(one == other)
    if kind is bool or kind_of_other is bool:
        return one is other
    if (kind is kind_of_other is dict) or (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return len(one) == len(other) and all(key in other and alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)
