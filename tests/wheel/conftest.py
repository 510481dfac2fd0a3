"""The wheel that is to be proven, and a child process to prove it in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fastchat
from tests.support.wheels import Wheel

# Asks the installed package something, and returns what was printed.
Ask = Callable[..., str]


@pytest.fixture(scope="session", autouse=True)
def wheel(pytestconfig: pytest.Config) -> Wheel:
    path = pytestconfig.getoption("--wheel")
    if path is None:
        pytest.exit("tests/wheel proves one wheel: name it, --wheel PATH", returncode=4)
    return Wheel(Path(path).resolve(strict=True))


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Run a program in a fresh interpreter, warnings being errors, on the installed package."""

    def ask(program: str, *arguments: str, **environment: str) -> str:
        kept = {name: value for name, value in os.environ.items() if name[:9] != "FASTCHAT_"}
        package = str(Path(fastchat.__file__).parent.parent)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, *arguments],
            env=kept | {"PYTHONPATH": package} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return ask
