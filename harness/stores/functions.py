"""Libraries of functions in Redis (FUNCTION LOAD, FCALL): one for each script, named by run and database.

Libraries belong to the whole server, as users do: they go at the end of a run, and those of a killed run are swept
by a later one, once the run's key no longer lives.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from functools import lru_cache

from harness.model import CommandRefused
from harness.stores.redis import Commands
from harness.stores.targets import RedisTarget

_LIBRARY = re.compile(rb"race_([0-9a-f]{8})_(\d+)_[0-9a-f]+")
_CODE = """#!lua name={name}
redis.register_function('{name}', function(KEYS, ARGV)
{body}
end)
"""


def library_prefix(prefix: str, database: int) -> str:
    """How the names of a run's libraries begin: `race_<run>_<database>_`."""
    return f"{prefix.replace(':', '_')}{database}_"


@lru_cache(maxsize=512)
def library_of(source: str, begins: str) -> tuple[str, str]:
    """The name of a script's library, and of the one function in it; and its code."""
    name = begins + hashlib.sha256(source.encode()).hexdigest()[:12]
    return name, _CODE.format(name=name, body=source)


def unknown(refused: CommandRefused) -> bool:
    """Whether a server says that it has no such function."""
    return "Function not found" in str(refused)


async def load(connection: Commands, code: str) -> None:
    """Make a library; another caller may have been faster."""
    await connection.execute("FUNCTION", "LOAD", "REPLACE", code)


async def remove(connection: Commands, begins: str) -> None:
    """Delete the libraries whose names begin so."""
    for name in await _names(connection, begins):
        with contextlib.suppress(CommandRefused):
            await connection.execute("FUNCTION", "DELETE", name)


async def sweep(connection: Commands, target: RedisTarget) -> None:
    """Delete the libraries of runs that no longer live."""
    for name in await _names(connection, "race_"):
        match = _LIBRARY.fullmatch(name)
        if match is None or int(match[2]) != target.database:
            continue
        if not await connection.execute("EXISTS", f"race:{match[1].decode()}:alive"):
            with contextlib.suppress(CommandRefused):
                await connection.execute("FUNCTION", "DELETE", name)


async def _names(connection: Commands, begins: str) -> list[bytes]:
    try:
        found = await connection.execute("FUNCTION", "LIST", "LIBRARYNAME", f"{begins}*")
    except CommandRefused:  # older than 7, or we may not: then there are none of ours
        return []
    names: list[bytes] = [library[library.index(b"library_name") + 1] for library in found]
    return [name for name in names if name.startswith(begins.encode())]  # a prefix may mean something to a pattern
