"""The example programs where they cannot listen: a line that says why, and no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.building import ROOT
from tests.support.programs import python

PROGRAM = str(ROOT / "examples" / "chat_room.py")


@pytest.mark.parametrize("port", ["65536", "99999999999999999999", "-1"])
def test_port_out_of_range(port: str, tmp_path: Path) -> None:
    done = python("-m", "fastchat", "run", PROGRAM, "--port", port, cwd=tmp_path)
    assert (done.status, done.output) == (2, "")
    last = done.errors.splitlines()[-1]
    assert last == f"chat_room.py: error: argument --port: {port} is not from 0 to 65535"


def test_no_number(tmp_path: Path) -> None:
    done = python("-m", "fastchat", "run", PROGRAM, "--port", "http", cwd=tmp_path)
    assert done.status == 2
    assert done.errors.endswith("error: argument --port: invalid port value: 'http'\n")


def test_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = python("-m", "fastchat", "run", PROGRAM, "--port", str(port), cwd=tmp_path)
    assert (done.status, done.output) == (1, "")
    (line,) = done.errors.splitlines()
    assert line.startswith(f"cannot listen on 127.0.0.1:{port}: ")


def test_name_that_nobody_has(tmp_path: Path) -> None:
    done = python("-m", "fastchat", "run", PROGRAM, "--host", "nobody.invalid", cwd=tmp_path)
    assert done.status == 1
    assert done.errors.startswith("cannot listen on nobody.invalid:0: ")
