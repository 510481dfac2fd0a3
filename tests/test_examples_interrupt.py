"""The example programs end well when they are interrupted.

tests/support/examples.py has the rules.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.examples import Client, Server


@pytest.mark.parametrize(
    "program", ["http_server.py", "redis_server.py", "chat_room.py", "file_server.py"]
)
def test_interrupt_closes_every_connection(engine: str, program: str, tmp_path: Path) -> None:
    arguments = ["--root", str(tmp_path)] if program == "file_server.py" else []
    server = Server(engine, program, tmp_path / "errors", *arguments)
    with ExitStack() as stack:
        stack.callback(server.kill)
        for _ in range(3):
            client = Client(server.port)
            stack.callback(client.close)
            client.send(b"\r\nunfinished")
        # What is left open is told on stderr, which must be empty.
        assert server.stop(signal.SIGINT) == ""
