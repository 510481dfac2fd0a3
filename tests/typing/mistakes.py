"""What a program must not do, and both type checkers see: each line says what they call it.

Where one of them does not complain, it complains that the comment is of no use.
"""

from __future__ import annotations

import socket

import fastchat
from fastchat import aio, asynchat, asyncore, install


class Duck:
    """Serves input and nothing else."""

    def handle_read_event(self) -> None: ...
    def handle_error(self) -> None: ...


class Mute:
    """No producer: it has no more()."""


class Coroutines(asynchat.async_chat):
    """Hooks that nobody would await."""

    async def found_terminator(self) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
    async def handle_close(self) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


class Misshapen(asynchat.async_chat):
    """Hooks that cannot be called as they are."""

    def collect_incoming_data(self) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
    def found_terminator(self, line: bytes) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
    def handle_accepted(self, sock: socket.socket) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
    def recv(self, buffer_size: int) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


class RepliesInText(aio.LineProtocol):
    def line_received(self, line: bytes) -> str: ...  # type: ignore[override, empty-body]  # pyright: ignore[reportIncompatibleMethodOverride]
    async def lines_received(self, lines: list[bytes]) -> list[bytes]: ...  # type: ignore[override, empty-body]  # pyright: ignore[reportIncompatibleMethodOverride]


class OfText(asynchat.async_chat):
    """Input is bytes, and so is what a push can be of."""

    def collect_incoming_data(self, data: str) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
    def push(self, data: str) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


def mistakes(chat: asynchat.async_chat, channel: asyncore.dispatcher) -> None:
    chat.push("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chat.push_with_producer(b"data")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chat.push_with_producer(Mute())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chat.set_terminator(1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chat.set_terminator([b"\n"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chat.set_terminator((b"\n", 1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(chat.get_terminator() + b"x")  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    chat.ac_in_buffer_size = "4096"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    chat.found_terminator(b"line")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    channel.send("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    channel.listen()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    channel.connect_ex(("host", 1))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    channel.set_terminator(b"\n")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    channel.socket.nosuch()  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]
    print(asyncore.dispatcher_with_send().send(b"x") + 1)  # type: ignore[func-returns-value, operator]  # pyright: ignore[reportOperatorIssue]
    asyncore.loop(map={"one": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    asyncore.loop(timeout="30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    asyncore.write(Duck())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    asynchat.simple_producer(1)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    asynchat.find_prefix_at_end("x", b"y")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    asynchat.async_chat(None, None, None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    print(asyncore._DEPRECATION_MSG)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    print(fastchat.LineChanel)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    fastchat.Server(fastchat.LineChannel, ":0", max_line=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    install(True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
