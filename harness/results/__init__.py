"""Results as documents: how they are built, what their schemas are, where they are kept."""

from harness.results.build import Document, comparison_document, result_document
from harness.results.claims import as_claimed, shown_to_callers, unnamed
from harness.results.environment import race_version
from harness.results.save import check_file, write_file
from harness.results.schema import SCHEMAS, schema_text
from harness.results.shelf import Shelf

__all__ = [
    "SCHEMAS",
    "Document",
    "Shelf",
    "as_claimed",
    "check_file",
    "comparison_document",
    "race_version",
    "result_document",
    "schema_text",
    "shown_to_callers",
    "unnamed",
    "write_file",
]
