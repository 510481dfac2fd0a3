"""What an ``async_chat`` channel keeps of its input and output, in Python.

The twin of the class ``State`` in ``_state.pxi``: the same methods, and the same attributes but for
``held`` (compiled: a list of what is held, or None), ``plain``, whether its class fits (compiled:
looked at whenever the class has changed), and who sends (compiled: in the state; here: ``_senders``
in ``_channel_py.py``).  One small object for each channel holds what the
hot path works on, so that it costs one look-up to get there, and a few hundred bytes less than
attributes of the channel would.

The public attributes ``ac_in_buffer``, ``producer_fifo`` and ``socket`` are properties over it
(``_properties.py``).  Rules that all who touch a state keep:

* Input is ``buffer[start:]``.  Whoever changes what is behind ``start`` assigns another object.
* Output is ``fifo`` without its first ``offset`` bytes.  Only ``queue()`` shows it to a program, as
  one deque.  Any thread may put something at its end; only one that sends takes something away.
"""

from __future__ import annotations

from typing import Any

# The properties over a state, which a class may hide behind attributes of its own.
NAMES = ("ac_in_buffer", "producer_fifo", "socket")


class StateProperty(property):
    """A property over the state of a channel."""


def has_properties(kind: type) -> bool:
    """Whether the class *kind* leaves the properties over its state as they are."""
    return all(type(getattr(kind, name, None)) is StateProperty for name in NAMES)


class Absent:
    """Stands where the library has nothing to work on; ``there`` says what the program sees."""


# Never assigned, or deleted; and None, which no program means for a queue.
ABSENT, NO_QUEUE = Absent(), Absent()


class State:
    """What an ``async_chat`` channel keeps of its input and output, in its ``_fc_state``.

    The public attributes ``ac_in_buffer``, ``producer_fifo`` and ``socket`` are properties over
    it.  A class may hide one of them behind an attribute of its own; then ``fits`` is false, and
    only the public attributes are used.
    """

    __slots__ = (  # noqa: RUF023 (what belongs together stands together)
        "buffer",  # the input, of whatever type was received or assigned
        "start",  # how much of it was delivered
        "closes",  # how often the channel was closed
        "socket",
        "fifo",  # the queue of output; None where it is empty and nobody needed it (compiled only)
        "offset",  # how much of the first entry of fifo was sent
        "rest",  # what queue() made of the first entry, or None
        "exposed",  # whether a program has had its hands on fifo
        "held",  # whether the last of the queue was pushed without a send
        "held_size",  # how many bytes of it
        "depth",  # how many deliveries of the channel's input are going on
        "more",  # whether input waits behind what the hook at work was given
        "thread",  # which thread makes the innermost
        "again",  # whether another thread has pushed while one was sending
        "is_stream",  # whether nobody can tell two send() from one; None where nobody has looked
        "told",  # whether handle_close() was called, as _hangups.was_told() has it
        "plain",  # the class of the channel, if it fits; only the Python twin asks
        "_kind",  # the class for which the next one was found out
        "_fits",
    )

    def __init__(self) -> None:
        self.buffer: Any = ABSENT
        self.start = 0
        self.closes = 0
        self.socket: Any = ABSENT
        self.fifo: Any = ABSENT
        self.offset = 0
        self.rest: bytes | None = None
        self.exposed = False
        self.held = False
        self.held_size = 0
        self.depth = 0
        self.more = False
        self.thread = 0
        self.again = False
        self.told = False
        self.is_stream: bool | None = None
        self.plain: Any = None
        self._kind: Any = None
        self._fits = False

    def fits(self, channel: Any) -> bool:
        """Whether the class of *channel* leaves the three properties as they are."""
        if type(channel) is not self._kind:
            self._look_at(type(channel))
        return self._fits

    def _look_at(self, kind: type) -> None:
        self._fits = has_properties(kind)
        self._kind = kind
        self.plain = kind if self._fits else None

    def queue(self) -> Any:
        """All output that waits, as the deque that programs know; whoever asks has flushed."""
        fifo = self.fifo
        if self.offset:
            if fifo:
                fifo[0] = self.rest = fifo[0][self.offset :]
            self.offset = 0
        return fifo
