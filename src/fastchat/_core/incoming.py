# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""Input of channels: from a readable descriptor to the hooks.

The loop calls ``handle_read_event``; ``recv`` asks the socket; ``handle_read`` receives once, and
delivers: what was received is cut at the terminator, and given to ``collect_incoming_data`` and
``found_terminator``.  The rules of delivery, because programs can see each of them:

* What a program may override is looked up on the channel at each call; input goes through ``recv``
  and ``socket``.
* ``get_terminator`` is called once for each piece.
* While ``collect_incoming_data`` runs, the buffer still begins with the piece; while
  ``found_terminator`` runs, it begins behind the terminator.  An exception leaves it like that.
* What a hook does to the buffer counts: the buffer is looked at again after every hook.
* A closed channel gets no more input.
* Work is linear in the bytes: the buffer is one object and an offset, in the channel's ``State``,
  never cut by copying the rest, and each byte is searched a bounded number of times.

A channel whose class replaces the ``ac_in_buffer`` property with a plain attribute, and a buffer
that is not bytes, take ``cut_generic`` instead, which does one piece at a time the old way.
Compiled, a socket of the standard class is received from by a system call (``is_plain_socket``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastchat._core.generic import NOT_ASKED, as_bytes, cut_generic, drop_input_generic
from fastchat._hangups import closes_of, forget_hang_up, hang_up, means_gone
from fastchat._scanner_py import check_terminators

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from threading import get_ident

    from fastchat._core.facts import is_plain_socket
    from fastchat._core.outgoing import flush, size_of
    from fastchat._core.state import State, own_state, state_of
    from fastchat._scanner_py import (
        find_first_terminator,
        find_terminator,
        held_back,
        lines_of,
        only_line,
    )

    if TYPE_CHECKING:
        from fastchat._core.facts import (
            has_stock_push,
            has_stock_terminator,
            still_has_stock_terminator,
        )
        from fastchat._core.state import set_current, socket_of
        from fastchat._sysio import receive

# The most that is received in one go without asking the socket's method, in bytes.
MAX_DIRECT_RECEIVE = 1 << 20

# How much input is cut into lines at once, at first and at most, in bytes.
FIRST_WINDOW = 256
LAST_WINDOW = 16384

# In how much input ``cut_one`` looks for a line, in bytes: in vain, it is searched once more.
CUT_ONE_LIMIT = 512

# What a buffer is where there is no input, the only bytes object of its kind.
EMPTY = b""


# What the loop calls.


def readable(self: Any) -> Any:
    """Whether to wait for input: always."""
    return 1


def get_terminator(self: Any) -> Any:
    """What ``set_terminator`` set; for an int, how many bytes of it are still to come."""
    return self.terminator


def handle_read_event(self: Any) -> None:
    """The descriptor is readable: a connection to take, a connect that is done, or input."""
    state = state_of(self) if cython.compiled else None
    if (
        state.close_notified
        if state is not None
        else getattr(self, "_fc_hung_up", None) is not None
    ):
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


def recv(self: Any, buffer_size: Any) -> Any:
    """Receive at most *buffer_size* bytes.

    Returns ``b""`` at the end of the connection: ``handle_close`` has then been called.
    Raises BlockingIOError when there is nothing to receive, OSError for any other failure.
    """
    sock = socket_of(self) if cython.compiled else self.socket  # what is held goes first
    try:
        data = _receive(sock, buffer_size) if cython.compiled else sock.recv(buffer_size)
    except OSError as failure:
        if not means_gone(self, failure):
            raise
        data = b""
    if not data:
        hang_up(self)
        return b""
    return data


def _receive(sock: Any, buffer_size: Any) -> Any:  # compiled only
    """What ``sock.recv(buffer_size)`` returns, by a system call where that can be."""
    size = size_of(buffer_size)
    data = None
    if 0 < size <= MAX_DIRECT_RECEIVE and is_plain_socket(sock):
        data = receive(sock, size)
    return sock.recv(buffer_size) if data is None else data


def handle_read(self: Any) -> None:
    """Receive once, and deliver what can be delivered."""
    state = state_of(self)
    if state is None:
        _handle_read_generic(self)
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
    is_bytes = type(data) is bytes and type(buffer) is bytes
    terminator = NOT_ASKED
    if is_bytes and buffer is EMPTY and data and not state.depth:
        state.buffer = data
        terminator = cut_one(self, state, data)
        if terminator is None:
            return
    elif is_bytes:
        state.buffer = data if state.start >= len(buffer) else buffer[state.start :] + data
        state.start = 0
    else:
        self.ac_in_buffer = self.ac_in_buffer + data
    _deliver(self, state, terminator)


def _deliver(channel: Any, state: State, terminator: Any) -> None:
    """Deliver the input of *channel*; what it pushes meanwhile may be held until the end.

    *terminator* is for ``cut``.
    """
    thread, more = state.thread, state.more
    try:
        state.depth += 1
        state.thread = get_ident()
        if cython.compiled:
            set_current(channel, state)
            facts = state.facts
            state.push_version = facts.version if has_stock_push(channel, facts, 0) else 0
            state.terminator_version = facts.version if has_stock_terminator(channel, facts) else 0
        cut(channel, state, terminator)
    finally:
        # Of two threads whose loops deliver to one channel, the first to begin may be first to end.
        state.depth -= 1
        if state.depth:
            state.thread, state.more = thread, more
        else:
            state.thread, state.more = 0, False
        try:
            if state.held:
                flush(channel)
        finally:
            if cython.compiled:
                set_current(None, None)


def _handle_read_generic(channel: Any) -> None:
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


def drop_input(channel: Any) -> None:
    """No hook of *channel* sees any more what it has received."""
    state = own_state(channel)
    with cython.critical_section(state):
        if type(state.buffer) is bytes and state.fits(channel):
            state.buffer = b""
            state.start = 0
        else:
            drop_input_generic(channel)
        state.closes += 1


# Delivery.


def drive(channel: Any) -> None:
    """Deliver what the input buffer of *channel* holds.

    Calls ``collect_incoming_data`` and ``found_terminator`` until the buffer is empty, or ends
    with what may be the beginning of a terminator.  Where a hook closes the channel, the rest is
    dropped.  Exceptions of the hooks leave.  Raises TypeError where the terminator is of no type
    that can be one.
    """
    state = state_of(channel)
    if state is not None:
        cut(channel, state, NOT_ASKED)
        return
    closes = closes_of(channel)
    while cut_generic(channel, closes):
        pass


def cut_one(channel: Any, state: State, data: bytes) -> Any:
    """Deliver *data*, all the input of *channel*, if it is a short line or part of a large piece.

    Most input is, and none of the output for it is to be held: nothing is behind it.  Returns None
    where there is no more to deliver, else what ``cut`` is to be told.
    """
    closes = state.closes
    terminator = channel.get_terminator()
    size = len(data)
    if state.buffer is not data:
        return None if state.closes != closes else _none_as_bytes(terminator)
    if type(terminator) is int and terminator > size:
        channel.collect_incoming_data(data)
        if state.closes == closes:
            channel.ac_in_buffer = b""
            channel.terminator = channel.terminator - size
        return None
    if type(terminator) is not bytes or not terminator or size > CUT_ONE_LIMIT:
        return _none_as_bytes(terminator)
    piece = only_line(data, terminator)
    if piece is None:
        return terminator
    if piece:
        channel.collect_incoming_data(piece)
        if state.closes != closes:
            return None
    if state.buffer is data and not state.start:
        state.buffer = b""
    else:
        channel.ac_in_buffer = channel.ac_in_buffer[size:]
    channel.found_terminator()
    return None if state.closes != closes or state.buffer is EMPTY else NOT_ASKED


def _none_as_bytes(terminator: Any) -> Any:
    """*terminator*; ``b""`` for None, which ``cut_one`` returns when it is done."""
    return b"" if terminator is None else terminator


def _ask(channel: Any, state: State) -> Any:  # compiled only
    """What ``get_terminator`` of *channel* says; not called where it is known to be stock."""
    if still_has_stock_terminator(channel, state.facts, state.terminator_version):
        return channel.terminator
    return channel.get_terminator()


def cut(channel: Any, state: State, known_terminator: Any) -> None:
    """``drive`` for a *channel* whose buffer is in its *state*.

    *known_terminator* is what ``get_terminator`` said of the first piece, if it was called already.
    """
    closes = state.closes
    buffer: Any = None
    window = size = 0
    while True:
        if state.buffer is not buffer or (cython.compiled and not state.fits(channel)):
            if type(state.buffer) is not bytes or not state.fits(channel):
                if (
                    not cut_generic(channel, closes_of(channel), known_terminator)
                    or state.closes != closes
                ):
                    return
                buffer, known_terminator = None, NOT_ASKED
                continue
            buffer = state.buffer
            window = 0
            size = len(buffer)
        start = state.start
        if start >= size:
            return

        if known_terminator is NOT_ASKED:
            known_terminator = _ask(channel, state) if cython.compiled else channel.get_terminator()
            if state.buffer is not buffer:  # that has changed the input, or closed the channel
                if state.closes != closes:
                    return
                continue
        terminator, known_terminator = known_terminator, NOT_ASKED
        # Whole pieces, and how many bytes of terminator are behind each: nearly all there is.
        pieces = None
        behind = 0
        if type(terminator) is bytes and terminator:
            pieces = lines_of(buffer, start, terminator, window)
            behind = len(terminator)
            # The window grows while its lines are wanted, so that little is cut in vain.
            if len(pieces) > 1:
                window = min(4 * window, LAST_WINDOW)
            elif pieces:
                window = FIRST_WINDOW if len(pieces[0]) <= FIRST_WINDOW // 2 else 0
        elif type(terminator) is int and 0 < terminator <= size - start:
            pieces, window = [buffer[start : start + terminator]], 0
        if pieces:
            for piece in pieces:
                # As below, without what cannot be.
                end = start + len(piece) + behind
                state.more = end < size
                if piece:
                    channel.collect_incoming_data(piece)
                    if state.closes != closes:
                        return
                if state.buffer is not buffer or state.start != start:
                    channel.ac_in_buffer = channel.ac_in_buffer[end - start :]
                elif end == size:
                    state.buffer = b""  # nobody needs what was received any more
                    state.start = 0
                else:
                    state.start = end
                if not behind:
                    channel.terminator = 0
                channel.found_terminator()
                if state.closes != closes:
                    return
                if (
                    state.buffer is not buffer
                    or state.start != end
                    or (cython.compiled and not state.fits(channel))
                ):
                    known_terminator = NOT_ASKED
                    break
                start = end
                known_terminator = (
                    _ask(channel, state) if cython.compiled else channel.get_terminator()
                )
                if known_terminator is not terminator or state.buffer is not buffer:
                    if state.closes != closes:
                        return
                    window = 0
                    break
            continue

        # Where the piece ends, where the search goes on, and whether that is a terminator's end.
        found = counted = False
        piece_end = end = size
        matched = None
        if type(terminator) is bytes and terminator:
            piece_end = end = size - held_back(buffer, start, (terminator,))
        elif not terminator:
            pass
        elif isinstance(terminator, int):
            counted = True
            if terminator <= size - start:
                found = True
                # A negative number, which only an assignment to the attribute makes, counts from
                # the end, as slices do.
                piece_end = end = max(start, (start if terminator > 0 else size) + terminator)
        elif isinstance(terminator, tuple):
            several = check_terminators(terminator)
            match = find_first_terminator(buffer, several, start)
            if match is not None:
                found = True
                piece_end, matched = match
                end = piece_end + len(matched)
            else:
                piece_end = end = size - held_back(buffer, start, several)
        else:
            plain = as_bytes(terminator)
            index = find_terminator(buffer, plain, start)
            if index >= 0:
                found = True
                piece_end = index
                end = index + len(plain)
            else:
                piece_end = end = size - held_back(buffer, start, (plain,))

        state.more = end < size
        if piece_end > start or counted:
            channel.collect_incoming_data(buffer[start:piece_end])
            if state.closes != closes:
                return
        # The very object, because what is new has to be looked at anew.
        untouched = state.buffer is buffer and state.start == start
        if found:
            if untouched and end == size:
                state.buffer = b""
                state.start = 0
            elif untouched:
                state.start = end
            else:
                taken = terminator if counted else end - start
                channel.ac_in_buffer = channel.ac_in_buffer[taken:]
            if counted:
                channel.terminator = 0
            elif matched is not None:
                channel.matched_terminator = matched
            channel.found_terminator()
            if state.closes != closes:
                return
        elif end < size:
            # A copy, so that a few bytes do not keep all of what was received alive.
            rest = buffer[end:] if untouched else channel.ac_in_buffer[end - size :]
            channel.ac_in_buffer = rest
            return
        else:
            channel.ac_in_buffer = b""
            if counted:
                channel.terminator = channel.terminator - (size - start)
            return
