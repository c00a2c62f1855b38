"""A login of the callers of one run, with which a store lets them read and nothing else: writing is its owner's.

What is a strategy's own, and no state of the rule, they may write: a queue serves nobody who may not put into it.

Logins are no part of a key prefix or a schema: they belong to the whole server. So they bear the run's id,
go at the end, and what a killed run left is swept by a later one: in Redis where the run's key no longer
lives, in PostgreSQL where nobody holds its lock. Both are known in one database only, which a login therefore names.

In Redis a script or a function runs with the rights of who calls it: there only an owner process can be the one who
writes. In PostgreSQL a function may run with the rights of who made it (SECURITY DEFINER).
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import secrets

from harness.model import CommandRefused, StatementRefused, StoreUnavailable
from harness.stores.postgres import PostgresConnection
from harness.stores.redis import RedisConnection
from harness.stores.targets import PostgresTarget, RedisTarget
from harness.strategy import OWN

_REDIS_USER = re.compile(rb"race:([0-9a-f]{8}):(\d+):caller")
_MARK = "made by race in "
_ROLES = """
SELECT rolname::text FROM pg_roles
WHERE rolname ~ '^race_[0-9a-f]{8}_caller$' AND shobj_description(oid, 'pg_authid') = $1 || current_database()
"""


async def admit_to_redis(connection: RedisConnection, target: RedisTarget, prefix: str) -> RedisTarget:
    """A user who may only read, below one prefix, and write what is a strategy's own there: put into its queue.

    Before Redis 7 not even that. Raises StoreUnavailable where we may make none.
    """
    user, password = redis_user(prefix, target), secrets.token_hex(16)
    rules = ("reset", "on", f">{password}", f"~{prefix}*", "+@all", "-@write", "-@admin", "-@dangerous")
    own = f"(~{prefix}{OWN}* +@all -@admin -@dangerous)"
    try:
        try:
            await connection.execute("ACL", "SETUSER", user, *rules, own)
        except CommandRefused:  # the server knows no selectors, or we may make no users: it says so again
            await connection.execute("ACL", "SETUSER", user, *rules)
    except CommandRefused as refused:
        raise StoreUnavailable(
            f"Redis at {target.shown}: no login for callers can be made ({refused}): "
            "grant +acl, or use the embedded server"
        ) from None
    return dataclasses.replace(target, user=user, password=password)


def redis_user(prefix: str, target: RedisTarget) -> str:
    """`race:<run>:<database>:caller`."""
    return f"{prefix}{target.database}:caller"


async def dismiss_from_redis(connection: RedisConnection, user: str) -> None:
    """Remove a user; its connections end."""
    with contextlib.suppress(CommandRefused):
        await connection.execute("ACL", "DELUSER", user)


async def sweep_redis(connection: RedisConnection, target: RedisTarget) -> None:
    """Remove the users of runs that no longer live."""
    with contextlib.suppress(CommandRefused):  # who may not look left none
        for name in await connection.execute("ACL", "USERS"):
            match = _REDIS_USER.fullmatch(name)
            if match is None or int(match[2]) != target.database:
                continue
            if not await connection.execute("EXISTS", f"race:{match[1].decode()}:alive"):
                await connection.execute("ACL", "DELUSER", name)


async def admit_to_postgres(owner: PostgresConnection, target: PostgresTarget, schema: str) -> PostgresTarget:
    """A role that may read tables and call functions in one schema. Raises StoreUnavailable where we may make none."""
    role, password = postgres_role(schema), secrets.token_hex(16)
    try:
        await owner.script(
            f"CREATE ROLE {role} LOGIN PASSWORD '{password}';"
            f" COMMENT ON ROLE {role} IS '{_MARK}{target.database.replace(chr(39), chr(39) * 2)}';"
            f" GRANT USAGE ON SCHEMA {schema} TO {role};"
            # What is there already, and what will be.
            f" GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};"
            f" GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role};"
            f" ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role};"
            f" ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT EXECUTE ON FUNCTIONS TO {role}"
        )
    except StatementRefused as refused:
        raise StoreUnavailable(
            f"PostgreSQL at {target.shown}: no login for callers can be made ({refused}): "
            f'ALTER ROLE "{target.user}" CREATEROLE, or use the embedded server'
        ) from None
    return dataclasses.replace(target, user=role, password=password)


def postgres_role(schema: str) -> str:
    """`race_<run>_caller`."""
    return f"{schema}_caller"


async def dismiss_from_postgres(owner: PostgresConnection, schema: str) -> None:
    """Remove the role of a schema that is gone: what it was granted went with that."""
    with contextlib.suppress(StatementRefused):
        await owner.script(f"DROP ROLE IF EXISTS {postgres_role(schema)}")


async def left_in_postgres(owner: PostgresConnection) -> list[str]:
    """The schemas of all roles that were made in this database."""
    return [row[0].removesuffix("_caller") for row in (await owner.sql(_ROLES, _MARK)).rows]
