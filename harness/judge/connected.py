"""Which keys are connected: those that one request names together, and theirs in turn (union-find)."""

from __future__ import annotations

from collections.abc import Sequence


class Connected:
    """Groups of keys. `root` names a key's group by one of its keys."""

    def __init__(self) -> None:
        """None yet."""
        self._parent: dict[str, str] = {}

    def root(self, key: str) -> str:
        """The key that stands for this one's group; a new key is a group of its own."""
        parent = self._parent
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = parent[above]
            key = above
        return key

    def join(self, keys: Sequence[str]) -> None:
        """Make one group of all groups of these keys."""
        for key in keys:
            self._parent[self.root(key)] = self.root(keys[0])

    def groups(self) -> dict[str, tuple[str, ...]]:
        """The keys of each group in order, by the key that stands for it."""
        members: dict[str, list[str]] = {}
        for key in list(self._parent):
            members.setdefault(self.root(key), []).append(key)
        return {first: tuple(sorted(keys)) for first, keys in members.items()}
