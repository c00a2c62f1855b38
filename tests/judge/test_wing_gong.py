"""The search for an order: against the definition, and on histories with a known answer."""

import time
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.judge import Budget, Rest, check_order, few, freeze, partition, partitions
from harness.judge.foresight import Foreseeing
from harness.judge.partitions import OrderFound
from harness.judge.states import States, entries_of
from harness.judge.timeline import Timeline, Traits
from harness.judge.wing_gong import Outcome, Search
from harness.model import Operation, Reply, Request, State, Status
from harness.strategy import RuleSpec
from harness.strategy.loader import find_scenario
from tests.judge.histories import Counters, Odd, Register, Text, operation, orderable

KEYS = ("a", "b", "c")
TEXT = RuleSpec(find_scenario("text")(), "default")
"""It says who looks, and what is still in reach."""


def outcome(expected: bool) -> str:
    """What the search says when the definition says so."""
    return "legal" if expected else "illegal"


@st.composite
def histories(draw: st.DrawFn) -> tuple[Any, list[Operation], State, State | None]:
    """A specification, up to seven operations, initial values and perhaps what was left at rest."""
    seed = draw(st.integers(0, 1 << 30))
    rng = Random(seed)
    name = draw(st.sampled_from(["register", "text", "counters", "odd"]))
    text = draw(st.sampled_from([Text(), TEXT]))
    spec = {"register": Register(), "text": text, "counters": Counters(), "odd": Odd(seed)}[name]
    operations = []
    for number in range(draw(st.integers(1, 7))):
        invoked = rng.randrange(14)
        status = rng.choices([Status.OK, Status.UNKNOWN, Status.FAILED], [8, 3, 1])[0]
        what, keys, args, values = call(name, rng)
        operations.append(
            operation(
                what,
                keys,
                args,
                (invoked, invoked + rng.randint(1, 8)),
                values if status == Status.OK else None,
                id=str(number),
                status=status,
            )
        )
    initial = dict.fromkeys(KEYS, "" if name == "text" else None)
    values_at_rest = {"text": ["", "x", "xy"]}.get(name, [None, 0, 1, 2])
    named = sorted({key for one in operations for key in one.request.keys})
    rest = {key: rng.choice(values_at_rest) for key in named} if draw(st.booleans()) else None
    return spec, operations, initial, rest


def call(name: str, rng: Random) -> tuple[str, tuple[str, ...], dict[str, Any], dict[str, Any]]:
    """A request and an answer that is sometimes right."""
    if name == "counters":
        keys = rng.choice([("a",), ("b",), ("a", "b"), ("b", "c")])
        return rng.choice(["add", "add", "look"]), keys, {}, {"sum": rng.randrange(5)}
    key = (rng.choice("ab"),)
    if name == "odd":
        return rng.choice("abc"), key, {}, {"answer": rng.randrange(2)}
    if name == "text":
        what = rng.choice(["get", "put", "append"])
        if what == "get":
            return what, key, {}, {"value": rng.choice(["", "x", "xy", "y", "xx"])}
        return what, key, {"value": rng.choice(["x", "y", ""])}, {}
    what = rng.choice(["read", "write", "cas"])
    if what == "read":
        return what, key, {}, {"value": rng.choice([None, 0, 1, 2])}
    if what == "write":
        return what, key, {"value": rng.randrange(2)}, {}
    args = {"old": rng.randrange(2), "new": rng.randrange(3)}
    return what, key, args, {"swapped": rng.random() < 0.5}


def judged(spec: Any, operations: Iterable[Operation], initial: State, rest: State | None = None) -> OrderFound:
    """Search, with the state at rest where there is one."""
    return check_order(operations, spec, initial, None if rest is None else Rest(rest, 0))


@settings(max_examples=400, deadline=None)
@given(histories())
def test_agrees_with_the_definition(
    history: tuple[Any, list[Operation], State, State | None],
) -> None:
    """The searches, first tries left out one by one, and a trial of every order give the same answer."""
    spec, operations, initial, rest = history
    expected = outcome(orderable(spec, operations, initial, rest))
    at_rest = None if rest is None else Rest(rest, 0)
    assert expected == check_order(operations, spec, initial, at_rest, Budget(explain_s=0.0)).outcome
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few, "MOST", -1)
        assert expected == judged(spec, operations, initial, rest).outcome
        patch.setattr(partitions, "met_depth_first", lambda *_asked: False)
        assert expected == judged(spec, operations, initial, rest).outcome


def texts(rng: Random) -> tuple[list[Operation], State | None]:
    """A history of one text in which everything took effect in order, but for a get or two that saw something else."""
    parts = rng.choice([["x"], ["x", "y", "xy", ""], list("abcdef")])
    operations, value = [], ""
    for number, at in enumerate(sorted(rng.uniform(0, 30) for _ in range(rng.randint(3, 8)))):
        what, took = rng.choice(["get", "put", "append", "append"]), rng.choice([2, 8, 20])
        times = (int(at - rng.random() * took), int(at + rng.random() * took) + 1)
        args, values = ({}, {"value": value}) if what == "get" else ({"value": rng.choice(parts)}, {})
        lost = rng.random() < 0.2
        if not lost or rng.random() < 0.5:
            value = {"put": "", "append": value}.get(what, value) + args.get("value", "")
        if what == "get" and rng.random() < 0.2:
            values = {"value": rng.choice([value[:-1], value[::-1], rng.choice(parts)])}
        status = Status.UNKNOWN if lost else Status.OK
        operations.append(
            operation(what, args=args, times=times, values=None if lost else values, id=str(number), status=status)
        )
    return operations, rng.choice([None, None, {"k": value}, {"k": value[1:]}])


def test_looking_ahead_agrees_with_the_definition() -> None:
    """What is hidden, comes free or is out of reach leaves no order out, and adds none."""
    found = Counter[str]()
    for seed in range(1_500):
        operations, rest = texts(Random(seed))
        expected = outcome(orderable(TEXT, operations, {"k": ""}, rest))
        entries = entries_of(operations, 0)
        states = States(TEXT, ("k",), entries, {"k": ""}, None if rest is None else Rest(rest, 0))
        assert (seed, expected) == (seed, ended(Foreseeing(entries, states)))
        found[expected] += 1
    assert min(found.values()) > 300


def ended(search: Foreseeing | Search) -> Outcome:
    """The answer of a search that may take as long as it needs."""
    running = search.run()
    while True:
        try:
            next(running)
        except StopIteration as done:
            answer: Outcome = done.value
            return answer


@settings(max_examples=200, deadline=None)
@given(histories())
def test_unordered_operations_contradict_each_other(
    history: tuple[Any, list[Operation], State, State | None],
) -> None:
    """With every other operation set free there still is no order."""
    spec, operations, initial, rest = history
    found = judged(spec, operations, initial, rest)
    if found.outcome == "illegal":
        freed = [
            one
            if one.request.id in found.unordered
            else one._replace(status=Status.UNKNOWN, reply=None, returned_ns=None)
            for one in operations
            if one.status != Status.FAILED
        ]
        assert not orderable(spec, freed, initial, rest)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 30))
def test_best_first_agrees_with_breadth_first(seed: int) -> None:
    """A search that may not go breadth first at all comes to the same answer."""
    rng = Random(seed)
    operations = [
        operation("abc"[number % 3], times=(at, at + 9), values={"answer": rng.randrange(2)}, id=str(number))
        for number in range(7)
        for at in [rng.randrange(12)]
    ]  # fmt: skip
    answers = []
    for breadth in (1_000, -1_000):
        entries = entries_of(operations, 0)
        states = States(Odd(seed), ("k",), entries, {"k": 0}, None)
        answers.append(ended(Search(Timeline(entries, rest=False), states, Traits(), breadth=breadth)))
    assert answers[0] == answers[1]


def test_a_stale_read_is_named_with_the_writes_it_confuses() -> None:
    """A read of the old value contradicts the new write, and the old one: it cannot come late."""
    operations = [
        operation("write", args={"value": 1}, times=(0, 1), values={}, id="w1"),
        operation("write", args={"value": 2}, times=(2, 3), values={}, id="w2"),
        operation("read", times=(4, 5), values={"value": 1}, id="r"),
    ]
    found = judged(Register(), operations, {})
    assert (found.outcome, found.unordered, found.longest) == ("illegal", ("w1", "w2", "r"), ("w1", "w2"))


def test_two_equal_answers_of_a_counter_contradict_each_other() -> None:
    """Of three overlapping adds, two were told the same sum."""
    operations = [
        operation("add", times=(0, 9), values={"sum": total}, id=str(number)) for number, total in enumerate([1, 2, 2])
    ]
    assert judged(Counters(), operations, {}).unordered == ("1", "2")


def test_a_lost_update_shows_in_what_is_left() -> None:
    """Two adds whose answers say nothing wrong, and a counter that shows one."""
    operations = [
        operation("add", times=(0, 9), values={"sum": 1}, id="0"),
        operation("add", times=(0, 9), values={"sum": 2}, id="1"),
    ]
    assert judged(Counters(), operations, {}, {"k": 2}).outcome == "legal"
    assert judged(Counters(), operations, {}, {"k": 1}).outcome == "illegal"


def test_a_key_that_nobody_named_must_be_as_it_was() -> None:
    """What changed by itself is found, although no operation is about it."""
    found = judged(Register(), [], {"other": 1}, {"other": 2})
    assert (found.outcome, found.keys) == ("illegal", ("other",))


def test_an_unknown_operation_may_take_effect_late_or_never() -> None:
    """A write nobody was answered explains what is read long after, and what is not."""
    write = operation("write", args={"value": 1}, times=(0, 5), status=Status.UNKNOWN, id="w")
    reads = [
        operation("read", times=(10 * n, 10 * n + 1), values={"value": value}, id=f"r{n}")
        for n, value in enumerate([None, None, 1], 1)
    ]
    assert judged(Register(), [write, *reads], {}).outcome == "legal"
    assert judged(Register(), [write, *reads[:2]], {}).outcome == "legal"
    back = operation("read", times=(50, 51), values={"value": None}, id="back")
    assert judged(Register(), [write, *reads, back], {}).outcome == "illegal"


def test_failed_and_aborted_operations_have_no_effect() -> None:
    """Neither a refusal by the server nor giving up explains a value."""
    failed = operation("write", args={"value": 1}, status=Status.FAILED)
    aborted = operation("write", args={"value": 1})._replace(reply=Reply("aborted"))
    read = operation("read", times=(5, 6), values={"value": 1})
    assert judged(Register(), [failed, aborted, read], {}).outcome == "illegal"


def test_many_unknown_twins_do_not_explode() -> None:
    """Sixty adds without an answer, of which seven must have happened."""
    lost = [operation("add", times=(n, None), status=Status.UNKNOWN, id=f"u{n}") for n in range(60)]
    look = operation("look", times=(100, 101), values={"sum": 7})
    assert judged(Counters(), [*lost, look], {}, {"k": 9}).outcome == "legal"
    too_many = operation("look", times=(100, 101), values={"sum": 61})
    assert judged(Counters(), [*lost, too_many], {}).outcome == "illegal"


def test_keys_that_a_request_connects_are_judged_together() -> None:
    """Transfers connect a with b and b with c; d stands alone."""
    requests = [("a", "b"), ("b", "c"), ("d",), ("c",)]
    operations = [operation("add", keys, values={"sum": 1}) for keys in requests]
    assert {keys: len(group) for keys, group in partition(operations).items()} == {("a", "b", "c"): 3, ("d",): 1}


def test_what_was_ordered_at_once_may_have_to_come_late() -> None:
    """An empty put that changed nothing before the append has to come after it, although a get has been answered since.

    By the order of its answer alone it could not: both overlapped only at one instant.
    """
    operations = [
        operation("put", args={"value": ""}, times=(4, 9), values={}, id="put"),
        operation("append", args={"value": "y"}, times=(9, 18), values={}, id="append"),
        operation("get", times=(11, 18), values={"value": ""}, id="first"),
        operation("get", times=(13, 18), status=Status.UNKNOWN, id="lost"),
        operation("get", times=(21, 29), values={"value": ""}, id="second"),
    ]
    assert orderable(Text(), operations, {"k": ""})
    assert judged(Text(), operations, {"k": ""}).outcome == "legal"


def test_states_that_a_rule_tells_apart_are_two_states() -> None:
    """1.0 and 1 are the same to Python; to a rule that compares texts they are not."""

    class Texts(Register):
        def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
            if request.operation == "cas":
                same = repr(state[request.key]) == repr(request.args["old"])
                if reply is not None and reply.values["swapped"] == same:
                    yield {request.key: request.args["new"]} if same else state
            else:
                yield from super().allowed(state, request, now_ms, reply)

    operations = [
        operation("write", args={"value": 1.0}, times=(1, 7), values={}, id="float"),
        operation("write", args={"value": 1}, times=(5, 6), values={}, id="whole"),
        operation("write", args={"value": 5}, times=(13, None), status=Status.UNKNOWN, id="lost"),
        operation("cas", args={"old": 1, "new": 1}, times=(18, 19), values={"swapped": True}, id="cas"),
    ]
    assert judged(Texts(), operations, {}).outcome == "legal"


class Lease(Register):
    """take answers whether the lease was free; it lasts for 100 ms from the instant it is taken."""

    def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
        """The specification."""
        key = request.keys[0]
        free = (state[key] or 0) <= now_ms
        if reply is None or reply.values["free"] == free:
            yield {key: now_ms + 100} if free else state

    def view(self, value: Any, now_ms: int) -> Any:
        """A lease that ran out is none."""
        return value if value and value > now_ms else None


def take(times: tuple[int, int | None], now_ms: tuple[int, int], free: bool | None) -> Operation:
    """A take at an instant between two; free None: nobody was answered."""
    status = Status.UNKNOWN if free is None else Status.OK
    values = None if free is None else {"free": free}
    one = operation("take", times=times, values=values, status=status, id=f"t{times[0]}")
    return one._replace(now_ms=now_ms[0], now_max_ms=now_ms[1])


def test_an_instant_that_is_an_interval_is_tried_at_both_ends() -> None:
    """The store's own clock may have let the lease run out just before the second take."""
    first = take((0, 1), (1000, 1000), free=True)
    assert judged(Lease(), [first, take((2, 3), (1099, 1099), free=True)], {}).outcome == "illegal"
    assert judged(Lease(), [first, take((2, 3), (1099, 1101), free=True)], {}).outcome == "legal"


def test_an_instant_in_the_middle_of_a_stall_never_makes_a_violation() -> None:
    """The store decided somewhere in 200 ms, at 1170 perhaps: neither end explains who was refused and who was not."""
    first = take((0, 4), (1000, 1200), free=True)
    refused = take((5, 6), (1240, 1240), free=False)
    let_in = take((7, 8), (1290, 1290), free=True)
    found = judged(Lease(), [first, refused, let_in], {})
    assert found.outcome == "unknown"
    assert "instant" in found.why


def test_a_state_at_rest_is_seen_with_the_eyes_of_that_instant() -> None:
    """The lease has run out by the time somebody looks."""
    first = take((0, 1), (1000, 1000), free=True)
    for at_ms, left, expected in [(1099, 1100, "legal"), (1099, None, "illegal"), (1100, None, "legal")]:
        found = check_order([first], Lease(), {}, Rest({"k": left}, at_ms))
        assert expected == found.outcome


def test_an_instant_that_nobody_recorded_never_makes_a_violation() -> None:
    """A take without an answer may have begun the lease at any time after it was sent."""
    ms = 1_000_000
    lost = take((0, None), (0, 0), free=None)
    refused = take((40 * ms, 41 * ms), (1040, 1040), free=False)
    found = check_order([lost, refused], Lease(), {}, unix_ns=1000 * ms)
    assert found.outcome == "legal"
    late = take((500 * ms, 501 * ms), (1500, 1500), free=False)
    later = take((520 * ms, 521 * ms), (1520, 1520), free=True)
    last = take((900 * ms, 901 * ms), (1900, 1900), free=True)
    found = check_order([lost, refused, late, later, last], Lease(), {}, unix_ns=1000 * ms)
    assert found.outcome == "unknown"
    assert "instant" in found.why


def test_an_exploding_partition_does_not_hide_an_illegal_one() -> None:
    """A violation is found although a partition that comes first has no answer."""
    rng = Random(1)
    explodes = [operation("append", ("a",), {"value": str(n)}, (n % 2, 100 + n), {}, id=f"a{n}") for n in range(24)]
    explodes.append(operation("read", ("a",), times=(200, 201), values={"value": rng.random()}))
    stale = operation("append", ("b",), {"value": "x"}, (0, 1), {}, id="b")
    read = operation("get", ("b",), times=(2, 3), values={"value": ""}, id="r")

    class Blind(Text):
        within_reach = None  # type: ignore[assignment]

        def allowed(self, state: State, request: Request, now_ms: int, reply: Reply | None) -> Iterable[State]:
            name = "get" if request.operation == "read" else request.operation
            return super().allowed(state, request._replace(operation=name), now_ms, reply)

    found = check_order([*explodes, stale, read], Blind(), {}, budget=Budget(seconds=5))
    assert (found.outcome, found.keys) == ("illegal", ("b",))
    start = time.monotonic()
    found = check_order(explodes, Blind(), {}, budget=Budget(seconds=0.3))
    assert found.outcome == "unknown"
    assert time.monotonic() - start < 3


def test_a_search_out_of_memory_is_unknown_not_legal() -> None:
    """Past its memory the search says so instead of guessing."""
    operations = [operation("append", ("a",), {"value": chr(97 + n)}, (0, 100 + n), {}, id=f"a{n}") for n in range(9)]
    operations.append(operation("get", ("a",), times=(200, 201), values={"value": "?" * 9}))

    class Blind(Text):
        within_reach = None  # type: ignore[assignment]

    found = check_order(operations, Blind(), {}, budget=Budget(seconds=30, memory_bytes=1))
    assert found.outcome == "unknown"
    assert "memory" in found.why


def test_a_long_history_on_one_key_is_linear() -> None:
    """Twenty thousand overlapping adds on one key leave few states behind."""
    rng = Random(7)
    operations = [
        operation("add", times=(n - rng.randint(0, 30), n + rng.randint(1, 30)), values={"sum": n + 1}, id=str(n))
        for n in range(20_000)
    ]  # fmt: skip
    assert judged(Counters(), operations, {}, {"k": 20_000}).outcome == "legal"
    operations[9_000] = operations[9_000]._replace(reply=Reply("done", {"sum": 8_000}))
    found = judged(Counters(), operations, {})
    assert found.outcome == "illegal"
    assert len(found.unordered) < 200


def test_what_the_specification_raises_comes_through() -> None:
    """An error in the rule is not an answer."""

    class Broken(Register):
        def allowed(self, *_args: Any) -> Iterable[State]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judged(Broken(), [operation("read", values={"value": 1})], {})


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ({"a": [1, {"b": None}]}, {"a": (1, {"b": None})}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (True, 1, False),
        ([], {}, False),
        ([1], "1", False),
        ({1, 2}, {2, 1}, True),
        (None, 0, False),
        (1.0, 1, True),
        ({"a": [True]}, {"a": [1]}, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
    ],
)
def test_values_are_compared_by_content(first: Any, second: Any, equal: bool) -> None:
    """Frozen values are equal exactly where their JSON is, and so are answers."""
    assert equal == (freeze(first) == freeze(second))
    assert equal == Reply("done", {"value": first}).same(Reply("done", {"value": second}))
