"""Build the package from a copy of the tree, for test_packaging.py and test_build.py.

No network and no isolation: the environment that runs the tests has setuptools and Cython.  The
build runs through the hooks that pip calls, without pip, so that all that setup.py and the compiler
say can be read.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# What setuptools adds to an sdist.
ADDED = re.compile(r"PKG-INFO|setup\.cfg|src/fast_asynchat\.egg-info/.*")

# What replaces, or comes after, the flags that Python was built with.  CPPFLAGS go to the compiler
# as CFLAGS do, and -march=native among them makes a wheel for this one machine.
FLAGS = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED")

HOOK = "import sys, setuptools.build_meta as hooks; getattr(hooks, sys.argv[1])(sys.argv[2])"


def project_files() -> list[str]:
    """The files that belong to the project, relative to its root: tracked, or about to be."""
    if (ROOT / ".git").exists():
        # A checkout that someone else owns, as in a container, is no reason to refuse.
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        names = listed.stdout.split("\0")
    else:
        # An unpacked sdist, which says itself what it brought.
        sources = ROOT / "src" / "fast_asynchat.egg-info" / "SOURCES.txt"
        names = [name for name in sources.read_text().splitlines() if not ADDED.fullmatch(name)]
    # In an index, or in a list, a name can outlive its file.
    return sorted({name for name in names if name and (ROOT / name).is_file()})


def copy_project(to: Path) -> Path:
    """Copy the project's files, and none that a build has left, to a new directory."""
    for name in project_files():
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return to


def clean_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment for a build: ours, less what would decide its outcome, plus the changes.

    What a build says, and what pytest says of a wheel, is searched: it has no colours.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FASTCHAT_", "COVERAGE_")) and name not in (*FLAGS, "FORCE_COLOR")
    }
    return kept | {"LC_ALL": "C"} | dict(changes)


def run(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run Python and return what it did, with both its outputs in stdout, in order."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=clean_environment(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


def build(hook: str, tree: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one PEP 517 hook, `build_sdist` or `build_wheel`, on a tree."""
    return run("-c", HOOK, hook, out, cwd=tree, environment=environment)


def the_only(pattern: str, directory: Path) -> Path:
    """The one file there that matches."""
    found = list(directory.glob(pattern))
    assert len(found) == 1, f"{pattern} in {directory}: {found or os.listdir(directory)}"
    return found[0]
