cimport cython

from fastchat._core.facts cimport (
    HAS_GIL,
    has_stock_output,
    has_stock_push,
    has_stock_send,
    is_plain_socket,
)
from fastchat._core.state cimport (
    State,
    drop_sent,
    end_turn,
    forget_senders,
    get_ident,
    lock_of,
    queue_of,
    sender_of,
    socket_of,
    state_of,
    take_turn,
)
from fastchat._sysio cimport send_bytes

cdef extern from "Python.h":
    # Where the second is NULL, the largest number there is stands for larger ones.
    Py_ssize_t clipped "PyNumber_AsSsize_t"(object value, void *exception)

cdef Py_ssize_t MAX_HELD, _MAX_JOINED, _MAX_SEND
cdef bint MAY_COALESCE
cdef dict _holding
cdef bint _endings_are_watched


@cython.locals(state=State)
cpdef object writable(self)


@cython.locals(state=State)
cpdef object handle_write_event(self)
cpdef object handle_write(self)
cpdef object initiate_send(self)


@cython.locals(state=State, size=Py_ssize_t, most=Py_ssize_t, is_held=bint)
cpdef object push(self, data)


cdef _enqueue(channel, tuple entries)


@cython.locals(sent=Py_ssize_t)
cpdef object send(self, data)


@cython.locals(size=Py_ssize_t)
cdef Py_ssize_t size_of(value) except? -1
cdef bint _begin_to_hold(channel, State state, Py_ssize_t most, Py_ssize_t size) except -1
cdef bint _is_stream(State state) except -1


@cython.locals(me=cython.ulong, sender=cython.ulong, is_first=bint, is_mine=bint, is_over=bint)
cdef _send_once(channel, State state, bint is_flush, bytes data)


@cython.locals(sent=Py_ssize_t)
cdef bint _send_pushed(channel, State state, bytes data) except -1
cdef _fail_to_send(channel, failure)


@cython.locals(
    entry=bytes, size=Py_ssize_t, left=Py_ssize_t, data=bytes, count=Py_ssize_t, turn=Py_ssize_t,
    was_full=bint
)
cdef bint _send_queued(channel, State state, bint is_flush) except -1
cdef bint _joins(channel, State state) except -1


@cython.locals(pieces=list, total=Py_ssize_t)
cdef tuple _joined(fifo, Py_ssize_t offset, Py_ssize_t size)


@cython.locals(state=State)
cpdef flush(channel)


cpdef _flush_alone(channel)


@cython.locals(me=cython.ulong, state=State)
cpdef flush_this_thread()
cpdef flush_all_threads()


@cython.locals(state=State)
cpdef leave_to_the_parent()
