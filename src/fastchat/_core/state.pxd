cimport cython

from fastchat._core.facts cimport HAS_GIL, UNKNOWN, Facts, facts_of, has_version

cdef extern from "pythread.h":
    unsigned long get_ident "PyThread_get_thread_ident"()

cdef extern from "Python.h":
    int gc_disable "PyGC_Disable"()
    int gc_enable "PyGC_Enable"()


@cython.final
cdef class State:
    cdef public object buffer
    cdef public Py_ssize_t start
    cdef public Py_ssize_t closes
    cdef public object socket
    cdef public object fifo
    cdef public Py_ssize_t offset
    cdef public object unsent_head
    cdef public bint exposed
    cdef public bint held
    cdef public Py_ssize_t held_size
    cdef public Py_ssize_t most
    cdef public int depth
    cdef public bint more
    cdef public unsigned long thread
    cdef public bint again
    cdef public object is_stream
    cdef public bint close_notified
    cdef Facts facts
    cdef unsigned int push_version
    cdef unsigned int terminator_version
    cdef public Py_ssize_t turns
    cdef public bint is_full
    cdef unsigned long sender
    cdef unsigned long forks

    cpdef bint fits(self, channel) except -1

    cpdef begin(self)

    @cython.locals(me=cython.ulong)
    cpdef queue(self)
    cdef _show_what_is_left(self, fifo)

cdef object new_queue()
cdef queue_of(State state)
cpdef bint has_queue(State state) except -1


@cython.locals(size=Py_ssize_t)
cdef drop_sent(State state, fifo)

cdef object _current
cdef State _current_state
cdef set_current(channel, State state)


@cython.locals(state=State, is_known=bint)
cdef State state_of(channel)


@cython.locals(state=State)
cdef object socket_of(channel)


cdef object _making


@cython.locals(state=State)
cpdef State own_state(channel)


@cython.locals(state=State)
cdef State _made_state(channel)

cpdef lock_of(channel)
cdef unsigned long _forks
cdef unsigned long _forker
cdef unsigned long sender_of(State state) except? 0
cdef bint take_turn(State state, unsigned long me) except -1


@cython.locals(state=State, me=cython.ulong)
cpdef end_turn(channel)
cdef forget_senders()
