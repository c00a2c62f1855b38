"""race verify: its screen, its document, its exit codes, and one line for whatever is wrong with a file."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.judge import Closing, Header, Recording
from harness.model import Effect, Evidence, Operation, Reply, Request, Signature, Status
from harness.report import verification_screen
from harness.results import schema_text

Race = Callable[..., Any]
Snapshot = Callable[[str, str], None]
REGISTER = ("--scenario", "register")


def line(op: str, asked: dict[str, Any], reply: Any, times: tuple[int, int | None], **changes: Any) -> dict[str, Any]:
    """A line of a history, in the form of the design."""
    status = "unknown" if times[1] is None else "ok"
    return {
        "op": op, "caller": op[0], "keys": ["x"], "request": asked, "invoked_ns": times[0], "returned_ns": times[1],
        "status": status, "reply": reply, **changes,
    }  # fmt: skip


WRITES = [
    line("a1", {"operation": "write", "value": 1}, {}, (0, 40)),
    line("b1", {"operation": "cas", "old": 1, "new": 2}, {"swapped": True}, (10, 60)),
    line("c1", {"operation": "write", "value": 7}, None, (20, None)),
    line("b2", {"operation": "read"}, {"value": 2}, (70, 80)),
]
STALE = line("a2", {"operation": "read"}, {"value": 1}, (90, 100))


def file(name: str, *lines: Any) -> str:
    """A history file in the current folder."""
    Path(name).write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    return name


def steady(screen: str) -> str:
    """A screen without what differs from time to time."""
    return re.sub(r"exit (\d), [\d.]+ s", r"exit \1, 0.1 s", re.sub(r"; read in [\d.]+ s", "", screen))


def test_a_history_that_some_order_explains(race: Race, snapshot: Snapshot) -> None:
    """Exit 0."""
    ended = race("verify", file("h.jsonl", *WRITES), *REGISTER)
    assert (ended.code, ended.stderr) == (0, "")
    snapshot("verify-held.txt", steady(ended.stdout))


def test_what_no_budget_limits_is_told(race: Race) -> None:
    """Reading comes before judging, whose time alone --budget limits: where it took long, the screen says so."""
    document = json.loads(race("verify", file("h.jsonl", *WRITES), *REGISTER, "--json").stdout)
    assert 0 <= document["reading_s"] <= document["duration_s"]
    quick, slow = (verification_screen({**document, "reading_s": took_s}, 0) for took_s in (0.2, 14.2))
    assert "read in" not in quick
    assert "connected keys, 1 unknown; read in 14 s" in slow


def test_a_history_that_none_explains(race: Race, snapshot: Snapshot) -> None:
    """Exit 1; the operations that contradict each other, as a timeline in 80 columns."""
    ended = race("verify", file("h.jsonl", *WRITES, STALE), *REGISTER)
    assert (ended.code, race("verify", "h.jsonl", *REGISTER, "--exit-zero").code) == (1, 0)
    assert max(map(len, ended.stdout.splitlines())) <= 80
    snapshot("verify-violated.txt", steady(ended.stdout))


def test_a_document_follows_its_schema(race: Race) -> None:
    """One document on stdout, nothing else; it names what contradicts itself."""
    file("h.jsonl", *WRITES, STALE)
    ended = race("verify", "h.jsonl", *REGISTER, "--json")
    document = json.loads(ended.stdout)
    described = json.loads(schema_text("verification"))
    Draft202012Validator(described).validate(document)
    assert list(document) == list(described["properties"])
    assert (document["schema"], document["verdict"], document["order"]) == ("race.verification/1",) + ("violated",) * 2
    assert [one["op"] for one in document["counterexample"]["unordered"]] == ["b2", "a2"]
    assert document["counts"]["unknown"] == 1


def test_anything_may_be_in_a_history(race: Race) -> None:
    """Long values are cut, and what a terminal would obey is spelt out."""
    nasty, long = "\x1b[2J\u202e", "x" * 500
    keys = {"keys": [nasty + long]}
    ended = race(
        "verify",
        file("h.jsonl", *({**one, **keys} for one in WRITES), {**STALE, **keys, "reply": {"value": nasty + long}}),
        *REGISTER,
    )
    assert ended.code == 1
    assert "\x1b" not in ended.stdout
    assert "\u202e" not in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


def recorded(path: str, *, close: bool) -> None:
    """A history as a run of double-submit leaves it: two at work at once, and the control broke."""
    ms, key = 1_000_000, "user:1"
    with Recording(Path(path)) as recording:
        signatures = {"start": Signature(decision="")}
        recording.begin(Header("double-submit", "drop", "naive", 7, "burst"), signatures)
        starts = [
            Operation(Request("start", (key,), {}, f"{n}-0", f"a{n}"), f"{n}.0", n * ms, (4 + n) * ms, Status.OK,
                      Reply("accepted"), 1_000 + n, 1_000 + n)
            for n in range(2)
        ]  # fmt: skip
        works = [Effect("work", f"a{n}", (key,), (6 + n) * ms, (20 + n) * ms, f"{n}.0") for n in range(2)]
        rest = {key: {"attempt": "a1", "until_ms": 3_001}}
        recording.piece(
            Evidence("0", (key,), starts, works, {key: None}, rest, 1_030, monotonic_to_unix_ns=1_000 * ms), 0
        )
        if close:
            recording.end(Closing(None, 0, 0, None, complete=True))


@pytest.mark.parametrize("name", ["h.jsonl", "h.jsonl.gz"])
def test_a_run_names_its_own_scenario(race: Race, snapshot: Snapshot, name: str) -> None:
    """Order and rule apart, with the effects of those concerned."""
    recorded(name, close=True)
    ended = race("verify", name)
    assert ended.code == 1
    snapshot("verify-run.txt", steady(ended.stdout).replace(name, "h.jsonl"))


def test_bursts_that_could_not_break(race: Race) -> None:
    """Those of a run in which nobody met anybody are left out, which is said: their number would be missed."""
    with Recording(Path("h.jsonl")) as recording:
        recording.begin(Header("register", "default", "lua", 1, "burst"), {})
        for burst, begun_ns in enumerate((10, 30)):
            operations = tuple(
                Operation(
                    Request("write", (f"k{burst}",), {"value": 1}, f"{burst}-{n}"), f"{n}.0", at_ns, at_ns + 20,
                    Status.OK, Reply("done"),
                )
                for n, at_ns in enumerate((0, begun_ns))
            )  # fmt: skip
            recording.piece(Evidence(str(burst), (f"k{burst}",), operations), burst)
        recording.end(Closing(None, 0, 0, None, complete=True))
    ended = race("verify", "h.jsonl")
    assert "  Left out 1 burst in which no two requests overlapped\n" in ended.stdout
    assert "  History  4 operations in 2 bursts\n" in ended.stdout


def test_a_run_that_was_cut_short(race: Race) -> None:
    """What it found stays found; held it cannot be."""
    recorded("h.jsonl", close=False)
    assert race("verify", "h.jsonl").code == 1
    first, second = Path("h.jsonl").read_text().splitlines()[:2]
    Path("h.jsonl").write_text(f'{first}\n{second}\n{{"op": "0-')
    ended = race("verify", "h.jsonl")
    assert (ended.code, ended.stderr) == (3, "")
    assert "INCONCLUSIVE" in ended.stdout
    assert "  Left out 1 burst at the end of the file" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("h.jsonl",), "h.jsonl does not say which scenario it is of: --scenario NAME"),
        (("h.jsonl", "--scenario", "registr"), "unknown scenario 'registr'; did you mean register?"),
        (("h.jsonl", *REGISTER, "--rule", "x"), "unknown rule 'x' of register; there are: default"),
        (("none.jsonl", *REGISTER), "cannot read history none.jsonl: No such file or directory"),
        (("empty.jsonl", *REGISTER), "empty.jsonl:1: the file is empty"),
        (("wrong.jsonl", *REGISTER), 'wrong.jsonl:2: unknown operation "raed"; there are: read, write, cas'),
        (("h.jsonl", *REGISTER, "--budget", "0"), "--budget must be 0.1 or more, not 0"),
    ],
)
def test_wrong_usage_is_one_line(race: Race, arguments: tuple[str, ...], says: str) -> None:
    """Exit 2, nothing on stdout."""
    file("h.jsonl", *WRITES)
    file("empty.jsonl")
    file("wrong.jsonl", WRITES[0], line("z", {"operation": "raed"}, {}, (0, 1)))
    ended = race("verify", *arguments)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"race: {says}\n")


def test_a_long_compressed_history(race: Race) -> None:
    """Fifteen thousand operations over two hundred keys, one of them not as it should be."""
    rng, values, lines = Random(5), dict[str, Any](), list[str]()
    for number in range(15_000):
        key = f"k{rng.randrange(200)}"
        if rng.random() < 0.5:
            values[key] = rng.randrange(9)
            asked, reply = {"operation": "write", "value": values[key]}, dict[str, Any]()
        else:
            asked, reply = {"operation": "read"}, {"value": values.get(key)}
        times = (number * 10, number * 10 + rng.randrange(1, 9))
        lines.append(json.dumps(line(f"c{number}", asked, reply, times, keys=[key])))
    rng.shuffle(lines)
    with gzip.open("h.jsonl.gz", "wt") as packed:
        packed.writelines(f"{one}\n" for one in lines)
    assert race("verify", "h.jsonl.gz", *REGISTER).code == 0
    with gzip.open("h.jsonl.gz", "at") as packed:
        packed.write(json.dumps(line("late", {"operation": "read"}, {"value": 99}, (600_000, 600_001), keys=["k7"])))
    document = json.loads(race("verify", "h.jsonl.gz", *REGISTER, "--json").stdout)
    assert (document["violations"]["pieces"], document["violations"]["judged"]) == (1, 200)
    assert document["counterexample"]["keys"] == ["k7"]


def test_where_a_history_cannot_be_written(race: Race) -> None:
    """Refused before any server is started."""
    ended = race("run", "counter", "--strategy", "naive", "--history", "no/such.jsonl")
    assert (ended.code, ended.stderr) == (2, "race: cannot write no/such.jsonl: No such file or directory\n")
