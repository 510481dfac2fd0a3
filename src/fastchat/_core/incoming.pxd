cimport cython

from fastchat._core.facts cimport (
    Facts,
    has_stock_push,
    has_stock_terminator,
    is_plain_socket,
    still_has_stock_terminator,
)
from fastchat._core.outgoing cimport flush, size_of
from fastchat._core.state cimport (
    State,
    get_ident,
    set_current,
    own_state,
    socket_of,
    state_of,
)
from fastchat._scanner cimport (
    find_first_terminator,
    find_terminator,
    held_back,
    lines_of,
    only_line,
)
from fastchat._sysio cimport receive

cdef Py_ssize_t MAX_DIRECT_RECEIVE, FIRST_WINDOW, LAST_WINDOW, CUT_ONE_LIMIT
cdef object EMPTY

cpdef object readable(self)
cpdef object get_terminator(self)


@cython.locals(state=State)
cpdef object handle_read_event(self)


cpdef object recv(self, buffer_size)


@cython.locals(size=Py_ssize_t)
cdef object _receive(sock, buffer_size)


@cython.locals(state=State, closes=Py_ssize_t, is_bytes=bint, buffer=object)
cpdef object handle_read(self)


@cython.locals(thread=cython.ulong, more=bint, facts=Facts)
cdef _deliver(channel, State state, terminator)
cdef _handle_read_generic(channel)


@cython.locals(state=State)
cpdef drop_input(channel)


@cython.locals(state=State)
cpdef drive(channel)


@cython.locals(closes=Py_ssize_t, size=Py_ssize_t, piece=bytes)
cdef object cut_one(channel, State state, bytes data)
cdef object _none_as_bytes(terminator)
cdef object _ask(channel, State state)


@cython.locals(
    closes=Py_ssize_t, buffer=bytes, window=Py_ssize_t, size=Py_ssize_t, start=Py_ssize_t,
    pieces=list, piece=bytes, behind=Py_ssize_t, end=Py_ssize_t, piece_end=Py_ssize_t,
    found=bint, counted=bint, untouched=bint, index=Py_ssize_t, several=tuple, plain=bytes
)
cdef cut(channel, State state, known_terminator)
