"""The Pythons of this machine, one for each kind of wheel.

Looked for, in this order: the interpreter that runs this, the folder that PYTHONS names (or
build/pythons, where tools/all-pythons keeps its own), PATH, and pyenv.  Rules kept here:

- what an interpreter is, it says itself: a name proves nothing, and pyenv has commands for versions
  that it then refuses;
- the first of a kind that can build extensions is taken; a kind of which none can is told.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NAMES = re.compile(r"python3(\.\d+)?t?|pypy3(\.\d+)?")

PROBE = """
import json, os, platform, sys, sysconfig, venv
is_cpython = sys.implementation.name == "cpython"
free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
assert sys.version_info >= (3, 11) and not hasattr(sys, "gettotalrefcount")
version = "%d.%d" % sys.version_info[:2]
number = version.replace(".", "")
headers = os.path.join(sysconfig.get_paths()["include"], "Python.h")
print(json.dumps({
    "name": version + free if is_cpython else sys.implementation.name + version,
    "version": platform.python_version(),
    "tag": f"cp{number}-cp{number}{free}" if is_cpython else "py3-none",
    "can_build": not is_cpython or os.path.exists(headers),
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python, and what it said of itself.

    ``tag`` is how its own wheels are named.
    """

    path: Path
    name: str
    version: str
    tag: str
    can_build: bool

    @property
    def is_cpython(self) -> bool:
        return self.tag != "py3-none"

    @property
    def has_gil(self) -> bool:
        return not self.tag.endswith("t")


def ask(path: Path) -> Interpreter | None:
    """What *path* is; None where it is no Python that wheels are made for, or does not run."""
    try:
        answer = subprocess.run(
            [path, "-I", "-c", PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return Interpreter(path, **json.loads(answer.stdout))
    except (OSError, ValueError, TypeError, subprocess.SubprocessError):
        return None


def files(directory: Path) -> list[Path]:
    """What is in *directory*, sorted; nothing where it is missing or not to be read."""
    try:
        return sorted(directory.iterdir())
    except OSError:  # PATH may name what is somebody else's
        return []


def candidates() -> Iterator[Path]:
    """Every file that may be a Python, the preferred ones first."""
    yield Path(getattr(sys, "_base_executable", sys.executable))
    folder = Path(os.environ.get("PYTHONS") or "build/pythons").absolute()
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    directories = [
        *sorted(folder.glob("*/bin")),
        *(Path(each) for each in os.get_exec_path()),
        *sorted(pyenv.glob("versions/*/bin")),
    ]
    for directory in directories:
        # An environment would be taken for the interpreter that it is made with.
        found = [path for path in files(directory) if NAMES.fullmatch(path.name)]
        if found and not (directory.parent / "pyvenv.cfg").exists():
            yield from found


def find(paths: Iterable[Path]) -> list[Interpreter]:
    """One interpreter for each kind of wheel among *paths*, in the order of their versions."""
    found: dict[str, Interpreter] = {}
    seen = set()
    for path in paths:
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        answer = ask(path)
        if answer is not None and not found.get(answer.tag, answer).can_build:
            found[answer.tag] = answer
        elif answer is not None:
            found.setdefault(answer.tag, answer)
    return sorted(found.values(), key=lambda each: (not each.is_cpython, each.tag))
