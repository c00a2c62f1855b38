"""What a store says of itself: version, durability, room; and whether it stayed the same meanwhile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.model import CommandRefused, ConnectionLost, StatementRefused, StoreUnavailable, UsageError
from harness.stores.postgres import PostgresConnection
from harness.stores.redis import RedisConnection
from harness.stores.targets import PostgresTarget, RedisTarget
from harness.strategy import Store

OLDEST = {"Redis": (6, 2), "Valkey": (7, 2), "PostgreSQL": (14,)}
_SQL = """
SELECT current_setting('server_version'), pg_postmaster_start_time()::text, pg_is_in_recovery(),
       current_setting('default_transaction_read_only'), current_setting('fsync'),
       current_setting('synchronous_commit'), current_setting('full_page_writes'),
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int,
       has_database_privilege(current_database(), 'CREATE'), current_database()
"""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store as it presented itself. `incarnation` and `evicted` change when it cannot be trusted meanwhile.

    `room` is how many more connections it takes.
    """

    kind: Store
    product: str
    version: str
    embedded: bool
    durability: str
    incarnation: str = ""
    evicted: int = 0
    room: int = 0

    @property
    def title(self) -> str:
        """Product and version."""
        return f"{self.product} {self.version}"


async def look_redis(target: RedisTarget, *, embedded: bool) -> StoreInfo:
    """Ask a Redis or Valkey server. Raises StoreUnavailable, with what to do."""
    where = f"Redis at {target.shown}"
    try:
        connection = await RedisConnection.open(target)
        try:
            info = _parsed(await connection.execute("INFO", "everything"))
        finally:
            await connection.close()
    except ConnectionLost as lost:
        raise StoreUnavailable(f"{where} does not answer ({lost}): start it, or leave out --redis-url to use the embedded one") from None
    except CommandRefused as refused:
        if refused.code in {"WRONGPASS", "NOAUTH", "ERR"} and "AUTH" in str(refused).upper() + refused.code:
            raise StoreUnavailable(f"{where} refuses the user or password: put the right ones into --redis-url") from None
        raise StoreUnavailable(f"{where} refuses to be used: {refused}") from None
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info["redis_version"]
    if info.get("role") not in {"master", None}:
        raise StoreUnavailable(f"{where} is a read-only replica: give the address of its primary")
    if info.get("maxmemory", "0") != "0" and info.get("maxmemory_policy", "noeviction") != "noeviction":
        raise StoreUnavailable(
            f"{where} may evict keys (maxmemory_policy {info['maxmemory_policy']}): set noeviction, or use another one"
        )
    _refuse_old(where, product, version)
    aof = info.get("aof_enabled") == "1"
    return StoreInfo(
        "redis", product, version, embedded,
        "append-only file" if aof else "memory only" if embedded else "no append-only file",
        info["run_id"], int(info.get("evicted_keys", 0)),
        int(info.get("maxclients", 10_000)) - int(info.get("connected_clients", 0)),
    )  # fmt: skip


async def look_postgres(target: PostgresTarget, *, embedded: bool) -> StoreInfo:
    """Ask a PostgreSQL server. Raises StoreUnavailable, with what to do."""
    where = f"PostgreSQL at {target.shown}"
    try:
        connection = await PostgresConnection.open(target)
        try:
            (row,) = (await connection.sql(_SQL)).rows
        finally:
            await connection.close()
    except ConnectionLost as lost:
        raise StoreUnavailable(
            f"{where} does not answer ({lost}): start it, or leave out --postgres-url to use the embedded one"
        ) from None
    except StatementRefused as refused:
        raise StoreUnavailable(_refusal(where, target, refused)) from None
    version, started, recovering, read_only, fsync, commit, pages, room, may_create, database = row
    if recovering or read_only == "on":
        raise StoreUnavailable(f"{where} is read-only: give the address of its primary")
    if not may_create:
        raise StoreUnavailable(
            f"{where}: {target.user} may not create a schema: GRANT CREATE ON DATABASE {database} TO {target.user}"
        )
    number = version.split(" ", 1)[0]
    _refuse_old(where, "PostgreSQL", number)
    durability = f"fsync {fsync}, synchronous_commit {commit}" + ("" if pages == "on" else ", full_page_writes off")
    return StoreInfo("postgres", "PostgreSQL", number, embedded, durability, started, 0, int(room))


def _refusal(where: str, target: PostgresTarget, refused: StatementRefused) -> str:
    match refused.code:
        case "28P01" | "28000":
            return f"{where} refuses the user or password: put the right ones into --postgres-url"
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
    """Refuse a strategy that needs a newer server. Valkey counts as Redis 7.2 or newer. Raises UsageError."""
    wanted = needs.get(info.kind)
    if wanted is None or info.product == "Valkey":
        return
    if _numbers(info.version) < _numbers(wanted):
        raise UsageError(f"{who} needs {info.product} {wanted} or newer; this is {info.version}")


def require_connections(info: StoreInfo, wanted: int) -> None:
    """Refuse more connections than the server has room for. Raises UsageError."""
    if wanted > info.room:
        raise UsageError(
            f"{wanted} connections are more than {info.title} has room for ({info.room}): use fewer --connections"
        )


def changed(before: StoreInfo, after: StoreInfo) -> str | None:
    """Why a store cannot be trusted for what lies between, or None."""
    if before.incarnation != after.incarnation:
        return f"{before.product} was restarted or failed over during the run"
    if after.evicted > before.evicted:
        return f"{before.product} evicted {after.evicted - before.evicted} keys during the run"
    return None
