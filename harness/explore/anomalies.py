"""The isolation anomalies of PostgreSQL as data: what is played, what each ending shows, which level prevents which.

The anomalies, their order and what each level prevents are those of the Hermitage project (Martin Kleppmann, CC-BY
4.0, https://github.com/ept/hermitage) and of PostgreSQL's documentation, chapter "Transaction Isolation". G0 to G2
were defined by Adya (Weak Consistency, 1999), P4 by Berenson et al. (A Critique of ANSI SQL Isolation Levels, 1995),
OTV by Bailis et al. (Highly Available Transactions, 2013), PMP by Hermitage.

Every case begins with the rows (1, 10) and (2, 20).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.strategy import Isolation

LEVELS: tuple[Isolation, ...] = ("read committed", "repeatable read", "serializable")
"""Weakest first. The first is PostgreSQL's default."""
REFUSED = "40001"
"""SQLSTATE of a serialization failure: what a level prevents by refusing."""

Ending = Mapping[int | str, str]
"""What tells an ending: the answer to a step, by its number from 1, and how a transaction ended, by its name.

An answer that had to be waited for begins with `waited: `. A transaction that is not named ended as its last step says.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Steps in a fixed order, each of one transaction, and the endings that are known.

    `occurs` show the anomaly, `prevented` show that it was kept away. Whatever else happens shows nothing.
    """

    steps: tuple[tuple[str, str], ...]
    occurs: tuple[Ending, ...]
    prevented: tuple[Ending, ...]
    what: str = ""

    @property
    def transactions(self) -> tuple[str, ...]:
        """`T1`, `T2` ..., in order."""
        return tuple(sorted({transaction for transaction, _statement in self.steps}))

    def of(self, transaction: str) -> tuple[str, ...]:
        """A transaction's statements; the last is COMMIT or ROLLBACK."""
        return tuple(statement for one, statement in self.steps if one == transaction)

    def prevents(self, answers: Sequence[str], ends: Mapping[str, str]) -> bool | None:
        """What an ending shows: whether the anomaly was prevented, or None where it is not a known one."""
        if any(self._is(ending, answers, ends) for ending in self.occurs):
            return False
        if any(self._is(ending, answers, ends) for ending in self.prevented):
            return True
        return None

    def _is(self, ending: Ending, answers: Sequence[str], ends: Mapping[str, str]) -> bool:
        told = all(answers[key - 1] == answer for key, answer in ending.items() if isinstance(key, int))
        return told and all(ends[one] == ending.get(one, self.of(one)[-1]) for one in self.transactions)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """`code` as in Hermitage, `name` as it is usually called. `prevented_from`: the weakest level that prevents it."""

    code: str
    name: str
    means: str
    prevented_from: Isolation
    cases: tuple[Case, ...]

    def expected(self, level: Isolation) -> bool:
        """Whether the level should prevent it."""
        return LEVELS.index(level) >= LEVELS.index(self.prevented_from)


def _steps(text: str) -> tuple[tuple[str, str], ...]:
    """A line for each step: `T1 SELECT ...`."""
    lines = [line.strip().split(" ", 1) for line in text.strip().splitlines()]
    return tuple((transaction, statement) for transaction, statement in lines)


ANOMALIES: tuple[Anomaly, ...] = (
    Anomaly(
        "G0",
        "dirty write",
        "one writes over what the other has not committed",
        "read committed",
        (
            Case(
                _steps("""
                    T1 UPDATE test SET value = 11 WHERE id = 1
                    T2 UPDATE test SET value = 12 WHERE id = 1
                    T1 UPDATE test SET value = 21 WHERE id = 2
                    T1 COMMIT
                    T2 UPDATE test SET value = 22 WHERE id = 2
                    T2 COMMIT
                """),
                occurs=({2: "1 row"},),
                prevented=({2: "waited: 1 row"}, {2: "waited: ! 40001", "T2": REFUSED}),
            ),
        ),
    ),
    Anomaly(
        "G1a",
        "aborted read",
        "one reads what is then rolled back",
        "read committed",
        (
            Case(
                _steps("""
                    T1 UPDATE test SET value = 101 WHERE id = 1
                    T2 SELECT value FROM test WHERE id = 1
                    T1 ROLLBACK
                    T2 SELECT value FROM test WHERE id = 1
                    T2 COMMIT
                """),
                occurs=({2: "101"}, {4: "101"}),
                prevented=({2: "10", 4: "10"},),
            ),
        ),
    ),
    Anomaly(
        "G1b",
        "intermediate read",
        "one reads a value that its writer then replaces",
        "read committed",
        (
            Case(
                _steps("""
                    T1 UPDATE test SET value = 101 WHERE id = 1
                    T2 SELECT value FROM test WHERE id = 1
                    T1 UPDATE test SET value = 11 WHERE id = 1
                    T1 COMMIT
                    T2 SELECT value FROM test WHERE id = 1
                    T2 COMMIT
                """),
                occurs=({2: "101"}, {5: "101"}),
                prevented=({2: "10", 5: "11"}, {2: "10", 5: "10"}),
            ),
        ),
    ),
    Anomaly(
        "G1c",
        "circular information flow",
        "each reads what the other has not committed",
        "read committed",
        (
            Case(
                _steps("""
                    T1 UPDATE test SET value = 11 WHERE id = 1
                    T2 UPDATE test SET value = 22 WHERE id = 2
                    T1 SELECT value FROM test WHERE id = 2
                    T2 SELECT value FROM test WHERE id = 1
                    T1 COMMIT
                    T2 COMMIT
                """),
                occurs=({3: "22", 4: "11"},),
                # Each reads what was there before the other: that is write skew, which serializable refuses.
                prevented=({3: "20", 4: "10"}, {"T1": REFUSED}, {"T2": REFUSED}),
            ),
        ),
    ),
    Anomaly(
        "OTV",
        "observed transaction vanishes",
        "a commit is seen in one row and not in the next",
        "read committed",
        (
            Case(
                _steps("""
                    T1 UPDATE test SET value = 11 WHERE id = 1
                    T1 UPDATE test SET value = 19 WHERE id = 2
                    T2 UPDATE test SET value = 12 WHERE id = 1
                    T1 COMMIT
                    T3 SELECT value FROM test WHERE id = 1
                    T2 UPDATE test SET value = 18 WHERE id = 2
                    T3 SELECT value FROM test WHERE id = 2
                    T2 COMMIT
                    T3 SELECT value FROM test WHERE id = 2
                    T3 SELECT value FROM test WHERE id = 1
                    T3 COMMIT
                """),
                # T3 has seen T2 in one row, and then sees the other as it was before T2.
                occurs=({5: "12", 7: "19"}, {5: "11", 7: "18", 10: "11"}, {9: "18", 10: "11"}),
                prevented=({5: "11", 7: "19", 9: "18", 10: "12"}, {5: "11", 7: "19", 9: "19", 10: "11", "T2": REFUSED}),
            ),
        ),
    ),
    Anomaly(
        "PMP",
        "predicate-many-preceders",
        "a second search meets rows that the first had not",
        "repeatable read",
        (
            Case(
                _steps("""
                    T1 SELECT id, value FROM test WHERE value = 30
                    T2 INSERT INTO test VALUES (3, 30)
                    T2 COMMIT
                    T1 SELECT id, value FROM test WHERE value % 3 = 0
                    T1 COMMIT
                """),
                occurs=({1: "0 rows", 4: "3, 30"},),
                prevented=({1: "0 rows", 4: "0 rows"}, {1: "0 rows", "T1": REFUSED}),
                what="read",
            ),
            Case(
                _steps("""
                    T1 UPDATE test SET value = value + 10
                    T2 DELETE FROM test WHERE value = 20
                    T1 COMMIT
                    T2 SELECT id, value FROM test WHERE value = 20
                    T2 COMMIT
                """),
                # The row that T1 made to be 20 was not deleted, and is there.
                occurs=({2: "waited: 0 rows", 4: "1, 20"},),
                prevented=({2: "waited: ! 40001", "T2": REFUSED},),
                what="write",
            ),
        ),
    ),
    Anomaly(
        "P4",
        "lost update",
        "two write on what both had read; one write is lost",
        "repeatable read",
        (
            Case(
                _steps("""
                    T1 SELECT value FROM test WHERE id = 1
                    T2 SELECT value FROM test WHERE id = 1
                    T1 UPDATE test SET value = 11 WHERE id = 1
                    T2 UPDATE test SET value = 11 WHERE id = 1
                    T1 COMMIT
                    T2 COMMIT
                """),
                # Both write 11, so the rows at rest cannot tell.
                occurs=({1: "10", 2: "10", 4: "waited: 1 row"}, {1: "10", 2: "10", 4: "1 row"}),
                prevented=({1: "10", 2: "10", "T2": REFUSED}, {1: "10", 2: "10", "T1": REFUSED}),
            ),
        ),
    ),
    Anomaly(
        "G-single",
        "read skew",
        "one row is read before a commit, the next after it",
        "repeatable read",
        (
            Case(
                _steps("""
                    T1 SELECT value FROM test WHERE id = 1
                    T2 UPDATE test SET value = 12 WHERE id = 1
                    T2 UPDATE test SET value = 18 WHERE id = 2
                    T2 COMMIT
                    T1 SELECT value FROM test WHERE id = 2
                    T1 COMMIT
                """),
                occurs=({1: "10", 5: "18"},),
                prevented=({1: "10", 5: "20"}, {1: "10", "T1": REFUSED}),
                what="read",
            ),
            Case(
                _steps("""
                    T1 SELECT id, value FROM test WHERE value % 5 = 0 ORDER BY id
                    T2 UPDATE test SET value = 12 WHERE value = 10
                    T2 COMMIT
                    T1 SELECT id, value FROM test WHERE value % 3 = 0
                    T1 COMMIT
                """),
                occurs=({1: "1, 10; 2, 20", 4: "1, 12"},),
                prevented=({1: "1, 10; 2, 20", 4: "0 rows"}, {1: "1, 10; 2, 20", "T1": REFUSED}),
                what="predicate",
            ),
            Case(
                _steps("""
                    T1 SELECT value FROM test WHERE id = 1
                    T2 UPDATE test SET value = 12 WHERE id = 1
                    T2 UPDATE test SET value = 18 WHERE id = 2
                    T2 COMMIT
                    T1 DELETE FROM test WHERE value = 20
                    T1 COMMIT
                """),
                occurs=({1: "10", 5: "0 rows"},),
                prevented=({1: "10", "T1": REFUSED},),
                what="write predicate",
            ),
        ),
    ),
    Anomaly(
        "G2-item",
        "write skew",
        "two write different rows, on what both had read",
        "serializable",
        (
            Case(
                _steps("""
                    T1 SELECT id, value FROM test WHERE id IN (1, 2) ORDER BY id
                    T2 SELECT id, value FROM test WHERE id IN (1, 2) ORDER BY id
                    T1 UPDATE test SET value = 11 WHERE id = 1
                    T2 UPDATE test SET value = 21 WHERE id = 2
                    T1 COMMIT
                    T2 COMMIT
                """),
                occurs=({1: "1, 10; 2, 20", 2: "1, 10; 2, 20", 3: "1 row", 4: "1 row"},),
                prevented=({1: "1, 10; 2, 20", "T2": REFUSED}, {2: "1, 10; 2, 20", "T1": REFUSED}),
            ),
        ),
    ),
    Anomaly(
        "G2",
        "anti-dependency cycle",
        "two insert what the other had searched for",
        "serializable",
        (
            Case(
                _steps("""
                    T1 SELECT id, value FROM test WHERE value % 3 = 0
                    T2 SELECT id, value FROM test WHERE value % 3 = 0
                    T1 INSERT INTO test VALUES (3, 30)
                    T2 INSERT INTO test VALUES (4, 42)
                    T1 COMMIT
                    T2 COMMIT
                """),
                occurs=({1: "0 rows", 2: "0 rows", 3: "1 row", 4: "1 row"},),
                prevented=({1: "0 rows", "T2": REFUSED}, {2: "0 rows", "T1": REFUSED}),
            ),
        ),
    ),
)
"""Each column of the table, in Hermitage's order."""
