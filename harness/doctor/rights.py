"""The rights that race needs on a server, each tried on a key or in a schema of its own that goes at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from harness.doctor.checks import Check
from harness.model import CommandRefused, StatementRefused
from harness.stores import PostgresConnection, PostgresTarget, RedisConnection, RedisTarget, functions, logins

_READS = "return redis.call('GET', KEYS[1])"
_ALIVE_S = 60
"""What a killed doctor leaves in Redis goes by itself."""


@dataclass(frozen=True, slots=True)
class Right:
    """`tries` are what is sent, `grant` what an ACL must say. `without`: what is missed, where race can do without."""

    name: str
    purpose: str
    tries: tuple[tuple[str, ...], ...]
    grant: str
    without: str = ""


@dataclass(frozen=True, slots=True)
class Permission:
    """`tries` are statements; `remedy` may name {user} and {database}. `inside`: it needs the schema.

    `without`: what is missed, where race can do without.
    """

    name: str
    purpose: str
    tries: tuple[str, ...]
    remedy: str
    inside: bool = False
    without: str = ""


# {key}: a key of the doctor's own; {digest}: of the script; {id}: of its connection; {name}, {code}: of a library.
REDIS = (
    Right("INFO", "version, limits, restarts", (("INFO",),), "+info"),
    Right(
        "reads, writes", "GET, SET, PEXPIRE, UNLINK and their like, on race:*",
        (
            ("SET", "{key}", "1", "EX", str(_ALIVE_S)), ("GET", "{key}"), ("MGET", "{key}"), ("INCR", "{key}"),
            ("PEXPIRE", "{key}", "60000"), ("UNLINK", "{key}"),
        ),
        "+@read +@write",
    ),
    Right("SCAN", "what killed runs left", (("SCAN", "0", "MATCH", "{key}", "COUNT", "10"),), "+scan"),
    Right(
        "transactions", "WATCH, MULTI, EXEC", (("WATCH", "{key}"), ("MULTI",), ("GET", "{key}"), ("EXEC",)),
        "+@transaction",
    ),
    Right(
        "scripts", "SCRIPT LOAD, EVALSHA",
        (("SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"), ("EVALSHA", "{digest}", "1", "{key}")), "+@scripting",
    ),
    Right(
        "functions", "FUNCTION LOAD, FCALL",
        (
            ("FUNCTION", "LOAD", "REPLACE", "{code}"), ("FCALL", "{name}", "1", "{key}"),
            ("FUNCTION", "DELETE", "{name}"),
        ),
        "+@scripting", "lua-function cannot be run",
    ),
    Right(
        "logins", "ACL SETUSER, ACL DELUSER, for callers who may only read",
        (("ACL", "SETUSER", "{caller}", "reset"), ("ACL", "DELUSER", "{caller}")), "+acl",
        "what is to be refused to callers (actor:credentials) cannot be run",
    ),
    Right("TIME", "the server's clock", (("TIME",),), "+time"),
    Right(
        "COMMAND INFO", "which keys a command touches", (("COMMAND", "INFO", "get"),), "+command",
        "a search takes every command for one that touches all keys",
    ),
    Right(
        "CLIENT", "exploring commands that wait",
        (("CLIENT", "ID"), ("CLIENT", "LIST", "ID", "{id}"), ("CLIENT", "UNBLOCK", "{id}")), "+client",
        "commands that wait, as BLPOP does, cannot be explored",
    ),
)  # fmt: skip

_READ_ONLY = "25006"
"""SQLSTATE read_only_sql_transaction: on a replica, or by default_transaction_read_only."""
_OTHER_ROLE = "name another role in --postgres-url: the database's owner may do this"
_EXECUTE = 'GRANT EXECUTE ON FUNCTION {function} TO "{user}"'
POSTGRES = (
    Permission(
        "schemas", "CREATE SCHEMA in this database",
        ("CREATE SCHEMA {schema}", "COMMENT ON SCHEMA {schema} IS 'made by race'"),
        'GRANT CREATE ON DATABASE "{database}" TO "{user}"',
    ),
    Permission(
        "tables", "CREATE TABLE, INSERT, UPDATE, DELETE in it",
        (
            "CREATE TABLE {schema}.tried (key text PRIMARY KEY)", "INSERT INTO {schema}.tried VALUES ('a')",
            "UPDATE {schema}.tried SET key = 'b'", "DELETE FROM {schema}.tried WHERE key = 'a'",
        ),
        _OTHER_ROLE, inside=True,
    ),
    Permission(
        "row locks", "SELECT ... FOR UPDATE", ("SELECT * FROM {schema}.tried FOR UPDATE",), _OTHER_ROLE, inside=True
    ),
    Permission(
        "isolation", "SERIALIZABLE", ("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM {schema}.tried; COMMIT",),
        _OTHER_ROLE, inside=True,
    ),
    Permission(
        "settings", "SET lock_timeout, idle_session_timeout",
        ("SET idle_session_timeout = 0", "SET lock_timeout = '1s'"),
        "connect to the server itself, not through a pooler that forbids SET",
    ),
    Permission(
        "advisory locks", "pg_advisory_lock, the guard of a run",
        ("SELECT pg_advisory_lock({place}, 1)", "SELECT pg_advisory_unlock({place}, 1)"),
        _EXECUTE.replace("{function}", "pg_advisory_lock(int, int), pg_advisory_unlock(int, int)"),
    ),
    Permission(
        "who waits", "pg_blocking_pids, for exploring", ("SELECT pg_blocking_pids({other})",),
        _EXECUTE.replace("{function}", "pg_blocking_pids(int)"),
    ),
    Permission(
        "roles", "CREATE ROLE, for callers who may only read and call functions",
        ("CREATE ROLE {schema}_caller; DROP ROLE {schema}_caller",), 'ALTER ROLE "{user}" CREATEROLE',
        without="what is to be refused to callers (pg-procedure:revoked) cannot be run",
    ),
    Permission(
        "cancelling", "pg_cancel_backend, for exploring", ("SELECT pg_cancel_backend({other})",),
        _EXECUTE.replace("{function}", "pg_cancel_backend(int)"),
    ),
)  # fmt: skip


async def try_redis(target: RedisTarget, key: str) -> list[Check]:
    """Each right on a connection of its own. Raises ConnectionLost, CommandRefused where there is none to be had."""
    return [await _try_right(target, key, right) for right in REDIS]


async def _try_right(target: RedisTarget, key: str, right: Right) -> Check:
    connection = await RedisConnection.open(target)
    prefix = "".join(key.rpartition(":")[:2])
    name, code = functions.library_of(_READS, functions.library_prefix(prefix, target.database))
    caller = logins.redis_user(prefix, target)
    known = {"key": key, "digest": "", "id": "", "name": name, "code": code, "caller": caller}
    try:
        for words in right.tries:
            reply = await connection.execute(*(word.format(**known) for word in words))
            if words[0] == "SCRIPT":
                known["digest"] = reply.decode()
            elif words[1:] == ("ID",):
                known["id"] = str(reply)
    except CommandRefused as refused:
        says = f"{words[0]}: {refused}" + (f"; {right.without}" if right.without else "")
        return Check(right.name, "warning" if right.without else "failed", says, _granting(target, right, refused))
    finally:
        with contextlib.suppress(CommandRefused):
            await connection.execute("UNLINK", key)
        if right.name == "functions":
            await functions.remove(connection, name)
        await connection.close()
    return Check(right.name, "ok", right.purpose)


def _granting(target: RedisTarget, right: Right, refused: CommandRefused) -> str:
    if refused.code != "NOPERM":
        return "the server's own answer says why; another server may be the shorter way"
    grant = "~race:*" if "key" in str(refused).split("command")[-1] else right.grant
    return f"ACL SETUSER {target.user or 'default'} {grant}"


async def try_postgres(target: PostgresTarget, schema: str) -> list[Check]:
    """Each permission in turn; the schema goes at the end. Raises ConnectionLost, StatementRefused."""
    connection = await PostgresConnection.open(target)
    try:
        other = await PostgresConnection.open(target)
        try:
            return await _try_all(
                connection, target, {"schema": schema, "other": other.pid, "place": int(schema[-7:], 16)}
            )
        finally:
            await other.close()
    finally:
        with contextlib.suppress(StatementRefused):
            await connection.script(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await connection.close()


async def _try_all(connection: PostgresConnection, target: PostgresTarget, known: Mapping[str, object]) -> list[Check]:
    checks: list[Check] = []
    for permission in POSTGRES:
        if permission.inside and checks[0].state == "failed":
            checks.append(Check(permission.name, "untried", "needs a schema"))
            continue
        try:
            for statement in permission.tries:
                await connection.script(statement.format(**known))
        except StatementRefused as refused:
            await _rolled_back(connection)
            remedy = permission.remedy.format(user=target.user, database=target.database)
            if refused.code == _READ_ONLY:
                remedy = "what the server's own line says: no right lets a transaction write that only reads"
            said = str(refused).partition(" DETAIL:")[0]  # the remedy says more
            says = f"{said}; {permission.without}" if permission.without else said
            checks.append(Check(permission.name, "warning" if permission.without else "failed", says, remedy))
        else:
            checks.append(Check(permission.name, "ok", permission.purpose))
    return checks


async def _rolled_back(connection: PostgresConnection) -> None:
    with contextlib.suppress(StatementRefused):
        await connection.script("ROLLBACK")
