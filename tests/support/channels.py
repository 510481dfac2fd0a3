"""What the tests of behaviour share: sockets, channels that write down what happens, bounded loops.

Rules this file keeps:

* Sockets are real, and closed when the test ends; a fake stands in only for an error that no
  kernel gives on request.
* Nothing sleeps.  A test makes passes until what it waits for is there, a bounded number of them.
* A recording channel hides nothing: an error that a test does not expect is in its events.
"""

from __future__ import annotations

import errno
import gc
import importlib.util
import itertools
import os
import select
import signal
import socket
import struct
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support.implementations import Implementation

# Whether a pass is made with poll(), for tests that make their point with either.
both_pollers = pytest.mark.parametrize(
    "use_poll",
    [
        pytest.param(False, id="select"),
        *([pytest.param(True, id="poll")] if hasattr(select, "poll") else []),
    ],
)

needs_poll = pytest.mark.skipif(not hasattr(select, "poll"), reason="the system has no poll()")
needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the system has no epoll")
counts_references = pytest.mark.skipif(
    not hasattr(sys, "getrefcount"), reason="an interpreter that frees objects when it likes"
)
posix_only = pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX systems")

# What ends a program, and so leaves every loop; see ``Stage.ending``.
ENDING = ["ExitNow", KeyboardInterrupt, SystemExit]

# How long a test waits for a peer before it fails, in seconds; none should ever wait at all.
PATIENCE = 20


def recording(base: Any, **members: Any) -> Any:
    """A subclass of *base* whose objects write down, in ``events``, what they are told.

    Input stands there as the bytes, an exception as its class, any other hook as its name without
    ``handle_`` or ``_terminator``.  *members* are methods and attributes of the new class; a method
    whose name is a hook's is called after the hook was written down.  ``handle_close`` and
    ``handle_error`` do what *base* does where *members* have none; where they have the one of
    *base*, the class has no ``handle_error`` of its own.
    """
    namespace: dict[str, Any] = {"handle_close": base.handle_close}
    if hasattr(base, "found_terminator"):
        namespace["collect_incoming_data"] = namespace["found_terminator"] = _nothing
    namespace |= members
    for name, member in namespace.items():
        if name.startswith("handle_") and not name.endswith(("_event", "_error")):
            namespace[name] = _noting(name.removeprefix("handle_"), member)
    if hasattr(base, "found_terminator"):
        namespace["found_terminator"] = _noting("found", namespace["found_terminator"])
        namespace["collect_incoming_data"] = _noting(None, namespace["collect_incoming_data"])
    handle_error = namespace.pop("handle_error", None)
    if handle_error is not base.handle_error:
        namespace["handle_error"] = _noting_the_exception(handle_error or base.handle_error)
    return type("Recording", (_Events, base), namespace)


class _Events:
    """Gives each object its list before anything can happen to it."""

    events: list[Any]

    def __new__(cls, *args: Any, **keywords: Any) -> Any:
        channel = super().__new__(cls)
        channel.events = []
        return channel


def _nothing(channel: Any, *args: Any) -> None:
    pass


def _noting(event: str | None, then: Callable[..., Any]) -> Callable[..., Any]:
    def hook(channel: Any, *args: Any) -> Any:
        channel.events.append(args[0] if event is None else event)
        return then(channel, *args)

    return hook


def _noting_the_exception(then: Callable[..., Any]) -> Callable[..., Any]:
    def handle_error(channel: Any) -> Any:
        channel.events.append(sys.exc_info()[0])
        return then(channel)

    return handle_error


class Stage:
    """The sockets, the map and the channels of one test, for one implementation.

    A context manager: leaving it closes everything.
    """

    def __init__(self, implementation: Implementation) -> None:
        self.implementation = implementation
        self.asyncore = implementation.asyncore
        self.asynchat = implementation.asynchat
        self.map: dict[int, Any] = getattr(implementation.asyncore, "channel_map", dict)()
        self._to_close = ExitStack()

    def __enter__(self) -> Stage:
        if self.implementation.name == "cython":
            # Another test may have assigned to a stock method on an object, which counts for good.
            self.asyncore._methods.let_guard()
        return self

    def __exit__(self, *details: Any) -> None:
        try:
            self._to_close.__exit__(*details)
        finally:
            if not self.implementation.is_stdlib:
                # Its descriptor, which a collection of garbage may close much later.
                self.implementation.core["maps"].release(self.map)
                # A rest may be by a clock of the test's, which is far ahead, and shorten any wait.
                self.asyncore._family.resting.clear()

    def either(self, *, fastchat: Any, stdlib: Any) -> Any:
        """What is expected of this implementation, where the two differ."""
        return stdlib if self.implementation.is_stdlib else fastchat

    def ending(self, kind: Any) -> Any:
        """The exception class that *kind*, of ``ENDING``, stands for."""
        return self.asyncore.ExitNow if kind == "ExitNow" else kind

    def at_the_end(self, function: Callable[..., object], *args: Any) -> None:
        """Have *function* called with *args* when the test ends."""
        self._to_close.callback(function, *args)

    def enter(self, context: AbstractContextManager[object]) -> None:
        """Enter *context*, and leave it when the test ends."""
        self._to_close.enter_context(context)

    # Sockets.

    def keep(self, thing: Any) -> Any:
        """*thing*, to be closed when the test ends, and not before because nobody has it."""
        self.at_the_end(_close, thing.close, thing)
        return thing

    def new_socket(self, *args: Any) -> socket.socket:
        """A new socket."""
        made: socket.socket = self.keep(socket.socket(*args))
        return made

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two connected sockets, AF_UNIX where the system has it; the second is the peer's."""
        mine, peer = socket.socketpair()
        peer.settimeout(PATIENCE)
        return self.keep(mine), self.keep(peer)

    def tcp_pair(self) -> tuple[socket.socket, socket.socket]:
        """Two sockets connected over the loopback; the second is the peer's."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = self.keep(socket.create_connection(server.getsockname(), PATIENCE))
            mine, _ = server.accept()
        return self.keep(mine), peer

    def client(self, address: Any) -> socket.socket:
        """A socket that is connected to *address*, or will be once that is accepted."""
        made: socket.socket = self.keep(socket.create_connection(address, PATIENCE))
        return made

    def at_number(self, sock: socket.socket, number: int) -> socket.socket:
        """A duplicate of *sock* with descriptor *number*; what had that number is closed."""
        os.dup2(sock.fileno(), number)
        made: socket.socket = self.keep(socket.socket(fileno=number))
        return made

    def refused_address(self) -> tuple[str, int]:
        """An address of the loopback where nobody listens."""
        # Bound and not listening, so that nobody else can begin to listen there.
        sock = self.new_socket()
        sock.bind(("127.0.0.1", 0))
        address: tuple[str, int] = sock.getsockname()
        return address

    # Channels.

    def channel(self, base: Any, sock: Any = None, **members: Any) -> Any:
        """A recording channel of *base* over *sock*, by default over one of a new pair.

        Its ``peer`` is the other socket of that pair, or None.
        """
        peer = None
        if sock is None:
            sock, peer = self.pair()
        made = recording(base, **members)(sock, self.map)
        made.peer = peer
        return self._keep_channel(made)

    def chat(self, terminator: Any = b"\n", sock: Any = None, **members: Any) -> Any:
        """A recording ``async_chat``; see ``channel``."""
        made = self.channel(self.asynchat.async_chat, sock, **members)
        made.set_terminator(terminator)
        return made

    def dispatcher(self, sock: Any = None, **members: Any) -> Any:
        """A recording ``dispatcher`` that has nothing to write; see ``channel``."""
        members.setdefault("writable", lambda channel: False)
        return self.channel(self.asyncore.dispatcher, sock, **members)

    def bare(self, base: Any = None, **members: Any) -> Any:
        """A recording channel of *base*, by default ``dispatcher``, that has no socket yet."""
        made = recording(base or self.asyncore.dispatcher, **members)(None, self.map)
        return self._keep_channel(made)

    def listener(self, **members: Any) -> Any:
        """A recording ``dispatcher`` that listens on the loopback, and its ``address``."""
        made = self.bare(**members)
        made.create_socket()
        made.bind(("127.0.0.1", 0))
        made.listen(5)
        made.address = made.socket.getsockname()
        return made

    def _keep_channel(self, channel: Any) -> Any:
        # Not its close(), which a test may have replaced by one that fails.
        self.at_the_end(_close_the_socket_of, channel)
        return channel

    # Passes.

    def loop(self, passes: int = 1, use_poll: bool = False, timeout: float = 0) -> None:
        """Make *passes* passes over the map."""
        for _ in range(passes):
            self.asyncore.loop(timeout, use_poll, self.map, 1)

    def until(self, done: Callable[[], object], use_poll: bool = False, passes: int = 100) -> None:
        """Make passes until *done*; fails where *passes* of them were not enough."""
        while not done():
            assert passes > 0, f"still not there; the map is {self.map}"
            # With nothing left to wait for, a pass ends at once, and the bound is reached quickly.
            self.asyncore.loop(0.05, use_poll, self.map, 1)
            passes -= 1

    def feed(self, channel: Any, *chunks: bytes) -> list[Any]:
        """Let the peer of *channel* send *chunks*, one for each pass; returns the events."""
        for chunk in chunks:
            channel.peer.sendall(chunk)
            self.loop(timeout=PATIENCE)
        events: list[Any] = channel.events
        return events


def _close(close: Callable[[], object], thing: Any) -> None:
    close()


def _close_the_socket_of(channel: Any) -> None:
    if getattr(channel, "socket", None) is not None:
        channel.socket.close()


@contextmanager
def forking() -> Iterator[None]:
    """A process forks here that may have threads of the test runner's, of which Python warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def inside(stage: Stage, name: str) -> dict[str, Any]:
    """The globals of the module *name* of the core, as *stage*'s implementation has loaded it."""
    return vars(stage.implementation.core[name])


def watch_of(stage: Stage) -> Any:
    """The watch that keeps the registrations of *stage*'s map now, or None."""
    return stage.implementation.core["touch"].watch_of(stage.map)


def watch_a_dict(stage: Stage) -> None:
    """Give *stage* a plain dict for its map, with registrations that are kept until the test ends.

    A loop without a count does so too, but then the test does not make the passes.
    """
    stage.map = {}
    watch = stage.asyncore._watch_over(stage.map, stage.asyncore._family, True)
    watch.loops[0] = None  # a loop that does not end
    stage.at_the_end(stage.implementation.core["maps"].release, stage.map)


def left_by(stage: Stage, use_poll: bool, passes: int = 1) -> type[BaseException] | None:
    """The class of the exception that left the loop in so many passes, or None."""
    try:
        stage.loop(passes, use_poll, PATIENCE if passes == 1 else 0)
    except Exception as problem:
        return type(problem)
    return None


def bystander(stage: Stage) -> Any:
    """A channel with input, which it has to read whatever becomes of another one."""
    channel = stage.dispatcher(handle_read=lambda channel: channel.recv(10))
    channel.peer.sendall(b"x")
    return channel


def closes(channel: Any) -> int:
    """How often the handle_close of *channel* was called."""
    return int(channel.events.count("close"))


def fail_with(problem: BaseException) -> Callable[..., Any]:
    """A method that raises *problem*."""

    def method(*args: Any) -> Any:
        raise problem

    return method


def survive(chat: Any) -> None:
    """A handle_error that lets the channel live."""


def dead_proxy(stage: Stage) -> Any:
    """A weak proxy whose channel is gone."""
    channels = [stage.asyncore.dispatcher(None, stage.map)]
    proxy = weakref.proxy(channels[0])
    forget(channels)
    return proxy


class Clock:
    """A clock that a test moves, for a module that looks at its ``time``."""

    # No two tests have the same time, so that no rest of one is on when another begins.
    _starts = itertools.count(10**9, 10**6)

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = float(next(self._starts))
        self.slept: list[float] = []
        monkeypatch.setattr(
            stage.asyncore,
            "time",
            SimpleNamespace(monotonic=lambda: self.now, sleep=self.slept.append),
        )


class FakeSocket:
    """A socket of scripted answers over a real descriptor.

    *answers* take the name of a method to an iterable of what its calls return, one after the
    other and then the last again; an exception is raised.  What was sent is in ``sent``, all calls
    are in ``calls``.
    """

    def __init__(self, fd: int = -1, **answers: Iterable[Any]) -> None:
        self.fd = fd
        self.calls: list[str] = []
        self.sent: list[bytes] = []
        self.closed = False
        self._answers = {name: list(script) for name, script in answers.items()}

    def fileno(self) -> int:
        return self.fd

    def setblocking(self, flag: bool) -> None:
        pass

    def close(self) -> None:
        self.closed = True
        self._answer("close", None)

    def getpeername(self) -> Any:
        return self._answer("getpeername", ("192.0.2.1", 7))

    def getsockopt(self, *args: Any) -> Any:
        return self._answer("getsockopt", 0)

    def setsockopt(self, *args: Any) -> Any:
        return self._answer("setsockopt", None)

    def connect_ex(self, address: Any) -> Any:
        return self._answer("connect_ex", 0)

    def listen(self, backlog: int) -> Any:
        return self._answer("listen", backlog)

    def accept(self) -> Any:
        return self._answer("accept", None)

    def recv(self, size: int) -> Any:
        return self._answer("recv", b"")

    def send(self, data: Any) -> Any:
        count = self._answer("send", len(data))
        self.sent.append(bytes(data[:count] if count else b""))
        return count

    def _answer(self, name: str, default: Any) -> Any:
        self.calls.append(name)
        script = self._answers.get(name, [default])
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def failure(number: int) -> OSError:
    """The OSError of error *number*, of the class that the system would raise."""
    return OSError(number, os.strerror(number))


def as_the_system(function: Any) -> Any:
    """*function*, to stand in for a system call: what it raises is not taken for a handler's."""
    names = {**function.__globals__, "__name__": "fastchat._core.pollers"}
    return FunctionType(function.__code__, names, function.__name__, None, function.__closure__)


# Errors of send() and recv() that mean the connection is gone.
GONE = [
    errno.ECONNRESET,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.EBADF,
]


def name_of(number: int) -> str:
    """The symbol of error *number*, for the names of tests."""
    return errno.errorcode[number]


def fresh(module: ModuleType) -> Any:
    """A second copy of *module*, which a test may load as it likes."""
    spec = module.__spec__
    assert spec is not None
    copy = importlib.util.module_from_spec(spec)
    load_again(copy)
    return copy


def load_again(copy: Any) -> None:
    """Load a copy into itself, as ``importlib.reload`` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        copy.__spec__.loader.exec_module(copy)


@contextmanager
def alarms(handler: Callable[..., Any], seconds: float, again: float = 0) -> Iterator[None]:
    """Have *handler* called after so many *seconds*, and then every *again*, unless that is 0."""
    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, again)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def forget(things: list[Any]) -> None:
    """Let *things* go, which are referred to from there only."""
    things.clear()
    if sys.implementation.name != "cpython":
        gc.collect()


def reset(peer: socket.socket) -> None:
    """Close *peer* so that the other end gets a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def arrived(sock: socket.socket) -> None:
    """Wait until *sock* has something to read, an end included."""
    assert select.select([sock], [], [], PATIENCE)[0], "nothing arrived"


def received(peer: socket.socket, size: int) -> bytes:
    """The next *size* bytes that *peer* has or gets."""
    data = b""
    while len(data) < size:
        part = peer.recv(size - len(data))
        assert part, f"the end, after {data!r}"
        data += part
    return data


def has_nothing(peer: socket.socket) -> bool:
    """Whether there is nothing that *peer* could receive now."""
    return not select.select([peer], [], [], 0)[0]


def receive_all(peer: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    parts = []
    while part := peer.recv(65536):
        parts.append(part)
    return b"".join(parts)
