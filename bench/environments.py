"""Peers that are libraries: each in an environment of its own, made by the first bench that needs it."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from bench.peers import PeerFailed

BESIDE = Path(__file__).with_name("beside")
_ENVIRONMENTS = Path(".venv-peers")
_INSTALL_S = 180.0


class NotAtHand(Exception):
    """A peer that this machine does not have and cannot get; the text says what was tried."""


async def python_with(name: str, *requirements: str) -> Path:
    """The Python of an environment that has these. Raises NotAtHand."""
    folder = _ENVIRONMENTS / name
    python = folder.absolute() / "bin" / "python"
    done = folder / "-".join(one.replace("==", "-") for one in requirements)
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            await said([sys.executable, "-m", "venv", str(folder)], _INSTALL_S)
            await said(
                [str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", *requirements], _INSTALL_S
            )
        except (PeerFailed, OSError) as error:
            raise NotAtHand(
                textwrap.shorten(f"not at hand: pip install {' '.join(requirements)}: {error}", 110)
            ) from None
        done.touch()
    return python


async def porcupine() -> Path:
    """The program of `beside/porcupine`, built. Raises NotAtHand."""
    if shutil.which("go") is None:
        raise NotAtHand("not at hand: there is no go on the PATH")
    folder = _ENVIRONMENTS / "porcupine"
    program = folder.absolute() / "judge"
    if not program.exists():
        shutil.copytree(BESIDE / "porcupine", folder, dirs_exist_ok=True)
        try:
            await said(["go", "mod", "tidy"], _INSTALL_S, folder)
            await said(["go", "build", "-o", str(program), "."], _INSTALL_S, folder)
        except (PeerFailed, OSError) as error:
            why = ": ".join(str(error).split(": ")[-2:])  # the last of it is the cause
            raise NotAtHand(textwrap.shorten(f"not at hand: go mod tidy; go build: {why}", 110)) from None
    return program


async def answered(command: list[str], patience_s: float) -> Any:
    """The JSON that a peer prints last. Raises PeerFailed."""
    *_, last = (await said(command, patience_s)).strip().splitlines() or [""]
    return json.loads(last)


async def said(command: list[str], patience_s: float, folder: Path | None = None) -> str:
    """What a command prints. Raises PeerFailed."""
    name = Path(command[0]).name
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(patience_s):
            out, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise PeerFailed(f"{name} did not end within {patience_s:.0f} s") from None
    if process.returncode:
        lines = complaint.decode(errors="replace").strip().splitlines()
        raise PeerFailed(f"{name} ended with {process.returncode}: {lines[-1] if lines else 'it said nothing'}")
    return out.decode()
