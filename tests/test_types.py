"""The types: programs that use fastchat pass both type checkers, and the stubs say what is true.

The programs are those in ``tests/typing``, those in ``examples``, and one that uses every public
name.  They are checked as those of a user are: away from the checkout, against the package that is
installed.  What the stubs say is compared with the modules by ``mypy.stubtest``, and by
``pyright --verifytypes`` with nothing left to say.

Without mypy, or pyright, these tests are skipped, unless FASTCHAT_REQUIRE_MYPY=1, or
FASTCHAT_REQUIRE_PYRIGHT=1.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import site
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastchat
from tests.support.building import ROOT
from tests.support.needed import needs

# What stubtest may find, as it names it, and why that is right.
ALLOWED = r"""
# Programs give these parameters names of their own; the modules pass them by position.
fastchat\.asyncore\.dispatcher\.handle_accepted
fastchat\.asynchat\.async_chat\.collect_incoming_data
"""
ALLOWED_IF_COMPILED = r"""
# Cython adds it to every module, for doctest; here it is empty.
fastchat\._\w+\.__test__
# Functions of C that other compiled modules call.  The stubs have them for the sources of those
# modules, which are Python to a type checker.
fastchat\._\w+\.__pyx_capi__
fastchat\._sysio\.[a-z]\w+
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The directory of a user, with programs and, in ``typings``, stubs for the old names."""
    for name in ("examples", "typings"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "programs").mkdir()
    for name in ("mistakes", "untyped", "uses"):
        shutil.copy(ROOT / "tests" / "typing" / f"{name}.py", tmp_path / "programs")
    # What belongs to other modules, too: stubtest does not ask for that.
    for name in ("asyncore", "asynchat"):
        (tmp_path / "programs" / f"every_name_of_{name}.py").write_text(using_every_name(name))
    return tmp_path


def using_every_name(module: str) -> str:
    """A program that uses every public name of a module, by its old name and its new one."""
    names = [name for name in vars(getattr(fastchat, module)) if not name.startswith("_")]
    uses = [f"print({prefix}{module}.{name})\n" for name in names for prefix in ("", "fastchat.")]
    return "".join([f"import {module}\nimport fastchat.{module}\n\n", *uses])


@pytest.mark.parametrize("name", ["mistakes", "untyped", "uses"])
def test_programs_can_be_imported(name: str) -> None:
    # Their classes can be made, of the bases and with the attributes that the stubs promise.
    importlib.import_module(f"tests.typing.{name}")


@needs("mypy", "MYPY")
def test_programs_pass_mypy(project: Path) -> None:
    options = ["--strict", "--warn-unreachable", "--config-file=", "--cache-dir=cache"]
    done = run(project, "mypy", *options, "examples", "programs")
    assert done.returncode == 0, done.stdout
    assert f"no issues found in {count_of(project)} source files" in done.stdout


@needs("pyright", "PYRIGHT")
def test_programs_pass_pyright(project: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    del settings["exclude"]
    del settings["pythonVersion"], settings["pythonPlatform"]  # those of this interpreter
    settings["include"] = ["examples", "programs"]
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    done = run(project, "pyright", "--outputjson")
    assert done.returncode == 0, done.stdout
    summary = json.loads(done.stdout)["summary"]
    assert (summary["filesAnalyzed"], summary["warningCount"]) == (count_of(project), 0)


def count_of(project: Path) -> int:
    count = len([*project.glob("examples/*.py"), *project.glob("programs/*.py")])
    assert count > 10
    return count


@needs("mypy", "MYPY")
@pytest.mark.parametrize("implementation", ["cython", "python"])
def test_stubs_say_what_the_modules_are(implementation: str, tmp_path: Path) -> None:
    modules, allowed = ["fastchat.asyncore", "fastchat.asynchat"], ALLOWED
    if implementation == "cython":
        modules += ["fastchat._method", "fastchat._scanner", "fastchat._sysio"]
        allowed += ALLOWED_IF_COMPILED
    (tmp_path / "allowed").write_text(allowed)
    # An entry of the list that is of no use any more fails, too.
    command = ["mypy.stubtest", "--allowlist", "allowed", *modules]
    done = run(tmp_path, *command, implementation=implementation)
    assert done.returncode == 0, done.stdout
    assert f"no issues found in {len(modules)} modules" in done.stdout


@needs("pyright", "PYRIGHT")
def test_no_public_type_is_unknown(tmp_path: Path) -> None:
    done = run(tmp_path, "pyright", "--outputjson", "--verifytypes", "fastchat")
    report = json.loads(done.stdout)["typeCompleteness"]
    assert report["packageName"] == "fastchat"
    assert report["completenessScore"] == 1, [
        symbol["diagnostics"] for symbol in report["symbols"] if not symbol["isTypeKnown"]
    ]
    assert report["exportedSymbolCounts"]["withKnownType"] > 100
    assert done.returncode == 0, done.stdout


def run(
    directory: Path, *command: str, implementation: str = "auto"
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` and a command in a directory; all it says is in stdout."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env=os.environ | search_paths() | {"FASTCHAT_IMPLEMENTATION": implementation},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


def search_paths() -> dict[str, str]:
    """Where a checker looks: for this fastchat, where it is not installed, and as a user says."""
    directory = Path(fastchat.__file__).parent.parent
    installed = [Path(path) for path in [*site.getsitepackages(), site.getusersitepackages()]]
    found = [] if directory in installed else [str(directory)]
    paths = {
        "MYPYPATH": os.pathsep.join(["examples", "typings", *found]),
        # pyright asks the first Python there for what is installed.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    return paths | ({"PYTHONPATH": found[0]} if found else {})
