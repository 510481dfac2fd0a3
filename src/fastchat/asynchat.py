"""Protocols of lines and counted bytes over a channel: what Python's ``asynchat`` was.

This is the compatible layer: names, signatures, defaults, class attributes and exceptions are
those of CPython 3.11, together with what the documentation of Python 2.6 names and 3.11 had
dropped (``fifo``, ``refill_buffer``, ``async_chat(conn=...)``).  ``docs/compat.md`` has a row for
everything that differs.

Bytes come in through ``handle_read`` into ``ac_in_buffer``, and the scanner cuts that at the
terminator: what stands before it goes to ``collect_incoming_data``, its end is announced by
``found_terminator``.  Bytes go out through ``push`` or ``push_with_producer`` into
``producer_fifo``, from where ``initiate_send`` takes one piece at a time.

Rules this file keeps:

* Every method is an ordinary method, found on the instance at each call; the compiled code is
  functions that they call.
* ``ac_in_buffer`` is a property over one received object and an offset (``_fc_in``, ``_fc_pos``),
  so that a buffer of many lines is not copied once for each of them.

The signatures carry no annotations because programs compare them with the standard library's;
the types are in ``asynchat.pyi``.
"""

from collections import deque

from fastchat import asyncore
from fastchat._backend import scanner as _scanner

find_prefix_at_end = _scanner.find_prefix_at_end


class async_chat(asyncore.dispatcher):
    """A channel that cuts its input at terminators and queues its output.

    Subclasses override ``collect_incoming_data`` and ``found_terminator``, and call
    ``set_terminator``.  *sock* is a connected socket, *map* the map to join; *conn* is what *sock*
    was called up to Python 2.6.  Raises TypeError where both are given.
    """

    # The most that is received, and sent, at once, in bytes.
    ac_in_buffer_size = 65536
    ac_out_buffer_size = 65536

    # Whether str is encoded where a producer or set_terminator() gives it, and how.
    use_encoding = 0
    encoding = "latin-1"

    _fc_delivers = True

    # Which of a tuple of terminators found_terminator() was last called for.
    matched_terminator = None

    def __init__(self, sock=None, map=None, *, conn=None):
        if conn is not None:
            if sock is not None:
                raise TypeError("sock and conn are two names of one argument; give one of them")
            sock = conn
        self.ac_in_buffer = b""
        self.incoming = []
        self.producer_fifo = fifo() if _refills(self) else deque()
        # Last, because joining the map makes the channel visible to other threads' loops.
        asyncore.dispatcher.__init__(self, sock, map)

    # Input.

    def _fc_get_in_buffer(self):
        if self._fc_pos:
            self._fc_in = self._fc_in[self._fc_pos :]
            self._fc_pos = 0
        return self._fc_in

    def _fc_set_in_buffer(self, data):
        self._fc_in = data
        self._fc_pos = 0

    def _fc_del_in_buffer(self):
        del self._fc_in, self._fc_pos

    ac_in_buffer = property(
        _fc_get_in_buffer,
        _fc_set_in_buffer,
        _fc_del_in_buffer,
        "Input that no hook has seen yet, as bytes.",
    )

    def collect_incoming_data(self, data):
        """Take *data* (bytes), part of what stands before the terminator.  Override it."""
        raise NotImplementedError("must be implemented in subclass")

    def _collect_incoming_data(self, data):
        """A ``collect_incoming_data`` to use: keeps *data* for ``_get_data``."""
        self.incoming.append(data)

    def _get_data(self):
        """All that ``_collect_incoming_data`` kept, as bytes; forgets it."""
        data = b"".join(self.incoming)
        del self.incoming[:]
        return data

    def found_terminator(self):
        """The terminator was found.  Override it."""
        raise NotImplementedError("must be implemented in subclass")

    def set_terminator(self, term):
        """Say what ends the next piece of input.

        Bytes (or str, where ``use_encoding`` is true): these bytes, which are not delivered.  A
        tuple of bytes: whichever of them ends first, then the shortest; it is in
        ``matched_terminator``.  An int: after so many bytes, once.  None, 0 or empty: nothing, all
        input is delivered as it comes.

        Raises ValueError for a negative int and for a tuple that is or has something empty, and
        TypeError for a tuple with something else than bytes.  Another wrong type raises
        TypeError when input arrives, as it does in CPython 3.11.
        """
        if isinstance(term, tuple):
            if self.use_encoding:
                term = tuple(t.encode(self.encoding) if isinstance(t, str) else t for t in term)
            _scanner.check_terminators(term)
        elif isinstance(term, str) and self.use_encoding:
            term = bytes(term, self.encoding)
        elif isinstance(term, int) and term < 0:
            raise ValueError(f"the number of received bytes must be positive, not {term}")
        self.terminator = term

    def get_terminator(self):
        """What ``set_terminator`` set; for an int, how many bytes of it are still to come."""
        return self.terminator

    def handle_read(self):
        """Receive once, and deliver what can be delivered."""
        closes = getattr(self, "_fc_closes", 0)
        try:
            data = self.recv(self.ac_in_buffer_size)
        except BlockingIOError:
            return
        except OSError:
            self.handle_error()
            return
        if getattr(self, "_fc_closes", 0) != closes:
            return
        self.ac_in_buffer = self.ac_in_buffer + data
        _scanner.drive(self)

    # Output.

    def handle_write(self):
        self.initiate_send()

    def handle_close(self):
        self.close()

    def push(self, data):
        """Queue *data* and send what can be sent at once.

        Raises TypeError unless *data* is bytes, bytearray or memoryview.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be byte-ish ({type(data)!r}): "
                "push() takes bytes, bytearray or memoryview"
            )
        size = self.ac_out_buffer_size
        if len(data) > size:
            for start in range(0, len(data), size):
                self.producer_fifo.append(data[start : start + size])
        else:
            self.producer_fifo.append(data)
        self.initiate_send()

    def push_with_producer(self, producer):
        """Queue *producer*: its ``more()`` gives bytes or another producer, nothing at its end."""
        self.producer_fifo.append(producer)
        self.initiate_send()

    def readable(self):
        return 1

    def writable(self):
        if _refills(self) and self.ac_out_buffer:
            return True
        return self.producer_fifo or (not self.connected)

    def close_when_done(self):
        """Close the channel when everything that is queued now has been sent."""
        self.producer_fifo.append(None)

    def initiate_send(self):
        """Send one piece of what is queued, at most ``ac_out_buffer_size`` bytes."""
        if _refills(self):
            _send_refilled(self)
            return
        size = self.ac_out_buffer_size
        entry, piece = _next_piece(self, size)
        if entry is None:
            return
        if self.use_encoding and isinstance(piece, str):
            piece = bytes(piece, self.encoding)
        try:
            sent = self.send(piece)
        except OSError:
            self.handle_error()
            return
        if sent:
            if sent >= len(piece) and len(entry) <= size:
                del self.producer_fifo[0]
            else:
                self.producer_fifo[0] = entry[sent:]

    def discard_buffers(self):
        """Forget all input, and all output that is not sent yet."""
        self.ac_in_buffer = b""
        del self.incoming[:]
        self.producer_fifo.clear()
        if _refills(self):
            self.ac_out_buffer = b""

    # Output as it was up to Python 2.5, and is in the documentation of 2.6.  Only a class that
    # overrides refill_buffer() works this way; for all others nothing below is ever called.

    ac_out_buffer = b""

    def refill_buffer(self):
        """Move one piece from ``producer_fifo`` to the end of ``ac_out_buffer``.

        Calls ``more()`` of the producer at the head, and goes on to the next where it has nothing
        left.  Closes the channel at the end that ``close_when_done`` set.
        """
        while self.producer_fifo:
            head = self.producer_fifo[0]
            if head is None:
                if not self.ac_out_buffer:
                    del self.producer_fifo[0]
                    asyncore._hang_up(self)
                return
            if isinstance(head, (bytes, bytearray, memoryview)):
                del self.producer_fifo[0]
                self.ac_out_buffer = self.ac_out_buffer + head
                return
            data = head.more()
            if data:
                self.ac_out_buffer = self.ac_out_buffer + data
                return
            del self.producer_fifo[0]


def _next_piece(channel, size):
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
                asyncore._hang_up(channel)
                break
        try:
            return entry, entry[:size]
        except TypeError:  # not data, so a producer; what it gives may be another one
            produced = entry.more()
        queue = channel.producer_fifo  # more() may have put another one in its place
        if produced:
            queue.appendleft(produced)
        else:
            del queue[0]
    return None, None


_STOCK_REFILL = async_chat.refill_buffer


def _refills(channel):
    """Whether *channel* overrides ``refill_buffer``, on its class or on itself."""
    return getattr(
        type(channel), "refill_buffer", _STOCK_REFILL
    ) is not _STOCK_REFILL or "refill_buffer" in getattr(channel, "__dict__", ())


def _send_refilled(channel):
    """``initiate_send`` for a channel that overrides ``refill_buffer``."""
    size = channel.ac_out_buffer_size
    if len(channel.ac_out_buffer) < size:
        channel.refill_buffer()
    if channel.ac_out_buffer and channel.connected:
        try:
            sent = channel.send(channel.ac_out_buffer[:size])
        except OSError:
            channel.handle_error()
            return
        if sent:
            channel.ac_out_buffer = channel.ac_out_buffer[sent:]


class simple_producer:
    """A producer of *data* (anything that slices) in pieces of *buffer_size*."""

    def __init__(self, data, buffer_size=512):
        self.data = data
        self.buffer_size = buffer_size

    # Bytes are one object and an offset: cutting the rest off for every piece would copy it every
    # time.  What can change is cut, and so is a plain attribute that hides the property.

    @property
    def data(self):
        """What is still to be produced."""
        if self._fc_start:
            self.data = self._fc_data[self._fc_start :]
        return self._fc_data

    @data.setter
    def data(self, data):
        self._fc_data = data
        self._fc_start = 0

    def more(self):
        """The next piece; something empty at the end."""
        whole, size = getattr(self, "_fc_data", None), self.buffer_size
        if type(whole) is bytes:
            start, end = self._fc_start, self._fc_start + size
            if len(whole) > end:
                self._fc_start = end
                return whole[start:end]
        piece, rest = self.data, b""
        if len(piece) > size:
            piece, rest = piece[:size], piece[size:]
        self.data = rest
        return piece


class fifo(deque):
    """The queue of producers up to Python 3.5: ``push``, ``pop``, ``first``, ``is_empty``.

    It is a deque as well, so that it can stand in for the ``producer_fifo`` of today.
    """

    def __init__(self, list=None):
        super().__init__(list or ())

    @property
    def list(self):
        """The queue itself, which was once a wrapper around a deque."""
        return self

    def is_empty(self):
        """Whether there is nothing in it."""
        return not self

    def first(self):
        """The oldest item, which stays; raises IndexError where there is none."""
        return self[0]

    def push(self, data):
        """Add *data* behind the others."""
        self.append(data)

    def pop(self):
        """Take the oldest item: ``(1, item)``, or ``(0, None)`` where there is none."""
        return (1, self.popleft()) if self else (0, None)
