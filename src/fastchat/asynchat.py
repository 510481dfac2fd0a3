"""Protocols of lines and counted bytes over a channel: what Python's ``asynchat`` was.

This is the compatible layer: names, signatures, defaults, class attributes and exceptions are
those of CPython 3.11, together with what the documentation of Python 2.6 names and 3.11 had
dropped (``fifo``, ``refill_buffer``, ``async_chat(conn=...)``).  Where it differs there is a row in
https://github.com/fastchat/fastchat/blob/main/docs/compat.md

Bytes come in through ``handle_read`` into ``ac_in_buffer``, and the scanner cuts that at the
terminator: what stands before it goes to ``collect_incoming_data``, its end is announced by
``found_terminator``.  Bytes go out through ``push`` or ``push_with_producer`` into
``producer_fifo``, from where ``initiate_send`` takes what one ``send`` may have.

Rules this file keeps:

* ``async_chat`` is an ordinary class.  The methods of its hot path are compiled, or the same in
  Python; all are found on the instance at each call, and can be overridden like any.
* ``ac_in_buffer``, ``producer_fifo`` and ``socket`` are properties over a small object, the
  channel's state, on which that path works.

The signatures carry no annotations because programs compare them with the standard library's;
the types are in ``asynchat.pyi``.
"""

from collections import deque

from fastchat import _properties, asyncore
from fastchat._backend import methods as _methods
from fastchat._backend import scanner as _scanner
from fastchat._core.generic import is_data as _is_data
from fastchat._core.generic import take_produced as _take_produced
from fastchat._core.outgoing import enqueue as _enqueue
from fastchat._core.shown import NAMES as _NAMES
from fastchat._hangups import hang_up as _hang_up
from fastchat._settings import COALESCE as _COALESCE

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

    # Whether what is pushed while input is delivered, or waits in small pieces, may leave together.
    ac_out_coalesce = _COALESCE is not False

    # Whether str is encoded where a producer or set_terminator() gives it, and how.
    use_encoding = 0
    encoding = "latin-1"

    _fc_delivers = True
    _fc_properties = _NAMES

    # Which of a tuple of terminators found_terminator() was last called for.
    matched_terminator = None

    def __init__(self, sock=None, map=None, *, conn=None):
        if conn is not None:
            if sock is not None:
                raise TypeError("sock and conn are two names of one argument; give one of them")
            sock = conn
        self.incoming = []
        if not _properties.begin(self):
            self.ac_in_buffer = b""
            self.producer_fifo = deque()
        # Last, because joining the map makes the channel visible to other threads' loops.
        asyncore.dispatcher.__init__(self, sock, map)

    # Input.

    _fc_own_state = _properties.own_state
    ac_in_buffer = _properties.ac_in_buffer
    socket = _properties.socket

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
        tuple of bytes: whichever of them ends first, then the longest; it is in
        ``matched_terminator``.  An int: after so many bytes, once.  None, 0 or empty: nothing, all
        input is delivered as it comes.

        Raises ValueError for a negative int and for a tuple that is or has something empty, and
        TypeError for a tuple with something else than bytes.  Another wrong type raises
        TypeError when input arrives, as it does in CPython 3.11.
        """
        if type(term) is bytes:
            pass  # nearly always
        elif isinstance(term, tuple):
            if self.use_encoding:
                term = tuple(t.encode(self.encoding) if isinstance(t, str) else t for t in term)
            _scanner.check_terminators(term)
        elif isinstance(term, str) and self.use_encoding:
            term = bytes(term, self.encoding)
        elif isinstance(term, int) and term < 0:
            raise ValueError(f"the number of received bytes must be positive, not {term}")
        self.terminator = term

    get_terminator = _methods.get_terminator
    handle_read = _methods.handle_read
    readable = _methods.readable

    # Output.

    producer_fifo = _properties.producer_fifo

    handle_write = _methods.handle_write

    def handle_close(self):
        self.close()

    push = _methods.push

    def push_with_producer(self, producer):
        """Queue *producer*: its ``more()`` gives bytes or another producer, nothing at its end."""
        _enqueue(self, producer)
        self.initiate_send()

    writable = _methods.writable

    def close_when_done(self):
        """Close the channel when everything that is queued now has been sent."""
        _enqueue(self, None)

    initiate_send = _methods.initiate_send

    def discard_buffers(self):
        """Forget all input, and all output that is not sent yet."""
        self.ac_in_buffer = b""
        del self.incoming[:]
        self.producer_fifo.clear()

    def refill_buffer(self):
        """Take the next piece from the producer at the head of the queue, and put it before it.

        A producer that has nothing left is dropped, and the next one asked; None, which
        ``close_when_done`` puts there, is taken away and closes the channel.  Data at the head
        stays as it is.  This is for programs that call it, as the documentation of Python 2.6 has
        it; nothing here does.
        """
        queue = self.producer_fifo
        while queue:
            head = queue[0]
            if not head:
                del queue[0]
                if head is None:
                    _hang_up(self)
                    return
            elif _is_data(head):
                return
            else:
                produced = head.more()
                queue = self.producer_fifo  # more() may have put another one in its place
                _take_produced(queue, produced)


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
