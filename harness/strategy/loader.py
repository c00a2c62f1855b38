"""Finds scenarios and strategies: scripts, executed by path, bundled ones as a user's own.

A specification is a bundled name (`double-submit`, `redis-lock:no-token`) or a script
(`./my_fix.py`, `./my_fix.py:variant`, `./my_fix.py#name` where a script defines several).
A bundled name executes one script only: start-up time counts.
"""

import ast
import difflib
import hashlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NoReturn

from harness.model import OWN, SCRIPT, UsageError, says
from harness.strategy.roles import by_role, names_roles
from harness.strategy.scenario import Scenario
from harness.strategy.strategy import Strategy

Kind = Literal["scenario", "strategy"]

_SCRIPT = re.compile(r"(?P<path>.*\.py)(?:#(?P<name>[^:#]*))?(?::(?P<variant>[^:#]*))?")
_FOLDERS: dict[Kind, str] = {"scenario": "scenarios", "strategy": "strategies"}
_BASES: dict[Kind, type[Scenario] | type[Strategy]] = {"scenario": Scenario, "strategy": Strategy}
_ORDER = "order.txt"
_ALSO = "also.txt"
_SENTENCES = "sentences.txt"
_WANTED = {
    "scenario": "a class derived from harness.Scenario, with a rule and a burst",
    "strategy": "a class derived from harness.Strategy, with apply and claims",
}


def find_scenario(spec: str) -> type[Scenario]:
    """The scenario behind a name or a script. Raises UsageError."""
    path, name, variant = _parse(spec)
    if path is None and variant:
        raise UsageError(f"'{spec}': a scenario has no variants; --rule chooses one of its rules")
    scenario: type[Scenario] = _find("scenario", path, name)
    return scenario


def find_strategy(spec: str) -> tuple[type[Strategy], str]:
    """The strategy behind a name, a script or `role=strategy,*=strategy`; the variant or "". Raises UsageError."""
    if names_roles(spec):
        return by_role(spec, find_strategy), ""
    path, name, variant = _parse(_also().get(spec, spec))
    strategy: type[Strategy] = _find("strategy", path, name)
    if variant and variant not in strategy.variants:
        known = nearest(variant, strategy.variants)
        raise UsageError(f"unknown variant '{variant}' of {strategy.name}; {known}")
    return strategy, variant


def find_either(spec: str) -> type[Scenario] | tuple[type[Strategy], str]:
    """The scenario, or the strategy with its variant, behind a name or a script. Raises UsageError."""
    spec = _also().get(spec, spec)
    path, name, variant = _parse(spec)
    if path is not None:
        found = _execute(path, path.resolve())
        scenario = [value for value in _classes("scenario", found) if name in {"", value.name, value.__name__}]
        return find_scenario(spec) if scenario and not variant else find_strategy(spec)
    kinds: tuple[Kind, ...] = ("scenario", "strategy")
    if not any(name in _index(kind) for kind in kinds):
        there = _script_meant(name)
        near = nearest(name, [other for kind in kinds for other in _index(kind)])
        if near.startswith("there are"):  # some fifty names are no line
            near = "race list names them all"
        raise UsageError(f"unknown scenario or strategy '{name}'; {there or near}")
    return find_strategy(spec) if name in _index("strategy") else find_scenario(spec)


def scenarios() -> tuple[type[Scenario], ...]:
    """The bundled scenarios, in their fixed order."""
    return tuple(_find("scenario", None, name) for name in _index("scenario"))


def strategies() -> tuple[type[Strategy], ...]:
    """The bundled strategies, in their fixed order."""
    return tuple(_find("strategy", None, name) for name in _index("strategy"))


def bundled(kind: Kind) -> tuple[str, ...]:
    """The bundled names, in their fixed order; no script is executed."""
    return tuple(_index(kind))


def _parse(spec: str) -> tuple[Path | None, str, str]:
    """Path of a script or None, name, variant."""
    script = _SCRIPT.fullmatch(spec)
    if script is not None:
        return Path(script["path"]), script["name"] or "", script["variant"] or ""
    if "/" in spec:
        there = f"; did you mean {spec}.py?" if Path(f"{spec}.py").is_file() else ""
        raise UsageError(f"'{spec}' is no script: the name of a script ends in .py{there}")
    name, colon, variant = spec.partition(":")
    if colon and not variant:
        raise UsageError(f"'{spec}' names no variant: leave out the colon, or say which")
    return None, name, variant


def _find(kind: Kind, path: Path | None, name: str) -> Any:
    if path is not None:
        return _choose(kind, path, path.resolve(), name)
    bundled = _bundled_script(kind, name)
    if bundled is None:
        raise UsageError(_unknown(kind, name))
    return _definitions(kind, bundled, bundled)[name]


def _unknown(kind: Kind, name: str) -> str:
    """A name that nothing has: a script may have been meant, or the other kind."""
    if there := _script_meant(name):
        return f"unknown {kind} '{name}'; {there}"
    other: Kind = "strategy" if kind == "scenario" else "scenario"
    if name in _index(other):
        return f"'{name}' is a {other}, no {kind}; {nearest('', _index(kind))}"
    return f"unknown {kind} '{name}'; {nearest(name, _index(kind))}"


def _script_meant(name: str) -> str:
    """`did you mean ./my_fix.py?`, where there is such a script; else ""."""
    for script in (f"{name}.py", f"{name.replace('-', '_')}.py"):
        if name and Path(script).is_file():
            return f"did you mean ./{script}?"
    return ""


def nearest(wrong: str, names: Iterable[str]) -> str:
    """The end of a line about an unknown name: what may have been meant, or what there is."""
    known = list(names)
    near = _begun(wrong.lower(), known) or difflib.get_close_matches(wrong, known, n=3, cutoff=0.5)
    if any(_alike(wrong, name) > _TYPO for name in near):
        near = [name for name in near if _alike(wrong, name) > _TYPO]
    if near:
        return f"did you mean {either(near)}?"
    return f"there are: {', '.join(known)}" if known else "there is none"


_TYPO = 0.8
"""As alike as a name is to itself with two letters exchanged: beside such a one nothing else was meant."""


def _alike(wrong: str, name: str) -> float:
    return difflib.SequenceMatcher(None, wrong, name).ratio()


def _begun(start: str, names: Iterable[str]) -> list[str]:
    """The names that begin so, or one of whose words does."""
    named = {name: name.lower() for name in names}
    whole = [name for name, low in named.items() if start and low.startswith(start)]
    return whole or [name for name, low in named.items() if start and f"-{low}".find(f"-{start}") >= 0]


def either(names: Sequence[str]) -> str:
    """`a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


# Bundled scripts


def _folder(kind: Kind) -> Path:
    """In a wheel the scripts travel inside `harness`; in a source checkout they lie beside it."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "_bundled"
    return (bundled if bundled.is_dir() else package.parent) / _FOLDERS[kind]


@cache
def _bundled_script(kind: Kind, name: str) -> Path | None:
    """The script that defines a bundled name: mostly the one of that name, else by the index."""
    script = _folder(kind) / f"{name.replace('-', '_')}.py"
    if name and script.is_file() and name in _names(script):
        return script
    return _index(kind).get(name)


@cache
def _index(kind: Kind) -> dict[str, Path]:
    """Every bundled name with its script, in the order of order.txt; none of them is executed."""
    folder = _folder(kind)
    found = {name: script for script in sorted(folder.glob("*.py")) for name in _names(script)}
    order = folder / _ORDER
    names = order.read_text(encoding="utf-8").split() if order.is_file() else []
    first = {name: found[name] for name in names if name in found}
    return {**first, **found}


@cache
def _also() -> dict[str, str]:
    """Other names by which people look for a bundled strategy or variant: `mutex-ordered` is `mutex`."""
    lines = (_folder("strategy") / _ALSO).read_text(encoding="utf-8").splitlines()
    return dict(line.split() for line in lines)


def sentences() -> dict[str, str]:
    """What is often said instead of a fix, and the command that shows where each saying stops helping."""
    lines = (_folder("scenario") / _SENTENCES).read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def _names(script: Path) -> list[str]:
    """The names that the classes of a script give themselves: `name = "..."` in their bodies."""
    tree = ast.parse(script.read_text(encoding="utf-8"), str(script))
    return [
        line.value.value
        for definition in tree.body
        if isinstance(definition, ast.ClassDef)
        for line in definition.body
        if isinstance(line, ast.Assign)
        and isinstance(line.targets[0], ast.Name)
        and line.targets[0].id == "name"
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    ]


# Classes, where there is no script's name


def adopt(kind: Kind, definition: Any) -> None:
    """Make a class fit to run: without a name it gets its class's, `MyFix` is `my-fix`. Raises UsageError."""
    if not vars(definition).get("name"):
        definition.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", definition.__name__).lower()
    file = inspect.getsourcefile(definition) or "?"
    names = vars(sys.modules.get(definition.__module__, ModuleType("?")))
    names.setdefault(SCRIPT, os.path.relpath(file))  # so that errors in it are known as its own
    names.setdefault(OWN, True)
    _complete(kind, Path(file), definition)


def spec_of(definition: type[Scenario | Strategy]) -> str:
    """By what another process finds a class again: `tests/test_fix.py#Fix`. Raises UsageError."""
    file = inspect.getsourcefile(definition)
    if file is None or not file.endswith(".py") or definition.__qualname__ != definition.__name__:
        raise UsageError(
            f"{definition.__qualname__} cannot be found by another process: define it at the top of a file"
        )
    return f"{os.path.relpath(file)}#{definition.__name__}"


# Executing a script


@cache
def _definitions(kind: Kind, path: Path, whole: Path) -> dict[str, Any]:
    """What a script defines, by name; without a name it is called like its script.

    `path` is what the user wrote, for messages; `whole` is where that was.
    """
    found = _classes(kind, _execute(path, whole))
    named = [value for value in found if getattr(value, "name", "")]
    if not named:
        named = found if len(found) == 1 else [value for value in found if not _lacking(kind, value)]
        if len(named) > 1:
            classes = ", ".join(value.__name__ for value in named)
            raise UsageError(
                f'{path} defines several {_FOLDERS[kind]} without a name: give {classes} each a name = "..."'
            )
        for value in named:
            value.name = path.stem.replace("_", "-")
    names = Counter(value.name for value in named)
    for name, number in names.items():
        if number > 1:
            classes = " and ".join(value.__name__ for value in named if value.name == name)
            raise UsageError(f"{path} calls several by the name '{name}': {classes}; give each of them its own")
    for value in named:
        _complete(kind, path, value)
    return {value.name: value for value in named}


def _classes(kind: Kind, module: ModuleType) -> list[Any]:
    """The classes of that kind which a script itself defines."""
    base = _BASES[kind]
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__
    ]


def _lacking(kind: Kind, definition: Any) -> list[str]:
    """What every run needs and a definition does not have."""
    lacking = sorted(getattr(definition, "__abstractmethods__", ()))
    if kind == "scenario":
        if definition.rule is Scenario.rule and not definition.rules:
            lacking.append("rule")
        if definition.burst is Scenario.burst:
            lacking.append("burst")
    return lacking


def _complete(kind: Kind, path: Path, definition: Any) -> None:
    """Refuse a definition that lacks what every run needs, before anything is started."""
    if kind == "strategy" and not hasattr(definition, "family"):
        definition.family = "own"
    lacking = _lacking(kind, definition)
    if lacking:
        line = inspect.getsourcelines(definition)[1]
        what = f"{kind} {definition.__name__}"
        raise UsageError(f"{path}:{line}: {what} lacks {' and '.join(lacking)}")


def _choose(kind: Kind, path: Path, whole: Path, name: str) -> Any:
    """The one of that name, which may be its class's; without a name the only one."""
    if name:
        found = _classes(kind, _execute(path, whole))
        for definition in found if name not in [getattr(value, "name", "") for value in found] else ():
            if definition.__name__ == name:
                adopt(kind, definition)
                return definition
    definitions = _definitions(kind, path, whole)
    if not definitions:
        other: Kind = "strategy" if kind == "scenario" else "scenario"
        instead = f" but a {other}" if _classes(other, _execute(path, path.resolve())) else ""
        raise UsageError(f"{path} defines no {kind}{instead}: it must hold {_WANTED[kind]}")
    if name:
        if name not in definitions:
            raise UsageError(f"{path} defines no {kind} '{name}'; {nearest(name, definitions)}")
        return definitions[name]
    if len(definitions) > 1:
        choices = " or ".join(f"{path}#{other}" for other in definitions)
        raise UsageError(f"{path} defines several: say {choices}")
    return next(iter(definitions.values()))


def _missing(path: Path) -> str:
    """What is said of a script that is not there."""
    if not path.parent.is_dir():
        return f"script {path} not found: there is no folder {path.parent}"
    if path.is_dir():
        return f"{path} is a folder, no script"
    scripts = sorted(other.name for other in path.parent.glob("*.py"))
    near = [str(path.with_name(name)) for name in difflib.get_close_matches(path.name, scripts, n=2)]
    return f"script {path} not found" + (f"; did you mean {either(near)}?" if near else "")


@cache
def _execute(path: Path, whole: Path) -> ModuleType:
    """Run a script as a module of its own, once."""
    if not whole.is_file():
        raise UsageError(_missing(path))
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]
    name = f"race_script_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, whole)
    if spec is None or spec.loader is None:
        raise UsageError(f"script {path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    own = path != whole or whole.parent not in map(_folder, _FOLDERS)
    shown = str(path) if own else f"{whole.parent.name}/{whole.name}"
    vars(module).update({SCRIPT: shown, OWN: own, "print": _print})
    if own:
        os._exit = _leave
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{path}{_line(error, whole)}: {says(error)}") from error
    return module


def _print(*values: object, **how: Any) -> None:
    """The `print` of a script: stdout is for results."""
    print(*values, **{"file": sys.stderr, **how})  # noqa: T201 - the user's


_EXIT, _PROCESS = os._exit, os.getpid()


def _leave(status: int) -> NoReturn:
    """The `os._exit` of a process with scripts: one that used it would end race, and its status be a verdict.

    A process that the script has forked ends as it likes. Raises RuntimeError.
    """
    frame = inspect.currentframe()
    while frame is not None and os.getpid() == _PROCESS:
        if frame.f_globals.get(OWN):
            raise RuntimeError(f"os._exit({status}) would end race with the script")
        frame = frame.f_back
    _EXIT(status)


def _line(error: BaseException, script: Path) -> str:
    """`:12` where the script itself was the last to be at fault."""
    if isinstance(error, SyntaxError) and error.filename == str(script):
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(script)]
    return f":{lines[-1]}" if lines else ""
