"""``tools/compiler.py``, which ``make`` asks before it builds: a line where it cannot compile."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.building import ROOT, clean_environment, copy_project

HOW = "make demo FASTCHAT_BUILD_EXTENSION=no"

pytestmark = [
    pytest.mark.build,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no make, and CC means nothing"),
]


def ask(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "compiler.py"), HOW],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
    )


def hiding(directory: Path, code: str) -> str:
    """The PYTHONPATH with which *code* runs first."""
    (directory / "sitecustomize.py").write_text(code)
    return str(directory)


def test_nothing_is_missing() -> None:
    done = ask()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


NOT_CPYTHON = "import platform; platform.python_implementation = lambda: 'PyPy'"
NO_HEADERS = "import sysconfig; sysconfig.get_path = lambda name: '/nonexistent'"


# As of an interpreter that was configured with an --exec-prefix.
APART = """
import sysconfig
places = {"include": "DIRECTORY/include", "platinclude": "DIRECTORY/platinclude"}
get_path = sysconfig.get_path
sysconfig.get_path = lambda name, *rest: places.get(name) or get_path(name, *rest)
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython compiles")
def test_headers_in_more_than_one_directory(tmp_path: Path) -> None:
    for name, text in (
        ("include/Python.h", "#include <pyconfig.h>\n#include <given.h>"),
        ("platinclude/pyconfig.h", ""),
        ("more/given.h", ""),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    path = hiding(tmp_path, APART.replace("DIRECTORY", str(tmp_path)))
    done = ask(PYTHONPATH=path, CPPFLAGS=f"-I{tmp_path / 'more'}")
    assert (done.returncode, done.stderr) == (0, "")


def test_where_nothing_is_compiled_no_compiler_is_missing(tmp_path: Path) -> None:
    assert ask(CC="/nonexistent/cc", PYTHONPATH=hiding(tmp_path, NOT_CPYTHON)).returncode == 0


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython compiles")
@pytest.mark.parametrize(
    ("compiler", "code", "missing"),
    [
        ("/nonexistent/cc", "", "no C compiler (/nonexistent/cc: No such file or directory)"),
        ("false", "", "no C compiler that works (false)"),
        ("false", NO_HEADERS, "no headers of Python (/nonexistent/Python.h)"),
    ],
)
def test_what_is_missing_is_said(compiler: str, code: str, missing: str, tmp_path: Path) -> None:
    done = ask(CC=compiler, PYTHONPATH=hiding(tmp_path, code))
    assert done.returncode == 1
    assert done.stderr == f"There is {missing} here. To go on without: {HOW}\n"


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython compiles")
@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "without"),
    [
        ("demo", "make demo FASTCHAT_BUILD_EXTENSION=no"),
        ("test", "make test FASTCHAT_BUILD_EXTENSION=no PYTEST_ARGS=--no-extension"),
    ],
)
def test_make_without_a_compiler(target: str, without: str, tmp_path: Path) -> None:
    environment = clean_environment({"CC": "/nonexistent/cc"})
    # Of a make around this: it would have its own variables replace ours.
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    tree = copy_project(tmp_path / "tree")
    stale = tree / "build" / "lib.linux-x86_64-cpython-311"
    interpreters = tree / "build" / "pythons"
    stale.mkdir(parents=True)
    interpreters.mkdir()
    done = subprocess.run(
        ["make", target, f"PYTHON={sys.executable}", "VENV=.venv"],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    # Of build/, what would be packed is gone, and nothing else.
    assert (stale.exists(), interpreters.exists()) == (False, True)
    line, ending = done.stderr.splitlines()
    assert line == (
        "There is no C compiler (/nonexistent/cc: No such file or directory) here. "
        f"To go on without: {without}"
    )
    assert ending.startswith("make: ***")
