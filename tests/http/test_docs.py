"""docs/http.md says what is so: its examples are the files, and what it lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.http.target_file import _KEYS, TargetFile
from tests.services import EXAMPLE

DOCS = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)


def test_the_example_is_the_file() -> None:
    """Handlers and target as they lie in examples/service."""
    handlers = next(text for language, text in BLOCKS if language == "python")
    target = next(text for language, text in BLOCKS if language == "toml")
    assert handlers in (EXAMPLE / "service.py").read_text()
    assert target == (EXAMPLE / "looks-first.toml").read_text()
    other = (EXAMPLE / "sets-if-absent.toml").read_text()
    assert other.replace("sets-if-absent", "looks-first") == target


@pytest.mark.parametrize("key", [key for key in _KEYS[""] if key != "name"])
def test_every_key_is_told(key: str) -> None:
    """In the table of the target file."""
    assert re.search(rf"^\|.*[`\[]{key}\b", DOCS, re.MULTILINE)


def test_the_snippets_are_read(tmp_path: Path) -> None:
    """Those that are part of a file fit into one."""
    path = tmp_path / "my.toml"
    replies, given = (next(text for _, text in BLOCKS if text.startswith(start)) for start in ("replies", "[given]"))
    path.write_text(f'url = "http://127.0.0.1:9"\n[operations.start]\nrequest = "GET /"\n{replies}{given}')
    assert TargetFile(path).handler_us == 2000


def test_the_readme_shows_the_same_screen() -> None:
    """As far as it goes."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    part = readme.split("<!-- over http -->\n```text\n")[1].split("```")[0]
    assert f"$ race run double-submit --target looks-first.toml --bursts 300\n{part}" in DOCS
