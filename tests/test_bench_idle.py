"""``python -m bench.idle``: that it measures; what, no test says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.idle", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_measures() -> None:
    ended = run("--connections", "20", "--seconds", "0.1")
    assert ended.returncode == 0, ended.stderr
    # Of so few the memory may be less than what was free by chance.
    wanted = r"20 idle connections, (cython|python): -?[\d,]+ bytes each, [\d.]+% of a CPU\n"
    assert re.fullmatch(wanted, ended.stdout)


def test_refuses_more_than_there_are_descriptors() -> None:
    ended = run("--connections", str(2**40))
    assert ended.returncode == 2
    assert "are too many" in ended.stderr
