"""The scene of interrupted.py: its channels of all kinds, what peers send them, and the signal.

Hooks call ``Play.call``, so that the signal can arrive in each of them.  What they hear is noted,
and so is where the exception of the handler comes to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
from collections import UserDict
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from fastchat._hangups import DISCONNECTED
from tests.random.actions import LOSSES, RAISED
from tests.random.points import Points
from tests.support.channels import Stage, watch_of
from tests.support.implementations import FASTCHAT, load

HERE = os.path.dirname(__file__)


class Planned(Exception):
    """What a hook of the scene raises by itself."""


@dataclass(frozen=True)
class Variant:
    """In what way the scene is played."""

    implementation: str
    map_kind: str  # "kept", "dict" or "not kept"
    use_poll: bool
    in_hooks: bool  # whether it is interrupted in hooks, rather than in the code of fastchat

    def __str__(self) -> str:
        way = "poll" if self.use_poll else "select"
        where = "in hooks" if self.in_hooks else "in our code"
        return f"{self.implementation}, {self.map_kind}, {way}, {where}"


VARIANTS = [
    Variant(name, map_kind, use_poll, in_hooks)
    for in_hooks in (False, True)
    for name in FASTCHAT
    for map_kind in ("kept", "dict", "not kept")
    for use_poll in (False, True)
]


class Channel:
    """What all channels of the scene have."""

    label: str
    scene: Any
    line = b""
    total = 0

    def log_info(self, message: str, type: str = "info") -> None:
        if type == "error":
            self.scene.note_the_failure(self.label)
        self.scene.call("log_info", self)

    def answer(self, line: bytes) -> bytes:
        """Note that *line* arrived, and return what is to be sent."""
        type(self).total += 1  # which changes the class
        self.scene.got[self.label].append(line)
        return b"<" + self.label.encode() + b":" + line + b">"

    def receive(self) -> bytes:
        """What there is; a pass that a handler made may have taken it."""
        try:
            data: bytes = self.recv(100)  # type: ignore[attr-defined]
        except BlockingIOError as failure:
            if failure is self.scene.problem:
                raise
            data = b""
        return data

    def handle_close(self) -> None:
        self.scene.call("handle_close", self)
        self.close()  # type: ignore[attr-defined]


class Play:
    """The sockets, the channels and what happened to them, in one play."""

    def __init__(self, variant: Variant, at: Any = None, action: Any = None) -> None:
        self.variant = variant
        self.at = at
        self.action = action
        self.stage = Stage(load(variant.implementation))
        self.calls = 0
        self.got: dict[str, list[bytes]] = {}
        self.heard: dict[str, bytes] = {}
        self.channels: dict[str, Any] = {}
        self.peers: dict[str, socket.socket] = {}
        # Who was at work when the signal arrived, and whoever that channel or the handler changes.
        self.exempt: set[str] = set()
        self.extra = False
        self.problem: BaseException | None = None
        self.may_be_lost = False
        self.is_accepting = False
        # Where the exception came to, and what else went wrong.
        self.told: list[str] = []
        self.wrong: list[str] = []
        self.where = ""
        self.is_armed = False
        self.tells = variant.map_kind == "kept"
        self.is_endless = False
        self.questions = 0
        self.hook = ""

    # The signal.

    def call(self, name: str, channel: Any) -> None:
        """A hook runs: let the signal arrive here, if it is to."""
        if not self.variant.in_hooks or not self.is_armed:
            return
        self.calls += 1
        if self.calls - 1 == self.at:
            self.hook = name
            signal.raise_signal(signal.SIGINT)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if not self.is_armed:
            return
        self.is_armed = False
        self._look_who_is_at_work(frame)
        if callable(self.action):
            self.action(self)
            return
        self.problem = RAISED[self.action](self.stage.asyncore)
        raise self.problem

    def _look_who_is_at_work(self, frame: FrameType | None) -> None:
        kind = RAISED[self.action](self.stage.asyncore) if isinstance(self.action, str) else None
        while frame is not None and frame.f_code is not Play.play.__code__:
            code = frame.f_code
            if os.path.dirname(code.co_filename) != HERE or not self.where:
                self.where += f" < {os.path.basename(code.co_filename)}:{frame.f_lineno}"
            values = list(frame.f_locals.values())
            for value in values:
                value = value[0] if type(value) is tuple and value else value
                value = getattr(value, "channel", value) if _is_entry(value) else value
                if isinstance(value, Channel) and hasattr(value, "label"):
                    self.exempt_with(value.label)
            if isinstance(kind, LOSSES.get(code.co_name, ())) and not _is_pollers(code):
                self.may_be_lost = True
            self.is_accepting |= code.co_name == "accept"
            frame = frame.f_back
        if isinstance(kind, LOSSES.get(self.hook, ())):
            self.may_be_lost = True
        if self.exempt and self.variant.use_poll and getattr(kind, "errno", None) in DISCONNECTED:
            self.may_be_lost = True  # readwrite() takes it for a hang-up
        # What is compiled hides that it is at work.
        if self.variant.implementation == "cython" and isinstance(kind, BlockingIOError):
            self.may_be_lost = True
        if self.variant.implementation == "cython" and isinstance(kind, OSError):
            self.may_be_lost |= kind.errno in DISCONNECTED

    def note_the_failure(self, where: str) -> None:
        """An exception came to *where*."""
        failure = sys.exc_info()[1]
        if failure is self.problem or (
            isinstance(self.problem, StopIteration)  # which generators do not let through
            and isinstance(failure, RuntimeError)
            and failure.__cause__ is self.problem
        ):
            self.told.append(where)
        elif not isinstance(failure, Planned) and not (
            # The handler has closed it, or has given a number to another, in the middle of a call.
            callable(self.action)
            and (where in self.exempt or where == "loop")
            and (
                getattr(failure, "errno", None) in (errno.EBADF, errno.ENOTCONN)
                or (isinstance(failure, KeyError) and not self.tells)  # as in CPython 3.11
            )
        ):
            self.wrong.append(f"{where} fails with {failure!r}")

    # The play.

    def play(self, points: Points | None = None) -> None:
        """Play it; *points* are on while the loop runs."""
        self.points = points
        if self.variant.map_kind == "dict":
            self.stage.map = {}
        elif self.variant.map_kind == "not kept":
            self.stage.map = UserDict()  # type: ignore[assignment]
        self.make_channels()
        self.is_armed = self.at is not None or self.variant.in_hooks
        self.send(a=b"1\n2\n3\n", b=b"1\n2\n", c=b"1", s=b"1", o=b"1\n2\n", v=b"1\n")
        self.loop(4)
        self.connect("x")
        self.send(a=b"close\n4\n", f=b"fail\n", g=b"fail\n1\n", c=b"2", s=b"2", o=b"3")
        self.peers["e"].close()
        self.loop(5)
        if self.is_there("k"):
            self.channels["k"].socket.close()  # behind the back of all
        watch = watch_of(self.stage)
        if watch is not None:
            watch.needs_new_set = True
        self.send(x=b"1\n2\n", w=b"1\n", a=b"5\npass\n6\n", b=b"3\n", o=b"\n4\n", g=b"2\n")
        self.loop(4)
        self.connect("y")
        self.send(a=b"7\nexit\n8\n", o=b"5\n", s=b"3", w=b"2\n")
        self.questions = 0
        self.is_endless = self.is_there("c")
        self.loop(None if self.is_endless else 4)
        self.is_endless = False
        self.send(y=b"1\n")
        self.loop(4)
        self.is_armed = False
        self.points = None
        self.loop(4)
        self.hear()

    def loop(self, count: int | None) -> None:
        """Let the loop make *count* passes, and some more where something leaves it."""
        asyncore = self.stage.asyncore
        for _ in range(3):  # the exception of the signal may leave, and a planned one
            try:
                with self.points or contextlib.nullcontext():
                    asyncore.loop(0, self.variant.use_poll, self.stage.map, count)
                return
            except BaseException as failure:
                if not (isinstance(failure, asyncore.ExitNow) and str(failure) == "planned"):
                    self.note_the_failure("loop")
            count = count or 4
        self.wrong.append("what leaves the loop has no end")

    def send(self, **lines: bytes) -> None:
        """Let peers send something."""
        for label, data in lines.items():
            if label in self.peers:
                with contextlib.suppress(ConnectionError):
                    self.peers[label].sendall(data)

    def connect(self, label: str) -> None:
        """Let a client come whose channel will be *label*."""
        with contextlib.suppress(ConnectionError):
            self.peers[label] = self.stage.client(self.channels["l"].address)
            self.arriving[self.peers[label].getsockname()] = label

    def hear(self) -> None:
        """Let the peers take what was sent to them."""
        for label, peer in self.peers.items():
            heard = self.heard.setdefault(label, b"")
            if peer.fileno() < 0:
                continue
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while part := peer.recv(65536):
                    heard += part
            self.heard[label] = heard

    # The channels.

    def make_channels(self) -> None:
        """Make those that are there from the beginning."""
        asyncore, asynchat = self.stage.asyncore, self.stage.asynchat
        self.arriving: dict[Any, str] = {}
        chat = self.chat_class()
        self.make("a", self.keeping(chat))
        self.make("b", self.producing(chat)).ac_out_buffer_size = 4
        self.make("c", self.plain_class(asyncore.dispatcher))
        self.make("s", self.echo_class(asyncore.dispatcher_with_send))
        self.make("o", self.overriding(chat))
        self.make("f", chat)
        self.make("g", self.keeping(chat))
        self.make("e", chat)
        self.make("v", chat)
        self.make("k", chat)
        self.listen("l", self.listener_class(asyncore.dispatcher))
        # Objects that are made now and become channels at the end: then the addresses of what
        # belongs to one are taken by two others.
        self.heirs = [type("Heir", (chat,), {}), self.producing(asynchat.async_chat)]
        self.waiting = [chat.__new__(chat) for _ in range(2)]

    def make(self, label: str, kind: Any, sock: Any = None) -> Any:
        """Make a channel."""
        if sock is None:
            sock, self.peers[label] = self.stage.pair()
        channel = kind.__new__(kind)
        channel.label, channel.scene = label, self
        self.got[label] = []
        self.channels[label] = channel
        if hasattr(channel, "set_terminator"):
            channel.set_terminator(b"\n")
        channel.__init__(sock, self.stage.map)
        if self.is_endless and not self.is_there("c"):
            raise self.stage.asyncore.ExitNow("planned")  # which "c" would do
        return channel

    def listen(self, label: str, kind: Any) -> None:
        listener = self.make(label, kind, self.stage.new_socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        listener.address = listener.socket.getsockname()

    def chat_class(self) -> Any:
        """A new class of channels that answer lines."""
        scene = self

        class Chat(Channel, self.stage.asynchat.async_chat):  # type: ignore[misc, name-defined]
            def collect_incoming_data(self, data: bytes) -> None:
                scene.call("collect_incoming_data", self)
                self.line += data

            def found_terminator(self) -> None:
                line, self.line = self.line, b""
                scene.call("found_terminator", self)
                self.reply(line, self.answer(line))
                scene.react(self, line)

            def reply(self, line: bytes, answer: bytes) -> None:
                self.push(answer)

        return Chat

    def react(self, channel: Any, line: bytes) -> None:
        """What some lines have a channel do, besides an answer."""
        if line == b"fail":
            raise Planned
        if line == b"close":
            self.channels["v"].close()
            self.make("w", self.chat_class())
        elif line == b"pass":
            self.stage.asyncore.loop(0, self.variant.use_poll, self.stage.map, 1)
        elif line == b"exit":
            raise self.stage.asyncore.ExitNow("planned")

    def keeping(self, base: Any) -> Any:
        """A class of channels that outlive an error."""
        scene = self

        def handle_error(channel: Any) -> None:
            scene.note_the_failure(channel.label)

        return type("Keeping", (base,), {"handle_error": handle_error})

    def producing(self, base: Any) -> Any:
        """A class of channels that answer by a producer."""
        scene = self

        class Producer:
            def __init__(self, channel: Any, data: bytes) -> None:
                self.channel, self.data = channel, data

            def more(self) -> bytes:
                scene.call("more", self.channel)
                piece, self.data = self.data[:3], self.data[3:]
                return piece

        def reply(channel: Any, line: bytes, answer: bytes) -> None:
            channel.push_with_producer(Producer(channel, answer))

        return type("Producing", (base,), {"reply": reply})

    def overriding(self, base: Any) -> Any:
        """A class of channels that override all that is called."""
        names = (
            "recv",
            "send",
            "get_terminator",
            "initiate_send",
            "readable",
            "writable",
            "handle_read",
            "handle_write",
            "handle_read_event",
            "handle_write_event",
            "push",
        )
        return type("Overriding", (base,), {name: self.calling(base, name) for name in names})

    def calling(self, base: Any, name: str) -> Any:
        """A method *name* that does what that of *base* does."""
        scene, stock = self, getattr(base, name)

        def method(channel: Any, *args: Any) -> Any:
            scene.call(name, channel)
            answer = stock(channel, *args)
            scene.call(name, channel)
            return answer

        return method

    def plain_class(self, base: Any) -> Any:
        """A class of channels that are asked on every pass, and end a loop without a count."""
        scene = self

        class Plain(Channel, base):  # type: ignore[misc]
            waiting = b""

            def handle_read(self) -> None:
                scene.call("handle_read", self)
                data = self.receive()
                if data:
                    self.waiting += self.answer(data)

            def readable(self) -> bool:
                scene.call("readable", self)
                scene.questions += 1
                if scene.questions > 60:
                    scene.questions = 0
                    raise scene.stage.asyncore.ExitNow("planned")
                return True

            def writable(self) -> bool:
                scene.call("writable", self)
                return bool(self.waiting)

            def handle_write(self) -> None:
                scene.call("handle_write", self)
                count = self.send(self.waiting)
                self.waiting = self.waiting[count:]

        return self.keeping(Plain)

    def echo_class(self, base: Any) -> Any:
        scene = self

        class Echo(Channel, base):  # type: ignore[misc]
            def handle_read(self) -> None:
                scene.call("handle_read", self)
                data = self.receive()
                if data:
                    self.send(self.answer(data))

        return Echo

    def listener_class(self, base: Any) -> Any:
        scene = self

        class Listener(Channel, base):  # type: ignore[misc]
            def handle_accepted(self, sock: Any, address: Any) -> None:
                scene.stage.keep(sock)
                scene.call("handle_accepted", self)
                scene.make(scene.arriving[address], scene.chat_class(), sock)

        return self.keeping(Listener)

    # Who is there, and who is not to be looked at.

    def exempt_with(self, label: str) -> None:
        """*label* was at work, and whoever else depends on it suffers, too."""
        self.exempt.update((label,), {"a": "vw", "l": "xy"}.get(label, ""))

    def is_there(self, label: str) -> bool:
        """Whether the channel *label* is in the map."""
        channel = self.channels.get(label)
        return channel is not None and any(one is channel for one in self.stage.map.values())


def _is_pollers(code: CodeType) -> bool:
    directory, name = os.path.split(code.co_filename)
    is_core = os.path.basename(directory) == "_core"
    return is_core and name not in ("failures.py", "incoming.py", "outgoing.py", "plain.py")


def _is_entry(value: Any) -> bool:
    return type(value).__name__ == "Entry"
