# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""Output of ``async_chat``: queued, held, and sent.

``push`` sends at once if the queue is empty; what the kernel does not take is queued, and the loop
sends it when there is room.  Output that a channel pushes while its own input is delivered,
and more of it waits, is *held*: it leaves with what is pushed for the last of that input, when the
delivery ends, when ``ac_out_buffer_size`` is reached, when the process ends or starts another, or
when anyone could look; in one ``send``, where each ``push`` would have made one.  The rules:

* Nothing is held for the last of the input, because a hook may wait for what its peer does about
  the reply; a peer that has sent more is not waiting.
* Only bytes are held, only by the thread that delivers, only where ``ac_out_coalesce`` is true and
  ``push``, ``initiate_send`` and ``send`` are stock, for a socket whose ``send`` is the system's
  own, and never behind a producer, whose ``more()`` is called at once as ever.
* ``initiate_send`` makes one ``send`` of at most ``ac_out_buffer_size`` bytes, and does not nest:
  what a producer pushes from its ``more()`` comes behind what it gives.
* Any thread may push.  It puts its data at the end, and only who has the turn (``state.py``) takes
  data away; what another thread pushes meanwhile is sent when that is done.
* Held output is sent before the queue or the socket is shown to the program, or replaced.

A channel whose class hides one of the properties over its state, a class that borrows these
functions, and anything that is not bytes, go through ``generic.py``.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import ExitStack
from errno import EWOULDBLOCK
from itertools import repeat
from typing import TYPE_CHECKING, Any

from fastchat import _endings
from fastchat._core.generic import (
    is_data,
    push_generic,
    send_piece,
    take_odd_count,
    take_produced,
    writable_generic,
)
from fastchat._core.shown import Absent
from fastchat._core.sockets import has_raw_send, is_plain_stream
from fastchat._core.touch import touch
from fastchat._hangups import closes_of, forget_hang_up, hang_up, means_gone
from fastchat._settings import COALESCE

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from threading import get_ident

    from fastchat._core.facts import (
        has_stock_output,
        has_stock_push,
        has_stock_send,
        is_plain_socket,
    )
    from fastchat._core.state import (
        State,
        _senders,
        drop_sent,
        end_turn,
        forget_senders,
        lock_of,
        queue_of,
        sender_of,
        state_of,
        take_turn,
    )

    if TYPE_CHECKING:
        from fastchat._core._externs import HAS_GIL, clipped
        from fastchat._core.state import socket_of
        from fastchat._sysio import send_bytes

    # Not the imported name: CPython 3.11 to 3.13 make a bound method for each call of its methods.
    _turns = _senders

# The most that is held, however large ac_out_buffer_size is, in bytes.
MAX_HELD = 1 << 20

MAY_COALESCE = COALESCE is not False

# The most that one send is given, in bytes; and how many entries of a queue are joined for it.
_MAX_SEND = 1 << 30
_MAX_JOINED = 4096

_HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

# The channels that hold output at this moment, by their states; whether any ever did.
_holding: dict[State, Any] = {}
_endings_are_watched = False


# What the loop asks and tells.


def writable(self: Any) -> Any:
    """Whether to wait for room for output: while there is some, or no connection yet."""
    state = state_of(self)
    if state is None or type(state.fifo) is Absent:
        return writable_generic(self)
    if state.held:
        _send_once(self, state, True, None)
    if state.fifo:
        # Not queue(), which would cut off what was sent of the first entry, for every event.
        return state.fifo if state.exposed else True
    return not self.connected


def handle_write_event(self: Any) -> None:
    """The descriptor is writable: a connect that is done, or room for output."""
    if getattr(self, "_fc_hung_up", None) is not None:
        forget_hang_up(self)
    found = getattr(self, "_fc_state", None)
    if type(found) is State:
        state: State = found
        state.is_full = False
    if self.accepting:
        return
    if not self.connected and self.connecting:
        closes = closes_of(self)
        self.handle_connect_event()
        if closes_of(self) != closes:
            return
    self.handle_write()


def handle_write(self: Any) -> None:
    self.initiate_send()


def initiate_send(self: Any) -> None:
    """Send once of what is queued, at most ``ac_out_buffer_size`` bytes."""
    found = getattr(self, "_fc_state", None)
    if type(found) is State:
        _send_once(self, found, False, None)
    elif send_piece(self):
        hang_up(self)


# What a program calls.


def push(self: Any, data: Any) -> None:
    """Queue *data* and send what can be sent at once.

    Raises TypeError unless *data* is bytes, bytearray or memoryview.
    """
    if cython.compiled:
        state = state_of(self)
    else:  # as that does it, without the call
        try:
            state = self._fc_state
            fitting_class = state.fitting_class
        except AttributeError:
            state = None
        else:
            if type(self) is not fitting_class and (
                type(state) is not State or not state.fits(self)
            ):
                state = None
    if state is None or type(data) is not bytes:
        push_generic(self, data, enqueue)
        return
    size = len(data)
    is_held: Any = state.held
    if is_held:
        if not (
            state.depth
            and state.thread == get_ident()
            and 0 < size <= state.most - state.held_size
            # What a hook may change is looked at for each push.
            and self.ac_out_coalesce
            and self.connected
            and has_stock_push(self, state.facts, state.push_version)
        ):
            _send_once(self, state, True, None)  # which may close the channel, and anything else
            # Where another thread sends, it will send this, too.
            push_generic(self, data, enqueue) if state.held else push(self, data)
            return
    else:
        limit = self.ac_out_buffer_size
        most = size_of(limit) if cython.compiled else limit if type(limit) is int else 0
        is_held = (
            state.more
            and state.depth
            and state.thread == get_ident()
            and 0 < size <= most
            and self.ac_out_coalesce
            and self.connected
            and has_stock_push(self, state.facts, state.push_version)
            and _begin_to_hold(self, state, min(most, MAX_HELD), size)
        )
    if is_held:
        fifo: Any = queue_of(state) if cython.compiled else state.fifo
        fifo.append(data)
        if not state.held:  # not yet, or another thread has sent what was held before
            _holding[state] = self
            state.held = True
        state.held_size += size
        if not state.more:
            _send_once(self, state, True, None)
        return
    if not 0 < size <= most or (state.fifo is not None and type(state.fifo) is not deque):
        push_generic(self, data, enqueue)
    elif cython.compiled and self.connected and has_stock_output(self, state.facts):
        _send_once(self, state, False, data)  # as below, and nobody can tell
    else:
        fifo = queue_of(state) if cython.compiled else state.fifo
        fifo.append(data)
        try:
            self.initiate_send()
        finally:
            if state.fifo:
                touch(self)


def enqueue(channel: Any, *entries: Any) -> None:
    """Put *entries* at the end of the queue of *channel*; what it holds is sent first."""
    if cython.compiled:
        with cython.critical_section(lock_of(channel)):
            _enqueue(channel, entries)
    else:
        _enqueue(channel, entries)


def _enqueue(channel: Any, entries: tuple[Any, ...]) -> None:
    """``enqueue``, with the lock of the channel."""
    state = state_of(channel)
    if state is None or type(state.fifo) is Absent:
        for entry in entries:
            channel.producer_fifo.append(entry)  # which says what is missing
    else:
        if state.held:
            _send_once(channel, state, True, None)
        fifo = queue_of(state)
        if not cython.compiled and type(fifo) is deque:
            fifo.extend(entries)  # in one step
        else:  # a queue of the program's own has an append() for certain
            for entry in entries:
                fifo.append(entry)
    touch(channel)


def send(self: Any, data: Any) -> Any:
    """Send what the kernel takes of *data* (bytes-like); returns how many bytes that was.

    Returns 0 when it takes none now, and when the connection is gone: ``handle_close`` has
    then been called.  Raises OSError for any other failure.
    """
    # Which sends what is held, for what was pushed before goes first.
    sock = socket_of(self) if cython.compiled else self.socket
    try:
        if cython.compiled and type(data) is bytes and is_plain_socket(sock):
            sent = send_bytes(sock, data, True)
            if sent >= 0:
                return sent
        return sock.send(data)
    except OSError as failure:
        if failure.errno == EWOULDBLOCK:
            return 0
        if means_gone(self, failure):
            end_turn(self)
            hang_up(self)
            return 0
        raise


# Holding.


def size_of(value: Any) -> int:  # compiled only
    """*value* of a size, in bytes, at most ``_MAX_SEND``; 0 where it is no plain int."""
    size: int = clipped(value, cython.NULL) if type(value) is int else 0
    return size if size < _MAX_SEND else _MAX_SEND


def _begin_to_hold(channel: Any, state: State, most: int, size: int) -> bool:
    """Hold what *channel* pushes from now on, at most *most* bytes; False where it must not.

    *size* is that of the first.  What a hook may change is looked at in ``push``.
    """
    global _endings_are_watched
    if not MAY_COALESCE or size > most or sender_of(state):
        return False
    # A queue of the program's own may have an append() that counts.
    fifo: Any = state.fifo
    if (fifo is not None and type(fifo) is not deque) or not _is_stream(state):
        return False
    if not is_plain_socket(state.socket) and not has_raw_send(state.socket):
        return False
    if cython.compiled:
        if fifo and type(fifo[0]) is not bytes:
            return False
    else:
        try:  # rather than to look first, for another thread may take it meanwhile
            first = fifo[0]  # type: ignore[index]  # pyright: ignore[reportOptionalSubscript]
        except IndexError:
            first = b""
        if type(first) is not bytes:
            return False
    if not _endings_are_watched:
        # Before the process ends, or waits for another.
        _endings.watch(flush_all_threads, flush_this_thread)
        _endings_are_watched = True
    state.most = most
    state.held_size = 0
    return True


def _is_stream(state: State) -> bool:
    """Whether nobody can tell one ``send`` of the socket from two; looked at when first needed."""
    if state.is_stream is None:
        state.is_stream = is_plain_stream(state.socket)
    return state.is_stream


# Sending.


def _send_once(channel: Any, state: State, is_flush: bool, data: bytes | None) -> None:
    """``initiate_send``, for a channel with a *state*; it does not nest.

    *is_flush*: use the stock ``send``, which was in effect when the held output was pushed.  *data*
    is pushed now, and is sent without looking ``send`` up.
    """
    me = get_ident()
    sender = sender_of(state) if cython.compiled else _turns.get(state, 0)
    if sender:
        if cython.compiled and data is not None:
            queue_of(state).append(data)
            data = None
        if sender == me:
            return
    is_first = True
    while True:
        is_mine = False
        try:
            if cython.compiled:
                is_mine = take_turn(state, me)
            else:  # without the call, where nobody else wants it
                is_mine = _turns.setdefault(state, me) == me or take_turn(state, me)
            if not is_mine:
                if cython.compiled and data is not None:
                    enqueue(channel, data)  # for another thread, which began to send meanwhile
                return
            state.turns += 1
            state.again = False
            if cython.compiled and data is not None:
                is_over = _send_pushed(channel, state, data)
            else:
                is_over = _send_queued(channel, state, is_flush)
        except BaseException:
            touch(channel)  # for what is queued now may have been held before
            raise
        finally:
            # No call here: a signal handler can raise behind any call.  If one raised above,
            # is_mine may be wrong.
            if cython.compiled:
                # It may have been given back, and taken by others.
                if is_mine and state.sender == me:
                    state.sender = 0
            else:
                try:  # without asking first, for another thread may take its own away meanwhile
                    if _turns[state] == me:  # pragma: no branch
                        del _turns[state]
                except KeyError:
                    pass
        data = None
        if is_over:
            hang_up(channel)  # not before, for handle_close() may push and send, too
            return
        if not state.again or not is_first:
            break
        is_first = False  # once more, for what another thread has pushed meanwhile
    if state.fifo:
        touch(channel)


def _send_pushed(channel: Any, state: State, data: bytes) -> bool:  # compiled only
    """Send *data*, which is pushed now, at once if nothing is queued before it.

    Returns what ``send_piece`` does.
    """
    if state.fifo or not is_plain_socket(state.socket):
        queue_of(state).append(data)
        return _send_queued(channel, state, False)
    # Until what is left is queued no other thread runs.
    try:
        sent = send_bytes(state.socket, data, False)
    except OSError as failure:
        queue_of(state).append(data)
        _fail_to_send(channel, failure)
        return False
    if sent == len(data):
        return False
    fifo = queue_of(state)
    fifo.append(data)
    state.is_full = True
    if sent > 0:
        state.offset = sent
        if state.exposed:
            state.queue()  # what a program may see, and change, has nothing sent in it
        if state.socket.gettimeout() is not None:
            return False
    elif sent == 0:
        return False
    # A closed socket complains, one with a timeout waits for room, a blocking one for the rest.
    return _send_queued(channel, state, False)


def _fail_to_send(channel: Any, failure: OSError) -> None:  # compiled only
    """Tell *channel* of *failure*, which is being handled, as its ``initiate_send`` does."""
    end_turn(channel)
    try:
        if not means_gone(channel, failure):
            raise failure
        hang_up(channel)
    except OSError:
        channel.handle_error()


def _send_queued(channel: Any, state: State, is_flush: bool) -> bool:
    """Send from the queue of *channel*: small bytes together, what is large in parts.

    Returns what ``send_piece`` does.
    """
    if state.held:
        state.held = False
        _holding.pop(state, None)
    fifo = state.fifo
    if fifo is not None and type(fifo) is not deque:
        return send_piece(channel)
    if (cython.compiled or type(channel) is not state.fitting_class) and not state.fits(channel):
        return send_piece(channel)
    turn, was_full = state.turns, state.is_full
    while True:
        # What was held was pushed while it was connected.
        if not fifo or not (is_flush or channel.connected):
            return False
        head = fifo[0]
        if type(head) is bytes and head:
            if state.offset < len(head):
                break
            drop_sent(state, fifo)  # which an exception has interrupted
            continue
        if not head or is_data(head):
            return send_piece(channel)
        produced = head.more()
        if state.fifo is not fifo:  # more() has put another one in its place
            take_produced(channel.producer_fifo, produced)
            return send_piece(channel)
        take_produced(fifo, produced)
    limit = channel.ac_out_buffer_size
    size = size_of(limit) if cython.compiled else limit if type(limit) is int else 0
    if is_flush and size < state.held_size:
        size = state.held_size  # which it allowed when that was pushed
    if size <= 0:
        return send_piece(channel)
    entry: bytes = head
    left = len(entry) - state.offset
    data, count = entry, 1
    state.unsent_head = None
    # What the kernel refuses is not joined for every push.
    if (
        left < size
        and len(fifo) > 1
        and not was_full
        and type(fifo[1]) is bytes
        and (is_flush or _joins(channel, state))
    ):
        data, count = _joined(fifo, state.offset, size)
        left = len(data)
    elif state.offset or left > size:
        data = entry[state.offset : state.offset + size]
    try:
        try:
            sent = send(channel, data) if is_flush else channel.send(data)
        finally:
            # Another thread, or the send itself, may have changed the queue.
            if (
                state.turns == turn
                and state.offset
                and (state.fifo is not fifo or not fifo or fifo[0] is not entry)
            ):
                state.offset = 0
    except OSError:
        end_turn(channel)
        channel.handle_error()
        return False
    if state.turns != turn:  # a hook ran meanwhile, without the turn
        return False
    state.is_full = sent != len(data)
    if not sent or state.fifo is not fifo or not fifo:
        return False
    # Where somebody looked at the queue meanwhile, its first entry is what was left of this one.
    head, rest = fifo[0], state.unsent_head
    if type(sent) is not int or not 0 < sent <= left:
        take_odd_count(state, fifo, entry, data, size, sent)
    elif head is entry or (head is rest and rest is not None):
        if sent == left and count == 1:
            del fifo[0]
            state.offset = 0
        elif cython.compiled and HAS_GIL and sent == left and count == len(fifo):
            fifo.clear()
            state.offset = 0
        elif sent == left and head is entry:
            # In one call, for behind each a signal handler might raise.
            entries = map(deque.popleft, repeat(fifo, count))
            state.offset = 0
            all(entries)
        else:
            state.offset += sent
            drop_sent(state, fifo)
        if state.exposed:
            state.queue()
        elif cython.compiled and not fifo:
            state.fifo = None  # an idle channel needs no deque, most of what it would take
    state.unsent_head = None
    # Held output is behind what was refused before, for which there is room now.
    return is_flush and was_full and not state.is_full and _send_queued(channel, state, True)


def _joins(channel: Any, state: State) -> bool:
    """Whether what *channel* sends may leave together, for nobody can tell."""
    return (
        MAY_COALESCE
        and _is_stream(state)
        and bool(channel.ac_out_coalesce)
        and has_stock_send(channel)
        and (is_plain_socket(state.socket) or has_raw_send(state.socket))
    )


def _joined(fifo: Any, offset: int, size: int) -> tuple[bytes, int]:
    """The bytes at the head of *fifo*, without the first *offset*, and how many entries they are.

    At most *size* bytes, all of whole entries.
    """
    pieces: list[bytes] = []
    total = -offset
    if not (cython.compiled and HAS_GIL):  # pragma: no branch (always so as it is)
        # A copy, for another thread may put something at the end at any time; in one step, where
        # there is a GIL.
        if len(fifo) < _MAX_JOINED and _HAS_GIL:
            entries = fifo.copy()
        else:
            entries = [fifo[index] for index in range(min(len(fifo), _MAX_JOINED))]
        if set(map(type, entries)) == {bytes} and all(entries):
            total += sum(map(len, entries))
            if total <= size:
                pieces.extend(entries)
        fifo = entries
    if not pieces:
        # One that is not the first may not leave with it, and ends this.
        total = -offset
        for piece in fifo:  # pragma: no branch (as it is, all of it has gone already)
            if type(piece) is not bytes or not piece:
                break
            total += len(piece)
            if (total > size and pieces) or len(pieces) == _MAX_JOINED:
                break
            pieces.append(piece)
    if offset:
        pieces[0] = pieces[0][offset:]
    return b"".join(pieces), len(pieces)


# What is sent before somebody may look.


def flush(channel: Any) -> None:
    """Send what *channel* holds; what the kernel does not take stays queued."""
    state = getattr(channel, "_fc_state", None)
    if type(state) is State and state.held:
        _send_once(channel, state, True, None)


def _flush_alone(channel: Any) -> None:
    """``flush``, for who has not the lock of *channel*."""
    with cython.critical_section(lock_of(channel)):
        flush(channel)


def flush_this_thread() -> None:
    """Send what the channels of this thread hold: before a pass waits."""
    if not _holding:
        return
    me = get_ident()
    for channel in reversed(list(_holding.values())):
        state = getattr(channel, "_fc_state", None)
        if type(state) is State and state.thread == me:
            _flush_alone(channel)


def flush_all_threads() -> None:
    """Send what all channels hold: before the process forks or ends."""
    with ExitStack() as stack:  # which calls all of them, the last first, whatever one raises
        for channel in list(_holding.values()):
            stack.callback(_flush_alone, channel)


def leave_to_the_parent() -> None:
    """In a forked child: nobody holds output or sends.  Only threads that the parent has could do
    so at a fork, and what they hold or send is theirs.
    """
    forget_senders()
    for state in _holding:
        state.held = False
    _holding.clear()
