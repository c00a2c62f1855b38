"""What a store says of itself: version, durability, room; and whether it stayed the same meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.model import CommandRefused, ConnectionLost, StatementRefused, StoreUnavailable, UsageError
from harness.stores.namespace import NO_ROOM, no_room, refused_by_redis
from harness.stores.postgres import PostgresConnection
from harness.stores.redis import RedisConnection
from harness.stores.targets import PostgresTarget, RedisTarget
from harness.strategy import Store

OLDEST = {"Redis": (6, 2), "Valkey": (7, 2), "PostgreSQL": (14,)}
_FORKED = (7, 2, 4)
"""The Redis that Valkey was made from (valkey.io, 7.2.4-rc1): no command of a later Redis can be taken for granted."""
_PATIENCE_S = 4.0
_STEP_NS, _SLEWED = 10_000_000, 1_000
"""A clock that is slewed gains 500 us a second at most (adjtimex), and so does the one that it is compared with."""
# An instant written the same whatever time zone a role has.
_MET = "SELECT extract(epoch FROM pg_postmaster_start_time())::text"
# Connections are counted by database: of others' a plain user sees no more than that they are there.
_SQL = """
SELECT current_setting('server_version'), extract(epoch FROM pg_postmaster_start_time())::text,
       pg_is_in_recovery(), current_setting('default_transaction_read_only'), current_setting('fsync'),
       current_setting('synchronous_commit'), current_setting('full_page_writes'),
       least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true), '0')::int
               - (SELECT sum(numbackends) FROM pg_stat_database)::int,
             (SELECT CASE WHEN datconnlimit < 0 OR rolsuper THEN 1000000 ELSE datconnlimit END
                FROM pg_database WHERE datname = current_database()),
             CASE WHEN rolconnlimit < 0 OR rolsuper THEN 1000000 ELSE rolconnlimit END),
       has_database_privilege(current_database(), 'CREATE'), current_database(),
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM pg_roles WHERE rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store as it presented itself. `incarnation` and `evicted` change when it cannot be trusted meanwhile.

    `room` is how many more connections it takes. `ahead_ns` bounds by how much its clock is ahead of this process's
    monotonic one, at `seen_ns`; None where it does not tell the time.
    """

    kind: Store
    product: str
    version: str
    embedded: bool
    durability: str
    incarnation: str = ""
    evicted: int = 0
    room: int = 0
    ahead_ns: tuple[int, int] | None = None
    seen_ns: int = 0

    @property
    def title(self) -> str:
        """Product and version."""
        return f"{self.product} {self.version}"


async def look_redis(target: RedisTarget, *, embedded: bool) -> StoreInfo:
    """Ask a Redis or Valkey server. Raises StoreUnavailable, with what to do."""
    where = "the embedded Valkey" if embedded else f"Redis at {target.shown}"
    policy = ""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            connection = await RedisConnection.open(target)
            try:
                asked_ns = time.monotonic_ns()
                info = _parsed(await connection.execute("INFO"))
                told_ns = time.monotonic_ns()
                with contextlib.suppress(CommandRefused):  # often not allowed; only the title is poorer
                    policy = (await connection.execute("CONFIG", "GET", "appendfsync"))[1].decode()
            finally:
                await connection.close()
    except (ConnectionLost, TimeoutError) as lost:
        # A server without room hangs up; whether its last words are seen is a matter of microseconds.
        if NO_ROOM in str(lost) or str(lost) in {"broken pipe", "connection reset by peer"}:
            raise StoreUnavailable(no_room(where)) from None
        raise StoreUnavailable(_silent(where, lost, "" if embedded else "--redis-url")) from None
    except CommandRefused as refused:
        raise StoreUnavailable(refused_by_redis(where, refused)) from None
    found = read_redis(info, where, embedded=embedded, policy=policy)
    return _timed(found, int(info.get("server_time_usec", 0)), asked_ns, told_ns)


def read_redis(info: Mapping[str, str], where: str, *, embedded: bool, policy: str = "") -> StoreInfo:
    """What INFO says, judged. `policy` is appendfsync, where known. Raises StoreUnavailable."""
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    mode = info.get("redis_mode", info.get("server_mode", "standalone"))
    if not version or not info.get("run_id"):
        raise StoreUnavailable(f"{where} does not say which Redis it is: race needs Redis or Valkey itself")
    if mode != "standalone" or info.get("cluster_enabled", "0") != "0":
        raise StoreUnavailable(f"{where} is a {mode}: race needs a single server; give the address of a primary")
    if info.get("role", "master") != "master":
        raise StoreUnavailable(f"{where} is a read-only replica: give the address of its primary")
    eviction = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and eviction != "noeviction":
        raise StoreUnavailable(
            f"{where} may evict keys (maxmemory_policy {eviction}): set noeviction, or use another one"
        )
    _refuse_old(where, product, version)
    durability = "memory only" if embedded else "no append-only file"
    if info.get("aof_enabled") == "1":
        durability = "append-only file" + (f", fsync {policy}" if policy else "")
    room = int(info.get("maxclients", 10_000)) - int(info.get("connected_clients", 0))
    evicted = int(info.get("evicted_keys", 0))
    return StoreInfo("redis", product, version, embedded, durability, _incarnation(info), evicted, max(0, room))


def _incarnation(info: Mapping[str, str]) -> str:
    """Which process, and how often promoted.

    One that was a replica meanwhile is the same process, but with what its primary knew by then. Each time that it is
    promoted it keeps the offset; -1 is one that never was.
    """
    return " ".join((info["run_id"], info.get("second_repl_offset", "-1")))


async def meet_again(connection: RedisConnection | PostgresConnection, incarnation: str) -> None:
    """See that it leads to the server that this was said of: an address may be another's for a while, and go back.

    Raises StoreFault.
    """
    if isinstance(connection, RedisConnection):
        met = _incarnation(_parsed(await connection.execute("INFO")))
    else:
        ((met,),) = (await connection.sql(_MET)).rows
    if met != incarnation:
        raise ConnectionLost("another server answered there for a while, or this one was a replica")


async def look_postgres(target: PostgresTarget, *, embedded: bool) -> StoreInfo:
    """Ask a PostgreSQL server. Raises StoreUnavailable, with what to do."""
    where = "the embedded PostgreSQL" if embedded else f"PostgreSQL at {target.shown}"
    try:
        async with asyncio.timeout(_PATIENCE_S):
            connection = await PostgresConnection.open(target)
            try:
                asked_ns = time.monotonic_ns()
                (row,) = (await connection.sql(_SQL)).rows
                told_ns = time.monotonic_ns()
            finally:
                await connection.close()
    except (ConnectionLost, TimeoutError) as lost:
        raise StoreUnavailable(_silent(where, lost, "" if embedded else "--postgres-url")) from None
    except StatementRefused as refused:
        raise StoreUnavailable(_refusal(where, target, refused)) from None
    version, started, recovering, read_only, fsync, commit, pages, room, may_create, database, now_us = row
    if recovering:
        raise StoreUnavailable(f"{where} is read-only: give the address of its primary")
    if read_only == "on":
        raise StoreUnavailable(
            f"{where} is read-only for {target.user}: turn default_transaction_read_only off for this user and"
            " database, or name others in --postgres-url"
        )
    number = version.split(" ", 1)[0]
    _refuse_old(where, "PostgreSQL", number)
    if not may_create:
        grant = f'GRANT CREATE ON DATABASE "{database}" TO "{target.user}"'
        raise StoreUnavailable(f"{where}: {target.user} may not create a schema: {grant}")
    durability = f"fsync {fsync}, synchronous_commit {commit}" + ("" if pages == "on" else ", full_page_writes off")
    found = StoreInfo("postgres", "PostgreSQL", number, embedded, durability, started, 0, max(0, int(room)))
    return _timed(found, now_us, asked_ns, told_ns)


def _timed(info: StoreInfo, now_us: int, asked_ns: int, told_ns: int) -> StoreInfo:
    """With what it told of the time (Unix, us), between these instants of this process."""
    if not now_us:
        return info
    return replace(info, ahead_ns=(now_us * 1_000 - told_ns, (now_us + 1) * 1_000 - asked_ns), seen_ns=told_ns)


def _silent(where: str, lost: Exception, option: str) -> str:
    reason = str(lost) or f"no answer within {_PATIENCE_S:.0f} s"
    if not option:
        return f"{where} does not answer ({reason})"
    return f"{where} does not answer ({reason}): start it, or leave out {option} to use the embedded one"


def _refusal(where: str, target: PostgresTarget, refused: StatementRefused) -> str:
    match refused.code:
        case "28P01":
            return f"{where} refuses the user or password: put the right ones into --postgres-url"
        case "28000":
            return f"{where} refuses {target.user} ({refused}): put another user into --postgres-url"
        case "3D000":
            return f"{where} has no database {target.database}: create it, or name another in --postgres-url"
        case "53300":
            return f"{where} has no connection left: raise max_connections, or end other clients"
        case _:
            return f"{where} refuses to be used: {refused}"


def _parsed(info: bytes) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _refuse_old(where: str, product: str, version: str) -> None:
    oldest = OLDEST[product]
    if _numbers(version) < oldest:
        wanted = ".".join(map(str, oldest))
        raise StoreUnavailable(f"{where} is {product} {version}: race needs {wanted} or newer")


def require(info: StoreInfo, needs: Mapping[str, str], who: str = "this strategy") -> None:
    """Refuse a strategy that needs a newer server. Raises UsageError.

    Valkey is Redis 7.2.4 and what came to it since then: of a later Redis it has nothing by its number. Where
    `needs` names a version of `valkey` as well, that decides; where it names that alone, no Redis will do.
    """
    wanted, valkey = needs.get(info.kind), needs.get("valkey")
    product, there = info.product, _numbers(info.version)
    if info.kind == "redis" and valkey is not None and (product == "Valkey" or wanted is None):
        product, there, wanted = "Valkey", there if product == "Valkey" else (), valkey
    elif product == "Valkey":
        product, there = "Redis", _FORKED
    if wanted is not None and there < _numbers(wanted):
        fork = ", and Valkey is one of Redis 7.2" if there is _FORKED else ""
        raise UsageError(f"{who} needs {product} {wanted} or newer; this is {info.title}{fork}")


def require_connections(info: StoreInfo, wanted: int, instead: str = "") -> None:
    """Refuse more connections than the server has room for; `instead` says what would need less. Raises UsageError."""
    if wanted > info.room:
        raise UsageError(
            f"{wanted} connections are more than {info.title} has room for ({info.room}):"
            f" {instead or 'raise its limits, or end other clients'}"
        )


def changed(before: StoreInfo, after: StoreInfo) -> str | None:
    """Why a store cannot be trusted for what lies between, or None."""
    if before.incarnation != after.incarnation:
        return f"{before.product} was restarted or failed over during the run"
    if after.evicted > before.evicted:
        return f"{before.product} evicted {after.evicted - before.evicted} keys during the run"
    if after.evicted < before.evicted:
        return f"the statistics of {before.product} were reset during the run: it may have evicted keys"
    return _clock_set(before, after)


def _clock_set(before: StoreInfo, after: StoreInfo) -> str | None:
    """Whether somebody set its clock: what was to live for a while, by that clock, was gone at once, or stayed.

    What a clock that is slewed gains, of one of two machines or of both, is less.
    """
    if before.ahead_ns is None or after.ahead_ns is None:
        return None
    forward_ns, back_ns = after.ahead_ns[0] - before.ahead_ns[1], before.ahead_ns[0] - after.ahead_ns[1]
    if max(forward_ns, back_ns) <= _STEP_NS + (after.seen_ns - before.seen_ns) // _SLEWED:
        return None
    where = "forward" if forward_ns > 0 else "back"
    return f"the clock of {before.product} was set {where} by about {round(max(forward_ns, back_ns) / 1e6)} ms"
