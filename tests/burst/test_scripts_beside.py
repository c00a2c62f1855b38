"""Scripts of one's own, in the folder that one is in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.load, pytest.mark.xdist_group("load")]
SCENARIO = """
from harness import *
from harness.strategy.loader import find_scenario
class Mine(find_scenario("counter")):
    name = "mine"
    def invariants(self): return ()
    def disorder(self, evidence): return "an add is missing from the count"
"""


def test_a_script_with_the_name_of_a_module(tmp_path: Path) -> None:
    """It is no module of Python's: workers start all the same. What has no order is told in its words."""
    (tmp_path / "dis.py").write_text(SCENARIO)
    words = ["run", "./dis.py", "--strategy", "naive", "--seed", "1", "--bursts", "40", "--quiet"]
    race = Path(sys.executable).with_name("race")
    done = subprocess.run([race, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "VIOLATED  an add is missing from the count" in done.stdout
