"""Servers for test_server_*.py: in the test's own loop, and as programs that get real signals.

Rules this file keeps: nothing sleeps; a program says that it is ready in a line of its output, and
what it does not do within ``PATIENCE`` is a failure.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage
from tests.support.line_channels import recording_lines
from tests.support.programs import SEARCH_PATH

LOCAL = "127.0.0.1:0"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="what Linux says and others do not")
needs_ipv6 = pytest.mark.skipif(
    not socket.has_ipv6 or (sys.platform == "linux" and not Path("/proc/net/if_inet6").exists()),
    reason="this machine has no IPv6",
)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp" if os.name == "posix" else None) as directory:
        yield Path(directory)


def channels(stage: Stage, **members: Any) -> Any:
    """A class of recording channels with *members*, and ``made``, the list of those there are.

    It answers each line with itself, unless *members* have a hook.
    """

    def line_received(channel: Any, line: bytes) -> bytes:
        channel.events.append(line)
        return line

    def connection_made(channel: Any) -> None:
        type(channel).made.append(channel)

    members = {"line_received": line_received, "connection_made": connection_made} | members
    return recording_lines(stage, **members, made=[])


def server_of(stage: Stage, channel: Any, *bind: Any, **limits: Any) -> Any:
    """A server in the map of *stage* that listens on *bind*, by default on the loopback."""
    server = stage.implementation.server.Server(
        channel, *(bind or [LOCAL]), map=stage.map, **limits
    )
    stage.at_the_end(server.abort)
    server.start()
    return server


def client_of(stage: Stage, server: Any, number: int = 0) -> socket.socket:
    """A client that is connected, or will be, to one of the addresses of *server*."""
    client = connected(server.addresses[number])
    stage.keep(client)
    return client


def connected(address: str) -> socket.socket:
    """A socket connected to *address*, as servers show it."""
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(address.removeprefix("unix:"))
        return client
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), PATIENCE)


def received(stage: Stage, client: socket.socket) -> bytes:
    """All that *client* gets until the end, while the server makes passes."""
    client.setblocking(False)
    parts: list[bytes] = []

    def is_over() -> bool:
        while True:
            try:
                parts.append(client.recv(1 << 16))
            except BlockingIOError:
                return False
            except ConnectionResetError:
                parts.append(b"<reset>")
                return True
            if not parts[-1]:
                return True

    stage.until(is_over, use_poll=True)
    return b"".join(parts)


class Program:
    """A Python program that runs, and what it has said; it is killed at the end of the test."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid

    def line(self) -> str:
        """The next line of its output; fails where there is none in time."""
        assert self.process.stdout is not None
        found = b""
        while not found.endswith(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            assert ready, f"it says nothing, only {found!r}"
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                self.process.wait(PATIENCE)
                raise AssertionError(f"it has ended, and said {found!r} and {self.errors()!r}")
            found += byte
        return found.decode().rstrip("\n")

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def status(self) -> int:
        """The exit status; negative for a signal that has ended it."""
        return self.process.wait(PATIENCE)

    def errors(self) -> str:
        """All that it has said on standard error; to be called when it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT is not ignored, as it is in what a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def program(
    code: str, implementation: str, argv: list[str] | None = None, **options: Any
) -> Iterator[Program]:
    """Run *code* as a program on *implementation*, with *argv*."""
    command = [sys.executable, "-c", textwrap.dedent(code), *(argv or [])]
    with running(command, implementation, **options) as started:
        yield started


@contextmanager
def running(command: list[str], implementation: str, **options: Any) -> Iterator[Program]:
    """Run *command* on *implementation*."""
    environment = {"PYTHONPATH": SEARCH_PATH, "FASTCHAT_IMPLEMENTATION": implementation}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=options.pop("stderr", subprocess.PIPE),
        env=os.environ | environment,
        **options,
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


# What most programs begin with: a channel that answers, and one line when it listens.
ECHO = """
    import fastchat, os, signal, socket, sys, threading, time

    class Echo(fastchat.LineChannel):
        def lines_received(self, lines):
            return lines

    def ready(server):
        print(*server.addresses, flush=True)
"""
