"""Refuse a tag that is not this version, or that the changelog does not know as released: tagged.py v1.2.3."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def wrong(tag: str, root: Path = ROOT) -> str:
    """What does not fit together; "" where all of it does."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if tag != f"v{version}":
        return f"the tag is {tag}, and pyproject.toml says {version}: the tag must be v{version}"
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        return f"CHANGELOG.md has no line `## [{version}] - YYYY-MM-DD`"
    return ""


if __name__ == "__main__":
    sys.exit(wrong(*sys.argv[1:2] or [""]))
