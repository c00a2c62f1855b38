"""A process that carries attempts, one way: it may be killed at any instant, and started again under its name.

Orders arrive as lines of JSON on stdin; what happens leaves on stdout. When stdin ends, so does it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from harness.flows.carrying import Compensating, Ground, Inline, Saga
from harness.model import Attempt, StoreFault, described
from harness.stores import Targets
from harness.strategy.loader import find_scenario, find_strategy


def way_of(flow: str, ground: Ground, executor: str, say: Any) -> Inline:
    """The way of that name. Raises ImportError where DBOS is not installed."""
    name, _, variant = flow.partition(":")
    keyed = name == "idempotent" or variant == "idempotent"
    if name == "durable":
        from harness.flows.durable import Durable

        return Durable(ground, executor, say, keyed=keyed)
    kinds = {"inline": Inline, "idempotent": Inline, "compensating": Compensating, "saga": Saga}
    return kinds[name](ground, executor, say, keyed=keyed)


def ground_of(hello: dict[str, Any], say: Any) -> Ground:
    """What its first line names."""

    def tell(what: str, told: str) -> None:
        say("did", what=what, told=told)

    scenario = find_scenario(hello["scenario"])()
    kind, variant = find_strategy(hello["strategy"])
    rules = scenario.all_rules()
    scenario = scenario.under(hello["rule"])
    targets = Targets.from_description(hello["stores"])
    strategy, rule = kind(scenario, variant), rules[hello["rule"]]
    return Ground(scenario, strategy, rule, targets, hello["port"], executor=hello["executor"], tell=tell)


async def main() -> None:
    """Read orders until stdin ends."""
    answers = os.dup(1)  # what a script or a library prints must not get among them
    os.dup2(2, 1)

    def say(event: str, **more: Any) -> None:
        os.write(answers, json.dumps({"event": event, "at_ns": time.monotonic_ns(), **more}).encode() + b"\n")

    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    hello = json.loads(await reader.readline())
    try:
        way = way_of(hello["flow"], ground_of(hello, say), hello["executor"], say)
        await way.open()
    except Exception as error:
        say("failed", error=described(error))
        return
    say("ready")
    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(_carry_out(way, json.loads(line), say))
        running.add(task)
        task.add_done_callback(running.discard)
    os._exit(0)  # the parent is gone: nothing is left to tell anybody


async def _carry_out(way: Inline, order: dict[str, Any], say: Any) -> None:
    error = None
    try:
        if order["do"] == "recover":
            await way.recover(others=order["others"])
        else:
            keys, args, id_, role = order["attempt"]
            await way.perform(Attempt(tuple(keys), args, id_, role))
    except StoreFault as fault:
        error = fault.code
    except Exception as failure:
        say("failed", error=described(failure))
        return
    say("ended", error=error)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent decides what Ctrl-C means, and ends its processes
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(main())
