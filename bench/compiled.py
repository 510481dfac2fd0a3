"""The C programs of the benchmarks, compiled when they are first needed.

The result goes to the user's cache directory, under a name made of everything that it depends on,
so that the source tree stays clean and an old program is never run for a new source.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
LIBRARY_FLAGS = ("-shared", "-fPIC")


class NoCompiler(Exception):
    """There is no C compiler, or it does not compile."""


def compiler() -> str:
    """The path of the C compiler: what ``CC`` names, else cc.  Raises NoCompiler."""
    name = os.environ.get("CC", "cc")
    found = shutil.which(name)
    if found is None:
        raise NoCompiler(f"there is no C compiler {name!r}; install one, or name it in CC")
    return found


def version() -> str:
    """What the compiler calls itself.  Raises NoCompiler."""
    said = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True)
    return said.stdout.partition("\n")[0]


def cache() -> Path:
    """Where compiled programs are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fastchat-bench"


def build(source: Path, *flags: str, to: Path | None = None) -> Path:
    """Compile *source* with *flags* added, unless that has been done, into *to* or the cache.

    Returns the path of the program, or of the library where *flags* ask for one.  Raises
    NoCompiler, with what the compiler said.
    """
    command = [compiler(), *FLAGS, *flags]
    recipe = "\0".join([version(), *command]).encode() + source.read_bytes()
    directory = to or cache()
    made = directory / f"{source.stem}-{hashlib.sha256(recipe).hexdigest()[:16]}"
    if made.exists():
        return made
    directory.mkdir(parents=True, exist_ok=True)
    # Another process may be doing the same: what has the name is always whole.
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        fresh = Path(scratch) / source.stem
        done = subprocess.run(
            [*command, "-o", fresh, source], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NoCompiler(f"{' '.join(command)} does not compile {source}:\n{done.stderr}")
        fresh.rename(made)
    return made
