"""Output that fails, and what a program sends from the hooks that hear of it."""

from __future__ import annotations

import errno
import signal
import socket
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, receive_all


@pytest.mark.parametrize("timeout", [0, PATIENCE])
def test_what_the_kernel_does_not_take_at_once_waits_whatever_the_timeout(
    stage: Stage, timeout: float
) -> None:
    chat = stage.chat(ac_out_buffer_size=1 << 24)
    chat.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 12)
    chat.socket.settimeout(timeout)
    chat.push(bytes(1 << 20))  # which does not wait for the rest, for nobody reads
    assert chat.events == []
    assert chat.connected
    left = len(b"".join(chat.producer_fifo))
    assert 0 < left < 1 << 20
    chat.peer.setblocking(False)
    received = 0
    while received < 1 << 20:
        try:
            received += len(chat.peer.recv(1 << 20))
        except BlockingIOError:
            chat.handle_write()
    assert list(chat.producer_fifo) == []
    assert chat.events == []


class FailsOnce:
    """``send`` of a channel: the first call raises *failure*, the others send."""

    def __init__(self, failure: OSError) -> None:
        self.failure: OSError | None = failure

    def __call__(self, chat: Any, data: Any) -> Any:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return chat.socket.send(data)


def test_handle_error_may_send_last_words(stage: Stage) -> None:
    def handle_error(chat: Any) -> None:
        chat.discard_buffers()
        chat.push(b"sorry")
        chat.close()

    send = FailsOnce(OSError(errno.EIO, "send"))
    chat = stage.chat(send=lambda chat, data: send(chat, data), handle_error=handle_error)
    chat.push(b"reply")
    chat.peer.settimeout(PATIENCE)
    assert receive_all(chat.peer) == b"sorry"


def test_handle_error_of_the_stock_send_may_send(stage: Stage) -> None:
    mine, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    stage.keep(far).settimeout(PATIENCE)

    def handle_error(chat: Any) -> None:
        chat.discard_buffers()
        chat.push(b"too large")

    chat = stage.chat(sock=mine, handle_error=handle_error, ac_out_buffer_size=1 << 24)
    chat.push(bytes(1 << 23))  # EMSGSIZE
    assert far.recv(100) == b"too large"


def test_handle_close_may_connect_again_and_send(stage: Stage) -> None:
    near, far = socket.socketpair()
    stage.keep(far).settimeout(PATIENCE)

    def handle_close(chat: Any) -> None:
        chat.close()
        chat.discard_buffers()
        chat.set_socket(near, chat._map)
        chat.connected = True
        chat.push(b"hello")

    chat = stage.chat(handle_close=handle_close)
    chat.peer.close()
    chat.push(b"lost")
    assert list(chat.producer_fifo) == []
    assert far.recv(100) == b"hello"


def test_handle_close_that_pushes_again_is_called_each_time(stage: Stage) -> None:
    calls: list[bytes] = []

    def handle_close(chat: Any) -> None:
        calls.append(b"call")
        if len(calls) < 5:
            chat.push(b"bye")

    chat = stage.chat(handle_close=handle_close)
    chat.peer.close()
    chat.push(b"x")
    assert len(calls) == 5
    assert list(chat.producer_fifo) == [b"x", *[b"bye"] * 4]


def test_what_an_own_send_pushes_comes_behind_the_piece_at_hand(own: Stage) -> None:
    def send(chat: Any, data: Any) -> Any:
        if data == b"piece":
            chat.push(b"tail")
        return chat.socket.send(data)

    chat = own.chat(send=send)
    chat.push(b"piece")
    assert list(chat.producer_fifo) == [b"tail"]
    chat.handle_write_event()
    chat.close()
    assert receive_all(chat.peer) == b"piecetail"


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="a system without SIGPIPE")
def test_a_program_hears_of_sigpipe(stage: Stage) -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGPIPE, lambda number, frame: calls.append(number))
    try:
        chat = stage.chat()
        chat.peer.close()
        chat.push(b"x")
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert calls == [signal.SIGPIPE]
