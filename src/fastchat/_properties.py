"""The attributes of ``async_chat`` behind which its state lies.

``ac_in_buffer``, ``producer_fifo`` and ``socket`` were attributes of the instance; programs read
and assign them as they always did.  Reading one of the latter two, or assigning it, is a moment at
which anyone could notice that output was held back, so it is sent first.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from fastchat import _backend  # first: it picks what the modules of the core are
from fastchat._core.outgoing import flush
from fastchat._core.shown import ABSENT, NO_QUEUE, Absent, StateProperty, there
from fastchat._core.state import own_state
from fastchat._core.touch import touch, touch_softly

# On a free-threaded CPython two threads must not use a compiled state at once.
_locked = _backend.methods.locked


def _begin(channel: Any) -> bool:
    """Let a new *channel* have neither input nor output; False where its class hides the state."""
    state = own_state(channel)
    if state.held:
        flush(channel)  # __init__() was called once more, in a hook
    if not state.fits(channel):
        return False
    state.begin()
    return True


begin = _locked(_begin)


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
    _locked(_get_in_buffer),
    _locked(_set_in_buffer),
    _locked(_delete_in_buffer),
    "Input that no hook has seen yet, as bytes.",
)


def _get_fifo(channel: Any) -> Any:
    state = channel._fc_state or own_state(channel)  # predicates look at it in each pass
    if state.held:
        flush(channel)
    touch_softly(channel)  # what gets the queue may put something into it
    if state.exposed and type(state.fifo) is deque and not state.offset:
        return state.fifo
    fifo = there(channel, "producer_fifo", state.fifo)
    if type(state.fifo) is Absent:
        return fifo
    state.exposed = True
    return state.queue()


def _set_fifo(channel: Any, fifo: Any) -> None:
    state = own_state(channel)
    if state.held:
        flush(channel)
    if type(state.fifo) is not Absent:
        state.queue()  # the one that goes shows what is left, too
    touch(channel)
    state.exposed = True
    state.fifo = NO_QUEUE if fifo is None else fifo


def _delete_fifo(channel: Any) -> None:
    _get_fifo(channel)
    channel._fc_state.fifo = ABSENT


producer_fifo = StateProperty(
    _locked(_get_fifo),
    _locked(_set_fifo),
    _locked(_delete_fifo),
    "Output that waits: data, producers, None for the end.",
)


def _get_socket(channel: Any) -> Any:
    state = channel._fc_state or own_state(channel)  # without a call, for each receive and send
    if state.held:
        flush(channel)
    return there(channel, "socket", state.socket) if state.socket is ABSENT else state.socket


def _set_socket(channel: Any, sock: Any) -> None:
    state = own_state(channel)
    if state.held:
        flush(channel)  # it goes out by the socket that there is
    state.socket = sock
    state.is_stream = None
    state.is_full = False


def _delete_socket(channel: Any) -> None:
    _get_socket(channel)
    channel._fc_state.socket = ABSENT


socket = StateProperty(
    _locked(_get_socket), _locked(_set_socket), _locked(_delete_socket), "The socket, or None."
)
