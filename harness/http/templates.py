"""The small language of a target file: `{name}` in texts, `env:NAME` for secrets, `/pointer` into JSON answers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from harness.model import Request, UsageError
from harness.strategy.loader import nearest

_PLACE = re.compile(r"\{([A-Za-z_][\w]*)\}")
_ENV = re.compile(r"(?<![^\s=:\"'])env:([A-Za-z_]\w*)")
WORDS = ("key", "keys", "key1", "key2", "number", "run", "attempt", "id", "role", "operation")
"""What every request has, besides its arguments."""


class Secrets:
    """Values of environment variables that were asked for: shown as their names, and taken out of what is kept."""

    def __init__(self) -> None:
        """None yet."""
        self._values: dict[str, str] = {}

    def put_in(self, text: str, where: str) -> str:
        """The text with its variables' values. Raises UsageError where one is not set."""

        def value(found: re.Match[str]) -> str:
            name = found[1]
            content = os.environ.get(name, "")
            if not content:
                raise UsageError(f"{where}: the environment variable {name} is not set")
            if not content.isprintable():
                raise UsageError(f"{where}: the environment variable {name} holds more than one line")
            self._values[content] = f"env:{name}"
            return content

        return _ENV.sub(value, text)

    def keep(self, text: str, name: str) -> None:
        """This is a secret, too, though it stands in the file."""
        if text:
            self._values.setdefault(text, name)

    def __iter__(self) -> Any:
        """The secrets themselves."""
        return iter(self._values)


def check(text: str, where: str, args: Mapping[str, Any] | None) -> None:
    """Refuse places that nothing fills in. `args` None: they are not known. Raises UsageError."""
    for name in _PLACE.findall(text):
        known = [*WORDS, *(args or ())]
        if args is not None and name not in known:
            raise UsageError(f"{where}: nothing fills in {{{name}}}; {nearest(name, known)}")


def words_of(request: Request, run: str) -> dict[str, Any]:
    """What fills in the places of a request's texts. `number` is new for every key of every run.

    A request that is no part of an attempt is one by itself.
    """
    keys = request.keys
    counted = int(run, 16) % 1_000_000_000 + int(keys[0].rpartition("-")[2] or 0) if keys else 0
    return {
        "key": keys[0] if keys else "", "keys": ",".join(keys), "key1": keys[0] if keys else "",
        "key2": keys[1] if len(keys) > 1 else "", "number": counted, "run": run,
        "attempt": request.attempt or request.id, "id": request.id, "role": request.role,
        "operation": request.operation, **request.args,
    }  # fmt: skip


def filled(text: str, words: Mapping[str, Any], plain: Callable[[Any], str] = str) -> str:
    """The text with its places filled in."""
    return _PLACE.sub(lambda found: plain(words[found[1]]) if found[1] in words else found[0], text)


def filled_path(text: str, words: Mapping[str, Any]) -> str:
    """The same for a path: what is filled in cannot change where it leads."""
    return filled(text, words, lambda value: quote(str(value), safe=""))


def filled_json(value: Any, words: Mapping[str, Any]) -> Any:
    """The same for all texts within a JSON value; a text that is one place only keeps the type of what fills it."""
    if isinstance(value, str):
        whole = _PLACE.fullmatch(value)
        return words[whole[1]] if whole is not None and whole[1] in words else filled(value, words)
    if isinstance(value, Mapping):
        return {name: filled_json(one, words) for name, one in value.items()}
    if isinstance(value, list):
        return [filled_json(one, words) for one in value]
    return value


def pointed(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to; None where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, Mapping):
            document = document.get(name)
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document
