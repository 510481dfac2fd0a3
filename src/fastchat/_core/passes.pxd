cimport cython
from libc.math cimport ceil

from fastchat._core.agenda cimport Agenda
from fastchat._core.asking cimport ask_one, registration_of
from fastchat._core.facts cimport get_item
from fastchat._core.family cimport Family
from fastchat._core.watch cimport Entry, Flags, Watch
from fastchat._core.line_state cimport LineState
from fastchat._core.maps cimport watch_over
from fastchat._core.outgoing cimport flush_this_thread
from fastchat._core.state cimport State, has_queue, set_current
from fastchat._sysio cimport EventBuffer, fd_at, flags_at, is_readable, wait

cdef int ERROR, HANG_UP, INVALID, READ, WRITE, PASSES_AT_ONCE, _LONGEST_WAIT


cdef inline int truncated(double number) noexcept:
    # The number has to be one that an int can be.
    return <int> number


@cython.locals(has_happened=bint)
cpdef make_passes(Watch watch, Family family, timeout, bint is_poll2, bint is_first)
cpdef bint make_pass(
    Watch watch, timeout, bint is_poll2, bint is_first, bint is_endless=*
) except -1


@cython.locals(waits=bint, registered=Flags, agenda=Agenda, slow=list)
cdef bint _make_pass_alone(
    Watch watch, timeout, bint is_poll2, bint is_first, bint is_endless=*
) except -1


@cython.locals(ok=bint, is_cut=bint, agenda=Agenda)
cdef _prepare(Watch watch, timeout, bint is_poll2, bint is_first, bint is_endless)


@cython.locals(slow=list)
cpdef bint hand_out(Watch watch, bint is_poll2, bint is_idle) except -1
cpdef prepare(Watch watch, timeout, bint is_poll2, bint is_first)
cdef _shorter(one, other)
cdef bint _has_to_sleep(Watch watch, timeout) except -1


@cython.locals(exact=double)
cdef int _milliseconds(timeout, bint is_poll2) except -2


@cython.locals(ok=bint)
cdef list _wait_and_check(Watch watch, int milliseconds, bint is_poll2)


@cython.locals(is_stirred=bint)
cpdef list _wait(Watch watch, int milliseconds, bint is_poll2)


@cython.locals(
    pass_number=Py_ssize_t, room=EventBuffer, epoll=int, count=Py_ssize_t,
    is_stock=bint,
    answers=dict, index=Py_ssize_t, fd=int, flags=int, slow=list, roomy=list, entries=dict,
    entry=Entry, agenda=Agenda
)
cdef list _wait_and_dispatch(Watch watch, int milliseconds, bint is_poll2)


@cython.locals(entry=Entry)
cdef _save_answer(Watch watch, dict answers, int fd)


@cython.locals(state=State, line=LineState)
cdef _give_input(Watch watch, Entry entry, bint is_poll2)


@cython.locals(family=Family)
cdef _give_asked_input(Watch watch, Entry entry, bint is_poll2)


@cython.locals(state=State)
cdef _give_room(Watch watch, Entry entry, bint is_poll2)


@cython.locals(state=State)
cdef _settle(Watch watch, Entry entry)
cdef _handle_unregistered(Watch watch, int fd, Py_ssize_t pass_number)


@cython.locals(family=Family)
cdef _take_more(Watch watch, Entry entry, bint is_poll2)


@cython.locals(family=Family, entry=Entry, flags=int)
cdef _hand_out_slow(Watch watch, list slow, bint is_poll2)
cpdef _mute(Watch watch, dict happened)
