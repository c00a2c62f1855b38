"""A gate as JUnit XML: a suite for each cell, a case for each rule. junitparser writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from junitparser import Attr, Error, Failure, JUnitXml, TestCase, TestSuite

from harness.report.check_screen import counterexample_of, drawn

Document = Mapping[str, Any]

_OF_VIOLATIONS = ("explored", "verdict", "violation")
_OF_LOAD = ("verdict", "violation", "errors", "stuck", "overruns")
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, in any form."""


class _Case(TestCase):  # a rule's place: attributes that many readers know
    file = Attr("file")
    line = Attr("line")


def check_junit(document: Document) -> str:
    """A failed rule is a failure, with the diagram; one without an answer is an error: nobody takes it for a pass."""
    report = JUnitXml("race check")
    if document["schedules"]:
        suite = TestSuite("schedules")
        for one in document["schedules"]:
            suite.add_testcase(_case("schedules", one, one["counterexample"]))
        report.add_testsuite(suite)
    for cell in document["cells"]:
        suite = TestSuite(_text(cell["name"]))
        suite.timestamp = document["started_at"]
        found = counterexample_of(cell)
        took = {of: cell[of].get("duration_s", 0.0) for of in ("explored", "load", "cost") if cell.get(of)}
        for one in cell["rules"]:
            broke = one["rule"].startswith(_OF_VIOLATIONS)
            case = _case(cell["name"], one, found if broke else None, cell["source"])
            case.time = took.pop(_measure(one["rule"]), 0.0)  # the first that it answers bears it: the sum is right
            suite.add_testcase(case)
        report.add_testsuite(suite)
    report.update_statistics()  # type: ignore[no-untyped-call] # it publishes types, not all of them
    whole: bytes = report.tostring()  # type: ignore[no-untyped-call] # likewise
    return whole.decode("utf-8") + "\n"


def _measure(rule: str) -> str:
    """What answers a rule."""
    if rule.startswith("explored"):
        return "explored"
    return "load" if rule.startswith(_OF_LOAD) else "cost"


def _case(name: str, one: Document, counterexample: Document | None, source: Document | None = None) -> TestCase:
    case = _Case(_text(one["rule"]), classname=_text(name))
    if source is not None:
        case.file, case.line = source["file"], str(source["line"])
    if one["mark"] == "passed":
        case.system_out = _text(one["actual"])
        return case
    message = f"{one['actual']}: {one['why']}" if one["why"] else one["actual"]
    result = Failure(_text(message)) if one["mark"] == "failed" else Error(_text(message))
    lines = [message, ""]
    if one["mark"] == "failed" and counterexample is not None:
        lines += [*drawn(counterexample, 100), ""]
    result.text = _text("\n".join([*lines, one["reproduce"]]))
    case.result = [result]
    return case


def _text(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)
