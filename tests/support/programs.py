"""Programs that are run with Python alone and with ``python -m fastchat run``, for test_cli_*.py.

What Python itself says about a module that it runs, the lines of ``runpy`` in tracebacks, does not
count.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

# Relative entries would mean another directory for the programs, which run elsewhere.
SEARCH_PATH = os.pathsep.join(
    os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path
)

# Prints what a program can see of itself.
SEEN = """
'''The doc.'''
import json, sys

def annotated(x: int): pass

if __name__ == "__main__":
    print(json.dumps({
        "argv": sys.argv,
        "path": sys.path,
        "name": __name__,
        "doc": __doc__,
        "file": __file__,
        "package": __package__,
        "spec": __spec__ and [__spec__.name, __spec__.origin, __spec__.parent],
        "loader": [type(__loader__).__name__, getattr(__loader__, "name", "")],
        "builtins": type(__builtins__).__name__,
        "code": sys._getframe().f_code.co_filename,
        "cached": globals().get("__cached__"),
        "globals": sorted(globals()),
        "annotations": repr(annotated.__annotations__),
        "is the main module": sys.modules["__main__"].__dict__ is globals(),
        "has the default hook": sys.excepthook is sys.__excepthook__,
        "stdin": sys.stdin.read(),
    }, indent=1))
"""


class Outcome(NamedTuple):
    status: int
    output: str
    errors: str


# Its frames; where it is not frozen, with lines of its source, and marks below some.
RUNPY = re.compile(r'^  File "(<frozen runpy>|.*/runpy\.py)".*\n(    .*\n)*', re.MULTILINE)


def python(*arguments: str, cwd: Path, stdin: str = "", **environment: str) -> Outcome:
    """What comes of ``python`` and some arguments."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": SEARCH_PATH} | environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    errors = RUNPY.sub("", done.stderr)
    return Outcome(done.returncode, done.stdout, re.sub(r"0x[0-9a-f]+", "0x...", errors))


def run(*words: str, cwd: Path, stdin: str = "", **environment: str) -> Outcome:
    """What comes of ``python -m fastchat run`` and some words."""
    return python("-m", "fastchat", "run", *words, cwd=cwd, stdin=stdin, **environment)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def a_script(directory: Path) -> str:
    write(directory / "program.py", SEEN)
    return "program.py"


def a_directory(directory: Path) -> str:
    write(directory / "application" / "__main__.py", SEEN)
    return "application"


def a_zip_file(directory: Path) -> str:
    with zipfile.ZipFile(directory / "application.zip", "w") as file:
        file.writestr("__main__.py", SEEN)
    return "application.zip"


def open_terminal() -> tuple[int, int]:
    """The two ends of a pseudo-terminal, ours first; skips, or fails, as for a missing client."""
    try:
        return os.openpty()
    except OSError as failure:
        if os.environ.get("FASTCHAT_REQUIRE_CLIENTS") == "1":
            raise
        pytest.skip(f"there are no pseudo-terminals here: {failure}")
