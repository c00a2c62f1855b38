"""The errors of race, drawn once.

RaceError                    one line for the user, and an exit code
|-- UsageError               2: the user asked for something that cannot be
|-- StoreUnavailable         3: a store is missing, down, too old or out of room
StoreFault                   what a strategy may meet while it runs
|-- ConnectionLost           the outcome of what was sent cannot be known
|-- GaveUp                   an effect that was not to be had, and was made up for
|-- CommandRefused           the server said no; nothing was done
    |-- StatementRefused     PostgreSQL said no, with its SQLSTATE
    |-- Deadlocked           owners wait for each other: the one that was asked has not begun
"""

from __future__ import annotations

RETRYABLE = frozenset({"40001", "40P01"})
"""SQLSTATEs that ask for the whole transaction to be tried again: serialization failure, deadlock."""


STUCK = "stuck"
"""A request that nobody would ever have answered, although its caller and its store live."""

DENIED = "NOPERM"
"""Redis says no: this login may not do that."""

REFUSALS = frozenset({DENIED, "42501"})
"""How the stores refuse whoever has not the credentials; to ask again is no use."""


class RaceError(Exception):
    """Something the user can act on: one line that says what to do, and an exit code."""

    exit_code = 3


class UsageError(RaceError):
    """Wrong usage or configuration: exit 2."""

    exit_code = 2


class StoreUnavailable(RaceError):
    """A store that is missing, down, too old, evicting or out of connections: exit 3."""


class StoreFault(Exception):
    """What a store may answer instead of a reply. `code` is short and stable: it is counted."""

    def __init__(self, code: str, message: str = "") -> None:
        """`code` names the fault in counts; `message` is the server's text."""
        super().__init__(message or code)
        self.code = code


class ConnectionLost(StoreFault):
    """The connection went away: what was sent may have been done, or not."""

    def __init__(self, message: str = "") -> None:
        """`message` says what was seen."""
        super().__init__("connection-lost", message)


class GaveUp(StoreFault):
    """A flow gave an effect up: what may have been done outside was undone."""

    def __init__(self, message: str = "") -> None:
        """`message` says what was given up."""
        super().__init__("gave-up", message)


class CommandRefused(StoreFault):
    """The server refused the command: that command did nothing."""


class StatementRefused(CommandRefused):
    """PostgreSQL refused the statement; `code` is the SQLSTATE. Its transaction does nothing."""

    @property
    def retryable(self) -> bool:
        """Whether the whole transaction is worth trying again."""
        return self.code in RETRYABLE


class Deadlocked(CommandRefused):
    """Owners wait for each other in a ring: what was asked is taken back, and has done nothing."""

    def __init__(self) -> None:
        """It is counted as the request that is stuck."""
        super().__init__(STUCK, "owners wait for each other")
