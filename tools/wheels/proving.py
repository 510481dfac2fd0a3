"""What a wheel must pass: pip takes it from a folder of them all, and what it installs works.

Rules kept here:

- each interpreter gets an environment of its own, and the wheel in it only by the name of the
  project: which wheel that is, pip decides, and another than it should be is a failure;
- the programs on PATH are the machine's without its compilers, and without its other Pythons;
- nothing is imported from a checkout: what runs lies in the unpacked sdist, whose ``src`` is on no
  path, and the suite says where its fastchat is from;
- a step that fails is told, with what it said, and the others are taken nevertheless, unless
  nothing is installed that they could look at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import parse_wheel_filename

from tests.support.building import clean_environment
from tools.wheels.interpreters import Interpreter, files
from tools.wheels.making import PURE, Failure, run

PROJECT = "fast-asynchat"

# What would compile or link, by any name, and Pythons other than that of the environment.
COMPILERS = re.compile(
    r"(.*-)?(cc|[cg]\+\+|gcc|clang|clang\+\+|c[89]9|c[89]9-gcc|tcc|icc|icx|cpp|ld|zig)(-[\d.]+)?"
)
OTHER_PYTHONS = re.compile(r"(python|pypy|pip|pytest|cython).*")

# What CI asks the suite to fail on, rather than to skip; those of the second group where what they
# want is installed.
REQUIRED = (
    "FASTCHAT_REQUIRE_CLIENTS",
    "FASTCHAT_REQUIRE_TEST_PACKAGE",
    "FASTCHAT_REQUIRE_PROMETHEUS",
)
REQUIRED_OF_TEST = (
    "FASTCHAT_REQUIRE_MYPY",
    "FASTCHAT_REQUIRE_PYRIGHT",
    "FASTCHAT_REQUIRE_GREENLETS",
    "FASTCHAT_REQUIRE_TWISTED",
    "FASTCHAT_REQUIRE_LOOPS",
    "FASTCHAT_REQUIRE_EXAMPLES",
)


@dataclass
class Row:
    """One line of the table: an interpreter, the wheel that pip took for it, and how that did."""

    interpreter: Interpreter
    # How the tags of the right wheel begin.
    expected: str
    wheel: str = "-"
    tag: str = "-"
    size: int = 0
    suite: str = "left out"
    implementation: str = "-"
    ratio: str = "-"
    faults: list[str] = field(default_factory=list)

    @property
    def is_compiled(self) -> bool:
        return self.expected != PURE

    @property
    def verdict(self) -> str:
        """The last line of the suite, and before it the steps that failed."""
        return "; ".join([*(f"{step} FAILED" for step in self.faults), self.suite])

    def cells(self) -> dict[str, str]:
        """What stands in the table, by the head of its column."""
        return {
            "interpreter": f"{self.interpreter.name} ({self.interpreter.version})",
            "wheel": self.wheel,
            "tag": self.tag,
            "bytes": f"{self.size:,}",
            "suite": self.verdict,
            "implementation": self.implementation,
            "scanner ratio": self.ratio,
        }


def link_programs(to: Path) -> None:
    """Fill the directory *to* with links to the programs of PATH, but compilers and Pythons."""
    to.mkdir()
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for directory in map(Path, os.get_exec_path()):
        if directory.is_relative_to(pyenv):
            continue
        for program in files(directory):
            is_left_out = COMPILERS.fullmatch(program.name) or OTHER_PYTHONS.fullmatch(program.name)
            link = to / program.name
            if not is_left_out and not link.is_symlink():
                link.symlink_to(program.absolute())
    for compiler in ("cc", "gcc", "clang", "c99"):
        if shutil.which(compiler, path=str(to)):
            raise Failure(f"{compiler} is among the programs that should hold no compiler")


class Proof:
    """The environment of one interpreter, and the steps that run in it."""

    def __init__(
        self, row: Row, *, index: Path, unpacked: Path, programs: Path, scratch: Path
    ) -> None:
        self.row = row
        self.index = index
        self.unpacked = unpacked
        self.scratch = scratch
        self.python = scratch / "environment" / "bin" / "python"
        # PyPy and Pythons without a GIL lack wheels of what only some tests want.
        interpreter = row.interpreter
        self.group = "test" if interpreter.is_cpython and interpreter.has_gil else "suite"
        required = REQUIRED + (REQUIRED_OF_TEST if self.group == "test" else ())
        changes = {name: os.environ[name] for name in required if name in os.environ}
        changes["PATH"] = f"{self.python.parent}{os.pathsep}{programs}"
        self.environment = {
            name: value
            for name, value in clean_environment(changes).items()
            if not name.startswith(("PYTHON", "PYTEST_", "MAKE", "VIRTUAL_ENV"))
        }

    def pip(self, *words: str | Path, offline: bool = False) -> str:
        """Run the pip of this Python on the environment, whose Python may have none."""
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        environment = self.environment if offline else clean_environment({})
        return run([*command, "--python", str(self.python), *map(str, words)], environment)

    def use(self, name: str, choice: str = "auto") -> str:
        """What one of ``uses.py`` prints, with *choice* for the implementation."""
        command = [str(self.python), "-m", "tools.wheels.uses", name]
        environment = self.environment | {"FASTCHAT_IMPLEMENTATION": choice}
        return run(command, environment, self.unpacked).strip()

    def install(self) -> None:
        """Let pip choose from the folder of wheels."""
        venv = ["-m", "venv", "--without-pip", str(self.scratch / "environment")]
        run([self.row.interpreter.path, *venv], clean_environment({}))
        report = self.scratch / "report.json"
        words = ["install", "--no-index", "--no-cache-dir", "--find-links", str(self.index)]
        self.pip(*words, "--report", report, PROJECT, offline=True)
        (installed,) = json.loads(report.read_text())["install"]
        wheel = self.index / installed["download_info"]["url"].rpartition("/")[2]
        tags = sorted(map(str, parse_wheel_filename(wheel.name)[3]))
        self.row.wheel, self.row.size = wheel.name, wheel.stat().st_size
        self.row.tag = tags[-1]  # that with the version of glibc
        if not all(f"{tag}-".startswith(f"{self.row.expected}-") for tag in tags):
            raise Failure(f"pip takes {wheel.name}, and not the one for {self.row.expected}")

    def install_tools(self) -> None:
        """Install what tests and uses need."""
        project = self.unpacked / "pyproject.toml"
        self.pip("install", "--group", f"{project}:{self.group}", "pyftpdlib")

    def identify(self) -> None:
        """What runs must be what was installed, and compiled where it should be."""
        has_gil = self.row.interpreter.has_gil
        wanted = {"auto": "cython" if self.row.is_compiled and has_gil else "python"}
        if self.row.is_compiled:
            wanted["cython"] = "cython"
        for choice, implementation in wanted.items():
            answer = self.use("identity", choice)
            expected = f"{implementation}, GIL: {has_gil}, {self.scratch}/"
            if not answer.startswith(expected):
                raise Failure(f"FASTCHAT_IMPLEMENTATION={choice} is {answer}, and not {expected}")
        self.row.implementation = wanted["auto"]

    def measure(self) -> str:
        self.row.ratio = self.use("ratio")
        return self.row.ratio

    def prove_artefact(self) -> None:
        """Run the tests of the wheel as a file."""
        self.pytest("tests/wheel", "--wheel", str(self.index / self.row.wheel))

    def run_suite(self, *options: str) -> str:
        """Run the suite on what is installed; returns its last line."""
        words = ["-m", "not build", "--numprocesses", "auto", "--dist", "loadfile"]
        # After a worker that crashed, pytest-xdist can wait for ever.
        words += ["--max-worker-restart", "0", *options]
        # Of a Failure the end is told: what failed, and not what was skipped.
        words += ["-r", "fE"]
        try:
            output = self.pytest(*words)
        except Failure as failure:
            self.row.suite = str(failure).splitlines()[-1].strip("= ")
            raise
        self.row.suite = output.splitlines()[-1].strip("= ")
        (source,) = re.findall(r"^fastchat: .*, from (.*)$", output, re.MULTILINE)
        if not Path(source).is_relative_to(self.scratch):
            raise Failure(f"the suite ran on {source} and not on the installed wheel")
        return self.row.suite

    def pytest(self, *words: str) -> str:
        command = [str(self.python), "-m", "pytest", "-p", "no:cacheprovider", *words]
        return run(command, self.environment, self.unpacked, patience=3600)

    def run_demo(self, *options: str) -> None:
        run([self.python, "tools/demo.py", *options], self.environment, self.unpacked)


def prove(proof: Proof, *, with_suite: bool) -> None:
    """Take *proof* through its steps, telling of each."""
    row = proof.row
    pure = [] if row.is_compiled else ["--no-extension"]
    installing: dict[str, Callable[[], object]] = {
        "pip chooses": proof.install,
        "tools from PyPI": proof.install_tools,
        "what it is": proof.identify,
    }
    using: dict[str, Callable[[], object]] = {
        "the wheel as a file": proof.prove_artefact,
        "demo": lambda: proof.run_demo(*([] if row.is_compiled else ["--allow-pure"])),
        "a legacy program": lambda: proof.use("legacy"),
        "pyftpdlib": lambda: proof.use("ftp"),
    }
    if row.is_compiled:
        using["scanner"] = proof.measure
    if with_suite:
        using["suite"] = lambda: proof.run_suite(*pure)
    for name, step in (installing | using).items():
        began = time.monotonic()
        try:
            found = step()
            result = f"good, {found}" if found else "good"
        except Exception as failure:  # whatever it is, the other wheels are proven, too
            row.faults.append(name)
            kind = "" if isinstance(failure, Failure) else f"{type(failure).__name__}: "
            result = f"FAILED: {kind}{failure}"
        took = time.monotonic() - began
        print(f"  {row.interpreter.name}: {name}, {took:.0f} s: {result}", flush=True)
        if row.faults and name in installing:
            return
