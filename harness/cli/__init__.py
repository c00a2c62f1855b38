"""The command line: one function for each command, thin: parse, build, run, report."""

from __future__ import annotations

from harness.cli.entry import main

__all__ = ["main"]
