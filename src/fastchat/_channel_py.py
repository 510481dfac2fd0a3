"""The methods of channels through which every byte goes, in Python.

The twin of ``_channel.pxi``: the same names, the same results, the same errors.  ``dispatcher`` and
``async_chat`` have these functions as their methods.  What a program may override is looked up on
the channel at each call, and input and output go through ``recv``, ``send`` and ``socket``.

Output that a channel pushes while its own input is delivered, and more of it waits, is *held*: it
waits in the queue, and leaves with what is pushed for the last of that input, when the delivery
ends, when ``ac_out_buffer_size`` is reached, when the process ends or starts another, or when
anyone could look; in one ``send``, where each ``push`` would have made one.  The rules:

* Nothing is held for the last of the input, because a hook may wait for what its peer does about
  the reply; a peer that has sent more is not waiting.
* Only bytes are held, only by the thread that delivers, only where ``ac_out_coalesce`` is true and
  ``push``, ``initiate_send`` and ``send`` are the stock ones, for a socket whose ``send`` is the
  system's own, and never behind a producer, whose ``more()`` is called at once as ever.
* ``initiate_send`` makes one ``send`` of at most ``ac_out_buffer_size`` bytes, and does not nest:
  what a producer pushes from its ``more()`` comes behind what it gives.
* Any thread may push.  It puts its data at the end of the queue, and one thread at a time takes
  data from its head: ``_senders`` says which.

A channel whose class hides one of the properties over its state, a class that borrows these
functions, and anything that is not bytes, take the functions that end in ``_plainly``: they use the
public attributes only.
"""

from __future__ import annotations

import socket as _socket_module
import sys
from _socket import socket as raw_socket
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from errno import EWOULDBLOCK
from socket import SOCK_STREAM
from threading import get_ident
from types import MethodType
from typing import Any

from fastchat import _endings
from fastchat._core.touch import touch
from fastchat._hangups import closes_of, forget_hang_up, hang_up, means_gone
from fastchat._scanner_py import EMPTY, NOT_ASKED, cut, cut_one, drive
from fastchat._settings import COALESCE
from fastchat._state_py import ABSENT, NO_QUEUE, Absent, State

# The most that is held, however large ac_out_buffer_size is, in bytes.
LARGEST = 1 << 20

# The type of a socket, as the number that it is: the attribute makes an enum of it, in 700 ns.
type_of = raw_socket.type.__get__
raw_send = raw_socket.send

# The channels that hold output at this moment, by their states.
_holding: dict[State, Any] = {}


# The state of a channel, and its socket.


def own_state(channel: Any) -> Any:
    """The state of *channel*, which is made where it has none yet."""
    state = channel._fc_state
    if state is None:
        state = channel._fc_state = State()
    return state


def begin(channel: Any) -> bool:
    """Let a new *channel* have neither input nor output; False where its class hides the state."""
    state = own_state(channel)
    if state.held:
        flush(channel)  # __init__() was called once more, in a hook
    if not state.fits(channel):
        return False
    state.buffer = b""
    state.start = 0
    state.exposed = False
    state.offset = 0
    state.fifo = deque()
    return True


def there(channel: Any, name: str, value: Any) -> Any:
    """*value* as a program sees it; an AttributeError that names it where it is absent."""
    if value is ABSENT:
        raise AttributeError(f"{type(channel).__name__!r} object has no attribute {name!r}")
    return None if value is NO_QUEUE else value


def get_socket(channel: Any) -> Any:
    """The socket of *channel*; what it holds is sent first, for a program may want to see it."""
    state = own_state(channel)
    if state.held:
        flush(channel)
    return there(channel, "socket", state.socket)


def get_fifo(channel: Any) -> Any:
    """The queue of *channel*; what it holds is sent first, for a program may want to see it."""
    state = own_state(channel)
    if state.held:
        flush(channel)
    touch(channel)  # what gets the queue may put something into it
    fifo = there(channel, "producer_fifo", state.fifo)
    state.exposed = True
    if state.offset:
        _show_what_is_left(state)
    return fifo


def _show_what_is_left(state: State) -> None:
    """Cut off what was sent of the first entry, unless another thread is sending of it now."""
    me = get_ident()
    is_mine = False
    try:
        if _senders.get(state) != me:
            is_mine = True
            if _senders.setdefault(state, me) != me:
                is_mine = False
                return
        state.queue()
    finally:
        try:  # without asking first, for another thread may take its own away meanwhile
            if is_mine and _senders[state] == me:
                del _senders[state]
        except KeyError:
            pass


def set_socket(channel: Any, sock: Any) -> None:
    """Give *channel* another socket; what it holds goes out by the one it has."""
    state = own_state(channel)
    if state.held:
        flush(channel)
    state.socket = sock
    state.is_stream = None


def _is_stream(state: State) -> bool:
    """Whether nobody can tell one ``send`` of the socket from two; looked at when first needed."""
    if state.is_stream is None:
        state.is_stream = is_plain_stream(state.socket)
    return state.is_stream


def is_plain_stream(sock: Any) -> bool:
    """Whether *sock* is a stream of the system's own, of which nobody can tell one send from two.

    What only looks like a socket, as that of gevent, a mock or that of a test, may look at what it
    is given one by one; TLS makes a record of each.
    """
    kind = type(sock)  # not isinstance(): mocks say that they are instances
    return (
        issubclass(kind, raw_socket)
        and kind.__getattribute__ is raw_socket.__getattribute__
        and has_raw_send(sock)
        and type_of(sock) == SOCK_STREAM
    )


def has_raw_send(sock: Any) -> bool:
    """Whether the ``send`` of *sock*, whatever that is, is the system's own."""
    kind: Any = type(sock)
    return getattr(kind, "send", None) is raw_send and "send" not in getattr(sock, "__dict__", ())


def standard_class() -> Any:
    """``socket.socket``, where that is the class which its module has defined; else None.

    By the time of the import a class of gevent's may be there, one of the program's, a function, or
    a mock.  Nothing is assumed of what these have, or of what their objects are.
    """
    found = _socket_module.socket
    is_standard = (
        type(found) is type
        and found.__bases__ == (raw_socket,)
        and all(
            getattr(getattr(found, name), "__globals__", None) is vars(_socket_module)
            for name in ("__init__", "accept")
        )
    )
    return found if is_standard else None


def binds(method: Any, function: Any, channel: Any) -> bool:
    """Whether *method* is *function*, bound to *channel*."""
    return type(method) is MethodType and method.__func__ is function and method.__self__ is channel


# Input.


def drop_input(channel: Any) -> None:
    """No hook of *channel* sees any more what it has received."""
    state = own_state(channel)
    if type(state.buffer) is bytes and state.fits(channel):
        state.buffer = b""
        state.start = 0
    else:
        drop_input_plainly(channel)
    state.closes += 1


def drop_input_plainly(channel: Any) -> None:
    """Empty what *channel* has as its ``ac_in_buffer``, if that can be sliced."""
    buffer: Any = getattr(channel, "ac_in_buffer", None)
    if hasattr(type(buffer), "__getitem__"):
        channel.ac_in_buffer = buffer[:0]


def handle_read_event(self: Any) -> None:
    """The descriptor is readable: a connection to take, a connect that is done, or input."""
    try:
        was_told = self._fc_hung_up is not None
    except AttributeError:  # whatever borrows this method
        was_told = False
    if was_told:
        forget_hang_up(self)  # for loops that call this rather than read()
    if self.connected and not self.accepting:
        self.handle_read()
    elif self.accepting:
        rest = getattr(self, "_fc_rest", None)
        try:
            self.handle_accept()
        except TypeError:
            # "sock, addr = self.accept()" is how most programs write it, and an accept that
            # found no descriptor left must not cost them the listener.
            if getattr(self, "_fc_rest", None) == rest:
                raise
    else:
        closes = closes_of(self)
        if self.connecting:
            self.handle_connect_event()
        if closes_of(self) == closes:
            self.handle_read()


def handle_write_event(self: Any) -> None:
    """The descriptor is writable: a connect that is done, or room for output."""
    if getattr(self, "_fc_hung_up", None) is not None:
        forget_hang_up(self)
    if self.accepting:
        return
    if not self.connected and self.connecting:
        closes = closes_of(self)
        self.handle_connect_event()
        if closes_of(self) != closes:
            return
    self.handle_write()


def recv(self: Any, buffer_size: Any) -> Any:
    """Receive at most *buffer_size* bytes.

    Returns ``b""`` at the end of the connection: ``handle_close`` has then been called.
    Raises BlockingIOError when there is nothing to receive, OSError for any other failure.
    """
    try:
        state = self._fc_state
        is_plain = type(self) is state.plain and not state.held and state.socket is not ABSENT
    except AttributeError:  # a dispatcher, or whatever borrows this method
        is_plain = False
    # Without the detour over the property, where that has nothing to do.
    sock = state.socket if is_plain else self.socket
    try:
        data = sock.recv(buffer_size)
    except OSError as failure:
        if not means_gone(self, failure):
            raise
        data = b""
    if not data:
        hang_up(self)
        return b""
    return data


def handle_read(self: Any) -> None:
    """Receive once, and deliver what can be delivered."""
    try:
        state = self._fc_state
        is_plain = type(self) is state.plain
    except AttributeError:
        state = None
        is_plain = False
    if not is_plain and (type(state) is not State or not state.fits(self)):
        handle_read_plainly(self)
        return
    closes = state.closes
    try:
        data = self.recv(self.ac_in_buffer_size)
    except BlockingIOError:
        return
    except OSError:
        self.handle_error()
        return
    if state.closes != closes:
        return
    buffer = state.buffer
    terminator: Any = NOT_ASKED
    if buffer is EMPTY and type(data) is bytes and data and not state.depth:
        state.buffer = data
        terminator = cut_one(self, state, data)
        if terminator is None:
            return
    elif type(data) is bytes and type(buffer) is bytes:
        state.buffer = data if state.start >= len(buffer) else buffer[state.start :] + data
        state.start = 0
    else:
        self.ac_in_buffer = self.ac_in_buffer + data
    me = get_ident()
    outer, depth = (state.thread, state.more), state.depth
    try:
        state.depth = depth + 1
        state.thread = me
        cut(self, state, terminator)
    finally:
        state.depth = depth
        state.thread, state.more = outer
        if state.held:
            _send_once(self, state, True)


def handle_read_plainly(channel: Any) -> None:
    """``handle_read`` with nothing but public attributes."""
    closes = closes_of(channel)
    try:
        data = channel.recv(channel.ac_in_buffer_size)
    except BlockingIOError:
        return
    except OSError:
        channel.handle_error()
        return
    if closes_of(channel) != closes:
        return
    channel.ac_in_buffer = channel.ac_in_buffer + data
    drive(channel)


def get_terminator(self: Any) -> Any:
    """What ``set_terminator`` set; for an int, how many bytes of it are still to come."""
    return self.terminator


# What the loop asks.


def readable(self: Any) -> Any:
    """Whether to wait for input: always."""
    return 1


def writable(self: Any) -> Any:
    """Whether to wait for room for output: while there is some, or no connection yet."""
    state = getattr(self, "_fc_state", None)
    if type(state) is not State or type(state.fifo) is Absent or not state.fits(self):
        return writable_plainly(self)
    if state.held:
        flush(self)
    if state.fifo:
        # Not queue(), which would cut off what was sent of the first entry, for every event.
        return state.fifo if state.exposed else True
    return not self.connected


def writable_plainly(channel: Any) -> Any:
    """``writable`` with nothing but public attributes."""
    return channel.producer_fifo or (not channel.connected)


# Output.


def send(self: Any, data: Any) -> Any:
    """Send what the kernel takes of *data* (bytes-like); returns how many bytes that was.

    Returns 0 when it takes none now, and when the connection is gone: ``handle_close`` has
    then been called.  Raises OSError for any other failure.
    """
    try:
        state = self._fc_state
        is_plain = type(self) is state.plain and not state.held and state.socket is not ABSENT
    except AttributeError:
        is_plain = False
    # The property sends what is held, for what was pushed before goes first.
    sock = state.socket if is_plain else self.socket
    try:
        return sock.send(data)
    except OSError as failure:
        if failure.errno == EWOULDBLOCK:
            return 0
        if means_gone(self, failure):
            hang_up(self)
            return 0
        raise


def push(self: Any, data: Any) -> None:
    """Queue *data* and send what can be sent at once.

    Raises TypeError unless *data* is bytes, bytearray or memoryview.
    """
    try:
        state = self._fc_state
        fifo = state.fifo
        is_plain = type(data) is bytes and type(self) is state.plain and type(fifo) is deque
    except AttributeError:  # whatever borrows this method
        is_plain = False
    if not is_plain:
        push_plainly(self, data, enqueue)
        return
    size = self.ac_out_buffer_size
    length = len(data)
    if (state.more or state.held) and state.depth and state.thread == get_ident():
        # Looked at for each push, because a hook may change any of it.
        try:
            out, start, own = self.send, self.initiate_send, self.push
        except AttributeError:  # who calls it will say so
            out = start = own = None
        may_hold = (
            self.ac_out_coalesce
            and self.connected
            and 0 < length <= size
            and type(out) is type(start) is type(own) is MethodType  # no proxy of one
            and out.__func__ is send
            and out.__self__ is self
            and start.__func__ is initiate_send
            and start.__self__ is self
            and own.__func__ is push
            and own.__self__ is self
        )
        if may_hold:
            if state.held:
                total = state.held_size + length
                if total > size or total > LARGEST:
                    _send_once(self, state, True)  # which may close the channel, and anything else
                    push(self, data)
                    return
            if state.held or _begin_to_hold(self, state, length, size):
                fifo.append(data)
                state.held_size += length
                if not state.more:
                    _send_once(self, state, True)
                return
    if state.held:
        _send_once(self, state, True)
    if length > size:  # asked in this way as in CPython 3.11, for the text of its TypeError
        push_plainly(self, data, enqueue)
    else:
        fifo.append(data)
        self.initiate_send()
        if fifo:
            touch(self)


def _begin_to_hold(channel: Any, state: State, length: int, size: Any) -> bool:
    """Let output of *channel* be held from now on; returns False where that may not be.

    *length* is that of the first of it, *size* is ``ac_out_buffer_size``.  What may change with
    each push is looked at in ``push``.
    """
    fifo = state.fifo
    if (
        COALESCE is False
        or type(size) is not int
        or length > LARGEST
        or not _is_stream(state)
        or not has_raw_send(state.socket)
        or _senders.get(state) == get_ident()
    ):
        return False
    try:  # rather than to look first, for another thread may take it meanwhile
        if type(fifo[0]) is not bytes:
            return False
    except IndexError:
        pass
    state.held = True
    state.held_size = 0
    _holding[state] = channel
    _endings.watch(flush_everything, flush_all)
    return True


def _joins(channel: Any, state: State) -> bool:
    """Whether what *channel* sends may leave together, for nobody can tell."""
    return bool(
        _is_stream(state)
        and COALESCE is not False
        and channel.ac_out_coalesce
        and binds(channel.send, send, channel)
        and has_raw_send(state.socket)
    )


def push_plainly(channel: Any, data: Any, put: Callable[..., None]) -> None:
    """``push`` that holds nothing; *put* is what ``enqueue`` is in the implementation at work."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"data argument must be byte-ish ({type(data)!r}): "
            "push() takes bytes, bytearray or memoryview"
        )
    size = channel.ac_out_buffer_size
    # In one step, so that what another thread pushes does not come between the parts.
    if len(data) > size:
        put(channel, *[data[start : start + size] for start in range(0, len(data), size)])
    else:
        put(channel, data)
    channel.initiate_send()


def enqueue(channel: Any, *entries: Any) -> None:
    """Put *entries* at the end of the queue of *channel*; what it holds is sent first."""
    state = getattr(channel, "_fc_state", None)
    if type(state) is not State or type(state.fifo) is Absent or not state.fits(channel):
        for entry in entries:
            channel.producer_fifo.append(entry)  # which says what is missing
    else:
        if state.held:
            flush(channel)
        fifo = state.fifo
        if type(fifo) is deque:
            fifo.extend(entries)
        else:  # a queue of the program's own has an append() for certain
            for entry in entries:
                fifo.append(entry)
    touch(channel)


def handle_write(self: Any) -> None:
    self.initiate_send()


def initiate_send(self: Any) -> None:
    """Send once of what is queued, at most ``ac_out_buffer_size`` bytes."""
    state = getattr(self, "_fc_state", None)
    if type(state) is not State:
        if send_piece(self):
            hang_up(self)
    else:
        _send_once(self, state, False)


# Which thread takes what is in a queue, by the state of the channel.  Only the thread that is noted
# here takes anything away; every thread may put something at the end at any time.  The functions of
# dict that are used make one step that no other thread can divide.
_senders: dict[State, int] = {}


def _send_once(channel: Any, state: State, is_flush: bool, is_first: bool = True) -> None:
    """``initiate_send``, for a channel with a *state*; it does not nest.

    *is_flush* says that the stock ``send`` is to be used, because it was when the bytes were
    pushed.  What another thread pushes while one sends is sent when that is done; *is_first* is
    false when that is what is being sent.
    """
    me = get_ident()
    if _senders.get(state) == me:
        return
    try:
        if not _is_next_sender(state, me):
            return
        state.again = False
        is_over = _send_queued(channel, state, is_flush)
    except BaseException:
        touch(channel)  # for what is queued now may have been held before
        raise
    finally:
        # Without a call, for after each a signal handler might raise an exception; one that did so
        # above may have left anything here.  Without asking first, for another thread may take its
        # own away.
        try:
            if _senders[state] == me:  # pragma: no branch
                del _senders[state]
        except KeyError:
            pass
    if is_over:
        hang_up(channel)  # not before, for handle_close() may push and send, too
    elif state.fifo:
        if state.again and is_first:
            _send_once(channel, state, is_flush, False)
        else:
            touch(channel)


def _is_next_sender(state: State, me: int) -> bool:
    """Note that the thread *me* sends what is in *state*; false where another one still does."""
    while _senders.setdefault(state, me) != me:
        state.again = True
        if state in _senders:  # and so will see that
            return False
    return True


def _send_queued(channel: Any, state: State, is_flush: bool) -> bool:
    """Send from the queue of *channel*: small bytes together, what is large in parts.

    Returns what ``send_piece`` does.
    """
    if state.held:
        state.held = False
        _holding.pop(state, None)
    fifo = state.fifo
    if not (type(channel) is state.plain or state.fits(channel)) or type(fifo) is not deque:
        return send_piece(channel)
    while True:
        # What was held was pushed while it was connected.
        if not fifo or not (is_flush or channel.connected):
            return False
        head = fifo[0]
        if type(head) is bytes and head:
            break
        if not head or is_data(head):
            return send_piece(channel)
        produced = head.more()
        if state.fifo is not fifo:  # more() has put another one in its place
            take_produced(channel.producer_fifo, produced)
            return send_piece(channel)
        take_produced(fifo, produced)
    size = channel.ac_out_buffer_size
    if is_flush and (type(size) is not int or size < state.held_size):
        size = state.held_size  # which it allowed when that was pushed
    offset = state.offset
    left = len(head) - offset
    data, count = head, 1
    if left < size and len(fifo) > 1 and (is_flush or _joins(channel, state)):
        data, count = _joined(fifo, offset, size)
        left = len(data)
    elif offset or left > size:
        data = head[offset : offset + size]
    state.rest = None
    try:
        sent = send(channel, data) if is_flush else channel.send(data)
    except OSError:
        channel.handle_error()
        return False
    finally:
        # Another thread, or the send itself, may have changed the queue.
        if state.offset and (state.fifo is not fifo or not fifo or fifo[0] is not head):
            state.offset = 0
    if not sent or state.fifo is not fifo or not fifo:
        return False
    if sent == left and count == 1 and fifo[0] is head:
        fifo.popleft()
        state.offset = 0
    elif type(sent) is int and 0 < sent <= left:
        _take_sent(state, fifo, head, count if sent == left else 0, sent)
    else:
        take_odd_count(state, fifo, head, data, size, sent)
    return False


def _take_sent(state: State, fifo: deque[Any], head: bytes, count: int, sent: int) -> None:
    """Take *sent* bytes, which began with *head*, off *fifo*: *count* entries, if that is known."""
    # Where somebody looked at the queue meanwhile, its first entry is what was left of this one.
    first, rest = fifo[0], state.rest
    if first is head and count:
        state.offset = 0
        popleft = fifo.popleft
        for _ in range(count):
            popleft()
    elif first is head or (first is rest and rest is not None):
        while sent and fifo:
            left = len(fifo[0]) - state.offset
            if sent < left:
                state.offset += sent
                break
            fifo.popleft()
            sent -= left
            state.offset = 0
    if state.exposed and state.offset:
        state.queue()


def take_odd_count(
    state: Any, fifo: deque[Any], head: bytes, data: bytes, size: Any, sent: Any
) -> None:
    """Take *sent* off *head*, of which *data* was sent, for a count that no socket gives.

    A ``send`` of the program's may count what it adds to each piece, and says nothing about what
    is queued behind *head*.
    """
    if fifo[0] is head or (fifo[0] is state.rest and state.rest is not None):
        state.queue()
        take_off(fifo, fifo[0], data, size, sent)


def take_off(queue: Any, entry: Any, piece: Any, size: int, sent: Any) -> None:
    """Take *sent*, what ``send`` said of *piece*, off *entry*, the head of *queue*."""
    if sent >= len(piece) and len(entry) <= size:
        del queue[0]
    else:
        queue[0] = entry[sent:]


# Whether no other thread can change a deque while a copy of it is made: not without a GIL.
_COPIES_IN_ONE_STEP: bool = getattr(sys, "_is_gil_enabled", lambda: True)()

# How many entries of a queue are joined at once at most.
_MANY_ENTRIES = 4096


def _joined(fifo: deque[Any], offset: int, size: int) -> tuple[bytes, int]:
    """The bytes at the head of *fifo*, without the first *offset*, and how many entries they are.

    At most *size* bytes, all of whole entries.
    """
    count = min(len(fifo), _MANY_ENTRIES)
    if count < _MANY_ENTRIES and _COPIES_IN_ONE_STEP:
        # A copy, for another thread may put something at the end at any time.
        pieces = list(fifo.copy())
    else:
        pieces = [fifo[index] for index in range(count)]
    if offset:
        pieces[0] = pieces[0][offset:]
    if set(map(type, pieces)) != {bytes} or not all(pieces) or sum(map(len, pieces)) > size:
        # One that is not the first may not leave with it, and ends this.
        total, count = len(pieces[0]), 1
        while type(pieces[count]) is bytes and 0 < len(pieces[count]) <= size - total:
            total += len(pieces[count])
            count += 1
        del pieces[count:]
    return b"".join(pieces), len(pieces)


def take_produced(queue: Any, produced: Any) -> None:
    """Put what the producer at the head of *queue* gave before it; nothing is its end."""
    if produced:
        queue.appendleft(produced)
    else:
        del queue[0]


def is_data(entry: Any) -> bool:
    """Whether *entry* of a queue is data, which can be sliced, and no producer."""
    return hasattr(type(entry), "__getitem__") or isinstance(entry, type)


def send_piece(channel: Any) -> bool:
    """``initiate_send`` with nothing but public attributes: sends of one entry of the queue.

    Returns whether it found the end that ``close_when_done`` set; the caller tells the channel.
    """
    size = channel.ac_out_buffer_size
    entry, piece = _next_piece(channel, size)
    if entry is None:
        return bool(piece)
    if channel.use_encoding and isinstance(piece, str):
        piece = bytes(piece, channel.encoding)
    try:
        sent = channel.send(piece)
    except OSError:
        channel.handle_error()
        return False
    if sent:
        take_off(channel.producer_fifo, entry, piece, size, sent)
    return False


def _next_piece(channel: Any, size: int) -> tuple[Any, Any]:
    """What *channel* is to send next, at most *size* of it: the entry of its queue, and the piece.

    Producers at the head are asked until one gives data.  Where nothing is left that is None, and
    whether the end that ``close_when_done`` set was reached.
    """
    queue = channel.producer_fifo
    while queue and channel.connected:
        entry = queue[0]
        if not entry:
            del queue[0]
            if entry is None:
                return None, True
        try:
            return entry, entry[:size]
        except TypeError:  # not data, so a producer; what it gives may be another one
            produced = entry.more()
        queue = channel.producer_fifo  # more() may have put another one in its place
        take_produced(queue, produced)
    return None, False


def flush(channel: Any) -> None:
    """Send what *channel* holds; what the kernel does not take stays queued."""
    state = channel._fc_state
    if state is not None and state.held:
        _send_once(channel, state, True)


def flush_all() -> None:
    """Send what the channels of this thread hold: before a pass waits."""
    if not _holding:
        return
    for channel in reversed(list(_holding.values())):
        state = channel._fc_state
        if state is not None and state.thread == get_ident():
            flush(channel)


def flush_everything() -> None:
    """Send what all channels hold: before the process forks or ends."""
    with ExitStack() as stack:  # which calls all of them, the last first, whatever one raises
        for channel in list(_holding.values()):
            stack.callback(flush, channel)


def leave_to_the_parent() -> None:
    """In a forked child: nobody holds output or sends.  Only threads that the parent has could do
    so at a fork, and what they hold or send is theirs.
    """
    for state in _holding:
        state.held = False
    _holding.clear()
    for state in [state for state, thread in _senders.items() if thread != get_ident()]:
        del _senders[state]


# The methods of dispatcher, and those that async_chat adds.
DISPATCHERS = ("handle_read_event", "handle_write_event", "recv", "send")
CHATS = (
    "handle_read",
    "handle_write",
    "get_terminator",
    "readable",
    "writable",
    "push",
    "initiate_send",
)


def dress(method: Any) -> None:
    """Let *method* look like one that was written into its class."""
    is_chats = method.__name__ not in DISPATCHERS
    method.__module__ = "fastchat.asynchat" if is_chats else "fastchat.asyncore"
    kind = "async_chat" if is_chats else "dispatcher"
    method.__qualname__ = f"{kind}.{method.__name__}"
    # Programs compare the signatures of methods with the standard library's, which have none.
    method.__annotations__.clear()


for _name in DISPATCHERS + CHATS:
    dress(globals()[_name])
