"""The types: a program written against the stubs passes ``mypy --strict``, and the stubs are true.

The program's own checks are ``assert_type`` and ``# type: ignore[code]``: strict mypy complains of
an ignore that ignores nothing, so each of them is a mistake that must be found.  What the stubs say
is compared with the modules by ``mypy.stubtest``.

Without mypy these tests are skipped, unless FASTCHAT_REQUIRE_MYPY=1.
"""

from __future__ import annotations

import importlib.util
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

import fastchat

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None and os.environ.get("FASTCHAT_REQUIRE_MYPY") != "1",
    reason="mypy is not installed",
)

PROGRAM = '''\
"""A server in the usual style, and one call of everything that has a type worth naming."""

import socket
import sys
from collections import deque
from collections.abc import MutableMapping
from typing import Any, assert_type
from weakref import WeakValueDictionary

from fastchat import asynchat, asyncore


class Session(asynchat.async_chat):
    ac_in_buffer_size = 4096
    ignore_log_types = frozenset({"info"})

    def __init__(self, sock: socket.socket, sessions: "dict[int, Session]") -> None:
        asynchat.async_chat.__init__(self, sock, sessions)
        self.set_terminator(b"\\r\\n")
        self.lines: list[bytes] = []

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data()
        self.lines.append(line)
        self.push(line + b"\\r\\n")
        self.push_with_producer(Countdown(3))
        self.push_with_producer(asynchat.simple_producer(line, buffer_size=10))
        self.close_when_done()

    def readable(self) -> bool:
        return super().readable() and len(self.lines) < 10

    def writable(self) -> int:
        return len(self.producer_fifo)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        return self.socket.send(data)

    def handle_close(self) -> None:
        self.log_info(f"{self.addr[0]} {self.socket.getsockname()} has gone")
        self.close()


class Countdown:
    def __init__(self, count: int) -> None:
        self.count = count

    def more(self) -> "bytes | Countdown | None":
        self.count -= 1
        return Countdown(self.count) if self.count else None


class Shouting(asynchat.simple_producer):
    def more(self) -> bytes:
        return asynchat.simple_producer.more(self).upper()


class Server(asyncore.dispatcher):
    def __init__(self, address: tuple[str, int]) -> None:
        asyncore.dispatcher.__init__(self)
        self.sessions: dict[int, Session] = {}
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(address)
        self.listen(5)

    def handle_accept(self) -> None:
        pair = self.accept()
        if pair is not None:
            sock, addr = pair
            self.handle_accepted(sock, addr)

    def handle_accepted(self, sock: socket.socket, addr: tuple[str, int]) -> None:
        Session(sock, self.sessions)

    def log_info(self, message: str, type: str = "info") -> None:
        sys.stderr.write(message)


class Sender(asyncore.dispatcher_with_send):
    def handle_read(self) -> None:
        self.send(self.recv(8192))
        self.out_buffer = self.out_buffer[1:]


class OfLongAgo(asynchat.async_chat):
    ac_in_buffer = b""

    def __init__(self, conn: socket.socket) -> None:
        asynchat.async_chat.__init__(self, conn=conn)
        self.producer_fifo = asynchat.fifo()
        self.set_terminator((b"\\r\\n", b"\\n"))

    def refill_buffer(self) -> None:
        self.producer_fifo.append(b"x")


class Duck:
    def handle_read_event(self) -> None: ...
    def handle_error(self) -> None: ...


def serve(address: tuple[str, int], map: MutableMapping[int, Any]) -> None:
    server = Server(address)
    weak: WeakValueDictionary[int, Server] = WeakValueDictionary({1: server})
    asyncore.loop(timeout=1, use_poll=True, map=asyncore.socket_map, count=1)
    asyncore.loop(0.5, map=weak)
    asyncore.poll3(None, map)
    try:
        asyncore.read(Duck())
        asyncore.write(server)
        asyncore._exception(server)
        asyncore.readwrite(server, asyncore.select.POLLIN)
    except asyncore.ExitNow:
        asyncore.close_all(map, ignore_all=True)
    if sys.platform != "win32":
        asyncore.file_dispatcher(sys.stdin).set_file(0)
        assert_type(asyncore.file_wrapper(0).read(1), bytes)


def types(chat: asynchat.async_chat, channel: asyncore.dispatcher, sender: Sender) -> None:
    assert_type(asyncore.EWOULDBLOCK, int)
    assert_type(asyncore.errorcode[asyncore.EAGAIN], str)
    assert_type(asyncore._DISCONNECTED, frozenset[int])
    assert_type(asyncore._reraised_exceptions, tuple[type[BaseException], ...])
    assert_type(asyncore._strerror(1), str)
    assert_type(asyncore.time.time(), float)
    assert_type(asyncore.os.getpid(), int)
    assert_type(asyncore.socket.gethostname(), str)
    assert_type(
        asyncore.compact_traceback(),
        tuple[tuple[str, str, str], type[BaseException], BaseException, str],
    )
    assert_type(channel.accept(), tuple[socket.socket, Any] | None)
    assert_type(channel.socket, socket.socket | Any)
    assert_type(channel.recv(1), bytes)
    assert_type(channel.send(memoryview(b"x")), int)
    assert_type(sender.out_buffer, bytes)
    assert_type(chat.ac_in_buffer, bytes)
    assert_type(chat.matched_terminator, bytes | None)
    assert_type(chat.producer_fifo, deque[Any])
    assert_type(asynchat.asyncore.socket_map, dict[int, Any])
    assert_type(asynchat.find_prefix_at_end(b"x\\r", b"\\r\\n"), int)
    assert_type(asynchat.find_prefix_at_end("x\\r", "\\r\\n"), int)
    assert_type(asynchat.simple_producer(b"x").more(), bytes)
    assert_type(asynchat.simple_producer("x").more(), str)
    assert_type(asynchat.fifo([1]).pop(), tuple[int, Any])
    assert_type(asynchat.fifo().list, asynchat.fifo)
    for term in (b"x", "x", 1, None, bytearray(b"x"), (b"x", "y")):
        chat.set_terminator(term)


def mistakes(chat: asynchat.async_chat, channel: asyncore.dispatcher) -> None:
    chat.push("text")  # type: ignore[arg-type]
    chat.push_with_producer(b"data")  # type: ignore[arg-type]
    chat.set_terminator(1.5)  # type: ignore[arg-type]
    chat.get_terminator() + b"x"  # type: ignore[operator]
    channel.send("text")  # type: ignore[arg-type]
    channel.listen()  # type: ignore[call-arg]
    channel.connect_ex(("host", 1))  # type: ignore[attr-defined]
    channel.socket.nosuch()  # type: ignore[union-attr]
    asyncore.loop(map={"one": 1})  # type: ignore[dict-item]
    asyncore.write(Duck())  # type: ignore[arg-type]
    asynchat.simple_producer(1)  # type: ignore[type-var]
    asynchat.find_prefix_at_end("x", b"y")  # type: ignore[call-overload]
    asynchat.async_chat(None, None, None)  # type: ignore[call-arg]
    asyncore._DEPRECATION_MSG  # type: ignore[attr-defined]
'''

# What stubtest may find, as it names it, and why that is right.
ALLOWED = """\
# Cython adds it to every module, for doctest; here it is empty.
fastchat._scanner.__test__
# What other compiled modules call: functions of C, which the stub has for the same modules as they
# are to mypy.
fastchat._scanner.__pyx_capi__
"""


def test_a_program_in_the_usual_style(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    # What belongs to other modules, too: stubtest does not ask for that.
    (tmp_path / "names.py").write_text(using_every_name("asyncore") + using_every_name("asynchat"))
    options = ["--strict", "--warn-unreachable", "--config-file=", "--cache-dir=cache"]
    done = run(tmp_path, "mypy", *options, "program.py", "names.py")
    assert done.returncode == 0, done.stdout
    assert "no issues found in 2 source files" in done.stdout


def using_every_name(module: str) -> str:
    """A program that uses every public name of a module."""
    names = [name for name in vars(getattr(fastchat, module)) if not name.startswith("_")]
    return f"from fastchat import {module}\n" + "".join(f"{module}.{name}\n" for name in names)


def test_stubs_say_what_the_modules_are(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    modules = ["fastchat.asyncore", "fastchat.asynchat"]
    allowed = ""
    if not request.config.getoption("--no-extension"):
        modules.append("fastchat._scanner")
        allowed = ALLOWED
    (tmp_path / "allowed").write_text(allowed)
    # An entry of the list that is of no use any more fails, too.
    done = run(tmp_path, "mypy.stubtest", "--allowlist", "allowed", *modules)
    assert done.returncode == 0, done.stdout
    assert f"no issues found in {len(modules)} modules" in done.stdout


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` and a command in a directory; all it says is in stdout."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env=os.environ | search_path(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


def search_path() -> dict[str, str]:
    """What mypy must be told to find this fastchat: nothing where it is installed."""
    directory = Path(fastchat.__file__).parent.parent
    installed = [Path(path) for path in [*site.getsitepackages(), site.getusersitepackages()]]
    return {} if directory in installed else {"MYPYPATH": str(directory)}
