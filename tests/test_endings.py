"""What ends the process, replaces it, or makes it wait, from inside a hook that holds output.

Held output has to leave first, wherever that can be seen: an audit hook, an exit function, or a
function in the place of one that tells nobody.  What no one can see is in docs/compat.md.
"""

from __future__ import annotations

import atexit
import builtins
import errno
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastchat
from fastchat import _endings
from tests.support.channels import (
    PATIENCE,
    Stage,
    fail_with,
    forking,
    has_nothing,
    posix_only,
    received,
)
from tests.support.coalescing import do_nothing, exceptions_of, serve
from tests.support.implementations import FASTCHAT

pytestmark = posix_only

ON_CPYTHON = sys.implementation.name == "cpython"
NOTHING_TO_DO = [sys.executable, "-S", "-E", "-c", ""]


# What makes the process wait, or may end it, and returns.


def connect(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.settimeout(PATIENCE)
        client.connect(server.getsockname())


def ask_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    builtins.input()


def spawn(monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.posix_spawn(sys.executable, NOTHING_TO_DO, os.environ)
    assert os.waitpid(child, 0)[1] == 0


def spawn_and_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with forking():
        os.spawnv(os.P_WAIT, sys.executable, NOTHING_TO_DO)


def kill_group(monkeypatch: pytest.MonkeyPatch) -> None:
    os.killpg(os.getpgrp(), 0)  # which only asks whether there is one


# The ways, and whether PyPy lets them be seen.
WAITS: dict[str, tuple[Callable[[pytest.MonkeyPatch], Any], bool]] = {
    "system": (lambda _: os.system("true"), True),
    "subprocess": (lambda _: subprocess.run(NOTHING_TO_DO, check=True), True),
    "posix_spawn": (spawn, True),
    "kill": (lambda _: os.kill(os.getpid(), 0), True),
    "killpg": (kill_group, True),
    "spawn": (spawn_and_wait, True),
    "connect": (connect, True),
    "getaddrinfo": (lambda _: socket.getaddrinfo("127.0.0.1", 80), True),
    "gethostbyname": (lambda _: socket.gethostbyname("127.0.0.1"), True),
    "pthread_kill": (lambda _: signal.pthread_kill(threading.get_ident(), 0), False),
    "input": (ask_the_user, False),
}
if not hasattr(os, "posix_spawn"):  # PyPy
    del WAITS["posix_spawn"]
if sys.version_info >= (3, 13):  # the first where sleep tells an audit hook
    WAITS["sleep"] = (lambda _: time.sleep(0), False)


@pytest.mark.parametrize("way", [way for way in WAITS if ON_CPYTHON or WAITS[way][1]])
def test_it_leaves_before_what_may_wait(
    own: Stage, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def hook(chat: Any, line: bytes) -> None:
        if line != b"one":
            return
        chat.push(b"first")
        chat.push(b"second")
        before = list(chat.sends)
        WAITS[way][0](monkeypatch)
        seen.extend([before, list(chat.sends)])
        assert received(chat.peer, 11) == b"firstsecond"

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\n")
    assert exceptions_of(chat) == []
    assert seen == [[], [b"firstsecond"]]
    assert has_nothing(chat.peer)


def test_a_thread_that_waits_sends_nothing_of_another(own: Stage) -> None:
    # The peer may be gone, and handle_close() is not for that thread to call.
    seen: list[Any] = []

    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"first")
            thread = threading.Thread(target=socket.getaddrinfo, args=("127.0.0.1", 80))
            thread.start()
            thread.join(PATIENCE)
            seen.extend(chat.sends)

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\n")
    assert (exceptions_of(chat), seen) == ([], [])
    assert received(chat.peer, 5) == b"first"


# A thread pushes after what is held was sent for a fork, and before the fork is made: in a function
# that was registered earlier than that of fastchat.
FORKING = """
import os, socket, sys, threading

begun, forking, held, done = [threading.Event() for _ in range(4)]

def push_then():
    forking.set()
    assert held.wait(20)

os.register_at_fork(before=push_then)
from fastchat import asynchat

class Chat(asynchat.async_chat):
    def collect_incoming_data(self, data):
        self.line = data

    def found_terminator(self):
        if self.line == b"one":
            begun.set()
            assert forking.wait(20)
            self.push(b"once;")
            held.set()
            assert done.wait(20)

near, far = socket.socketpair()
chat = Chat(near, map={})
chat.set_terminator(b"\\n")
far.sendall(b"one\\ntwo\\n")
thread = threading.Thread(target=chat.handle_read_event)
thread.start()
assert begun.wait(20)
child = os.fork()
if child == 0:
    chat.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
done.set()
thread.join(20)
near.shutdown(socket.SHUT_WR)
with far.makefile("rb") as file:
    assert file.read() == b"once;"
"""


# A child that is forked while a thread sends may send by the same channel.
SENDING = """
import os, socket, sys, threading
from fastchat import asynchat, asyncore

begun, done = threading.Event(), threading.Event()

class Chat(asynchat.async_chat):
    def send(self, data):
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert done.wait(20)
        return super().send(data)

near, far = socket.socketpair()
chat = Chat(near)
loop()
thread = threading.Thread(target=chat.push, args=(b"of the parent;",))
thread.start()
assert begun.wait(20)
child = os.fork()
if child == 0:
    chat.discard_buffers()
    chat.push(b"of the child;")
    os._exit(bool(chat.producer_fifo))
assert os.waitpid(child, 0)[1] == 0
done.set()
thread.join(20)
assert far.recv(100) == b"of the child;of the parent;"
"""


# Whether the child knows of the channel must not matter: no loop may have seen it yet, or one that
# keeps nothing of its map.
LOOPS = {
    "no loop": "lambda: None",
    "a loop": "lambda: asyncore.loop(timeout=0, count=1)",
    "a loop over a dict": "lambda: asyncore.loop(0, count=1, map=dict(asyncore.socket_map))",
}


@pytest.mark.parametrize(
    "text",
    [FORKING, *(f"loop = {loop}\n{SENDING}" for loop in LOOPS.values())],
    ids=["holds", *(f"sends, {name}" for name in LOOPS)],
)
@pytest.mark.parametrize("name", FASTCHAT)
def test_a_child_leaves_to_the_threads_of_its_parent_what_they_do(
    tmp_path: Path, name: str, text: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(text)
    package = Path(fastchat.__file__).parent.parent
    environment = {name: os.environ[name] for name in os.environ if "COALESCE" not in name}
    environment |= {"FASTCHAT_IMPLEMENTATION": name, "PYTHONPATH": str(package)}
    subprocess.run([sys.executable, program], env=environment, check=True, timeout=60)


def test_one_that_fails_costs_no_other_its_output(own: Stage) -> None:
    def outer_hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"of the outer")
            inner.peer.sendall(b"one\ntwo\n")
            inner.handle_read()

    def inner_hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"of the inner")
            with pytest.raises(RuntimeError, match="no"):
                os.kill(os.getpid(), 0)
            seen.append(list(outer.sends))

    seen: list[Any] = []
    inner = serve(own, inner_hook, handle_error=fail_with(RuntimeError("no")))
    inner.takes.append(OSError(errno.EIO, "EIO"))
    outer = serve(own, outer_hook)
    own.feed(outer, b"one\ntwo\n")
    assert seen == [[b"of the outer"]]
    assert exceptions_of(outer) == []


def test_what_is_held_is_sent_without_a_question(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line != b"one":
            return
        chat.push(b"first")
        type(chat).connected = property(fail_with(LookupError("no")), do_nothing)
        os.kill(os.getpid(), 0)
        assert received(chat.peer, 5) == b"first"
        del type(chat).connected

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\n")
    assert exceptions_of(chat) == []


# What ends it.

SERVER = """
import os, signal, socket, subprocess, sys, threading
from fastchat import asynchat, asyncore

class Chat(asynchat.async_chat):
    def collect_incoming_data(self, data):
        self.line = data

    def found_terminator(self):
        self.push(self.line + b";")
        if self.line == b"two":
            assert not is_sent(), "it held nothing"
            end()

def is_sent():
    try:
        return far.recv(100, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""

def end():
    {end}

number, peer = map(int, sys.argv[1:])
far = socket.socket(fileno=peer)
chat = Chat(socket.socket(fileno=number))
chat.set_terminator(b"\\n")
{start}
"""

IN_LOOP = "asyncore.loop(timeout=20)"

# A daemon thread serves, and holds, while the main thread comes to its end.
IN_DAEMON = """
held, never = threading.Event(), threading.Event()
def end(): held.set(); never.wait()
threading.Thread(target=asyncore.loop, kwargs=dict(timeout=20), daemon=True).start()
assert held.wait(20)
"""

ENDS = {
    "_exit": "os._exit(0)",
    "abort": "os.abort()",
    "execv": "os.execv('/bin/true', ['true'])",
    "execve": "os.execve('/bin/true', ['true'], {})",
    "execlp": "os.execlp('true', 'true')",
    "exit": "sys.exit()",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "_exit of a forked child": "os.waitpid(os.fork() or os._exit(0), 0); os._exit(0)",
}


def left_by(tmp_path: Path, implementation: str, end: str, start: str) -> bytes:
    """What a server sends that ends so, from a hook, with two of three lines answered."""
    program = tmp_path / "server.py"
    program.write_text(SERVER.format(end=end, start=start))
    near, far = socket.socketpair()
    package = Path(fastchat.__file__).parent.parent
    environment = {"FASTCHAT_IMPLEMENTATION": implementation, "PYTHONPATH": str(package)}
    with near, far:
        far.sendall(b"one\ntwo\nthree\n")
        numbers = [near.fileno(), far.fileno()]
        with subprocess.Popen(
            [sys.executable, program, *map(str, numbers)],
            env={name: os.environ[name] for name in os.environ if "COALESCE" not in name}
            | environment,
            pass_fds=numbers,
            stderr=subprocess.PIPE,
        ) as process:
            _, said = process.communicate(timeout=60)
        assert b"AssertionError" not in said, said.decode()
        near.close()
        data = b""
        while part := far.recv(100):
            data += part
        return data


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", FASTCHAT)
def test_it_leaves_before_the_end(tmp_path: Path, name: str, end: str) -> None:
    assert left_by(tmp_path, name, ENDS[end], IN_LOOP) == b"one;two;"


@pytest.mark.parametrize("name", FASTCHAT)
def test_it_leaves_at_the_end_of_the_main_thread(tmp_path: Path, name: str) -> None:
    assert left_by(tmp_path, name, "pass", IN_DAEMON) == b"one;two;"


# The parts.


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed, in a copy of the list that ``watch`` keeps."""
    calls: list[str] = []
    flushes = (lambda: calls.append("flush"), lambda: calls.append("flush own"))
    monkeypatch.setattr(_endings, "_flushes", [flushes])
    return calls


@pytest.mark.parametrize("event", sorted(_endings.ENDS))
def test_each_end_flushes_everything(flushed: list[str], event: str) -> None:
    _endings._on_event(event, ())
    assert flushed == ["flush"]


@pytest.mark.parametrize("event", sorted(_endings.WAITS))
def test_each_wait_flushes_what_its_thread_holds(flushed: list[str], event: str) -> None:
    _endings._on_event(event, ())
    assert flushed == ["flush own"]


@pytest.mark.parametrize("event", ["open", "import", "socket.bind", "os.listdir"])
def test_other_events_do_not(flushed: list[str], event: str) -> None:
    _endings._on_event(event, ())
    assert flushed == []


def test_a_flush_is_watched_for_once(flushed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_up: list[str] = []
    monkeypatch.setattr(_endings, "_set_up", lambda: set_up.append("set up"))
    monkeypatch.setattr(_endings, "_flushes", [])
    for _ in range(2):
        _endings.watch(do_nothing, do_nothing)
    _endings.watch(flushed.clear, do_nothing)
    assert _endings._flushes == [(do_nothing, do_nothing), (flushed.clear, do_nothing)]
    assert set_up == ["set up"]


class Endless:
    """A module like os, whose functions write down that they are called."""

    def __init__(self, calls: list[str]) -> None:
        for name in (*_endings._SILENT, *_endings._SILENT_ELSEWHERE):
            setattr(self, name, self._noting(name, calls))

    @staticmethod
    def _noting(name: str, calls: list[str]) -> Callable[..., Any]:
        def function(*args: Any) -> Any:
            calls.append(name)
            return args

        function.__name__ = name
        return function


@pytest.mark.parametrize("python", ["cpython", "pypy"])
def test_functions_that_tell_nobody_are_replaced(
    flushed: list[str], python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    endless: Any = Endless(flushed)
    monkeypatch.setattr(_endings, "os", endless)
    monkeypatch.setattr(sys.implementation, "name", python)
    monkeypatch.setattr(sys, "addaudithook", lambda hook: calls.append(hook.__name__))
    monkeypatch.setattr(atexit, "register", lambda hook: calls.append(hook.__name__))
    _endings._set_up()
    assert calls == ["_on_event", "_flush"]
    assert endless.execv("a", "b") == ("a", "b")
    assert flushed == (["flush", "execv"] if python == "pypy" else ["execv"])
    del flushed[:]
    assert endless._exit(3) == (3,)
    assert flushed == ["flush", "_exit"]


def test_what_a_flush_raises_is_heard_of_where_somebody_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_endings, "_flushes", [(fail_with(KeyboardInterrupt()), do_nothing)])
    calls: list[str] = []
    endless = Endless(calls)
    with pytest.raises(KeyboardInterrupt):
        _endings._flushing_first(endless.system)("true")  # type: ignore[attr-defined]
    assert calls == []
    assert _endings._flushing_first(endless._exit)(1) == (1,)  # type: ignore[attr-defined]
    assert calls == ["_exit"]
