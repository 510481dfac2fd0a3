cimport cython

from fastchat._core.family cimport Family


@cython.final
cdef class Timer:
    cdef object __weakref__
    cdef Agenda _agenda
    cdef object _function
    cdef object _args
    cdef double _interval


@cython.final
cdef class Agenda:
    cdef readonly object map
    cdef readonly Family family
    cdef readonly object system
    cdef readonly double now
    cdef readonly object calls
    cdef readonly object ready
    cdef list _heap
    cdef object _due
    cdef object _order
    cdef Py_ssize_t _cancelled

    @cython.locals(now=double)
    cpdef double look(self) except? -1
    cpdef bint is_busy(self) except -1
    cpdef add(self, entry, double due)
    cpdef forget_one(self)
    cpdef until_next(self, timeout)
    cpdef run(self)
    cpdef run_due(self)
    cdef _make_calls(self)
    cdef _report(self, failure, what)
