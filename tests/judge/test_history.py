"""Histories as files: what is written is read again, and what is wrong is said with file and line."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge import Closing, Header, History, HistoryFile, Recording, reading
from harness.judge.history import operation_line, operation_of
from harness.model import ABORTED, Effect, Evidence, Operation, Reply, Request, Signature, Status, UsageError

ANY: dict[str, Signature] = {}
REGISTER = {
    "read": Signature({}, {"value": object}, "done", ("done", "stale"), (1,)),
    "write": Signature({"value": object}),
}
HEADER = Header("register", "default", "naive", 7, "burst")
ONE = Reply("done", {"value": 1})
END = Closing("naive", 10, 9, None, complete=True)

VALUES = st.dictionaries(
    st.sampled_from(["value", "operation", "decision", "ключ"]), st.none() | st.integers() | st.text() | st.booleans()
)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Anything that a run may record."""
    status = draw(st.sampled_from(Status))
    reply = draw(st.just(ABORTED) | st.builds(Reply, st.text(min_size=1), VALUES)) if status is Status.OK else None
    invoked = draw(st.integers(0, 2**62))
    took = draw(st.integers(0, 2**40))
    now_ms = draw(st.integers(0, 2**42))
    request = Request(
        draw(st.text()), tuple(draw(st.lists(st.text(), min_size=1, max_size=3))), draw(VALUES), draw(st.text()),
        draw(st.text()), draw(st.text()),
    )  # fmt: skip
    unanswered = status is Status.UNKNOWN and draw(st.booleans())
    return Operation(
        request, draw(st.text()), invoked, None if unanswered else invoked + took, status, reply, now_ms,
        now_ms + draw(st.integers(0, 9)), "" if status is Status.OK else draw(st.text()),
    )  # fmt: skip


@given(operations())
def test_a_line_reads_back_as_the_operation(operation: Operation) -> None:
    """Whatever names its values have, and whatever its answer was."""
    line = json.loads(json.dumps(operation_line(operation, ANY, 3, probe=False)))
    assert line["burst"] == 3
    assert operation == operation_of(line, ANY)


def line(op: Any = "1", **changes: Any) -> dict[str, Any]:
    """A read that was answered."""
    return {
        "op": op, "caller": "c", "keys": ["k"], "request": {"operation": "read"}, "invoked_ns": 1, "returned_ns": 2,
        "status": "ok", "reply": {"value": None}, **changes,
    }  # fmt: skip


def read(path: Path, signatures: dict[str, Signature] | None = None) -> History:
    """The history in a file."""
    with HistoryFile(path) as file:
        return file.read(REGISTER if signatures is None else signatures)


def written(path: Path, *lines: Any) -> Path:
    """A file of these lines; texts as they are."""
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines))
    return path


def test_the_form_of_the_design(tmp_path: Path) -> None:
    """Ids, callers and keys may be numbers; what a scenario does not need may be left out."""
    lines = [line(1, caller=3, attempt=None), line(2, keys=[7], status="unknown", returned_ns=None, reply=None)]
    history = read(written(tmp_path / "h.jsonl", *lines))
    found = sorted((piece.keys, [one.request.id for one in piece.operations()]) for piece in history.pieces)
    assert found == [(("7",), ["2"]), (("k",), ["1"])]
    assert (history.header, history.statuses) == (None, {"ok": 1, "unknown": 1})


def test_a_decision_that_goes_without_saying() -> None:
    """A reply without one has the operation's own."""
    signatures = {"add": Signature({}, {"value": int}, "added")}
    asked = line(request={"operation": "add"}, reply={"value": 1})
    assert operation_of(asked, signatures).reply == Reply("added", {"value": 1})
    assert operation_of(line(reply={"decision": "no"}), ANY).reply == Reply("no")


MALFORMED: list[tuple[Any, str]] = [
    ("{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
    ("", "the file is empty"),
    ("[1]", "not a JSON object"),
    ("nonsense", "not JSON: Expecting value at column 1"),
    ("{} {}", "not JSON: more after the object, from column 3"),
    ('{"op": NaN}', "not JSON: NaN is no JSON"),
    ({"hello": 1}, "neither an operation ('op') nor an effect ('effect')"),
    (line(op=None), "'op' must be a text or a whole number, not null"),
    (line(keys=[]), "'keys' is empty"),
    (line(keys="k"), "'keys' must be a list, not \"k\""),
    (line(keys=[None]), "'keys' must hold texts or whole numbers, not null"),
    (line(request={}), "'operation' is missing in 'request'"),
    (line(request={"operation": 1}), "'operation' must be a text, not 1"),
    (line(request={"operation": "raed"}), 'unknown operation "raed"; there are: read, write'),
    (line(request={"operation": "write"}), "'value' is missing in 'request'"),
    (line(reply={}), "'value' is missing in 'reply'"),
    (line(reply={"value": 1, "took_ms": 3}), 'unknown value "took_ms" in the reply of read; there are: value'),
    (line(request={"operation": "write", "value": 1}, reply={"ok": True}),
     'unknown value "ok" in the reply of write; there are none'),
    (line(request={"operation": "write", "value": 1, "ttl": 5}, reply={}),
     'unknown value "ttl" in the request of write; there are: value'),
    (line(keys=["k", "l"]), "read takes 1 key, not 2"),
    (line(reply={"decision": "raed"}), 'unknown decision "raed" of read; there are: done, stale'),
    (line(decision="raed"), 'unknown decision "raed" of read; there are: done, stale'),
    (line(reply=3), "'reply' must be an object, not 3"),
    (line(invoked_ns="1"), "'invoked_ns' must be a whole number, not \"1\""),
    (line(invoked_ns=True), "'invoked_ns' must be a whole number, not true"),
    (line(invoked_ns=3), "returned before it was invoked: 2 < 3"),
    (line(returned_ns=None), "'returned_ns' is null although 'status' is ok"),
    (line(status="done"), "'status' must be ok, failed or unknown, not \"done\""),
    ({"op": 1, "keys": ["k"], "request": {"operation": "read"}}, "'invoked_ns' is missing"),
    ({"effect": 1, "attempt": "a", "name": "work"}, "'began_ns' is missing"),
    ({"effect": 1, "attempt": "a", "name": "work", "began_ns": 2, "ended_ns": 1}, "ended before it began: 1 < 2"),
    ({"effect": 1, "attempt": "a", "name": "work", "began_ns": 2},
     "'keys' is missing, and no operation is of this effect's attempt"),
    ({"history": "race.history/9"}, "'history' is \"race.history/9\"; this race reads race.history/1"),
    ({"end": "race.history/1", "control_bursts": 5, "control_broken": 6, "complete": True},
     "'control_broken' must be 0 to 'control_bursts', not 6 of 5"),
    ({"rest": {"k": 1}, "keys": ["other"]}, "'rest' must name every one of 'keys'"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "reason"), MALFORMED, ids=[reason for _wrong, reason in MALFORMED])
def test_a_malformed_line_is_told_with_its_place(tmp_path: Path, wrong: Any, reason: str) -> None:
    """File, line and reason, in one line."""
    path = tmp_path / "h.jsonl"
    path.write_text("" if wrong == "" else f"{wrong if isinstance(wrong, str) else json.dumps(wrong)}\n")
    with pytest.raises(UsageError) as error:
        read(path)
    assert str(error.value) == f"{path}:1: {reason}"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Editors on Windows leave one."""
    path = tmp_path / "h.jsonl"
    path.write_text(f"\ufeff{json.dumps(line())}\n", encoding="utf-8")
    assert read(path).statuses == {"ok": 1}


def test_the_line_is_the_one_that_is_wrong(tmp_path: Path) -> None:
    """Blank lines count; an id that comes twice is told where it comes again."""
    path = written(tmp_path / "h.jsonl", line(1), "", line(2), line(1))
    with pytest.raises(UsageError, match=r"h\.jsonl:4: 'op' 1 was there before"):
        read(path)


def test_other_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, a folder, bytes that are no text, a compressed file that was cut."""
    with pytest.raises(UsageError, match=r"cannot read history .*: No such file or directory"):
        read(tmp_path / "none")
    with pytest.raises(UsageError, match=r"cannot read history .*: Is a directory"):
        read(tmp_path)
    (tmp_path / "bytes").write_bytes(b'{"op": "\xff"}\n')
    with pytest.raises(UsageError, match="bytes:1: not UTF-8"):
        read(tmp_path / "bytes")
    (tmp_path / "xz").write_bytes(lzma.compress(b"{}"))
    with pytest.raises(UsageError, match="xz:1: this is compressed by xz; a history is UTF-8, plain or compressed"):
        read(tmp_path / "xz")
    packed = gzip.compress(b"".join(json.dumps(line(n)).encode() + b"\n" for n in range(100)))
    (tmp_path / "cut.gz").write_bytes(packed[:-20])
    with pytest.raises(UsageError, match=r"cut\.gz:\d+: cannot be unpacked"):
        read(tmp_path / "cut.gz")


def burst(number: int) -> Evidence:
    """What a run knows of one burst."""
    key = f"k:{number}"
    operations = [
        Operation(
            Request("read", (key,), {}, f"{number}-{n}", f"a{n}"), "w", n, n + 5, Status.OK, ONE, 7, 9,
        )
        for n in range(2)
    ]  # fmt: skip
    return Evidence(
        str(number), (key,), operations, [Effect("work", "a0", (key,), 3, None, "w")], {key: None}, {key: 1}, 12,
        monotonic_to_unix_ns=77,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["h.jsonl", "h.jsonl.gz"])
def test_what_a_run_records_is_read_again(tmp_path: Path, name: str) -> None:
    """Every burst with all that is known of it, whatever the order of the lines."""
    path = tmp_path / name
    with Recording(path) as recording:
        recording.begin(HEADER, REGISTER)
        for number in range(3):
            recording.piece(burst(number), number)
        recording.probes([burst(9).operations[0]], 1)
        recording.end(END)
    histories = [read(path)]
    text = gzip.decompress(path.read_bytes()).decode() if name.endswith(".gz") else path.read_text()
    first, *lines = text.splitlines()
    Random(1).shuffle(lines)
    histories.append(read(written(tmp_path / "shuffled", first, *lines)))
    for history in histories:
        assert (history.header, history.closing, history.unfinished) == (HEADER, END, 0)
        pieces = sorted(history.pieces, key=lambda piece: piece.name)
        for number, piece in enumerate(pieces):
            found = piece.evidence(None)
            assert sorted(found.operations) == list(burst(number).operations)
            expected = burst(number)
            assert (found.effects, found.rest, found.initial) == (expected.effects, expected.rest, expected.initial)
            assert (found.rest_ms, found.monotonic_to_unix_ns, found.keys) == (12, 77, expected.keys)
            assert [one.request.id for one in piece.probes] == (["9-0"] if number == 1 else [])


@pytest.mark.parametrize("name", ["h.jsonl", "h.jsonl.gz"])
def test_a_run_that_was_killed_leaves_what_was_whole(tmp_path: Path, name: str) -> None:
    """A tail that is not whole is left out, and so is a burst of which a part is missing."""
    path = tmp_path / name
    with Recording(path) as recording:
        recording.begin(HEADER, REGISTER)
        for number in range(300):
            recording.piece(burst(number), number)
    packed = path.read_bytes()
    path.write_bytes(packed[: len(packed) * 2 // 3])
    history = read(path)
    assert history.closing is None
    assert 0 < len(history.pieces) < 300
    assert all(len(piece) == 2 and piece.left is not None for piece in history.pieces)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """One line that says which and why, at the beginning or once the disk is full."""
    with pytest.raises(UsageError, match=r"cannot write history .*: No such file or directory; --history chooses"):
        Recording(tmp_path / "no" / "h").begin(HEADER, REGISTER)
    with (
        pytest.raises(UsageError, match="cannot write history /dev/full: No space left on device"),
        Recording(Path("/dev/full")) as recording,
    ):
        recording.begin(HEADER, REGISTER)


@pytest.mark.parametrize("before", [0, 3])
def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    """It is given up, rather than read until the memory is full."""
    lines = [json.dumps(line(op=number)) for number in range(before)]
    monkeypatch.setattr(reading, "_LONGEST", max([100, *map(len, lines)]) + 1)
    file = written(tmp_path / "h.jsonl", *lines, "0" * 1_000)
    with pytest.raises(UsageError, match=rf"h\.jsonl:{before + 1}: a line of more than .* MiB"):
        read(file)
