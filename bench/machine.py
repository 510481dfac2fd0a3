"""Where results come from: the machine, the versions of everything, and what else was running.

Figures of two machines cannot be compared, and those of one machine only where this is the same.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

from bench import compiled

# What is compared or stood on, as distributions call it.
DISTRIBUTIONS = (
    "fast-asynchat",
    "pyasynchat",
    "pyasyncore",
    "uvloop",
    "rloop",
    "zuvloop",
    "aiofastnet",
    "Twisted",
    "gevent",
    "Cython",
)


def now() -> str:
    """The date and time, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def describe() -> dict[str, str]:
    """The machine: its name of the CPU, how many, how much memory, and how busy it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu_model(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "load average": f"{os.getloadavg()[0]:.2f}",
    }


def cpu_model() -> str:
    """What the CPU calls itself."""
    try:
        information = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        information = ""
    named = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", information, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def python() -> str:
    """Which interpreter this is, and which build of it where that is not the usual one."""
    kinds = [
        kind
        for kind, is_there in (
            ("without a GIL", bool(sysconfig.get_config_var("Py_GIL_DISABLED"))),
            ("debug", hasattr(sys, "gettotalrefcount")),
        )
        if is_there
    ]
    return " ".join([platform.python_implementation(), platform.python_version(), *kinds])


def versions() -> dict[str, str]:
    """The versions of everything that has a part in the figures."""
    found = {"built by": platform.python_compiler()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    if "fast-asynchat" not in found:
        found["fast-asynchat"] = _fastchat_on_the_path()
    if commit := _commit():
        found["commit"] = commit
    try:
        found["C compiler"] = compiled.version()
    except compiled.NoCompiler:
        pass
    if redis := shutil.which("redis-benchmark"):
        said = subprocess.run([redis, "--version"], capture_output=True, text=True, check=False)
        found["redis-benchmark"] = said.stdout.strip().removeprefix("redis-benchmark ")
    return found


def _fastchat_on_the_path() -> str:
    """The version of a fastchat that is not installed; asked in another process, because the
    implementations are loaded apart in this one."""
    ask = "import fastchat; print(fastchat.__version__)"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "none"


def _commit() -> str:
    """What is checked out here, and whether it was changed; empty where that cannot be told."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def slug(text: str) -> str:
    """*text* as a part of a file's name."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
