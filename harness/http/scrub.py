"""Takes secrets out of what a service sends back: it may repeat what it was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"


def scrubbed(value: Any, secrets: Sequence[str]) -> Any:
    """The same without any secret in its texts."""
    if not secrets:
        return value
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {scrubbed(name, secrets): scrubbed(one, secrets) for name, one in value.items()}
    if isinstance(value, list):
        return [scrubbed(one, secrets) for one in value]
    return value
