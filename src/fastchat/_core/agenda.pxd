cimport cython
from libc.math cimport ceil, floor, nextafter

from fastchat._core.family cimport Family

cdef double _LONGEST
cdef dict _time_names


@cython.final
cdef class Timer:
    cdef object __weakref__
    cdef Agenda _agenda
    cdef object _function
    cdef object _args
    cdef double _interval
    cdef bint _is_running
    cdef object _others

    @cython.locals(agenda=Agenda)
    cpdef cancel(self)

    @cython.locals(agenda=Agenda)
    cdef _end(self)


@cython.final
cdef class Agenda:
    cdef object __weakref__
    cdef readonly object map
    cdef readonly Family family
    cdef readonly object system
    cdef public object attached
    cdef readonly double now
    cdef readonly object calls
    cdef readonly object ready
    cdef list _heap
    cdef object _due
    cdef object _order
    cdef object _ticks
    cdef Py_ssize_t _count
    cdef Py_ssize_t _cancelled
    cdef Py_ssize_t _timers
    cdef bint _is_held
    cdef bint _is_real
    cdef Py_ssize_t _sound
    cdef public bint is_used

    @cython.locals(now=double)
    cpdef double moment(self) except? -1
    cpdef double look(self) except? -1
    cpdef add(self, entry, double due)
    cpdef wake(self)

    @cython.locals(when=double, armed=double)
    cpdef look_at(self, line, double due)
    cpdef forget_one(self)

    @cython.locals(heap=list, when=double, index=Py_ssize_t, place=Py_ssize_t)
    cdef _sweep(self)
    cdef bint _is_over(self, double when, entry) except -1
    cdef _take_off(self, bint is_over)

    @cython.locals(
        heap=list, first=tuple, number=Py_ssize_t, due=double, milliseconds=double, left=double
    )
    cpdef until_next(self, timeout)
    cpdef run(self)
    cdef _let_go_on(self)
    cpdef run_due(self)
    cpdef hold(self)
    cpdef count_timers(self, Py_ssize_t more)
    cpdef let_go(self)
    cdef _run_entries(self)
    cdef _make_calls(self)
    cdef _make_one(self)
    cdef _report(self, failure, what)
