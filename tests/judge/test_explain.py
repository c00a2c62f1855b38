"""Explanations: one order that fits, its letters and rows, and the step that did it."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.judge import Finding, explain, order_steps
from harness.model import Breach, Evidence, Reply, Request, Status, Step
from tests.judge.histories import operation


def step(
    caller: str,
    command: str,
    times: tuple[int, int],
    reads: Mapping[str, Any] | None = None,
    writes: Mapping[str, Any] | None = None,
    kind: str = "redis",
    reply: str = "OK",
) -> Step:
    """A step in one line; a caller's request has the caller's name."""
    return Step(caller, caller, kind, (command,), reply, *times, reads, writes)


LOST_UPDATE = [
    step("x", "GET k", (0, 10), reads={"k": None}),
    step("x", "add", (11, 11), {"k": None}, {"k": 1}, kind="decide"),
    step("y", "GET k", (1, 9), reads={"k": None}),
    step("y", "add", (10, 10), {"k": None}, {"k": 1}, kind="decide"),
    step("y", "SET k 1", (12, 30), writes={"k": 1}),
    step("x", "SET k 1", (13, 29), writes={"k": 1}),
]


def evidence() -> Evidence:
    """The two requests of the lost update."""
    operations = [
        operation("add", times=(0, 40), values={"sum": 1}, id=caller)._replace(reply=Reply("added"), caller=caller)
        for caller in ("x", "y")
    ]
    return Evidence("1", ("k",), operations, initial={"k": None})


def test_a_lost_update_is_explained() -> None:
    """Two read before either writes; decisions are not printed; outcomes stand on last steps."""
    breach = Breach("one add was lost")
    found = explain(evidence(), LOST_UPDATE, Finding("illegal", breaches={"lost": (breach,)}))
    assert found.columns == (("A", "y"), ("B", "x"))
    assert [(row.number, row.letter, row.command, row.outcome) for row in found.rows] == [
        (1, "A", "GET k", None),
        (2, "B", "GET k", None),
        (3, "B", "SET k 1", "added"),
        (4, "A", "SET k 1", "added"),
    ]
    assert found.why == "A decided at 4 on what it read at 1; step 3 had made that untrue."
    assert (found.says, found.fits) == ("one add was lost", True)


def test_what_comes_before_the_first_request_of_an_attempt() -> None:
    """A lock for the whole of it is taken before anything is asked: that is drawn with its first request."""
    locks = [step(caller, "SET lock", (0, 1))._replace(request="") for caller in ("x", "y")]
    nobody = step("z", "SET lock", (0, 1))._replace(request="")
    found = explain(evidence(), [*locks, nobody, *LOST_UPDATE], Finding("illegal"))
    assert found.columns == (("A", "x"), ("B", "y"), ("C", "z"))
    assert [row.letter for row in found.rows if row.command == "SET lock"] == ["A", "B", "C"]


def test_the_order_of_answers_gives_way_to_what_was_read() -> None:
    """A read that was answered last saw the value from before the write: it came first."""
    write = step("x", "SET k 1", (5, 10), writes={"k": 1})
    read = step("y", "GET k", (0, 20), reads={"k": None})
    assert ((read, write), True) == order_steps([write, read])


def test_steps_that_cannot_fit_are_shown_by_time() -> None:
    """Nothing explains the read: the order says so."""
    write = step("x", "SET k 1", (0, 10), writes={"k": 1})
    read = step("y", "GET k", (11, 20), reads={"k": None})
    assert ((write, read), False) == order_steps([read, write])
    found = explain(evidence(), [read, write], Finding("illegal"))
    assert (found.why, found.fits) == (None, False)


def test_requests_of_one_attempt_share_a_letter() -> None:
    """Start and finish of an attempt stand in one column."""
    operations = [
        operation(name, id=name)._replace(request=Request(name, ("k",), id=name, attempt="one"))
        for name in ("start", "finish")
    ]
    steps = [
        Step("c", "start", "redis", ("SET",), "OK", 0, 1),
        Step("c", "finish", "redis", ("DEL",), "1", 2, 3),
    ]
    found = explain(Evidence("1", ("k",), operations), steps, Finding("legal"))
    assert (found.columns, [row.letter for row in found.rows]) == ((("A", "start"),), ["A", "A"])


def test_a_statement_that_waited_for_a_commit_is_blocked() -> None:
    """It was sent before the other's COMMIT and answered after it; arguments are in place."""
    steps = [
        Step("x", "x", "sql", ("UPDATE t SET v = $2\n WHERE k = $1", "a", "1"), "1 row", 0, 2),
        Step("x", "x", "sql", ("COMMIT",), "", 5, 8, None, {"a": 1}),
        Step("y", "y", "sql", ("UPDATE t SET v = $2 WHERE k = $1", "a", "2"), "1 row", 3, 9),
    ]
    found = explain(evidence(), steps, Finding("legal"))
    assert [(row.command, row.blocked) for row in found.rows] == [
        ("UPDATE t SET v = 1 WHERE k = a", False),
        ("COMMIT", False),
        ("UPDATE t SET v = 2 WHERE k = a", True),
    ]


def test_without_steps_the_operations_are_shown() -> None:
    """A recorded history has no steps: those that cannot be ordered are the rows."""
    operations = [
        operation("add", times=(n, n + 5), values={"sum": total}, id=str(n)) for n, total in enumerate([1, 2, 2])
    ]
    lost = operation("add", times=(1, None), status=Status.UNKNOWN, id="lost")
    found = explain(Evidence("1", ("k",), [*operations, lost]), [], Finding("illegal", ("1", "2")))
    assert [(row.letter, row.command, row.reply, row.outcome) for row in found.rows] == [
        ("A", "add k", "sum=2", "done"),
        ("B", "add k", "sum=2", "done"),
    ]
    assert (found.fits, found.unordered) == (False, ("1", "2"))


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_an_order_that_exists_is_found(rng: Any, size: int) -> None:
    """Steps made from one order, with intervals around it, fit; the order found respects both."""
    values: dict[str, Any] = {"a": None, "b": None}
    steps = []
    for place in range(size):
        key = rng.choice("ab")
        reads = writes = None
        if rng.random() < 0.5:
            reads = {key: values[key]}
        else:
            writes = {key: rng.randrange(3)}
            values.update(writes)
        times = (100 * place - rng.randrange(150), 100 * place + rng.randrange(1, 150))
        steps.append(step(f"c{place % 7}", f"{place}", times, reads, writes))
    shuffled = steps[:]
    rng.shuffle(shuffled)
    found = order_steps(shuffled)
    assert found.fits
    now: dict[str, Any] = {"a": None, "b": None}
    for place, one in enumerate(found.steps):
        assert all(now[key] == value for key, value in (one.reads or {}).items())
        now.update(one.writes or {})
        assert all(one.sent_ns <= later.received_ns for later in found.steps[place:])
