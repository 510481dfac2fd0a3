cimport cython
from fastchat._core.lines cimport LineBuffer
from fastchat._scanner cimport join_checked

cdef int BUSY


@cython.final
cdef class Gate:
    cdef LineBuffer _buffer
    cdef object _owner
    cdef object _link
    cdef object _time
    cdef object _write
    cdef bytes _delimiter
    cdef bint _is_plain
    cdef public bint has_overflowed
    cdef public int stops
    cdef public double heard
    cdef public double began

    @cython.locals(now=double, waits=bint)
    cpdef data_received(self, data)
    cpdef give(self, list lines)
