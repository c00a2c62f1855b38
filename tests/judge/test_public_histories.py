"""External truth: public histories whose verdicts are known (see the README beside them)."""

import time

import pytest

from harness.judge import check_order
from tests.judge.histories import PUBLIC, Register, Text, register_log, text_log

pytestmark = pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"the public histories are not at {PUBLIC}")

LINEARIZABLE = {2, 5, 7, 18, 25, 31, 38, 45, 48, 49}


def test_register_logs() -> None:
    """Every one of the 51 register logs gets its known verdict, all of them within 10 s."""
    start = time.monotonic()
    found = {
        number
        for number in range(51)
        if check_order(register_log(PUBLIC / f"etcd/etcd_{number:03}.log"), Register(), {}).outcome == "legal"
    }
    assert found == LINEARIZABLE
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["c01-ok", "c01-bad", "c10-ok", "c10-bad"])
def test_text_logs(name: str) -> None:
    """Every text history gets its known verdict; an illegal one names what cannot be ordered."""
    found = check_order(text_log(PUBLIC / f"kv/{name}.txt"), Text(), {})
    assert ("legal" if name.endswith("ok") else "illegal") == found.outcome
    assert name.endswith("bad") == bool(found.unordered)
