cimport cython

from fastchat._scanner cimport (
    cut_lines,
    cut_lines_of_several,
    find_first_terminator,
    find_terminator,
    held_back,
    join_begun,
    join_checked,
)

cdef Py_ssize_t PREFIX, ROOM, MOST_ROOM, SMALL, UNLIMITED
cdef int RAISE, DISCARD, SPLIT
cdef dict _MODES


cdef class LineBuffer:
    cdef object __weakref__
    cdef bytearray _begun
    cdef bytes _held
    cdef object _ahead
    cdef Py_ssize_t _ahead_at
    cdef Py_ssize_t _ahead_size
    cdef bint _is_skipping
    cdef bint _is_over
    cdef bint _keepends
    cdef int _mode
    cdef object _room
    cdef bytes _single
    cdef tuple _several
    cdef Py_ssize_t _longest
    cdef Py_ssize_t _longest_delimiter
    cdef public Py_ssize_t dropped

    cdef _begin(self)
    cdef Py_ssize_t _size(self) except -1
    cdef bytes _take_raw(self, Py_ssize_t size)
    cdef _put_back(self, bytes data, Py_ssize_t at)
    cdef _put_behind(self, bytes data)
    cdef tuple _next_ahead(self)
    cdef _take_ahead(self, list lines, Py_ssize_t count)

    @cython.locals(most=Py_ssize_t, end=Py_ssize_t)
    cdef _take(self, bytes data, Py_ssize_t start, list lines, Py_ssize_t count)

    @cython.locals(index=Py_ssize_t)
    cdef tuple _find(self, bytes data, Py_ssize_t start)

    @cython.locals(held=Py_ssize_t, index=Py_ssize_t, behind=Py_ssize_t, size=Py_ssize_t)
    cdef Py_ssize_t _go_on(self, bytes data, Py_ssize_t start, list lines, Py_ssize_t count) \
        except -2
    cdef _take_joined(self, bytes data, Py_ssize_t start, list lines, Py_ssize_t count)

    @cython.locals(end=Py_ssize_t, behind=Py_ssize_t)
    cdef Py_ssize_t _refuse(self, bytes data, Py_ssize_t start, list lines, Py_ssize_t count) \
        except -1

    @cython.locals(size=Py_ssize_t, certain=Py_ssize_t)
    cdef _keep(self, bytes data, Py_ssize_t start, list lines, Py_ssize_t count)

    @cython.locals(size=Py_ssize_t, room=Py_ssize_t, certain=Py_ssize_t)
    cdef _add(self, bytes data, Py_ssize_t start, list lines, Py_ssize_t count)

    @cython.locals(dropped=Py_ssize_t, at=Py_ssize_t)
    cdef _give_up(self, bytes prefix, list lines, Py_ssize_t size)

    @cython.locals(behind=Py_ssize_t)
    cdef _skip(self, bytes data, Py_ssize_t start)

    @cython.locals(room=Py_ssize_t, held=Py_ssize_t)
    cdef _hold(self)
