"""Sessions are lent and taken back; who takes too long is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from harness.serve import service
from harness.serve.pool import Home, Pool
from harness.serve.service import Patience


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that waits."""

    @wraps(test)
    def run(*fixtures: Any, **named: Any) -> None:
        asyncio.run(test(*fixtures, **named))

    return run


class Session:
    """As much of a session as a pool looks at."""

    def __init__(self, name: str) -> None:
        """Open."""
        self.name = name
        self.lost = self.closed = False

    async def close(self) -> None:
        """Close it."""
        self.closed = True


def home(pool: Pool, name: str) -> Home:
    """The home of a cell whose sessions are numbered."""
    made: list[Any] = []

    async def connect() -> Any:
        made.append(Session(f"{name}{len(made)}"))
        return made[-1]

    return pool.home(connect)


@in_a_loop
async def test_the_last_one_back_is_the_first_lent() -> None:
    """It is warm; the others are for when more come at once."""
    pool = Pool(2)
    cell = home(pool, "a")
    one, two = await pool.take(cell), await pool.take(cell)
    await pool.give(cell, one)
    await pool.give(cell, two)
    assert await pool.take(cell) is two


@in_a_loop
async def test_another_cell_takes_the_place_of_what_is_idle() -> None:
    """No more than the limit are ever open."""
    pool = Pool(1)
    first, second = home(pool, "a"), home(pool, "b")
    session: Any = await pool.take(first)
    await pool.give(first, session)
    other: Any = await pool.take(second)
    assert (session.closed, other.name, len(first.idle)) == (True, "b0", 0)


@in_a_loop
async def test_who_comes_too_late_waits_in_line() -> None:
    """And one who gives up waiting leaves the turn to the next."""
    pool = Pool(1)
    cell = home(pool, "a")
    held = await pool.take(cell)
    waiting = [asyncio.create_task(pool.take(cell)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await pool.give(cell, held)
    assert await waiting[1] is held
    assert not waiting[2].done()
    held.lost = True
    await pool.give(cell, held)
    assert (await waiting[2]) is not held


@in_a_loop
async def test_a_connection_that_fails_leaves_its_place() -> None:
    """The next one may have more luck."""
    pool = Pool(1)

    async def connect() -> Any:
        raise ConnectionError

    broken = pool.home(connect)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await pool.take(broken)
    assert (await pool.take(home(pool, "a"))) is not None


@in_a_loop
async def test_what_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that; and its task goes on, to tell its caller."""
    monkeypatch.setattr(service, "TIMEOUT_S", 0.02)
    monkeypatch.setattr(service, "_LOOK_S", 0.005)
    patience = Patience()
    watching = asyncio.create_task(patience.watch())

    async def request(seconds: float) -> bool:
        task, late = patience.begin(), False
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            late = patience.end(task)
            await asyncio.sleep(0)  # it is not cancelled any more
        else:
            patience.end(task)
        return late

    assert await asyncio.gather(request(0), request(30)) == [False, True]
    watching.cancel()
