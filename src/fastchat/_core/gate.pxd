cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize

from fastchat._core.lines cimport LineBuffer
from fastchat._scanner cimport join_checked

cdef Py_ssize_t ROOM
cdef int BUSY


@cython.final
cdef class Gate:
    cdef LineBuffer _buffer
    cdef object _owner
    cdef object _link
    cdef bytearray _room
    cdef object _time
    cdef object _write
    cdef bytes _delimiter
    cdef bint _is_plain
    cdef public bint has_overflowed
    cdef public int stops
    cdef public double heard
    cdef public double began

    @cython.locals(size=Py_ssize_t, data=bytes, now=double, waits=bint)
    cpdef buffer_updated(self, nbytes)
    cpdef give(self, list lines)
