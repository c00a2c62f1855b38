"""The published JSON Schemas (draft 2020-12) of the documents that race writes."""

from __future__ import annotations

from importlib.resources import files

SCHEMAS = {
    "result": "result-1.json",
    "comparison": "comparison-1.json",
    "matrix": "matrix-1.json",
    "exploration": "exploration-1.json",
    "check": "check-1.json",
    "verification": "verification-1.json",
    "isolation": "isolation-1.json",
    "table": "table-1.json",
    "flows": "flows-1.json",
    "flow": "flow-1.json",
    "explanation": "explanation-1.json",
    "doctor": "doctor-1.json",
    "runs": "runs-1.json",
    "difference": "difference-1.json",
    "library": "library-1.json",
    "plan": "plan-1.json",
}
"""Name on the command line to file; the number is the version in the document's `schema`."""

RESULTS = (
    "result",
    "comparison",
    "matrix",
    "exploration",
    "check",
    "verification",
    "isolation",
    "table",
    "flows",
    "flow",
)
"""Those that tell what was measured, and are kept."""


def kind_of(schema: str) -> str:
    """`race.result/1` is a `result`."""
    return schema.removeprefix("race.").partition("/")[0]


def schema_text(name: str) -> str:
    """The schema of that name, as the text of its file. Raises KeyError."""
    return files("harness.results").joinpath("schemas", SCHEMAS[name]).read_text(encoding="utf-8")
