"""The tables of the scenarios' own on one page: who owns the rule, what an owner costs, one truth or copies that lag.

`python -m bench.ownership` makes each with `race compare --table`, and writes results/ownership.json and
results/ownership.md. It ends with 1 where a claim was refuted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.report.table import table_markdown

TABLES = (("six-writers", "writers"), ("six-writers", "owners"), ("rate-limit", "copies"))
FINE = (0, 1)
"""Exit codes that come with a whole table."""


def made(scenario: str, name: str) -> dict[str, Any]:
    """The document of a table. Ends the program where there is none."""
    words = ["compare", scenario, "--table", name, "--seed", "1"]
    print(f"race {' '.join(words)}", file=sys.stderr)
    command = [sys.executable, "-m", "harness", *words, "--json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - race itself
    if ended.returncode not in FINE:
        sys.exit(ended.returncode)
    return dict(json.loads(ended.stdout))


def page(documents: list[dict[str, Any]]) -> str:
    """All of them below each other."""
    head = "# Who owns the rule\n\nMade by `make results`: each table by the command below it.\n"
    return "\n".join([head, *(table_markdown(document).replace("# ", "## ", 1) for document in documents)])


def main() -> None:
    """Measure, save, and end with 1 where a claim was refuted."""
    parser = argparse.ArgumentParser(prog="python -m bench.ownership", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("results"), help="where both files go (default results)")
    folder = parser.parse_args().folder
    documents = [made(*one) for one in TABLES]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ownership.json").write_text(json.dumps(documents, indent=2) + "\n", encoding="utf-8")
    (folder / "ownership.md").write_text(page(documents), encoding="utf-8")
    sys.exit(any(row["as_claimed"] is False for document in documents for row in document["rows"]))


if __name__ == "__main__":
    main()
