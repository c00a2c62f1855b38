"""Servers that cannot be used are refused in one line that says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.burst.serving import connected
from harness.model import ConnectionLost, StoreFault, StoreUnavailable, UsageError
from harness.stores import (
    PostgresConnection,
    PostgresTarget,
    RedisConnection,
    RedisTarget,
    StoreInfo,
    Stores,
    Targets,
    require,
    require_connections,
)
from harness.stores.health import changed, look_postgres, look_redis, read_redis
from tests.servers import PrivateValkey, Proxy, free_port, until

FINE = {"redis_version": "7.2.4", "run_id": "a", "role": "master", "redis_mode": "standalone"}


def _refusal(url: str) -> str:
    """What entering Stores on that Redis raises."""

    async def enter() -> None:
        async with Stores(redis_url=url, need={"redis"}):
            pass

    with pytest.raises(StoreUnavailable) as refused:
        asyncio.run(enter())
    assert len(str(refused.value).splitlines()) == 1
    assert refused.value.exit_code == 3
    return str(refused.value)


def test_sound_servers(redis: RedisTarget, postgres: PostgresTarget) -> None:
    """A server that can be used says what it is, and has room."""
    infos = (
        asyncio.run(look_redis(redis, embedded=False)),
        asyncio.run(look_postgres(postgres, embedded=False)),
    )
    assert [info.kind for info in infos] == ["redis", "postgres"]
    assert all(info.version and info.incarnation and info.durability and info.room > 0 for info in infos)
    assert all(info.ahead_ns is not None and info.ahead_ns[0] < info.ahead_ns[1] for info in infos)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"redis_version": "6.0.16"}, "is Redis 6.0.16: race needs 6.2 or newer"),
        ({"redis_version": "7.2.4", "valkey_version": "7.0.1"}, "is Valkey 7.0.1: race needs 7.2 or newer"),
        ({"role": "slave"}, "is a read-only replica: give the address of its primary"),
        ({"redis_mode": "sentinel"}, "is a sentinel: race needs a single server"),
        ({"redis_mode": "cluster"}, "is a cluster: race needs a single server"),
        ({"maxmemory": "100", "maxmemory_policy": "allkeys-lru"}, "may evict keys (maxmemory_policy allkeys-lru)"),
        ({"run_id": ""}, "does not say which Redis it is"),
    ],
)
def test_unusable_redis(more: Mapping[str, str], expected: str) -> None:
    """What INFO tells is enough to refuse a server."""
    with pytest.raises(StoreUnavailable) as refused:
        read_redis(FINE | more, "it", embedded=False)
    assert expected in str(refused.value)


def test_what_info_tells() -> None:
    """Version, durability, room and incarnation come from INFO."""
    told = FINE | {"aof_enabled": "1", "maxclients": "100", "connected_clients": "30", "evicted_keys": "2"}
    expected = StoreInfo("redis", "Redis", "7.2.4", False, "append-only file, fsync always", "a -1", 2, 70)
    assert expected == read_redis(told, "it", embedded=False, policy="always")


def test_a_primary_that_was_a_replica_meanwhile(valkey: Callable[..., Any]) -> None:
    """It is the same process with the keys of this run, but what it has answered since they were copied is gone."""
    ports = free_port(), free_port()
    first, other = (valkey("--port", str(port), "--repl-diskless-sync-delay", "0") for port in ports)

    def follow(one: PrivateValkey, port: int) -> None:
        one.execute("REPLICAOF", "127.0.0.1", port)
        until(lambda: b"master_link_status:up" in one.execute("INFO", "replication"))
        one.execute("REPLICAOF", "NO", "ONE")

    async def enter() -> tuple[str | None, str | None]:
        async with Stores(redis_url=first.url, need={"redis"}) as stores:
            await asyncio.to_thread(follow, other, ports[0])
            before = await stores.lost()
            await asyncio.to_thread(follow, first, ports[1])
            return before, await stores.lost()

    assert asyncio.run(enter()) == (None, "Valkey was restarted or failed over during the run")


def test_an_address_that_is_anothers_for_a_while(valkey: Callable[..., Any]) -> None:
    """What was written there would be missed later, when nothing tells any more that somebody else had answered."""
    first, other = valkey(), valkey()
    proxy = Proxy(first.socket)

    async def enter() -> str | None:
        async with Stores(redis_url=proxy.url, need={"redis"}) as stores:
            begun = {"redis": stores.infos[0].incarnation}
            targets = Targets.from_description({**stores.describe(), "incarnations": begun})

            async def meets() -> str | None:
                try:
                    connection, _postgres = await connected(targets, "redis")
                except ConnectionLost as lost:
                    return str(lost)
                assert connection is not None
                return await connection.close()

            told = [await meets()]
            for server in (other, first):
                proxy.point_to(server.socket)
                told.append(await meets())
            assert (told[0], told[2], await stores.lost()) == (None, None, None)
            return told[1]

    try:
        assert asyncio.run(enter()) == "another server answered there for a while, or this one was a replica"
    finally:
        proxy.close()


def test_replica(valkey: Callable[..., Any]) -> None:
    """A real replica is refused."""
    assert "read-only replica" in _refusal(valkey("--replicaof", "127.0.0.1", "1").url)


def test_evicting(valkey: Callable[..., Any]) -> None:
    """A real server that may evict is refused."""
    assert "may evict" in _refusal(valkey("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru").url)


def test_full(valkey: Callable[..., Any]) -> None:
    """A server that has no memory left is refused."""
    assert "is full" in _refusal(valkey("--maxmemory", "1").url)


async def only_one(target: RedisTarget) -> RedisConnection:
    """The one connection that there is room for, once whoever saw the server start has left."""
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(StoreFault):
                return await RedisConnection.open(target)


def test_no_connection_left(valkey: Callable[..., Any]) -> None:
    """A server without a connection left is refused."""

    async def enter() -> None:
        server = valkey("--maxclients", "1")
        taken = await only_one(server.target())
        try:
            await look_redis(server.target(), embedded=False)
        finally:
            await taken.close()

    with pytest.raises(StoreUnavailable, match="raise its maxclients"):
        asyncio.run(enter())


def test_redis_password(valkey: Callable[..., Any]) -> None:
    """A missing or wrong password is refused, and not shown; the right one is taken."""
    server = valkey("--requirepass", "right-one")
    for login in ("", "?password=wrong-one"):
        message = _refusal(server.url + login)
        assert "refuses the user or password" in message
        assert "-one" not in message
    assert asyncio.run(look_redis(server.target(password="right-one"), embedded=False)).product == "Valkey"


def test_needless_password(valkey: Callable[..., Any]) -> None:
    """A password for a server that has none is refused with what to do."""
    assert "takes no password" in _refusal(f"{valkey().url}?password=any")


def test_lacking_rights(valkey: Callable[..., Any]) -> None:
    """A user without rights is refused; one with those that the message names is enough."""
    server = valkey()

    async def allow(*rules: str) -> None:
        connection = await RedisConnection.open(server.target())
        await connection.execute("ACL", "SETUSER", "ann", "reset", "on", ">secret", *rules)
        await connection.close()

    asyncio.run(allow("+@all", "-@write", "~race:*"))
    assert "lacks rights" in _refusal(f"{server.url}?username=ann&password=secret")
    asyncio.run(allow("+@all", "-@admin", "+info", "~race:*"))

    async def enter() -> str | None:
        async with Stores(redis_url=f"{server.url}?username=ann&password=secret", need={"redis"}) as stores:
            return await stores.lost()

    assert None is asyncio.run(enter())


def test_stopped(valkey: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers is given up."""
    monkeypatch.setattr("harness.stores.redis._PATIENCE_S", 0.1)
    server = valkey()
    server.send(signal.SIGSTOP)
    assert "does not answer" in _refusal(server.url)


def test_nobody_there(tmp_path: Path) -> None:
    """Nothing that listens is told in a few words, for both stores."""
    gone = RedisTarget(path=str(tmp_path / "none.sock"))
    with pytest.raises(StoreUnavailable, match=r"does not answer \(no such file or directory\): start it"):
        asyncio.run(look_redis(gone, embedded=False))
    with pytest.raises(StoreUnavailable, match=r"does not answer \(connection refused\): start it"):
        asyncio.run(look_postgres(PostgresTarget(host="localhost", port=1), embedded=False))


@pytest.fixture
def role(postgres: PostgresTarget) -> Iterator[Callable[[str], PostgresTarget]]:
    """Make a role with some options; it is dropped afterwards."""
    name = f"race_test_{secrets.token_hex(4)}"

    async def command(text: str) -> None:
        connection = await PostgresConnection.open(postgres)
        await connection.script(text)
        await connection.close()

    def make(then: str) -> PostgresTarget:
        asyncio.run(command(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'; {then.format(role=name)}"))
        return dataclasses.replace(postgres, user=name, password="secret")

    yield make
    asyncio.run(command(f"DROP ROLE {name}"))


def test_no_right_to_create(role: Callable[[str], PostgresTarget]) -> None:
    """A role that may not create a schema is told which GRANT it needs."""
    with pytest.raises(StoreUnavailable, match="GRANT CREATE ON DATABASE"):
        asyncio.run(look_postgres(role(""), embedded=False))


def test_read_only(role: Callable[[str], PostgresTarget]) -> None:
    """A role or server that only reads is refused."""
    with pytest.raises(StoreUnavailable, match="is read-only"):
        asyncio.run(look_postgres(role("ALTER ROLE {role} SET default_transaction_read_only = on"), embedded=False))


def test_room_of_a_role(role: Callable[[str], PostgresTarget], postgres: PostgresTarget) -> None:
    """A role's own limit of connections counts."""

    async def room(target: PostgresTarget) -> int:
        connection = await PostgresConnection.open(postgres)
        await connection.script(f"GRANT CREATE ON DATABASE {target.database} TO {target.user}")
        info = await look_postgres(target, embedded=False)
        await connection.script(f"REVOKE CREATE ON DATABASE {target.database} FROM {target.user}")
        await connection.close()
        return info.room

    assert asyncio.run(room(role("ALTER ROLE {role} CONNECTION LIMIT 3"))) == 3


def test_no_such_database(postgres: PostgresTarget) -> None:
    """A database that is not there is named."""
    with pytest.raises(StoreUnavailable, match="has no database race_none"):
        asyncio.run(look_postgres(dataclasses.replace(postgres, database="race_none"), embedded=False))


def test_postgres_password(embedded_postgres: PostgresTarget) -> None:
    """A wrong password is refused, and not shown; the right one is taken."""
    target = dataclasses.replace(embedded_postgres, user="race_locked", password="wrong-one")
    rules = Path(embedded_postgres.host) / "data" / "pg_hba.conf"
    before = rules.read_text()

    async def prepare() -> None:
        connection = await PostgresConnection.open(embedded_postgres)
        await connection.script("CREATE ROLE race_locked LOGIN SUPERUSER PASSWORD 'right-one'")
        rules.write_text(f"local all race_locked scram-sha-256\n{before}")
        await connection.script("SELECT pg_reload_conf()")
        await connection.close()

    asyncio.run(prepare())
    message = ""
    while "refuses the user or password" not in message:  # the server reads its rules in its own time
        with pytest.raises(StoreUnavailable) as refused:
            asyncio.run(look_postgres(target, embedded=False))
        message = str(refused.value)
    assert "-one" not in message
    right = dataclasses.replace(target, password="right-one")
    assert asyncio.run(look_postgres(right, embedded=False)).product == "PostgreSQL"


def test_requirements() -> None:
    """A strategy that needs a newer server, and more connections than there are, are refused."""
    info = StoreInfo("redis", "Redis", "6.2.1", embedded=False, durability="", room=10)
    require(info, {"redis": "6.2", "postgres": "18"})
    require_connections(info, 10)
    with pytest.raises(UsageError, match=r"^lua needs Redis 7.0 or newer; this is Redis 6.2.1$"):
        require(info, {"redis": "7.0"}, "lua")
    with pytest.raises(UsageError, match=r"11 connections are more than Redis 6.2.1 has room for \(10\)"):
        require_connections(info, 11)


@pytest.mark.parametrize("version", ["7.2.4", "9.1.2"])
def test_a_valkey_is_a_redis_7_2(version: str) -> None:
    """By its own number it has nothing of a later Redis; what of that it has, `needs` may say."""
    info = StoreInfo("redis", "Valkey", version, embedded=False, durability="", room=10)
    for wanted in ("6.2", "7.0", "7.2.4"):
        require(info, {"redis": wanted})
    for wanted in ("7.4", "8.0"):
        with pytest.raises(UsageError, match=f"needs Redis {wanted} or newer; this is Valkey {version}, and Valkey is"):
            require(info, {"redis": wanted})
    require(info, {"redis": "8.0", "valkey": "7.2"})
    for needs in ({"redis": "6.2", "valkey": "10.0"}, {"valkey": "10.0"}):
        with pytest.raises(UsageError, match=f"needs Valkey 10.0 or newer; this is Valkey {version}$"):
            require(info, needs)
    require(info, {"valkey": "7.2"})
    newest = dataclasses.replace(info, product="Redis", version="99.0")
    require(newest, {"redis": "8.0", "valkey": "10.0"})
    with pytest.raises(UsageError, match=r"needs Valkey 7.2 or newer; this is Redis 99.0$"):
        require(newest, {"valkey": "7.2"})


def test_another_postgres_behind_the_address(postgres: PostgresTarget) -> None:
    """Of a standby that is promoted for a while nothing tells later, either: each connection sees whom it has met."""

    async def meets(incarnation: str) -> str | None:
        targets = Targets("", "", postgres=postgres, incarnations={"postgres": incarnation})
        try:
            _redis, connection = await connected(targets, "postgres")
        except ConnectionLost as lost:
            return str(lost)
        assert connection is not None
        return await connection.close()

    info = asyncio.run(look_postgres(postgres, embedded=False))
    assert asyncio.run(meets(info.incarnation)) is None
    assert asyncio.run(meets("1795562000.123456")) == (
        "another server answered there for a while, or this one was a replica"
    )


def test_a_clock_that_was_set() -> None:
    """Noticed between the two looks, as far as these bound it; not a clock that is slewed, or slow to tell the time."""
    second, ms = 1_000_000_000, 1_000_000

    def at(ahead_ms: int, seen_s: int, took_ms: int = 1) -> StoreInfo:
        bounds = (ahead_ms * ms - took_ms * ms, ahead_ms * ms)
        return StoreInfo("redis", "Redis", "7", embedded=False, durability="", ahead_ns=bounds, seen_ns=seen_s * second)

    before = at(5_000, 100)
    silent = dataclasses.replace(before, ahead_ns=None)
    assert [
        changed(before, after)
        for after in (
            at(5_009, 101),
            at(5_059, 160),
            at(5_300, 101, took_ms=300),
            at(7_001, 101),
            at(3_999, 101),
            silent,
        )
    ] == [
        None,
        None,
        None,
        "the clock of Redis was set forward by about 2000 ms",
        "the clock of Redis was set back by about 1000 ms",
        None,
    ]


def test_changes() -> None:
    """A restart and an eviction are noticed, and where an eviction would not be; nothing else is."""
    before = StoreInfo("redis", "Redis", "7.2", embedded=False, durability="", incarnation="a", evicted=1, room=5)
    assert [
        changed(before, dataclasses.replace(before, room=1)),
        changed(before, dataclasses.replace(before, incarnation="b")),
        changed(before, dataclasses.replace(before, evicted=3)),
        changed(before, dataclasses.replace(before, evicted=0)),
    ] == [
        None,
        "Redis was restarted or failed over during the run",
        "Redis evicted 2 keys during the run",
        "the statistics of Redis were reset during the run: it may have evicted keys",
    ]
