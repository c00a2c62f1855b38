"""Commands and replies as one reads them: short, and in no programming language's own spelling."""

from __future__ import annotations

from typing import Any

from harness.model import Reply
from harness.strategy import Rows

_LONGEST = 60


def word(part: Any) -> str:
    """One word of a command, or an argument of a statement."""
    if isinstance(part, bytes):
        return part.decode(errors="replace")
    return "null" if part is None else str(part)


def reply(answer: Any) -> str:
    """What a store or an owner answered."""
    text = _text(answer)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]}.."


def _text(answer: Any) -> str:
    if isinstance(answer, Rows):
        if not answer.rows:
            return f"{answer.count} row{'s' if answer.count != 1 else ''}"
        return "; ".join(", ".join(map(word, row)) for row in answer.rows)
    if isinstance(answer, list):
        return f"[{', '.join('(none)' if one is None else _text(one) for one in answer)}]"
    if isinstance(answer, tuple) and answer and isinstance(answer[0], Reply):
        return answer[0].decision
    return "(none)" if answer is None else word(answer)
