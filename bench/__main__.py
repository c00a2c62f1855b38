"""The bench: figures as ratios in one run on one machine; a bench, never a test."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from bench.commands import a_minute, commands, verifying
from bench.exploring import exploring
from bench.figures import HEADING, Figure, rows
from bench.http import http
from bench.judging import judging
from bench.overlap import overlap
from bench.peers import PeerFailed
from bench.recording import recording
from bench.serving import serving
from bench.throughput import atomic, conditional
from harness.model import RaceError
from harness.results.environment import environment

SCHEMA = "race.bench/1"
MEASURES: dict[str, Callable[[int, float], Coroutine[Any, Any, list[Figure]]]] = {
    "atomic": atomic,
    "conditional": conditional,
    "recording": recording,
    "overlap": overlap,
    "commands": commands,
    "judging": judging,
    "verifying": verifying,
    "exploring": exploring,
    "serving": serving,
    "http": http,
}


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)}; all without any")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each sustained load takes (default 4)")
    parser.add_argument("--long", action="store_true", help="also the memory of a sustained minute")
    parser.add_argument("--save", type=Path, default=Path("results/bench.json"), metavar="FILE")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.only if name not in MEASURES]
    if unknown or chosen.rounds < 1 or chosen.seconds <= 0:
        parser.error(f"there is no {unknown[0]}" if unknown else "--rounds and --seconds must be positive")
    measures = [MEASURES[name] for name in chosen.only or MEASURES]
    if chosen.long:
        measures.append(a_minute)
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    where = environment()
    print(f"race {where['race']}, {where['platform']}, {where['cpus']} processors, Python {where['python']}")
    print(f"{chosen.rounds} rounds, what is compared by turns; {chosen.seconds:g} s for each sustained load\n")
    print(HEADING)
    figures: list[Figure] = []
    for measure in measures:
        try:
            # A worker's loop where a worker runs in this process; elsewhere race's own.
            run = uvloop.run if measure in (recording, exploring) else asyncio.run
            found = run(measure(chosen.rounds, chosen.seconds))
        except (RaceError, PeerFailed) as error:
            found = [Figure(measure.__name__, "", skipped=str(error))]
        for figure in found:
            print("\n".join(rows(figure)), flush=True)
        figures.extend(found)
    print("\nwhat is compared")
    for figure in figures:
        if figure.compares:
            told = f"{figure.name}: {figure.compares}"
            print(textwrap.fill(told, 100, initial_indent="  ", subsequent_indent="    "))
    document = {
        "schema": SCHEMA,
        "started_at": started_at,
        "environment": where,
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "figures": [figure.document() for figure in figures],
    }
    chosen.save.parent.mkdir(parents=True, exist_ok=True)
    chosen.save.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    missed = [figure.name for figure in figures if figure.met is False]
    print(f"\nsaved to {chosen.save}" + (f"; missed: {', '.join(missed)}" if missed else ""), file=sys.stderr)


if __name__ == "__main__":
    main()
