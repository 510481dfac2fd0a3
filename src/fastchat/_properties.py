"""The attributes of ``async_chat`` behind which its state lies.

``ac_in_buffer``, ``producer_fifo`` and ``socket`` were attributes of the instance; programs read
and assign them as they always did.  Reading one of the latter two, or assigning it, is a moment at
which anyone could notice that output was held back, so it is sent first.
"""

from __future__ import annotations

from _socket import socket as raw_socket
from socket import SOCK_STREAM
from socket import socket as socket_type
from typing import Any

from fastchat._backend import methods
from fastchat._channel_py import there
from fastchat._state_py import ABSENT, StateProperty
from fastchat._touch import touch

# The type of a socket, as the number that it is: the attribute makes an enum of it, in 700 ns.
_type_of = raw_socket.type.__get__


own_state = methods.own_state


def _get_in_buffer(channel: Any) -> Any:
    state = own_state(channel)
    if state.start:
        state.buffer = state.buffer[state.start :]
        state.start = 0
    return there(channel, "ac_in_buffer", state.buffer)


def _set_in_buffer(channel: Any, data: Any) -> None:
    state = own_state(channel)
    state.buffer = data
    state.start = 0


def _delete_in_buffer(channel: Any) -> None:
    _get_in_buffer(channel)
    _set_in_buffer(channel, ABSENT)


ac_in_buffer = StateProperty(
    _get_in_buffer,
    _set_in_buffer,
    _delete_in_buffer,
    "Input that no hook has seen yet, as bytes.",
)


def _get_fifo(channel: Any) -> Any:
    state = own_state(channel)
    if state.held:
        methods.flush(channel)
    touch(channel)  # what gets the queue may put something into it
    there(channel, "producer_fifo", state.fifo)
    state.exposed = True
    return state.queue()


def _set_fifo(channel: Any, fifo: Any) -> None:
    state = own_state(channel)
    if state.held:
        methods.flush(channel)
    if state.fifo is not ABSENT:
        state.queue()  # what is held, or being sent, is in the queue that goes
    touch(channel)
    state.exposed = True
    state.fifo = fifo


def _delete_fifo(channel: Any) -> None:
    _get_fifo(channel)
    channel._fc_state.fifo = ABSENT


producer_fifo = StateProperty(
    _get_fifo, _set_fifo, _delete_fifo, "Output that waits: data, producers, None for the end."
)


def _set_socket(channel: Any, sock: Any) -> None:
    state = own_state(channel)
    if state.held:
        methods.flush(channel)
    state.socket = sock
    # There are no system calls to spare in what only looks like a socket; and what it is given may
    # be looked at one by one, as by the tests of smtpd.
    state.keeps_bounds = not isinstance(sock, socket_type) or _type_of(sock) != SOCK_STREAM


def _delete_socket(channel: Any) -> None:
    methods.get_socket(channel)
    channel._fc_state.socket = ABSENT


socket = StateProperty(methods.get_socket, _set_socket, _delete_socket, "The socket, or None.")
