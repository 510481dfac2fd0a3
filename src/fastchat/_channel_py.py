"""The methods of channels through which every byte goes, in Python.

The twin of ``_channel.pxi``: the same names, the same results, the same errors.  ``dispatcher`` and
``async_chat`` have these functions as their methods.  What a program may override is looked up on
the channel at each call, and input and output go through ``recv``, ``send`` and ``socket``.

Output that a channel pushes while its own input is delivered, and more of it waits, is *held*: it
leaves with what is pushed for the last of that input, when the delivery ends, when
``ac_out_buffer_size`` is reached, or when anyone could look; in one ``send``, where each ``push``
would have made one.  The rules:

* Nothing is held for the last of the input, because a hook may wait for what its peer does about
  the reply; a peer that has sent more is not waiting.
* Only bytes are held, only for the thread that delivers, only where ``ac_out_coalesce`` is true and
  ``initiate_send`` the stock one, and never behind a producer, whose ``more()`` is called at once
  as ever.
* ``initiate_send`` makes one ``send`` of at most ``ac_out_buffer_size`` bytes, and does not nest:
  what a producer pushes from its ``more()`` comes behind what it gives.

A channel whose class hides one of the properties over its state, a class that borrows these
functions, and anything that is not bytes, take the functions that end in ``_plainly``: they use the
public attributes only.
"""

from __future__ import annotations

from _socket import socket as raw_socket
from collections import deque
from errno import EWOULDBLOCK
from itertools import islice
from socket import SOCK_STREAM
from socket import socket as socket_type
from threading import get_ident
from types import MethodType
from typing import Any

from fastchat._hangups import closes_of, forget_hang_up, hang_up, means_gone
from fastchat._scanner_py import EMPTY, NOT_ASKED, cut, cut_one, drive
from fastchat._state_py import ABSENT, State, StateProperty
from fastchat._touch import touch

# The most that is held, however large ac_out_buffer_size is, in bytes.
LARGEST = 1 << 20

# The type of a socket, as the number that it is: the attribute makes an enum of it, in 700 ns.
type_of = raw_socket.type.__get__

# The channels that hold output at this moment, each once.
_holding: list[Any] = []


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
    if not state.fits(channel):
        return False
    state.buffer = b""
    state.start = 0
    state.exposed = False
    state.offset = 0
    state.fifo = None  # a deque takes more memory than all the rest: made when needed
    return True


def there(channel: Any, name: str, value: Any) -> Any:
    """*value*, unless it is absent: then an AttributeError that names it."""
    if value is ABSENT:
        raise AttributeError(f"{type(channel).__name__!r} object has no attribute {name!r}")
    return value


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
    if fifo is None or state.offset or state.outgoing is not None:
        return state.queue()
    return fifo


def set_socket(channel: Any, sock: Any) -> None:
    """Give *channel* another socket; what it holds goes out by the one it has."""
    state = own_state(channel)
    if state.held:
        flush(channel)
    state.socket = sock
    # There are no system calls to spare in what only looks like a socket; and what it is given may
    # be looked at one by one, as by the tests of smtpd.
    is_real = issubclass(type(sock), socket_type)  # mocks say that they are instances
    state.keeps_bounds = not is_real or type_of(sock) != SOCK_STREAM


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
        channel.ac_in_buffer = channel.ac_in_buffer[:0]
    state.closes += 1


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
        is_plain = type(self) is state.plain and state.held is None
    except AttributeError:  # a dispatcher, or whatever borrows this method
        is_plain = False
    # Without the detour over the property, where that has nothing to do.
    sock = state.socket if is_plain else self.socket
    try:
        data = sock.recv(buffer_size)
    except OSError as failure:
        if not means_gone(failure):
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
    outer = state.thread, state.limit, state.more
    state.depth += 1
    state.thread, state.limit = get_ident(), -1
    try:
        cut(self, state, terminator)
    finally:
        state.depth -= 1
        try:
            if state.listed:
                _unlist(state)
                flush(self)
        finally:
            state.thread, state.limit, state.more = outer


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
    if type(state) is not State or state.fifo is ABSENT or not state.fits(self):
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
        is_plain = type(self) is state.plain and state.held is None
    except AttributeError:
        is_plain = False
    # The property sends what is held, for what was pushed before goes first.
    sock = state.socket if is_plain else self.socket
    try:
        return sock.send(data)
    except OSError as failure:
        if failure.errno == EWOULDBLOCK:
            return 0
        if means_gone(failure):
            hang_up(self)
            return 0
        raise


def push(self: Any, data: Any) -> None:
    """Queue *data* and send what can be sent at once.

    Raises TypeError unless *data* is bytes, bytearray or memoryview.
    """
    try:
        state = self._fc_state
        is_plain = type(data) is bytes and not state.sending and type(state) is State
    except AttributeError:
        is_plain = False
    if not is_plain:
        push_plainly(self, data)
        return
    limit = _limit_of(self, state)
    fits = 0 < len(data) <= limit
    if fits and not state.more and not state.fifo and state.held is None:
        _send_out(self, state, data, limit)  # as below, at once: the reply to a last line
        return
    delivers = state.depth and state.thread == get_ident()
    if delivers and limit:  # else what is held goes the way that was open when it was pushed
        state.limit = limit
    if not fits:
        push_plainly(self, data)
    elif delivers and state.more and self.ac_out_coalesce:
        if state.fifo and type(state.fifo[0]) is not bytes:
            push_plainly(self, data)
        else:
            _hold(self, state, data, limit)
    elif state.fifo:
        push_plainly(self, data)
    elif state.held is None:
        _send_out(self, state, data, limit)
    else:
        _hold(self, state, data, limit)
        flush(self)


def _hold(channel: Any, state: State, data: bytes, limit: int) -> None:
    """Keep *data* until there is more to send it with."""
    if state.held is None:
        state.held = [data]
        state.held_size = len(data)
        if state.depth > 0 and not state.listed:
            state.listed = True
            _holding.append(channel)
    elif state.held_size + len(data) > limit:
        flush(channel)
        _hold(channel, state, data, limit)
    else:
        state.held.append(data)
        state.held_size += len(data)


def _limit_of(channel: Any, state: State) -> int:
    """How many bytes *channel* sends without queueing them; 0 where it has to queue everything."""
    if (
        not binds(channel.initiate_send, initiate_send, channel)
        or state.keeps_bounds
        or (state.fifo is not None and not isinstance(state.fifo, deque))
        or not state.fits(channel)
    ):
        return 0
    size = channel.ac_out_buffer_size
    if type(size) is not int or size <= 0:
        return 0
    return size if size < LARGEST else LARGEST


def push_plainly(channel: Any, data: Any) -> None:
    """``push`` that holds nothing."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"data argument must be byte-ish ({type(data)!r}): "
            "push() takes bytes, bytearray or memoryview"
        )
    size = channel.ac_out_buffer_size
    fifo = queue_of(channel)
    if len(data) > size:
        for start in range(0, len(data), size):
            fifo.append(data[start : start + size])
    else:
        fifo.append(data)
    channel.initiate_send()


def queue_of(channel: Any) -> Any:
    """The queue of *channel*, to put something at its end."""
    if type(getattr(type(channel), "producer_fifo", None)) is not StateProperty:
        return channel.producer_fifo
    state = channel._fc_state
    if state is None or state.fifo is ABSENT:
        return channel.producer_fifo  # which says what is missing
    exposed = state.exposed
    queue = channel.producer_fifo  # the property sends what is held, and counts as a look
    state.exposed = exposed
    return queue


def handle_write(self: Any) -> None:
    self.initiate_send()


def initiate_send(self: Any) -> None:
    """Send once of what is queued, at most ``ac_out_buffer_size`` bytes."""
    state = getattr(self, "_fc_state", None)
    if type(state) is not State:
        send_piece(self)
    elif not state.sending:
        state.sending = True
        try:
            if state.held and not state.fifo and state.fits(self):
                _send_held(self, state)
            else:
                send_queued(self, state)
        finally:
            state.sending = False


def _send_held(channel: Any, state: State) -> None:
    """Send what *channel* holds, where nothing is queued before it."""
    held: Any = state.held
    state.held = None
    state.held_size = 0
    _send_out(channel, state, held[0] if len(held) == 1 else b"".join(held), 0)


def _send_out(channel: Any, state: State, data: bytes, size: Any) -> None:
    """Send *data*, with nothing before it; what the kernel does not take is queued.

    *size* is the most that is sent, 0 where that has to be looked up.
    """
    state.sending = True
    state.outgoing = data
    sent = 0
    try:
        try:
            if channel.connected:
                size = size or (state.limit if state.limit > 0 else channel.ac_out_buffer_size)
                sent = channel.send(data if len(data) <= size else data[:size])
        except OSError:
            settle(channel, state, data, 0)
            channel.handle_error()
            return
        except BaseException:
            settle(channel, state, data, 0)
            raise
        if sent and sent >= len(data) and state.outgoing is data:
            state.outgoing = None
        else:
            settle(channel, state, data, sent or 0)
    finally:
        state.sending = False


def settle(channel: Any, state: State, data: bytes, sent: int) -> None:
    """Queue what is left of *data*, of which *sent* bytes went out."""
    if state.outgoing is data:
        state.queue()
        state.offset = sent
        if state.exposed:
            state.queue()  # what a program may see, and change, has nothing sent in it
    elif sent and state.fifo and state.fifo[0] is data:
        # Somebody looked at the queue meanwhile, and so it is there.
        advance(state, sent)
    touch(channel)


def send_queued(channel: Any, state: State) -> None:
    """Send from the queue of *channel*."""
    fifo = state.fifo
    if isinstance(fifo, deque) and state.fits(channel):
        if state.held:
            fifo.extend(state.held)
            state.held = None
            state.held_size = 0
        while True:
            if not fifo or not channel.connected:
                return
            head = fifo[0]
            if type(head) is bytes and head:
                send_bytes(channel, state, fifo)
                return
            if not head or is_data(head):
                break
            produced = head.more()
            if state.fifo is not fifo:  # more() has put another one in its place
                take_produced(channel.producer_fifo, produced)
                break
            take_produced(fifo, produced)
    send_piece(channel)


def is_data(entry: Any) -> bool:
    """Whether *entry* of a queue is data, which can be sliced, and no producer."""
    return hasattr(type(entry), "__getitem__") or isinstance(entry, type)


def take_produced(queue: Any, produced: Any) -> None:
    """Put what the producer at the head of *queue* gave before it; nothing is its end."""
    if produced:
        queue.appendleft(produced)
    else:
        del queue[0]


def send_bytes(channel: Any, state: State, fifo: deque[Any]) -> None:
    """Send the bytes at the head of *fifo*: small ones together, what is large in parts."""
    size = channel.ac_out_buffer_size
    entry, offset = fifo[0], state.offset
    state.rest = None
    total = len(entry) - offset
    if total < size and len(fifo) > 1 and channel.ac_out_coalesce and not state.keeps_bounds:
        data = joined(fifo, offset, size)
    else:
        data = entry[offset : offset + size]
    try:
        sent = channel.send(data)
    except OSError:
        channel.handle_error()
        return
    # Where somebody looked at the queue meanwhile, its first entry is what was left of this one.
    rest, state.rest = state.rest, None
    is_there = state.fifo is fifo and fifo and (fifo[0] is entry or fifo[0] is rest)
    if sent and is_there and fifo[0] is not None:
        advance(state, sent)
        if state.exposed:
            state.queue()


def joined(fifo: deque[Any], offset: int, size: int) -> bytes:
    """The bytes at the head of *fifo*, without the first *offset*, at most *size* of them."""
    pieces = [fifo[0][offset:]]
    total = len(pieces[0])
    for following in islice(fifo, 1, None):
        if type(following) is not bytes or not following or total + len(following) > size:
            break
        pieces.append(following)
        total += len(following)
    return b"".join(pieces)


def advance(state: State, sent: int) -> None:
    """Take *sent* bytes off the head of the queue, all of whose entries there are bytes."""
    fifo, offset = state.fifo, state.offset
    while sent and fifo:
        left = len(fifo[0]) - offset
        if sent < left:
            offset += sent
            break
        del fifo[0]
        sent -= left
        offset = 0
    state.offset = offset


def send_piece(channel: Any) -> None:
    """``initiate_send`` with nothing but public attributes: sends of one entry of the queue."""
    size = channel.ac_out_buffer_size
    entry, piece = _next_piece(channel, size)
    if entry is None:
        return
    if channel.use_encoding and isinstance(piece, str):
        piece = bytes(piece, channel.encoding)
    try:
        sent = channel.send(piece)
    except OSError:
        channel.handle_error()
        return
    if sent:
        if sent >= len(piece) and len(entry) <= size:
            del channel.producer_fifo[0]
        else:
            channel.producer_fifo[0] = entry[sent:]


def _next_piece(channel: Any, size: int) -> tuple[Any, Any]:
    """What *channel* is to send next, at most *size* of it: the entry of its queue, and the piece.

    Producers at the head are asked until one gives data; ``(None, None)`` where nothing is left,
    or where the end that ``close_when_done`` set was reached.
    """
    queue = channel.producer_fifo
    while queue and channel.connected:
        entry = queue[0]
        if not entry:
            del queue[0]
            if entry is None:
                hang_up(channel)
                break
        try:
            return entry, entry[:size]
        except TypeError:  # not data, so a producer; what it gives may be another one
            produced = entry.more()
        queue = channel.producer_fifo  # more() may have put another one in its place
        take_produced(queue, produced)
    return None, None


def flush(channel: Any) -> None:
    """Send what *channel* holds; what the kernel does not take is queued."""
    state = channel._fc_state
    if state is None or state.sending or state.held is None:
        return
    # Not channel.initiate_send(): the stock one, as it was when the bytes were pushed.
    initiate_send(channel)


def _unlist(state: State) -> None:
    """A delivery of the channel with *state* ended: it holds nothing any more."""
    # Nearly always the last.  By the state, which two objects share where a program gave one of
    # them the __dict__ of the other.
    at = len(_holding) - 1
    state.listed = False
    while at >= 0 and getattr(_holding[at], "_fc_state", None) is not state:
        at -= 1
    if at >= 0:  # pragma: no branch (absent only where a program emptied the __dict__)
        del _holding[at]


def flush_all() -> None:
    """Send what the channels of this thread hold: before a pass waits, and before a fork."""
    for channel in reversed(_holding[:]):
        state = channel._fc_state
        if state is not None and state.thread == get_ident():
            flush(channel)


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
