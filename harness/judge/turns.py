"""Gives every piece of a history its turns: in this process, or, where there is much to judge, in several.

A piece that has no answer within its turn is asked again later, with four times as long: one that
explodes must not keep others from being looked at. Starting a search again costs at most a
third of the time, and only one is in memory at a time.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from harness.judge.findings import Finding, judge_evidence
from harness.judge.history import Signatures
from harness.judge.partitions import Budget
from harness.judge.pieces import Piece
from harness.judge.score import Weight, weight_of
from harness.model import NOTHING, Evidence, Invariant, Spec

_FIRST_S, _LEAST_S, _GROWTH = 0.2, 0.002, 4
_MANY = 100_000
"""Operations from which on several processes are worth their start."""
_AT_A_TIME = 8
_UNASKED = Finding("unknown", breaches={}, unknown_why="there was no time left")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a history is judged by: a scenario's specification, its invariants, where every key begins."""

    spec: Spec
    invariants: Sequence[Invariant]
    initial_value: Any = None
    operations: Signatures = field(default_factory=lambda: NOTHING)


class Judged(NamedTuple):
    """What came of one turn of the piece at `place`. `again`: its time ran out; `asked`: it had any."""

    place: int
    finding: Finding
    weight: Weight
    again: bool = False
    asked: bool = True


class _Turn(NamedTuple):
    """A turn of the piece at `place`: so long at most, or its fair share of what is left among `waiting`."""

    place: int
    waiting: int
    most_s: float


def judge(evidence: Evidence, subject: Subject, piece: Piece, budget: Budget) -> Finding:
    """Order and rule of one piece."""
    invariants = [one for one in subject.invariants if piece.kind in one.applies]
    return judge_evidence(evidence, subject.spec, invariants, piece.kind, budget)


@dataclass(frozen=True, slots=True)
class _Bench:
    """All that turns are taken from."""

    pieces: Sequence[Piece]
    subject: Subject
    until: float
    hands: int

    def take(self, turn: _Turn) -> Judged:
        """Judge one piece for one turn."""
        piece = self.pieces[turn.place]
        evidence = piece.evidence(self.subject.initial_value)
        left_s = self.until - time.monotonic()
        if left_s <= 0:
            return Judged(turn.place, _UNASKED, weight_of(evidence), asked=False)
        # Four times what is left for each on average: most need less, and nobody is left out.
        fair_s = left_s if turn.waiting == 1 else max(_LEAST_S, _GROWTH * left_s * self.hands / turn.waiting)
        share_s = min(left_s, fair_s, turn.most_s)
        began = time.monotonic()
        finding = judge(evidence, self.subject, piece, Budget(seconds=share_s, explain_s=0.0))
        again = finding.order == "unknown" and time.monotonic() - began >= share_s
        return Judged(turn.place, finding, weight_of(evidence), again=again)


def take_turns(pieces: Sequence[Piece], subject: Subject, until: float) -> Iterator[Judged]:
    """Every piece, once it has its answer or there is no time left (`until`, monotonic seconds)."""
    hands = _hands(pieces)
    bench = _Bench(pieces, subject, until, hands)
    waiting, most_s = list(range(len(pieces))), _FIRST_S
    before: dict[int, Judged] = {}
    with ExitStack() as stack:
        hands_of = stack.enter_context(_Hands(bench)) if hands > 1 else None
        while waiting:
            count = len(waiting)
            alone = count == 1
            turns = [_Turn(place, count - n, float("inf") if alone else most_s) for n, place in enumerate(waiting)]
            again: list[int] = []
            found = map(bench.take, turns) if hands_of is None or alone else hands_of.take(turns)
            for judged in found:
                if judged.again and time.monotonic() < until:
                    again.append(judged.place)
                    before[judged.place] = judged
                else:
                    yield judged if judged.asked else before.get(judged.place, judged)
            waiting = sorted(again)
            most_s *= _GROWTH


class _Hands:
    """Several processes that take turns. Where one of them is killed, for want of memory perhaps, this one goes on."""

    def __init__(self, bench: _Bench) -> None:
        """They are forked, once they are needed: they share the history, and the user's script need not be found."""
        self._bench = bench
        self._others = set(multiprocessing.active_children())
        fork = multiprocessing.get_context("fork")
        self._pool: ProcessPoolExecutor | None = ProcessPoolExecutor(bench.hands, fork, _begin, (bench,))

    def __enter__(self) -> Self:
        """Nothing yet."""
        return self

    def take(self, turns: Sequence[_Turn]) -> Iterator[Judged]:
        """All turns, in any order."""
        left = {turn.place: turn for turn in turns}
        if self._pool is not None:
            try:
                for judged in self._pool.map(_take, turns, chunksize=_AT_A_TIME):
                    del left[judged.place]
                    yield judged
            except BrokenProcessPool:
                self._end()
        yield from map(self._bench.take, left.values())

    def __exit__(self, *_error: object) -> None:
        """End them, whatever they are at."""
        self._end()

    def _end(self) -> None:
        if self._pool is not None:
            for child in set(multiprocessing.active_children()) - self._others:
                child.terminate()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _hands(pieces: Sequence[Piece]) -> int:
    """How many processes. On macOS a process with threads had better not fork."""
    if sys.platform != "linux" or len(pieces) < _AT_A_TIME or sum(map(len, pieces)) < _MANY:
        return 1
    return len(os.sched_getaffinity(0))


_HERE: list[_Bench] = []
"""In a forked process: what its turns are taken from."""


def _begin(bench: _Bench) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _HERE.append(bench)


def _take(turn: _Turn) -> Judged:
    return _HERE[0].take(turn)
