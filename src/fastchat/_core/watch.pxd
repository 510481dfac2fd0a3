cimport cython

from fastchat._core.agenda cimport Agenda
from fastchat._core.asking cimport (
    ask_chat,
    ask_line,
    ask_one,
    is_tracked,
    line_of,
    registration_of,
    wants_urgent,
)
from fastchat._core.facts cimport HAS_GIL, get_item
from fastchat._core.family cimport Family
from fastchat._core.line_state cimport LineState
from fastchat._sysio cimport EventBuffer, add, remove

cdef int READ, URGENT, WRITE
cdef object Epoll
cdef object NOBODY


@cython.final
cdef class Entry:
    cdef public object channel
    cdef public object fd
    cdef public Py_ssize_t born
    cdef public object registration
    cdef public object said
    cdef public int flags
    cdef public bint tracked
    cdef public object state
    cdef public LineState line


@cython.final
cdef class Flags:
    cdef bytearray _bytes
    cdef readonly Py_ssize_t count

    cdef clear(self)
    cdef bint has_any(self) except -1


@cython.final
cdef class Watch:
    cdef object __weakref__
    cdef public object map
    cdef readonly object passing
    cdef public Family family
    cdef public Agenda agenda
    cdef public object kind
    cdef public object system
    cdef public bint is_real
    cdef public object poller
    cdef readonly object replaced
    cdef public bint reports_changes
    cdef public dict entries
    cdef public Flags registered
    cdef public dict untracked
    cdef public object asking
    cdef public unsigned long thread
    cdef public dict loops
    cdef public dict touched
    cdef public bint is_poll2
    cdef public Py_ssize_t passes
    cdef public bint is_endless
    cdef public Py_ssize_t last_leave
    cdef public bint needs_new_set
    cdef public set suspects
    cdef public Py_ssize_t waiting
    cdef public bint is_stirred
    cdef public bint is_changed
    cdef public bint was_cut
    cdef public object waker
    cdef public object waker_lock
    cdef public list order
    cdef public Py_ssize_t events
    cdef public Py_ssize_t unchecked
    cdef EventBuffer event_buffer

    cpdef touch(self, fd)
    cpdef mark(self, fd)
    cpdef bint is_asking(self, fd) except -1

    @cython.locals(is_waiting=bint)
    cpdef stir(self)
    cdef set_asking(self, asking)
    cdef begin_pass(self)
    cdef _begin_pass(self)
    cpdef bint is_in_this_thread(self) except -1
    cpdef end_wait(self)
    cpdef change(self)
    cpdef bint cuts_wait(self) except -1
    cpdef bint begin_to_wait(self) except -1
    cpdef forget(self, fd)
    cpdef leave(self, fd)
    cpdef note(self, fd)
    cpdef unregister(self, fd)
    cdef bint _is_rejoining(self, Entry entry) except -1
    cpdef bint is_current(self, Entry entry) except -1
    cpdef int epoll_fd(self) except -2

    @cython.locals(registered=int, epoll=int)
    cpdef _register(self, fd, int flags)
    cpdef bint _set_interest(self, Entry entry, int flags) except -1
    cpdef make_new_set(self, kind)

    @cython.locals(flags=int)
    cdef bint _ask(self, Entry entry) except -1

    @cython.locals(flags=int, line=LineState)
    cdef bint _ask_anew(self, Entry entry) except -1
    cpdef bint ask_touched(self) except -1

    @cython.locals(entry=Entry)
    cdef bint _ask_whom(self, fd) except -1

    @cython.locals(entry=Entry)
    cdef bint _enter(self, channel, fd) except -1

    @cython.locals(family=Family, entry=Entry)
    cpdef bint ask_untracked(self) except -1

    @cython.locals(family=Family)
    cdef bint _take_answer(self, Entry entry, flags) except -1
    cpdef bint check_some(self, Py_ssize_t count) except -1

    @cython.locals(entry=Entry)
    cpdef bint _check(self, fd) except -1
    cpdef find_changes(self)

    @cython.locals(entry=Entry)
    cpdef change_to(self, bint is_poll2)
