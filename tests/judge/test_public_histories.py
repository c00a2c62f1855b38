"""External truth: public histories whose verdicts are known, read as `race verify` reads them."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from harness.judge import HistoryFile, Subject, Verification, verify
from harness.judge.history import operation_line
from harness.model import Operation, Verdict
from harness.strategy import RuleSpec
from harness.strategy.loader import find_scenario
from tests.judge.histories import PUBLIC, register_log, text_log

pytestmark = pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"the public histories are not at {PUBLIC}")

LINEARIZABLE = {2, 5, 7, 18, 25, 31, 38, 45, 48, 49}


def verified(operations: Iterable[Operation], name: str, path: Path) -> Verification:
    """Convert a history to a file, and judge it by a bundled scenario."""
    scenario = find_scenario(name)()
    lines = (operation_line(one, scenario.operations, None, probe=False) for one in operations)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    subject = Subject(RuleSpec(scenario, "default"), scenario.invariants(), scenario.initial_value, scenario.operations)
    with HistoryFile(path) as file:
        return verify(file.read(subject.operations), subject, budget_s=20.0)


def test_register_logs(tmp_path: Path) -> None:
    """Every one of the 51 register logs gets its known verdict, all of them within 20 s of processor time."""
    start = time.process_time()
    found = {
        number
        for number in range(51)
        if verified(register_log(PUBLIC / f"etcd/etcd_{number:03}.log"), "register", tmp_path / "h").conclusion.verdict
        == Verdict.HELD
    }
    assert found == LINEARIZABLE
    assert time.process_time() - start < 20


@pytest.mark.parametrize("name", ["c01-ok", "c01-bad", "c10-ok", "c10-bad"])
def test_text_logs(name: str, tmp_path: Path) -> None:
    """Every text history gets its known verdict; an illegal one names what cannot be ordered."""
    found = verified(text_log(PUBLIC / f"kv/{name}.txt"), "text", tmp_path / "h")
    assert found.conclusion.verdict == (Verdict.HELD if name.endswith("ok") else Verdict.VIOLATED)
    assert name.endswith("bad") == (found.contradiction is not None and bool(found.contradiction.unordered))
