"""race doctor: what is missing is named one by one, each with what to do, and nothing stays behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import validate

from harness.doctor import Asked, examine_servers, machine
from harness.results.schema import schema_text
from harness.stores import PostgresConnection, PostgresTarget
from tests.servers import PrivateValkey, free_port

Race = Callable[..., Any]


def postgres_url(target: PostgresTarget, user: str, database: str = "postgres") -> str:
    """The address of a server, embedded or not."""
    if target.host.startswith("/"):
        return f"postgresql://{user}@/{database}?host={target.host}"
    return f"postgresql://{user}@{target.host}:{target.port}/{database}"


async def _sql(target: PostgresTarget, *statements: str) -> list[Any]:
    connection = await PostgresConnection.open(target)
    try:
        return [(await connection.sql(statement)).rows for statement in statements]
    finally:
        await connection.close()


def test_rights_are_tried_one_by_one(
    race: Race, valkey: Callable[..., PrivateValkey], embedded_postgres: PostgresTarget
) -> None:
    """A user of each store who may do some of it: what is refused has its remedy, what is not is ok."""
    limited = valkey("--user", "few", "on", ">secret", "~race:*", "+@all", "-@scripting", "-client", "-scan")
    asyncio.run(
        _sql(embedded_postgres, "CREATE ROLE guest LOGIN", "REVOKE ALL ON FUNCTION pg_cancel_backend FROM public")
    )
    try:
        redis = f"unix://few:secret@{limited.socket}"
        ended = race(
            "doctor", "--redis-url", redis, "--postgres-url", postgres_url(embedded_postgres, "guest"), "--json"
        )
        left = asyncio.run(_sql(embedded_postgres, r"SELECT nspname FROM pg_namespace WHERE nspname ~ '^race_'"))
    finally:
        asyncio.run(_sql(embedded_postgres, "GRANT EXECUTE ON FUNCTION pg_cancel_backend TO public", "DROP ROLE guest"))
    document = json.loads(ended.stdout)
    validate(document, json.loads(schema_text("doctor")))
    found = {check["name"]: check for group in document["groups"][1:] for check in group["checks"]}
    bad = {name: (check["state"], check["remedy"]) for name, check in found.items() if check["state"] != "ok"}
    assert bad == {
        "SCAN": ("failed", "ACL SETUSER few +scan"),
        "scripts": ("failed", "ACL SETUSER few +@scripting"),
        "functions": ("warning", "ACL SETUSER few +@scripting"),
        "CLIENT": ("warning", "ACL SETUSER few +client"),
        "roles": ("warning", 'ALTER ROLE "guest" CREATEROLE'),
        "server": ("failed", 'GRANT CREATE ON DATABASE "postgres" TO "guest"'),
        "schemas": ("failed", 'GRANT CREATE ON DATABASE "postgres" TO "guest"'),
        "tables": ("untried", ""),
        "row locks": ("untried", ""),
        "isolation": ("untried", ""),
        "cancelling": ("failed", 'GRANT EXECUTE ON FUNCTION pg_cancel_backend(int) TO "guest"'),
    }
    assert (ended.code, ended.stderr, left, limited.execute("KEYS", "*")) == (3, "", [()], [])
    assert "secret" not in ended.stdout


def test_servers_that_are_not_there(race: Race, snapshot: Callable[[str, str], None]) -> None:
    """A line that says so and what to do; nothing else is tried."""
    port = free_port()
    ended = race(
        "doctor", "--redis-url", f"redis://127.0.0.1:{port}", "--postgres-url", f"postgresql://127.0.0.1:{port}/x"
    )
    assert (ended.code, ended.stderr) == (3, "")
    _machine, stores = ended.stdout.replace(str(port), "6399").split("\n\n", 1)
    snapshot("doctor-no-servers.txt", re.sub(r" +exit 3, .*", "  exit 3", stores))


def test_a_user_without_info(valkey: Callable[..., PrivateValkey], embedded_postgres: PostgresTarget) -> None:
    """The first line says what is wrong, and apart from it what to do. A new role's refusal is one sentence."""
    limited = valkey("--user", "few", "on", "nopass", "~race:*", "+@all", "-info")
    asyncio.run(_sql(embedded_postgres, "CREATE ROLE plain LOGIN", "GRANT CREATE ON DATABASE postgres TO plain"))
    asked = Asked(f"unix://few:x@{limited.socket}", postgres_url(embedded_postgres, "plain"))
    redis, postgres = asyncio.run(examine_servers(asked))
    asyncio.run(_sql(embedded_postgres, "DROP OWNED BY plain", "DROP ROLE plain"))
    server, roles = redis.checks[0], {check.name: check for check in postgres.checks}["roles"]
    assert (server.state, server.remedy) == ("failed", "give it +@all -@admin +info ~race:*")
    assert "this user lacks rights (NOPERM" in server.says
    assert roles.says.startswith("permission denied to create role; what is to be refused")


def test_an_interrupted_look_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else had the processor meanwhile: that is no slow clock."""
    reading, readings = time.monotonic_ns, itertools.count()
    monkeypatch.setattr(machine.time, "monotonic_ns", lambda: reading() + 10**10 * (next(readings) > machine._READINGS))
    clock = next(check for check in machine.examine_machine().checks if check.name == "clock")
    assert int(clock.says.split(" ns a reading")[0].split()[-1]) < 10**10 // machine._READINGS


def test_keys_of_another_name(valkey: Callable[..., PrivateValkey], embedded_postgres: PostgresTarget) -> None:
    """A user who may use other keys only is told the pattern, not a command."""
    limited = valkey("--user", "few", "on", "nopass", "~app:*", "+@all")
    asked = Asked(f"unix://few:x@{limited.socket}", postgres_url(embedded_postgres, "postgres"))
    redis, postgres = asyncio.run(examine_servers(asked))
    failed = {check.remedy for check in redis.checks if check.state == "failed"}
    assert failed == {"ACL SETUSER few ~race:*"}
    assert {check.state for check in postgres.checks} == {"ok"}


def test_a_role_that_only_reads(valkey: Callable[..., PrivateValkey], embedded_postgres: PostgresTarget) -> None:
    """No GRANT would help, so none is advised."""
    asyncio.run(
        _sql(
            embedded_postgres, "CREATE ROLE reads LOGIN", "GRANT CREATE ON DATABASE postgres TO reads",
            "ALTER ROLE reads SET default_transaction_read_only = on",
        )
    )  # fmt: skip
    _, postgres = asyncio.run(examine_servers(Asked(valkey().url, postgres_url(embedded_postgres, "reads"))))
    asyncio.run(_sql(embedded_postgres, "DROP OWNED BY reads", "DROP ROLE reads"))
    remedies = {check.name: check.remedy for check in postgres.checks if check.state == "failed"}
    assert set(remedies) == {"server", "schemas"}
    assert "default_transaction_read_only" in remedies["server"]
    assert remedies["schemas"].startswith("what the server's own line says")


def test_few_connections(valkey: Callable[..., PrivateValkey], embedded_postgres: PostgresTarget) -> None:
    """Room for a few callers only is a warning."""
    small = valkey("--maxclients", "12")
    redis, _ = asyncio.run(examine_servers(Asked(small.url, postgres_url(embedded_postgres, "postgres"))))
    (room,) = (check for check in redis.checks if check.name == "connections")
    assert (room.state, room.remedy) == ("warning", "raise maxclients, or end other clients")


def test_a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One processor, few files, a slow clock: each costs something and is no failure."""
    monkeypatch.setattr(machine, "cpus", lambda: 1)
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _which: (64, 64))
    monkeypatch.setattr(machine, "_READING_NS", -1)
    states = {check.name: check.state for check in machine.examine_machine().checks}
    assert states == {"Python": "ok", "processors": "warning", "open files": "warning", "clock": "warning"}


def test_a_quota_below_the_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A container of half a processor, on a machine of many."""
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "cpus", lambda: 8)
    processors = machine.examine_machine().checks[1]
    assert (processors.state, processors.says.split(", load")[0]) == (
        "warning", "0.5 of 8 by this container's quota",
    )  # fmt: skip
