"""The [login] table of a target file: a request made before the bursts, and what its answer lets others send."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.http.calls import Answer, Call
from harness.http.templates import pointed
from harness.model import UsageError

COOKIE = "cookie"
_MOST = 10_000
"""Logins that are kept: those of the last bursts, whose keys may be asked about once more at the end."""
_SPENT = 1000
"""Secrets of logins that ran out, which are still not to be shown: a service may repeat them a little later."""
_FIELD = re.compile(r"\{(/[^{}]*)\}")
_KEY = re.compile(r"\{(key[s12]?|number)\}")
_PAIR = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([^;\s]*)")


@dataclass(frozen=True, slots=True)
class Login:
    """What is taken: `send` are headers with /pointers into the JSON answer, none of them: the cookies that it sets."""

    call: Mapping[str, Any]
    each_key: bool
    ok: Sequence[str]
    expired: Sequence[str]
    send: Mapping[str, str]
    where: str

    def taken(self, answer: Answer) -> dict[str, str]:
        """The headers that requests have from now on. Raises UsageError, in which nothing of the answer is repeated."""
        if not self.send:
            pairs = [found for line in answer.cookies if (found := _PAIR.match(line)) and found[2]]
            if not pairs:
                raise UsageError(
                    f'{self.where}: its answer sets no cookie; send = {{Authorization = "Bearer {{/token}}"}}'
                )
            return {COOKIE: "; ".join(f"{found[1]}={found[2]}" for found in pairs)}
        document = answer.json()
        return {
            name: _FIELD.sub(lambda found: self._field(document, found[1]), text) for name, text in self.send.items()
        }

    def _field(self, document: Any, pointer: str) -> str:
        value = pointed(document, pointer)
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise UsageError(f"{self.where}: its answer has no {pointer}")
        text = str(value)
        if not text.isprintable() or not text.isascii():
            raise UsageError(f"{self.where}: {pointer} of its answer is no text for a header")
        return text


class Logins:
    """The credentials that a process of race knows, by key, or by "" where they are everybody's."""

    def __init__(self, *, each: bool) -> None:
        """None yet. `each`: every key has its own."""
        self._each = each
        self._known: dict[str, dict[str, str]] = {}
        self._spent: deque[str] = deque(maxlen=_SPENT)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Who has to log in before these keys are asked about."""
        return [key for key in (keys if self._each else ("",)) if key not in self._known]

    def who(self, keys: Sequence[str]) -> str:
        """Whose login a request about these keys has: of several keys the first one's, or "", everybody's."""
        return keys[0] if self._each and keys else ""

    def learn(self, logins: Mapping[str, dict[str, str]]) -> None:
        """Of these from now on; those of bursts long past are forgotten."""
        for who in logins:
            if who in self._known:
                self._spent.extend(secrets_of(self._known[who]))
        self._known |= logins
        for key in list(self._known)[: max(0, len(self._known) - _MOST)]:
            del self._known[key]

    def of(self, keys: Sequence[str]) -> dict[str, str]:
        """The headers for a request about these keys; empty where nobody has logged in."""
        return self._known.get(self.who(keys), {})

    def added(self, call: Call, keys: Sequence[str]) -> Call:
        """The call with them; a cookie of one's own stays beside those of the login."""
        known = self.of(keys)
        if not known:
            return call
        headers = {**dict(call.headers), **known}
        if mine := dict(call.headers).get(COOKIE) if COOKIE in known else None:
            headers[COOKIE] = f"{mine}; {known[COOKIE]}"
        return replace(call, headers=tuple(headers.items()))

    def secrets(self, keys: Sequence[str] | None) -> list[str]:
        """What must never be shown of an answer about these keys, or about any."""
        known = self._known.values() if keys is None else [self.of(keys)]
        mine = (secret for headers in known for secret in secrets_of(headers))
        return [secret for secret in (*mine, *self._spent) if len(secret) > 2]


def pointers(text: str) -> list[str]:
    """Where in the answer a header's text is taken from."""
    return _FIELD.findall(text)


def names_a_key(call: Mapping[str, Any]) -> bool:
    """Whether a login is somebody's: it says who."""
    return any(_KEY.search(str(call.get(part, ""))) for part in ("request", "json", "form", "body", "headers"))


def secrets_of(headers: Mapping[str, str]) -> list[str]:
    """What of these headers must never be shown: each word of a credential, each value of a cookie."""
    words = [word for name, text in headers.items() if name != COOKIE for word in (text, *text.split())]
    return words + [pair.partition("=")[2] for pair in headers.get(COOKIE, "").split("; ")]
