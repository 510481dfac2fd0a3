cimport cython

from fastchat._core.agenda cimport Agenda
from fastchat._core.facts cimport is_plain_socket
from fastchat._core.lines cimport LineBuffer
from fastchat._scanner cimport join_checked
from fastchat._sysio cimport receive, send_bytes

cdef int BUSY, CLOSING, DONE, EXACT, GONE, HELD, LEFT, LINES, OVER, RAW, READ, STOPPED, UNBEGUN
cdef Py_ssize_t SIZE, FLUSH, TOGETHER, GRAIN


@cython.final
cdef class Tally:
    cdef public str name
    cdef public long long open
    cdef public long long accepted
    cdef public long long received
    cdef public long long sent
    cdef public long long lines
    cdef public long long lines_too_long
    cdef public long long hook_errors
    cdef public long long over_max_output
    cdef public long long over_max_memory
    cdef public long long idle_timeouts
    cdef public long long line_timeouts
    cdef public long long write_timeouts


@cython.final
cdef class LineState:
    cdef public object channel
    cdef public object sock
    cdef public LineBuffer buffer
    cdef public Agenda agenda
    cdef public object events
    cdef public int stops
    cdef public int wants
    cdef public int mode
    cdef public int pid
    # Truth values, of a byte each: idle connections are many.
    cdef public unsigned char is_batch
    cdef public unsigned char has_changed
    cdef public unsigned char has_ended
    cdef public unsigned char has_told_end
    cdef public unsigned char stays_open
    cdef public unsigned char has_said_goodbye
    cdef public unsigned char is_ending
    cdef public unsigned char is_unread
    cdef public unsigned char has_shut
    cdef public unsigned char is_overdue
    cdef public unsigned int begun_kib
    cdef public Py_ssize_t exact
    cdef public object held
    cdef public list batch
    cdef public Py_ssize_t next_line
    cdef public bytes delimiter
    cdef public bytes cut_by
    cdef public tuple others
    cdef public list replies
    cdef public list out
    cdef public Py_ssize_t out_size
    cdef public Py_ssize_t taken
    cdef public object queue
    cdef public Py_ssize_t offset
    cdef public Py_ssize_t waiting
    cdef public object failure
    cdef public object timers
    cdef public object owner
    cdef public Py_ssize_t counted
    cdef public Tally tally
    cdef public double armed
    cdef public double heard
    cdef public double began
    cdef public double wrote
    cdef public Py_ssize_t max_line
    cdef public Py_ssize_t lines_per_pass
    cdef public Py_ssize_t most
    cdef public Py_ssize_t max_body
    cdef public Py_ssize_t high_water
    cdef public Py_ssize_t low_water
    cdef public Py_ssize_t max_output
    cdef public double idle_timeout
    cdef public double line_timeout
    cdef public double write_timeout
    cdef public double linger_timeout

    cpdef read_event(self)

    @cython.locals(data=bytes)
    cdef _read(self)

    @cython.locals(lines=list, whole=Py_ssize_t, buffer=LineBuffer, mode=int)
    cdef _cut_and_give(self, bytes data)

    @cython.locals(buffer=LineBuffer, skipped=bint, lines=list)
    cdef list _feed(self, bytes data, Py_ssize_t most)

    @cython.locals(buffer=LineBuffer)
    cpdef mark_begun(self)
    cpdef feed(self, bytes data)

    @cython.locals(data=bytes)
    cpdef gather(self, Py_ssize_t most)
    cpdef put_back(self, bytes data)

    @cython.locals(waiting=Py_ssize_t)
    cpdef bint has_uncut(self) except -1

    @cython.locals(skips=bint)
    cpdef bint is_skipping(self) except -1

    @cython.locals(buffer=LineBuffer, longest=Py_ssize_t)
    cpdef drop_long(self, bytes data)
    cpdef Py_ssize_t most_ever(self) except -1

    @cython.locals(most=Py_ssize_t)
    cdef _cut_more(self)

    @cython.locals(line=bytes, longest=Py_ssize_t)
    cdef bint _has_long(self, list lines) except -1
    cpdef receive(self)
    cpdef bint is_of_socket(self, failure) except -1

    @cython.locals(is_done=bint)
    cpdef give(self, list lines)
    cpdef bint give_raw(self) except -1

    cpdef end_hook(self)

    @cython.locals(lines=list)
    cpdef keep_batch(self)
    cpdef keep_first(self, list lines)
    cpdef keep(self, list lines)

    @cython.locals(lines=list)
    cpdef bint cut(self, Py_ssize_t most) except -1
    cpdef requeue(self)
    cdef bint _has_only_lines(self) except -1
    cpdef leave(self)
    cdef _say_lost(self)

    @cython.locals(lines=list, count=Py_ssize_t)
    cdef _give_each(self)
    cpdef add(self, reply)

    @cython.locals(replies=list, out=list, data=bytes)
    cpdef flush(self)

    @cython.locals(sent=Py_ssize_t)
    cpdef transmit(self, bytes data)

    @cython.locals(now=double)
    cpdef enqueue(self, bytes data, Py_ssize_t sent)

    @cython.locals(sent=Py_ssize_t, left=Py_ssize_t)
    cpdef Py_ssize_t send_head(self, data) except -2

    @cython.locals(sent=Py_ssize_t)
    cpdef Py_ssize_t send_some(self, data) except -2

    @cython.locals(size=Py_ssize_t)
    cpdef weigh(self)
