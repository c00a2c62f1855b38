"""What a caller over HTTP is told instead of a reply: a status, and one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.model import NOTHING


class Refused(Exception):
    """Nothing was executed, unless `more` says what is known of an outcome."""

    def __init__(self, status: int, message: str, more: Mapping[str, Any] = NOTHING, *, allow: str = "") -> None:
        """`more` is added to the JSON; `allow` are the methods for a 405."""
        super().__init__(message)
        self.status = status
        self.more = more
        self.allow = allow

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {"error": " ".join(str(self).split()), **self.more}
