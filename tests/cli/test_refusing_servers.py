"""A server that is there and will not do: one line or screen that says what to do, and no secret in it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.stores import PostgresConnection
from tests.servers import PrivatePostgres, PrivateValkey, free_port

Race = Callable[..., Any]


@pytest.fixture(scope="module")
def valkey() -> Iterator[PrivateValkey]:
    """A server with room for sixteen, and users who may do too little."""
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        server = PrivateValkey(Path(folder), ("--maxclients", "16"), port=free_port())
        server.execute("ACL", "SETUSER", "reader", "on", ">hunter2", "~*", "+@read", "+@connection", "+info")
        server.execute("ACL", "SETUSER", "plain", "on", ">hunter2", "~race:*", "+@all", "-@admin", "-@scripting")
        for user, missing in (("no-scan", "-scan"), ("no-unlink", "-unlink")):
            server.execute("ACL", "SETUSER", user, "on", ">hunter2", "~race:*", "+@all", missing)
        yield server
        server.kill()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PrivatePostgres]:
    """A server of these tests."""
    server = PrivatePostgres()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--connections", "40"), "44 connections are more than {} has room for ({}): use fewer --connections"),
        (("run", "--size", "40"), "46 connections are more than {} has room for ({}): use a smaller --size"),
        (("run", "--processes", "20"), "26 connections are more than {} has room for ({}): use fewer --processes"),
        (("explore", "--size", "16"), "24 connections are more than {} has room for ({}): use a smaller --size"),
    ],
)
def test_too_many_connections(race: Race, valkey: PrivateValkey, words: tuple[str, ...], said: str) -> None:
    """Refused before any load, with the option that asks for so many."""
    command, *options = words
    ended = race(command, "counter", "--strategy", "naive", *options, "--redis-url", valkey.url)
    info = dict(line.split(":", 1) for line in valkey.execute("INFO").decode().splitlines() if ":" in line)
    line = said.format(f"Valkey {info['valkey_version']}", 15)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"race: {line}\n")


@pytest.mark.parametrize("words", [("run", "--strategy"), ("explore", "--strategy"), ("compare", "--strategies")])
@pytest.mark.parametrize(
    ("user", "said"),
    [("reader:hunter3", "refuses the user or password"), ("reader:hunter2", "this user lacks rights")],
)
def test_a_user_who_may_not(race: Race, valkey: PrivateValkey, words: tuple[str, str], user: str, said: str) -> None:
    """A wrong password and a user who may only read: one line, exit 3, whatever the command."""
    url = f"redis://{user}@127.0.0.1:{valkey.port}"
    ended = race(words[0], "counter", words[1], "naive", "--redis-url", url)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (3, "", 1)
    assert said in ended.stderr
    assert "hunter" not in ended.stderr


@pytest.mark.parametrize(("user", "command"), [("no-scan", "scan"), ("no-unlink", "unlink")])
def test_who_is_refused_leaves_nothing(race: Race, valkey: PrivateValkey, user: str, command: str) -> None:
    """Who may write and not find or remove it again is refused before anything is written."""
    url = f"redis://{user}:hunter2@127.0.0.1:{valkey.port}"
    ended = race("explore", "counter", "--strategy", "naive", "--redis-url", url)
    assert (ended.code, ended.stdout) == (3, "")
    assert f"no permissions to run the '{command}' command" in ended.stderr
    assert valkey.execute("KEYS", "race:*") == []


def test_no_such_database(race: Race, valkey: PrivateValkey) -> None:
    """A number that the server does not have."""
    ended = race("explore", "counter", "--strategy", "naive", "--redis-url", f"{valkey.url}?db=99")
    says = f"Redis at {valkey.socket} has no such database: put another number at the end of --redis-url"
    assert (ended.code, ended.stdout, ended.stderr) == (3, "", f"race: {says}\n")


def test_rights_that_one_strategy_needs(race: Race, valkey: PrivateValkey) -> None:
    """A user without scripts explores nothing under `lua`, and is told what is missing."""
    url = f"redis://plain:hunter2@127.0.0.1:{valkey.port}"
    ended = race("explore", "counter", "--strategy", "lua", "--redis-url", url)
    said = " ".join(ended.stdout.split())
    assert (ended.code, ended.stderr) == (3, "")
    assert "INCONCLUSIVE Redis: this user lacks rights" in said
    assert "give it +@all -@admin +info ~race:*" in said
    assert "hunter" not in ended.stdout


def test_a_role_with_too_few_connections(race: Race, postgres: PrivatePostgres) -> None:
    """Where nothing smaller can be asked for, the server's limit is what to change."""

    async def limited() -> None:
        connection = await PostgresConnection.open(postgres.target)
        await connection.script("CREATE ROLE few LOGIN CONNECTION LIMIT 3; GRANT CREATE ON DATABASE postgres TO few")
        await connection.close()

    asyncio.run(limited())
    url = postgres.url.replace("postgres@", "few@")
    for words in (("isolation",), ("run", "counter", "--strategy", "pg-for-update")):
        ended = race(*words, "--postgres-url", url)
        assert (ended.code, ended.stdout) == (2, "")
        assert ended.stderr.endswith("has room for (3): raise its limits, or end other clients\n")
