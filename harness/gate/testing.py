"""What a test says: explore, run or replay a cell, and fail with the counterexample and how to see it again."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict, TypeVar, Unpack

from harness.burst import Cell, Load, StoresOptions, run
from harness.burst.cells import Bound, bind_classes
from harness.explore import Explorer, Options, explore_briefly, searching
from harness.gate.failures import Failures
from harness.gate.plan import check_value
from harness.gate.replaying import Replayed, replay
from harness.model import RaceError, UsageError, Verdict
from harness.model.endless import Watch
from harness.report import exploration_screen, result_screen
from harness.report.interleaving import draw
from harness.results.build import result_document
from harness.results.exploration import Explored, exploration_document, minimised
from harness.stores import Embedded
from harness.strategy import Scenario, Strategy
from harness.strategy.loader import adopt, find_scenario, find_strategy, spec_of

if TYPE_CHECKING:
    from harness.burst import Measurement
    from harness.explore import Brief, Exploration, Schedule
    from harness.results.build import Document
    from harness.stores import StoreInfo, Stores

ScenarioSpec = type[Scenario] | str | Path
StrategySpec = type[Strategy] | str | Path
T = TypeVar("T")

EXPLORE_S, RUN_S, SMALLEST_S = 30.0, 10.0, 2.0
_GOOD = {"bounded": ("bounded", "proved"), "proved": ("proved",), "held": ("held",), "violated": ("violated",)}


class Exploring(TypedDict, total=False):
    """How `explore` explores."""

    rule: str
    size: int
    faults: Sequence[str]
    search: str
    processes: int
    max_schedules: int
    max_switches: int | None
    budget: float
    seed: int


class Loading(TypedDict, total=False):
    """How `run` loads."""

    rule: str
    bursts: int
    size: int
    processes: int
    think: float
    budget: float
    seed: int


MARKED = tuple(sorted(Exploring.__annotations__ | Loading.__annotations__))
"""What the marker may set."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it: the verdict, and the document of the command that does the same."""

    verdict: str
    document: Mapping[str, Any]


class Servers:
    """The stores of a test session: embedded ones are started when first needed, and once."""

    def __init__(self, options: StoresOptions) -> None:
        """Nothing is started yet."""
        self._options = options

    @property
    def options(self) -> StoresOptions:
        """With embedded servers that last."""
        options = self._options
        if options.embedded is None and not (options.redis_url and options.postgres_url):
            self._options = replace(options, embedded=Embedded.open())
        return self._options

    def close(self) -> None:
        """End them. Never raises."""
        if self._options.embedded is not None:
            self._options.embedded.close()
            self._options = replace(self._options, embedded=None)


@dataclass(frozen=True, slots=True)
class Race:
    """What the fixture `race` gives to a test.

    `fail` ends the test with a text. `again` is the command that runs the test. `defaults` are the arguments of the
    marker `race`. Failing schedules are kept below `folder`.
    """

    servers: Servers
    fail: Callable[[str], NoReturn]
    again: str
    folder: Path
    seed: int = 1
    budget_s: float | None = None
    defaults: Mapping[str, Any] | None = None

    def explore(
        self, scenario: ScenarioSpec, strategy: StrategySpec, *, expect: str = "bounded", **how: Unpack[Exploring]
    ) -> Found:
        """Every order of one burst; fails where one breaks, or with `expect="proved"` where not all were run.

        `how`: rule, size, faults, search, processes, max_schedules, max_switches, budget (seconds), seed.
        `expect="violated"` fails where nothing breaks. A verdict that is inconclusive fails in any case.
        """
        return self._whole(lambda: self._explore(scenario, strategy, expect, how))

    def run(
        self, scenario: ScenarioSpec, strategy: StrategySpec, *, expect: str = "held", **how: Unpack[Loading]
    ) -> Found:
        """Bursts from several processes; fails where one breaks, or where that shows nothing.

        `how`: rule, bursts, size (of a burst), processes, think (milliseconds), budget (seconds), seed. Classes are
        found again by their file. One load at a time runs on a machine, whatever the number of test processes.
        """
        return self._whole(lambda: self._run(scenario, strategy, expect, how))

    def replay(self, path: str | Path) -> None:
        """Play a saved schedule again; fails where it still breaks, or no longer fits the program."""
        played: Replayed = self._whole(lambda: _alone(lambda: replay(Path(path), self.servers.options)))
        if played.outcome == "fixed":
            return
        lines = [f"  {played.outcome.upper()}  {played.why or played.says}", ""]
        if played.drawn is not None:
            lines += [*draw({**played.drawn, "fits": True}, note="as it was scheduled"), ""]
        self.fail("\n".join([*lines, f"  Replay   race replay {path}", f"  Again    {self.again}"]))

    def _whole(self, work: Callable[[], T]) -> T:  # noqa: RET503 - to fail is not to return
        """What cannot be, or a store that cannot be used, fails the test in one line."""
        try:
            _refuse_patched()
            with _watched():
                return work()
        except RaceError as error:
            told = str(error)
        self.fail(f"race: {told}")

    def _explore(self, scenario: ScenarioSpec, strategy: StrategySpec, expect: str, how: Exploring) -> Found:
        asked = self._asked(
            "explore", how, rule="", size=2, faults=(), search="exhaustive", processes=2, max_schedules=100_000,
            max_switches=None, budget=EXPLORE_S if self.budget_s is None else self.budget_s, seed=self.seed,
        )  # fmt: skip
        good = _good(expect, "bounded", "proved", "violated")
        _refuse_others(scenario, strategy)
        options = Options(
            size=asked["size"], processes=asked["processes"], faults=asked["faults"], search=asked["search"],
            most_schedules=asked["max_schedules"], most_switches=asked["max_switches"], seed=asked["seed"],
            budget_s=asked["budget"],
        )  # fmt: skip
        bound, lasting = _bound(scenario, strategy, asked["rule"], options.processes)
        began, started_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        found, smallest, infos = _alone(lambda: _explored(bound, options, self.servers.options))
        file = None
        if smallest is not None and expect != "violated" and lasting:
            file = self._keep(replace(bound.cell, rule=asked["rule"]), bound.cell, options, smallest)
        explored = Explored(
            bound.cell, options, bound.claim, infos, self.again, started_at, time.monotonic() - began, file
        )  # fmt: skip
        document = exploration_document(explored, found, smallest)
        if not found.complete:
            raise KeyboardInterrupt
        if document["verdict"] not in good:
            self.fail(_wanted(expect, document) + exploration_screen(document, None))
        return Found(document["verdict"], document)

    def _run(self, scenario: ScenarioSpec, strategy: StrategySpec, expect: str, how: Loading) -> Found:
        asked = self._asked(
            "run", how, rule="", bursts=500, size=4, processes=2, think=0.0,
            budget=RUN_S if self.budget_s is None else self.budget_s, seed=self.seed,
        )  # fmt: skip
        good = _good(expect, "held", "violated")
        _refuse_others(scenario, strategy)
        load = Load(
            processes=asked["processes"], connections=asked["size"], bursts=asked["bursts"], size=asked["size"],
            think_ms=asked["think"], seed=asked["seed"],
        )  # fmt: skip
        cell = Cell(_spec(scenario), _spec(strategy), asked["rule"])
        with _one_at_a_time():
            measured, brief = _alone(lambda: _loaded(cell, load, asked["budget"], self.servers.options))
        document = result_document(measured, reproduce=self.again)
        if brief is not None:
            file = None
            if brief.smallest is not None and expect != "violated":
                file = self._keep(cell, measured.cell, brief.options, brief.smallest)
            document = minimised(document, brief, file)
        if not measured.complete:
            raise KeyboardInterrupt
        if document["verdict"] not in good:
            self.fail(_wanted(expect, document) + result_screen(document, None))
        return Found(document["verdict"], document)

    def _asked(self, place: str, how: Mapping[str, Any], **known: Any) -> dict[str, Any]:
        """What is asked for, over the marker's, over what is usual. Raises UsageError."""
        for name in how:
            if name not in known:
                raise UsageError(f"there is no {name} to choose; there are: {', '.join(known)}")
        marked = {name: value for name, value in (self.defaults or {}).items() if name in known}
        options = {name: known[name] for name in ("budget", "seed")}  # the command line's, perhaps
        return known | {name: check_value(place, name, value) for name, value in {**options, **marked, **how}.items()}

    def _keep(self, asked: Cell, cell: Cell, options: Options, smallest: Schedule) -> str:
        """A gate's file names its cells otherwise, and leaves these alone."""
        key = (asked.scenario, asked.strategy, asked.rule)
        return os.path.relpath(Failures(self.folder).keep(key, cell, options, smallest))


def _refuse_patched() -> None:
    """With gevent under asyncio nothing would ever end: importing Locust is enough. Raises UsageError."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        raise UsageError(
            "gevent has patched sockets and threads here (Locust does): run these tests in a pytest of their own"
        )


@contextmanager
def _watched() -> Iterator[None]:
    """A script that never lets go fails the test; where tests run in another thread, a time-out of theirs has to."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with Watch(_endless):
        yield


def _endless(blame: str) -> NoReturn:
    raise UsageError(blame)


def _wanted(expect: str, document: Document) -> str:
    what = f"{document['scenario']} under {document['strategy']}"
    reason = f": {document['reason']}" if document["verdict"] in {"inconclusive", "bounded"} else ""
    return f"{what} is {document['verdict']}, not {expect}{reason}\n\n"


def _good(expect: str, *known: str) -> tuple[str, ...]:
    if expect not in known:
        raise UsageError(f"expect is one of {', '.join(known)}; not {expect!r}")
    return _GOOD[expect]


def _spec(given: type[Scenario | Strategy] | str | Path) -> str:
    """By what it is found again, on another machine too: a script below this folder is named from here."""
    if inspect.isclass(given):
        return spec_of(given)
    return os.path.relpath(given) if isinstance(given, Path) and given.is_relative_to(Path.cwd()) else str(given)


def _refuse_others(scenario: ScenarioSpec, strategy: StrategySpec) -> None:
    """Refuse what is neither a name, a script nor such a class. Raises UsageError."""
    for what, given, base in (("scenario", scenario, Scenario), ("strategy", strategy, Strategy)):
        if not (issubclass(given, base) if inspect.isclass(given) else isinstance(given, str | Path)):
            raise UsageError(f"a {what} is given by its name, its script or its class, not by {given!r:.60}")


def _bound(scenario: ScenarioSpec, strategy: StrategySpec, rule: str, processes: int) -> tuple[Bound, bool]:
    """The cell with the very classes that were given, and whether a file finds them again."""
    lasting, names = True, []
    for given in (scenario, strategy):
        try:
            names.append(_spec(given))
        except UsageError:
            assert inspect.isclass(given)
            lasting = False
            names.append(given.__name__)
    kind: type[Strategy]
    if isinstance(strategy, type):
        adopt("strategy", strategy)
        kind, variant = strategy, ""
    else:
        kind, variant = find_strategy(str(strategy))
    if isinstance(scenario, type):
        adopt("scenario", scenario)
        named = scenario
    else:
        named = find_scenario(str(scenario))
    bound = bind_classes(Cell(names[0], names[1], rule), named, kind, variant, Load(processes=processes))
    if bound.claim.kind == "not-applicable":
        raise UsageError(f"{bound.strategy.title} does not apply to {bound.scenario.name}: {bound.claim.reason}")
    return bound, lasting


def _explored(
    bound: Bound, options: Options, stores: StoresOptions
) -> tuple[Exploration, Schedule | None, list[StoreInfo]]:
    import uvloop

    async def go() -> tuple[Exploration, Schedule | None, list[StoreInfo]]:
        async with stores.stores({bound.strategy.store}) as opened, Explorer(bound, opened, options) as explorer:
            found, smallest = await explorer.smallest(await explorer.explore(searching(options)))
            lost = await opened.lost()
            if lost is not None:
                return found.lost(lost), None, list(opened.infos)
            return found, smallest, list(opened.infos)

    return uvloop.run(go())


def _loaded(cell: Cell, load: Load, budget_s: float, stores: StoresOptions) -> tuple[Measurement, Brief | None]:
    found: list[Brief] = []

    async def then(bound: Bound, opened: Stores, measured: Measurement) -> bool:
        if measured.verdict is Verdict.VIOLATED:
            found.append(await explore_briefly(bound, opened, load, SMALLEST_S))
        return all(brief.complete for brief in found)

    measured = asyncio.run(run(cell, load, stores_options=stores, budget_s=budget_s, then=then))
    return measured, found[0] if found else None


def _alone(work: Callable[[], T]) -> T:
    """On an event loop of its own: in another thread where this one has a loop that runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    done: list[T] = []
    raised: list[BaseException] = []

    def within() -> None:
        try:
            done.append(work())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=within, name="race")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return done[0]


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two loads at once would measure each other: other test processes wait."""
    path = Path(tempfile.gettempdir()) / f"race.{os.getuid()}.load"
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
