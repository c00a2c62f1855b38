"""What a statement of SQL touches: by its text, by who declares or notes it, and by what the tables add to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from harness.explore.catalog import Catalog, Tables
from harness.explore.touch import Touch

_LOCKING = re.compile(r"\bfor\s+(?:update|share|no\s+key\s+update|key\s+share)\b", re.IGNORECASE)
_WRITING = re.compile(r"\b(?:insert|update|delete|merge)\b", re.IGNORECASE)
_ADVISORY = re.compile(r"\bpg_(?:try_)?advisory\w*\s*\(", re.IGNORECASE)
_DRAWING = re.compile(r"\bnextval\s*\(", re.IGNORECASE)
"""A number from a sequence, which no ROLLBACK gives back: others see at once that it is gone."""
_CALL = re.compile(r"((?:\b[a-z_][a-z0-9_$]*\.)?(?:\b[a-z_][a-z0-9_$]*|\"[^\"]+\"))\s*\(", re.IGNORECASE)
_SESSION_LOCK = re.compile(r"\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(", re.IGNORECASE)
_KEPT = re.compile(
    r"\bset_config\s*\(|\btemp(?:orary)?\b"
    r"|^\s*(?:set\s+(?!local\b|transaction\b|constraints\b)|reset|listen|prepare|declare|discard|load)\b",
    re.IGNORECASE,
)
"""What stays with a connection when its transaction is over, as such a lock does: a setting, a table."""
_GIVING_UP = re.compile(r"\b(?:lock|statement|transaction)_timeout\b", re.IGNORECASE)
_CLOCK = re.compile(r"\b(current_(?:timestamp|time|date)|localtime(?:stamp)?)\b", re.IGNORECASE)
"""The server's clock, which needs no parenthesis."""
_LIST = re.compile(r"\binto\s+[\w.\"]+\s*\(", re.IGNORECASE)
"""A list of columns is no call."""
_PLAIN = frozenset({
    "coalesce", "count", "sum", "max", "min", "avg", "nullif", "greatest", "least", "length", "lower", "upper",
    "any", "all", "in", "values", "exists", "cast", "md5", "hashtext", "hashtextextended", "unnest", "and", "or",
    "not", "on", "key", "returning", "where", "select", "from", "as", "over", "abs", "array", "bool_or", "bool_and",
    "concat", "set", "insert", "update", "delete", "into", "conflict", "then", "when", "else", "case", "using",
    "with", "union", "interval", "row_number", "to_jsonb", "jsonb_build_object", "json_build_object",
    "generate_series", "pg_sleep", "nextval", "cardinality", "array_append", "array_remove",
})  # fmt: skip
"""Words before a parenthesis that run no statements of their own."""
_UPSERT = re.compile(r"\bon\s+conflict\s*\(\s*key\s*\)\s*do\s+update\b", re.IGNORECASE)
_EXCLUSIVE = re.compile(r"\bfor\s+update\b", re.IGNORECASE)


Kept = Literal["locks", "more"]
_STAYS: dict[Kept, re.Pattern[str]] = {"locks": _SESSION_LOCK, "more": _KEPT}


@dataclass(frozen=True, slots=True)
class StatementKind:
    """What the text of a statement tells. `calls`: functions whose bodies may do anything.

    `word` is its first. `excludes`: nobody else may so much as refer to a row that it locks.
    """

    word: str
    selects: bool
    locks: bool
    excludes: bool
    advisory: bool
    only_advisory: bool
    draws: bool
    calls: tuple[str, ...]
    kept: frozenset[Kept]
    """What it may leave with its connection."""

    @property
    def only_looks(self) -> bool:
        """Whether it takes and leaves nothing."""
        return self.selects and not (self.locks or self.advisory or self.draws or self.calls)


def statement_kind(statement: str) -> StatementKind:
    """Read a statement, as cautiously as one can without a parser."""
    text = statement.strip()
    word = text.split(None, 1)[0].lower() if text else ""
    advisory = _ADVISORY.search(text) is not None
    table = re.search(r"\bfrom\b", text, re.IGNORECASE) is not None
    selects = word == "select" and _WRITING.search(_LOCKING.sub("", text)) is None
    calls = tuple(
        name for name in dict.fromkeys(
            found.lower() for found in (*_CALL.findall(_LIST.sub(" (", text)), *_CLOCK.findall(text))
        )
        if name not in _PLAIN and not name.startswith(("pg_advisory", "pg_try_advisory"))
    )  # fmt: skip
    return StatementKind(
        word=word,
        selects=selects,
        locks=_LOCKING.search(text) is not None,
        excludes=_EXCLUSIVE.search(text) is not None,
        advisory=advisory,
        only_advisory=advisory and selects and not table,
        draws=_DRAWING.search(text) is not None,
        calls=calls,
        kept=frozenset(what for what, looks in _STAYS.items() if looks.search(text)),
    )


_KINDS: dict[str, StatementKind] = {}


def kind_of(text: str) -> StatementKind:
    """As `statement_kind`, read once."""
    known = _KINDS.get(text)
    if known is None:
        if len(_KINDS) > 1_000:
            _KINDS.clear()
        known = _KINDS[text] = statement_kind(text)
    return known


class Names(Protocol):
    """What is declared of the statements of a cell: see `TableLayout` and `Strategy`."""

    @property
    def declared(self) -> Collection[str]:
        """Statements of which the arguments name all that they touch."""
        ...

    @property
    def one_row(self) -> Collection[str]:
        """Those that touch one and the same row of a key."""
        ...

    @property
    def one_of(self) -> Collection[str]:
        """Those that touch one row of what their other names are."""
        ...

    @property
    def catalog(self) -> Catalog | Tables:
        """What the tables add."""
        ...

    def resource(self, name: str) -> bool:
        """Whether an argument names what a statement touches."""
        ...


class Statement:
    """One statement of a transaction. `keys`: what it touches, None while nobody has said.

    `row`: where it is one and the same row, that one's key; `within`: of what that row is one among others.
    `held`: its transaction has that row already. `first`: it took the transaction's snapshot.
    """

    __slots__ = ("draws", "first", "held", "isolation", "keys", "kind", "row", "runs", "text", "tied", "within")

    def __init__(
        self, text: str, args: Sequence[Any], names: Names, plain: Callable[[str], str], isolation: str, *, first: bool
    ) -> None:  # fmt: skip
        """As it is sent."""
        kind = self.kind = kind_of(text)
        self.text = text
        self.isolation = isolation
        self.first = first
        self.held = False
        self.row = ""
        self.within: list[str] = []
        named = [plain(arg) for arg in args if isinstance(arg, str) and names.resource(arg)]
        self.keys = {*named} if named and text in names.declared else None
        if self.keys and text in names.one_row:
            self.row = plain(args[0])
        elif self.keys and text in names.one_of:
            *self.within, last = named
            self.keys = {last}
        changes = not kind.selects
        does = names.catalog.of(text)
        self.runs = does.runs if changes else does.shows
        self.tied = changes and does.tied
        new = changes and (kind.word not in {"update", "delete"} or "default" in text.lower())
        self.draws = kind.draws or (new and does.draws)

    @property
    def only_reads(self) -> bool:
        """Whether it leaves nothing behind that its transaction would have to give back."""
        return self.kind.only_looks and self.keys is not None and not self.runs

    @property
    def moves(self) -> bool:
        """Whether a row of a key may come or go by it."""
        return not self.within and self.kind.word not in {"select", "update"}

    def decides_late(self, *, moved: bool) -> bool:
        """Whether it goes by the newest version of one row alone, so that while it waits it is the same since when.

        `moved`: some row has come or gone. To be inserted or updated is decided once there is no other.
        """
        if not self.row or self.isolation != "read committed":
            return False
        kind = self.kind
        if kind.word == "insert":
            return _UPSERT.search(self.text) is not None
        return not moved and (kind.word == "update" or kind.locks)

    @property
    def unknown(self) -> bool:
        """Whether it may touch anything."""
        return not self.kind.only_advisory and (self.keys is None or bool(self.kind.calls) or bool(self.runs))

    @property
    def touch(self) -> Touch:
        """By what is known now."""
        kind = self.kind
        seen: set[str] = {"pg"}
        taken: set[str] = set()
        added: set[str] = set()
        if kind.advisory:
            taken.add("adv")
        if self.draws:
            taken.add("sequences")
        if self.unknown:
            taken.add("pg")
        elif self.keys is not None:
            seen.update(f"data:{key}" for key in self.keys)
            if kind.locks or not kind.selects:
                taken.update(f"lock:{key}" for key in self.keys if not (self.held and key == self.row))
                added.update(f"lock:{name}" for name in self.within)
                if self.tied:
                    taken.add("tied")
        if self.isolation != "read committed" and self.first:
            seen.add("commits")
        if self.isolation == "serializable":
            # What one has read is held against who writes; two that only read have nothing against each other.
            reads = kind.selects and not kind.locks and not kind.calls and not kind.draws
            (seen if reads else taken).add("ssi")
        return Touch(frozenset(seen), frozenset(taken), adds=frozenset(added))

    def given_back(self, *, committed: bool) -> Touch:
        """What the end of its transaction touches on account of it."""
        kind = self.kind
        taken = {"adv"} if kind.advisory else set()
        added: set[str] = set()
        changes = not kind.selects
        if self.unknown:
            if changes or kind.locks or kind.calls:
                taken.add("pg")
        elif self.keys is not None and (changes or kind.locks):
            taken.update(f"lock:{key}" for key in self.keys)
            added.update(f"lock:{name}" for name in self.within)
            if self.tied:
                taken.add("tied")
            if changes and committed:
                taken.update(f"data:{key}" for key in self.keys)
                added.update(f"data:{name}" for name in self.within)
        if changes and committed:
            added.add("commits")
        return Touch(frozenset(), frozenset(taken), adds=frozenset(added))

    def unseen(self) -> str:
        """Why what it does is no proof; "" where all of it is known."""
        if _GIVING_UP.search(self.text):
            return "a statement that waits may be given up by the server's clock"
        if self.kind.calls:
            return f"what {self.kind.calls[0]}() does inside the server is not seen step by step"
        if self.runs:
            return f"what {self.runs} does inside the server is not seen step by step"
        if self.keys is None and not self.kind.only_advisory:
            return f"nobody notes what '{' '.join(self.text.split())[:40]}' touches"
        return ""


class Held:
    """The rows that a transaction has locked, of those that are alone under their key."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        """None yet."""
        self._rows: dict[str, bool] = {}
        """Whether nobody else can so much as refer to it."""

    def covers(self, statement: Statement) -> bool:
        """Whether it asks for no lock that the transaction does not have."""
        kind, held = statement.kind, self._rows.get(statement.row)
        return held is not None and (kind.word == "update" or (kind.selects and (held or not kind.excludes)))

    def add(self, statement: Statement, count: int) -> None:
        """It has been answered: with so many rows."""
        kind, row = statement.kind, statement.row
        if statement.unknown:  # ROLLBACK TO gives rows back
            self._rows.clear()
        elif row and count:
            if kind.word == "delete":
                self._rows.pop(row, None)
            elif kind.excludes or kind.word in {"insert", "update"}:
                self._rows[row] = kind.excludes or self._rows.get(row, False)
