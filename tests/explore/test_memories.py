"""What is kept in a process: whatever changes of it is seen, and what does not is not written down again."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from harness.explore.memories import Memories
from harness.model import Claim

SOURCE = """
from collections import deque
from types import MappingProxyType
from harness import Claim
COUNT = 1
NESTED = {"a": [1, {2}], "b": ({},)}
KEPT = {}
VIEW = MappingProxyType(KEPT)
ENDLESS = []
ENDLESS.append(ENDLESS)
QUEUE = {"waiting": deque()}
CLAIMS = {"mutex": Claim("breaks", "of its own")}
class Told:
    said = 0
    def __repr__(self): return f"told {self.said}"
TOLD = [Told()]
class Base:
    seen = set()
class Mine(Base):
    def __init__(self): self.n = 0
    def look(self): self.n += 1
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script."""
    made = ModuleType("script_that_keeps")
    made.__file__ = "/somewhere/script.py"
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(SOURCE, vars(made))
    return made


CHANGES: dict[str, Callable[[ModuleType, Any], object]] = {
    "COUNT of script.py": lambda module, _: setattr(module, "COUNT", 2),
    "NESTED of script.py": lambda module, _: module.NESTED["a"][1].add(3),
    "NESTED of script.py ": lambda module, _: module.NESTED["b"][0].update(c=1),
    "NESTED of script.py  ": lambda module, _: module.NESTED.pop("a"),
    "KEPT of script.py": lambda module, _: module.KEPT.update(a=1),
    "ENDLESS of script.py": lambda module, _: module.ENDLESS.append(1),
    "QUEUE of script.py": lambda module, _: module.QUEUE["waiting"].append(1),
    "QUEUE of script.py ": lambda module, _: module.QUEUE.update(waiting=deque([1])),
    "CLAIMS of script.py": lambda module, _: module.CLAIMS.update(mutex=Claim("holds")),
    "TOLD of script.py": lambda module, _: setattr(module.TOLD[0], "said", 1),
    "NEW of script.py": lambda module, _: setattr(module, "NEW", 1),
    "seen of Base": lambda module, _: module.Base.seen.add(1),
    "limit of Mine": lambda module, _: setattr(module.Mine, "limit", 1),
    "n of Mine": lambda _, mine: mine.look(),
    "n of Mine ": lambda _, mine: setattr(mine, "__dict__", {"n": 5}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_is_seen(module: ModuleType, name: str) -> None:
    """However deep, and twice."""
    mine, memories = module.Mine(), Memories()
    before = memories.texts([mine])
    assert memories.texts([mine]) is before
    CHANGES[name](module, mine)
    after = memories.texts([mine])
    also = {"VIEW of script.py"} if name.startswith("KEPT") else set()
    assert {key for key in after if before.get(key) != after[key]} == {name.strip(), *also}
    assert memories.texts([mine]) is after
    assert after == Memories().texts([mine])


def test_what_was_told_of_is_seen_again(module: ModuleType) -> None:
    """Something noted anew after a change is looked at, too."""
    mine, memories = module.Mine(), Memories()
    memories.texts([mine])
    module.NESTED = [{}]
    before = memories.texts([mine])
    module.NESTED[0]["a"] = 1
    assert memories.texts([mine])["NESTED of script.py"] == "[{'a': 1}]" != before["NESTED of script.py"]
