# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""What a ``LineChannel`` keeps, and the way of its lines: from a readable descriptor to a hook.

``LineState`` here has the way that nearly every read takes, and the output; ``line_events.py`` has
the rest, in Python: what a hook has asked for, what is too long, ends, deadlines.

Rules these two files keep:

* Hooks get lines one after the other, in the order of the input, and none while another hook of
  the channel runs.  ``stops`` says why none is given now, and is 0 on the ordinary way.
* What hooks send, and what they return, leaves in that order, joined, when they are done.
* After ``close()`` a hook hears of no further line, after ``connection_lost()`` of nothing.
* A hook that raises ends its own channel.  What leaves the loop loses nothing that was not given
  to a hook yet.
* Everything belongs to the thread of the loop, and nothing is locked.
* A read costs no look at the clock: what came and went is noted by the time of the pass.
* From where input was received, or a body was taken, to the hook nothing of Python is called, so
  that no signal handler can raise there; hence the inner methods of the buffer, and of this class.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from fastchat._core.line_rules import LineTooLong
from fastchat._core.line_stops import (
    BUSY,
    CLOSING,
    DONE,
    EXACT,
    GONE,
    HELD,
    LEFT,
    LINES,
    OVER,
    RAW,
    STOPPED,
    UNBEGUN,
)
from fastchat._core.pollers import READ, is_ours

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from fastchat._core.facts import is_plain_socket
    from fastchat._scanner_py import join_checked

    if TYPE_CHECKING:
        from fastchat._sysio import receive, send_bytes

# How much is received at once, in bytes.
SIZE = 65536
# Of how many bytes on what hooks send leaves before they are done.
FLUSH = 65536
# Up to how many bytes what waits is joined: a piece of its own has some 40 bytes besides.
TOGETHER = 4096
# How exactly the owner knows how many bytes wait.
GRAIN = 1024


class Tally:
    """What the channels of one class and one server have done; *name* is that of the class.

    Its numbers are whole; any thread may read them.
    """

    if not cython.compiled:
        __slots__ = (  # noqa: RUF023 (what belongs together stands together)
            "name",
            "open",  # connections that are there, and that came so far
            "accepted",
            "received",  # bytes of input, and of output that the kernel took
            "sent",
            "lines",  # given to hooks; what these give back counts again
            "lines_too_long",
            "hook_errors",  # exceptions that left a hook
            "over_max_output",  # connections that a limit has ended
            "over_max_memory",
            "idle_timeouts",  # deadlines that have passed
            "line_timeouts",
            "write_timeouts",
        )

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.open = self.accepted = self.received = self.sent = self.lines = 0
        self.lines_too_long = self.hook_errors = 0
        self.over_max_output = self.over_max_memory = 0
        self.idle_timeouts = self.line_timeouts = self.write_timeouts = 0

    def count_timeout(self, which: str) -> None:
        """A deadline has passed."""
        name = f"{which}_timeouts"
        setattr(self, name, getattr(self, name) + 1)


class LineState:
    """What the *channel* keeps: its buffer cuts the input, its agenda has the deadlines.

    The buffer and the limits come from ``line_limits.py``.  *events* has the functions of
    ``line_events.py``, which stands above this file.
    """

    if not cython.compiled:
        __slots__ = (  # noqa: RUF023 (what belongs together stands together)
            "channel",
            "sock",
            "pid",  # of the process that has made the connection
            "buffer",
            "agenda",
            "events",
            "stops",
            "wants",  # what to wait for, as the flags of a poller
            "is_batch",  # whether lines_received() is the program's
            "mode",  # of line_stops.py; EXACT: the next ``exact`` bytes are one piece
            "exact",
            "has_changed",  # whether a hook has changed the mode, so that lines are cut anew
            "has_ended",  # whether the end of the input was received
            "has_told_end",  # and eof_received() was called
            "stays_open",  # which has said so
            "has_said_goodbye",  # whether shutting_down() was called
            "is_ending",  # by shut_down()
            "is_unread",  # and what the socket has is still to be received
            "has_shut",  # whether the own half of the connection is shut
            "is_overdue",  # whether it closes because input did not come in time
            "held",  # lists of lines that were cut and not given; a tuple has one too long; or None
            "batch",  # the lines that line_received() gets, and which is next
            "next_line",
            "delimiter",  # of replies
            "cut_by",  # what was behind the lines that the hook has which runs
            "others",  # what else must not be in them
            "replies",  # lines that hooks have returned
            "out",  # what leaves before these
            "out_size",
            "taken",  # how many bytes of output the kernel took since ``wrote``
            "queue",  # what the kernel did not take, the first piece from ``offset`` on
            "offset",
            "waiting",  # how many bytes that is
            "failure",  # what ended the connection
            "timers",  # those of call_later(), or None
            "owner",  # the server that counts it, or None; see _admission.py
            "counted",  # how many bytes that has counted here
            "tally",  # and where it counts what goes through the channels of one class, or None
            "armed",  # for when it has an entry in the agenda, 0 for none
            "heard",  # when input came last or output went
            "began",  # when the line or the body that waits began, 0 where none does
            "begun_kib",  # how many KiB of a body had come when its time began anew, else 0
            "wrote",  # when the kernel took output last, or output began to wait
            "max_line",
            "lines_per_pass",
            "most",  # how many lines are cut at once
            "max_body",
            "high_water",
            "low_water",
            "max_output",
            "idle_timeout",
            "line_timeout",
            "write_timeout",
            "linger_timeout",
        )

    def __init__(self, channel: Any, events: Any) -> None:
        self.channel: Any = channel
        self.events = events
        self.sock: Any = None
        self.pid: int = 0
        self.buffer: Any = None
        self.agenda: Any = None
        self.stops: int = UNBEGUN
        self.wants: int = READ
        self.is_batch = False
        self.mode: int = 0
        self.exact: int = 0
        self.has_changed = False
        self.has_ended = False
        self.has_told_end = False
        self.stays_open = False
        self.has_said_goodbye = False
        self.is_ending = False
        self.is_unread = False
        self.has_shut = False
        self.is_overdue = False
        self.begun_kib: int = 0
        self.held: deque[Any] | None = None
        self.batch: list[bytes] | None = None
        self.next_line: int = 0
        self.delimiter = self.cut_by = b"\r\n"
        self.others: tuple[bytes, ...] = ()
        self.replies: list[bytes] | None = None
        self.out: list[bytes] | None = None
        self.out_size: int = 0
        self.taken: int = 0
        self.queue: deque[bytes] | None = None
        self.offset: int = 0
        self.waiting: int = 0
        self.failure: Any = None
        self.timers: set[Any] | None = None
        self.owner: Any = None
        self.counted: int = 0
        self.tally: Tally | None = None
        self.armed: float = 0.0
        self.heard: float = 0.0
        self.began: float = 0.0
        self.wrote: float = 0.0
        self.max_line = self.lines_per_pass = self.max_body = 0
        self.most = 0
        self.high_water = self.low_water = self.max_output = 0
        self.idle_timeout: float = 0.0
        self.line_timeout: float = 0.0
        self.write_timeout: float = 0.0
        self.linger_timeout: float = 0.0

    # Input.

    def read_event(self) -> None:
        """There is input, or its end."""
        try:
            self._read()
            if self.owner is not None:
                self.weigh()
        except BaseException:
            self.requeue()
            raise

    def _read(self) -> None:
        if self.stops:
            if self.stops != HELD:  # else what waits comes first, in the next pass
                self.events.read_slowly(self)
            return
        data = self.receive()
        if data is None:
            return
        self.heard = self.agenda.now
        if self.tally is not None:
            self.tally.received += len(data)
        if self.mode or not data:
            self.has_ended = not data
            self.feed(data)
            self.events.go_on(self)
            return
        self._cut_and_give(data)

    def _cut_and_give(self, data: bytes) -> None:
        """Give the hook the lines that wait, and those of *data*, as far as one pass may."""
        buffer = self.buffer
        whole = buffer._ahead_size + len(data)
        too_long = None
        if (
            buffer._waiting() + len(data) > self.max_line
            and not buffer._is_skipping
            and buffer._goes_on(data)
        ):
            # Before it is copied behind what is begun: it would take as much again.
            lines = []
            too_long = self.drop_long(data)
        else:
            lines = self._feed(data, self.most)
        if lines:
            self.began = 0.0
            # None but the first has more bytes than came whole.
            if len(lines[0]) > self.max_line or (whole > self.max_line and self._has_long(lines)):
                self.keep(lines)
                self.events.go_on(self)
                return
            if len(lines) >= self.most:
                self._cut_more()
                if buffer._waiting():
                    self.requeue()
            self.give(lines)
        mode: int = self.mode  # which a hook may have changed
        if not mode and (buffer._waiting() or buffer._is_skipping):
            if not self.began:
                # What was there before may be asked for long after it came.
                self.began = self.heard if data else self.agenda.moment()
            if too_long is not None:
                self.events.tell_long(self, too_long.prefix, too_long.size)
            elif buffer._waiting() > self.max_line and not self.stops:
                self.events.overflow(self)

    def _feed(self, data: bytes, most: int) -> list[bytes]:
        """At most so many lines of what waits and *data*, of any length: see drop_long()."""
        buffer = self.buffer
        skipped = buffer._is_skipping
        lines: list[bytes] = buffer._feed(data, most)
        if skipped and not buffer._is_skipping:
            self.began = 0.0  # the line that was dropped
        return lines

    def mark_begun(self) -> None:
        """Note since when a line or a body waits that is not whole, 0 where none does."""
        buffer = self.buffer
        if self.has_ended or not (buffer._waiting() or buffer._is_skipping):
            self.began = 0.0
        elif not self.began:
            self.began = self.agenda.moment()
            self.begun_kib = 0

    def feed(self, data: bytes) -> None:
        """Let *data* wait, behind all input."""
        self._feed(data, 0)

    def gather(self, most: int) -> None:
        """Receive what the socket has, some *most* bytes, and let it wait."""
        while most > 0:
            data = self.receive()
            if not data:
                self.has_ended = self.has_ended or data is not None
                return
            self.feed(data)
            most -= len(data)
            if self.tally is not None:
                self.tally.received += len(data)

    def put_back(self, data: bytes) -> None:
        """Let *data* be the next input, and forget what is held."""
        self.held = None
        self.buffer._put_first(data)

    def has_uncut(self) -> bool:
        """Whether something waits that may be given: no part of a line, or of a body."""
        if self.mode == EXACT:  # of which none may be waited for, too
            return bool(self.buffer._waiting() >= self.exact)
        waiting: int = self.buffer._waiting() if self.mode else self.buffer._ahead_size
        return waiting > 0

    def is_skipping(self) -> bool:
        """Whether a line that is too long, and was dropped so far, goes on."""
        skips: bool = self.buffer._is_skipping
        return skips

    def drop_long(self, data: bytes) -> Any:
        """Drop the line that waits, and goes on with *data*, if it is too long and has no end.

        Where no delimiter has begun, that is.  Returns the LineTooLong that says so, or None.  The
        buffer has no limit but here, so that nothing is dropped which a hook takes by another mode.
        """
        buffer = self.buffer
        longest = buffer._longest
        if not data:
            buffer._take_back()
        buffer._longest = self.max_line
        try:
            buffer._feed(data, longest)
        except LineTooLong as failure:
            if not is_ours(failure):
                raise
            # Whoever keeps it does not keep the frames, which have what was received.
            return failure.with_traceback(None)
        finally:
            buffer._longest = longest
        return None

    def most_ever(self) -> int:
        """How many lines are cut at once where hooks change no mode.

        As many as can be taken back when one does: joined again, they must be what was received.
        """
        return self.lines_per_pass if self.is_batch or not self.others else 1

    def _cut_more(self) -> None:
        """As many lines came as were cut at once: cut more, if it was few."""
        most = self.most_ever()
        if self.most < most:
            self.most = most if self.most > most // 2 else 2 * self.most

    def _has_long(self, lines: list[bytes]) -> bool:
        """Whether one of *lines* is too long."""
        longest = 0
        for line in lines:
            longest = max(longest, len(line))
        return longest > self.max_line

    def receive(self) -> bytes | None:
        """What the socket has, None where that is nothing; a connection that broke is lost."""
        try:
            if cython.compiled and is_plain_socket(self.sock):
                return receive(self.sock, SIZE)
            data: bytes = self.sock.recv(SIZE)
            return data
        except BlockingIOError as failure:
            if not self.is_of_socket(failure):
                raise
        except OSError as failure:
            if not self.is_of_socket(failure):
                raise
            self.events.lose(self, failure)
        return None

    def is_of_socket(self, failure: BaseException) -> bool:
        """Whether the socket has raised *failure*, and no signal handler.

        One that is not of the system, and so may be written in Python, is taken at its word.
        """
        return is_ours(failure) or not is_plain_socket(self.sock)

    def give(self, lines: list[bytes]) -> None:
        """Let the hook have *lines*, and send what it answers."""
        self.stops |= BUSY
        try:
            if self.is_batch:
                reply = self.channel.lines_received(lines)
                if (
                    type(reply) is list
                    and self.replies is None
                    and self.out is None
                    and not self.others
                ):
                    if reply:
                        self.transmit(join_checked(reply, self.delimiter))
                else:
                    if reply is not None:
                        self.add(reply)
                    self.flush()
            else:
                self.batch = lines
                self.next_line = 0
                self._give_each()
                self.flush()
        except BaseException as failure:
            self.events.fail(self, failure)
        finally:
            is_done = self.stops == BUSY
            self.stops &= DONE
            self.end_hook()
            if self.tally is not None:
                self.tally.lines += len(lines) if self.is_batch else self.next_line
        if not is_done:
            self.events.settle(self)

    def give_raw(self) -> bool:
        """Let the hook have what waits and is no line, and send what it answers.

        Whether there was any; none is before a line has ended that is being dropped.
        """
        if self.buffer._is_skipping:
            return False
        data: Any = self.buffer.rest() if self.mode == RAW else self.buffer.take(self.exact)
        if data is None or (self.mode == RAW and not data):
            return False
        if self.mode == EXACT:
            self.mode = LINES
        self.began = 0.0
        self.stops |= BUSY
        try:
            reply = self.channel.raw_received(data)
            if reply is not None:
                self.add(reply)
            self.flush()
        except BaseException as failure:
            self.events.fail(self, failure)
        finally:
            self.stops &= DONE
            self.end_hook()
        self.events.settle(self)
        return True

    def end_hook(self) -> None:
        """A hook is done, whatever has become of it, and ``stops`` says that already.

        So a channel that is interrupted here does not believe for ever that a hook runs; the batch
        is kept in the next pass then.
        """
        self.has_changed = False
        self.cut_by = self.delimiter
        self.keep_batch()

    def keep_batch(self) -> None:
        """Hold the lines of the batch that ``line_received`` was not given.

        What interrupts it comes between two steps of which the second may come again.
        """
        lines = self.batch
        if lines is None:
            return
        if self.next_line >= len(lines) or self.stops & CLOSING:
            self.batch = None
            return
        if self.next_line:
            if self.tally is not None:  # as give() counts those of a whole batch
                self.tally.lines += self.next_line
            lines = lines[self.next_line :]
            self.batch = lines
            self.next_line = 0
        if not self.held or self.held[0] is not lines:
            self.keep_first(lines)
        self.batch = None

    def keep_first(self, lines: list[bytes]) -> None:
        """Hold *lines*, before all that is held."""
        if self.held is None:
            self.held = deque()
        self.held.appendleft(lines)

    def keep(self, lines: list[bytes]) -> None:
        """Hold *lines*, of which some may be too long."""
        if self.held is None:
            self.held = deque()
        if self._has_long(lines):
            self.held.extend([(line,) if len(line) > self.max_line else [line] for line in lines])
        else:
            self.held.append(lines)

    def cut(self, most: int) -> bool:
        """Cut at most so many lines of what waits, and hold them; whether there is one."""
        most = min(most, self.most)
        lines = self._feed(b"", most)
        if not lines:
            return False
        self.keep(lines)
        if len(lines) >= most:
            self._cut_more()
        return True

    def _give_each(self) -> None:
        """Let ``line_received`` have the lines of the batch, until something stops that."""
        channel, lines = self.channel, self.batch
        assert lines is not None
        count = len(lines)
        while self.next_line < count:
            line = lines[self.next_line]
            self.next_line += 1
            reply = channel.line_received(line)
            if reply is not None:
                self.add(reply)
            if self.stops != BUSY and (self.has_changed or self.stops & STOPPED):
                self.stops |= LEFT
                return
        self.batch = None

    # Output.

    def add(self, reply: Any) -> None:
        """Send *reply*, of a hook, when that is done."""
        if type(reply) is bytes:
            if self.replies is None:
                self.replies = []
            self.replies.append(reply)
            self.out_size += len(reply)
        else:
            self.events.add(self, reply)
        if self.out_size > FLUSH:
            self.flush()

    def flush(self) -> None:
        """Send what hooks have left."""
        replies, out = self.replies, self.out
        if replies is None and out is None:
            return
        self.out_size = 0
        if replies is not None and out is None and not self.others:
            try:
                data = join_checked(replies, self.delimiter)
            except BaseException:
                self.events.keep_good(self)
                raise
            self.replies = None
            self.transmit(data)
        else:
            self.transmit(self.events.take_all(self))

    def transmit(self, data: bytes) -> None:
        """Send *data*, behind what waits."""
        sent = 0
        if self.stops & GONE or not data:
            return
        if not self.waiting:
            sent = self.send_some(data)
            if sent == len(data):
                self.wrote = self.agenda.now
                if self.heard < self.wrote:  # resume() may have looked at the clock since
                    self.heard = self.wrote
                return
            if sent < 0:
                return
        self.enqueue(data, sent)
        self.events.check_output(self)

    def enqueue(self, data: bytes, sent: int) -> None:
        """Let *data* wait, of which so many bytes were *sent*."""
        if 2 * sent > len(data):  # so that what waits keeps at most as much again alive
            data = data[sent:]
            sent = 0
        if self.queue is None:
            self.queue = deque()
        if not self.waiting:
            self.offset = sent
            self.taken = 0
            now = self.agenda.now
            self.wrote = self.heard if self.heard > now else now
        if self.waiting and len(self.queue[-1]) + len(data) <= TOGETHER:
            self.queue[-1] += data
        else:
            self.queue.append(data)
        self.waiting += len(data) - sent
        self.weigh()

    def send_head(self, data: Any) -> int:
        """Send *data*, with which the queue begins; returns as ``send_some`` does."""
        sent = self.send_some(data)
        if sent <= 0:
            return sent
        queue, left = self.queue, sent + self.offset
        self.waiting -= sent
        while queue and left >= len(queue[0]):
            left -= len(queue[0])
            del queue[0]
        self.offset = left
        self.weigh()
        return sent

    def send_some(self, data: bytes) -> int:
        """How many bytes of *data* the socket took; -1 where the connection is broken."""
        sent = -1
        try:
            if cython.compiled and type(data) is bytes and is_plain_socket(self.sock):
                sent = send_bytes(self.sock, data, False)
            if sent < 0:  # pragma: no branch (compiled, where the socket is one of the system)
                sent = self.sock.send(data)
        except BlockingIOError as failure:
            if not self.is_of_socket(failure):
                raise
            sent = 0
        except OSError as failure:
            if not self.is_of_socket(failure):
                raise
            self.events.lose(self, failure)
            sent = -1
        if self.tally is not None and sent > 0:
            self.tally.sent += sent
        return sent

    def weigh(self) -> None:
        """Tell the owner how many bytes wait, of input and output, if that has changed by much."""
        if self.owner is None:
            return
        size = self.waiting + len(self.buffer)
        if self.held is not None:
            size += self.owner.size_of(self.held)
        if size < GRAIN:
            size = 0
        if size - self.counted >= GRAIN or self.counted - size >= GRAIN:
            self.owner.weigh(self, size)

    # What the agenda calls.

    def go_on(self) -> None:
        """Give the hooks what waits."""
        self.stops &= ~HELD
        if self.stops & OVER:
            return
        try:
            if self._has_only_lines():
                self._cut_and_give(b"")
            else:
                self.events.go_on(self)
            self.weigh()
        except BaseException as failure:
            self.requeue()
            self.events.contain(self, failure)
            self.events.abort(self)  # what failed was no hook, and would fail in each pass

    def _has_only_lines(self) -> bool:
        """Whether nothing waits but lines, which ``lines_per_pass`` has left, and no output."""
        return (
            not self.stops
            and not self.mode
            and not self.held
            and not self.has_ended
            and not self.is_ending
            and self.most >= self.lines_per_pass
            and self.buffer._ahead_size > 0
            and not self.waiting
            and self.wants == READ
        )

    def leave(self) -> None:
        """Leave the map, and say that the connection is lost, once.

        What interrupts it before that comes again in the next pass, if the channel is still in the
        map; else there may be no next pass.
        """
        channel = self.channel
        fd, place = channel._fileno, channel._map
        try:
            self.events.leave_map(self)
        except BaseException:
            if place.get(fd) is not channel:
                self._say_lost()
                channel.socket.close()
            raise
        self._say_lost()

    def _say_lost(self) -> None:
        channel, failure = self.channel, self.failure
        self.stops |= OVER
        self.channel = self.sock = self.failure = None
        channel.connection_lost(failure)

    def requeue(self) -> None:
        """There is more to give, or something leaves the loop: go on in the next pass."""
        if not self.stops & (HELD | OVER) and self.agenda is not None:
            self.stops |= HELD
            self.agenda.ready.append(self)
            self.agenda.wake()

    def _is_over(self, due: float) -> bool:
        """Whether the entry of the agenda for when it is *due* stands for nothing."""
        return due != self.armed

    def _what(self) -> Any:
        """Who it is, for a message."""
        return self.channel

    def _run(self, due: float) -> None:
        """A deadline may have passed."""
        self.armed = 0.0
        try:
            self.events.look(self)
        except BaseException:
            self.requeue()
            raise
