"""The example programs, unmodified, as servers of real clients, for the files test_examples_*.py.

Each test runs on every engine: fastchat compiled, fastchat in Python, and the standard library
where this interpreter still has it, so that a test which demands too much is seen.  Rules that
those files keep:

- a server is started once for each program and engine; after every test it must still run, and
  at the end it must leave with status 0, having written nothing but where it listens;
- no sleeping: a test that needs the server to have read something asks it twice for something
  else on another connection (``settle``), which takes two passes of its loop;
- a missing client program skips its tests, or fails them if FASTCHAT_REQUIRE_CLIENTS is 1.

This is a plugin of pytest, for the fixtures that those files share.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.building import ROOT
from tests.support.implementations import FASTCHAT, STDLIB

EXAMPLES = ROOT / "examples"

TIMEOUT = 20.0  # seconds; for what should happen at once

Connect = Callable[[], "Client"]


class Client:
    """One blocking connection; every wait of it ends after ``TIMEOUT``."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        """The next line, which must be complete, without its CR LF."""
        line = self.file.readline()
        assert line.endswith(b"\r\n"), f"no complete line, but {line!r}"
        return line[:-2]

    def exactly(self, size: int) -> bytes:
        data = self.file.read(size)
        assert len(data) == size
        return data

    def rest(self) -> bytes:
        """All that comes until the server ends the connection."""
        return self.file.read()

    def end_input(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def reset(self) -> None:
        """Go away without a word: the server gets a reset, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()


class Server:
    """An example program in a child process, listening; *plain*: one that needs no ``run``."""

    def __init__(
        self, engine: str, program: str, errors: Path, *arguments: str, plain: bool = False
    ) -> None:
        command = [sys.executable, *([] if plain else ["-m", "fastchat", "run"])]
        if engine == "stdlib":
            command = [sys.executable, "-W", "ignore::DeprecationWarning"]
        # A channel or a file that the program forgets to close is then told on stderr.
        settings = {"FASTCHAT_IMPLEMENTATION": engine, "PYTHONWARNINGS": "default::ResourceWarning"}
        self.errors = errors
        with errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, str(EXAMPLES / program), *arguments],
                env=os.environ | settings,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        assert self.process.stdout is not None
        self.output = self.process.stdout
        words = self.output.readline().decode().split()
        assert words[:2] == ["listening", "on"], f"{words}, {errors.read_text()}"
        self.port = int(words[2].rpartition(":")[2])

    def check(self) -> None:
        """It runs, and had nothing to complain about."""
        assert self.errors.read_text() == ""
        assert self.process.poll() is None

    def stop(self, ending: int = signal.SIGTERM) -> str:
        """End it by a signal, as one should; returns all it printed after its first line."""
        self.process.send_signal(ending)
        printed, _ = self.process.communicate(timeout=TIMEOUT)
        assert self.errors.read_text() == ""
        assert self.process.returncode == 0
        return printed.decode()

    def kill(self) -> None:
        """Whatever a test did to it, leave no process behind."""
        self.process.kill()
        self.process.wait()
        self.output.close()


@contextmanager
def running(
    engine: str,
    program: str,
    directory: Path,
    *arguments: str,
    log: str = "",
    plain: bool = False,
) -> Iterator[Server]:
    """A server that must end well, having logged one line with ``log`` in it, or nothing."""
    errors = directory / f"{program}.{engine}.errors"
    server = Server(engine, program, errors, *arguments, plain=plain)
    try:
        yield server
        printed = server.stop()
        assert log in printed
        assert len(printed.splitlines()) == (1 if log else 0), printed
    finally:
        server.kill()


def installed(client: str) -> str:
    """The path of a client program."""
    path = shutil.which(client)
    if path is None and os.environ.get("FASTCHAT_REQUIRE_CLIENTS") == "1":
        pytest.fail(f"{client} is not installed")
    if path is None:
        pytest.skip(f"{client} is not installed")
    return path


def run(*command: str | Path, stdin: bytes = b"") -> bytes:
    """The output of a client program, which must succeed and complain of nothing."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def settle(
    bystander: Client, question: bytes, answer: Callable[[Client], object] = Client.line
) -> None:
    """Let the server read whatever was sent to it before.

    What was sent is waiting when the first question is read, so it is read in the same pass of
    the loop at the latest; the second question is read in a later one.
    """
    for _ in range(2):
        bystander.send(question)
        answer(bystander)


@pytest.fixture(scope="module", params=[*FASTCHAT, *STDLIB])
def engine(request: pytest.FixtureRequest) -> str:
    """What the program runs on."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Opens connections to the server that the class of the test names, which must survive."""
    with ExitStack() as stack:

        def connect() -> Client:
            client = Client(server.port)
            stack.callback(client.close)
            return client

        yield connect
    server.check()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()
