"""A socket may be anything, and ``socket.socket`` too, at any time: nothing is assumed of either.

The scenes are in tests/support/sockets_of_others.py, one process for each kind and each time at
which ``socket.socket`` becomes it.  What a program sees there, hook by hook and call by call, is
compared with the model's.

Tests of gevent and eventlet are skipped where these are missing, or fail there if
FASTCHAT_REQUIRE_GREENLETS is 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.channels import posix_only
from tests.support.implementations import FASTCHAT
from tests.support.needed import needs
from tests.support.sockets_of_others import ENTRIES, KINDS, WHEN

pytestmark = posix_only

TIMEOUT = 120


def _kind(name: str) -> Any:
    is_other = name in ("gevent", "eventlet")
    return pytest.param(name, marks=[needs(name, "GREENLETS")] if is_other else [])


@cache
def run(kind: str, when: str, names: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """The process of *kind* and *when*, with the implementations *names*."""
    command = [sys.executable, "-W", "error", "-m", "tests.support.sockets_of_others"]
    return subprocess.run(
        [*command, kind, when, *names],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("name", FASTCHAT)
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("kind", [_kind(name) for name in KINDS])
def test_a_program_sees_what_it_always_saw(
    request: pytest.FixtureRequest, kind: str, when: str, entry: str, name: str
) -> None:
    # Together, because a process costs more than what it does.
    names = ("python",) if request.config.getoption("--no-extension") else FASTCHAT
    done = run(kind, when, names)
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert shown[name][entry] == shown["model"][entry]
    assert ["not done"] not in shown[name][entry]
    if (kind, entry) != ("tls", "a_file_dispatcher"):
        assert ["answer", "one\ntwo\n"] in shown[name][entry]
        assert shown[name][entry][-1] == ["done"]


def test_what_a_socket_is_called_for_is_seen() -> None:
    """That the comparison compares something: kinds that note calls have noted them."""
    for kind in ("overriding", "instance", "mock", "proxy", "stranger"):
        seen = json.loads(run(kind, "after", ("python",)).stdout)["model"]["a_chat"]
        sent = [entry for entry in seen if entry[0] == "send"]
        assert sent == [["send", r"b'one\n'"], ["send", r"b'two\n'"]]
