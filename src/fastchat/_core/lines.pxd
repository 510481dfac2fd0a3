cimport cython

from fastchat._scanner cimport (
    cut_lines,
    cut_lines_of_several,
    find_line_end,
    held_back,
    join_begun,
    join_checked,
)

cdef Py_ssize_t PREFIX, ROOM, MOST_ROOM, SMALL, UNLIMITED, BACKLOG
cdef int RAISE, DISCARD, SPLIT
cdef dict _MODES


cdef class LineBuffer:
    cdef object __weakref__
    cdef object _begun
    cdef bytes _held
    cdef Py_ssize_t _reserved
    cdef Py_ssize_t _size
    cdef bint _is_skipping
    cdef bint _has_ended
    cdef bint _keepends
    cdef int _mode  # here it costs no room of its own
    cdef list _ahead
    cdef Py_ssize_t _ahead_first
    cdef Py_ssize_t _ahead_at
    cdef Py_ssize_t _ahead_size
    cdef Py_ssize_t _ahead_alive
    cdef Py_ssize_t _most_ahead
    cdef object _room
    cdef bytes _prefix
    cdef Py_ssize_t _too_long_size
    cdef object _dropped
    cdef bytes _single
    cdef tuple _several
    cdef Py_ssize_t _longest
    cdef Py_ssize_t _longest_delimiter

    cpdef _share(self, LineBuffer other)
    cdef Py_ssize_t _waiting(self) except -1

    @cython.locals(
        reserved=Py_ssize_t, size=Py_ssize_t, held=bytes, is_skipping=bint,
        ahead=list, first=Py_ssize_t, at=Py_ssize_t, waiting=Py_ssize_t, alive=Py_ssize_t,
        end=Py_ssize_t
    )
    cdef list _feed(self, bytes data, Py_ssize_t count)

    @cython.locals(size=Py_ssize_t, last=bytes)
    cdef _put_behind(self, bytes data)

    @cython.locals(size=Py_ssize_t, at=Py_ssize_t, piece=bytes, begin=bytes, ahead=list)
    cdef _put_first(self, bytes data)

    @cython.locals(
        first=Py_ssize_t, at=Py_ssize_t, size=Py_ssize_t, end=Py_ssize_t, data=bytes
    )
    cdef _cut_ahead(self, list lines, Py_ssize_t count)

    @cython.locals(alive=Py_ssize_t)
    cdef _leave(self, list ahead, Py_ssize_t first, Py_ssize_t at, Py_ssize_t size)

    @cython.locals(first=Py_ssize_t, at=Py_ssize_t, left=Py_ssize_t, data=bytes)
    cdef bytes _take_raw(self, Py_ssize_t size)

    @cython.locals(size=Py_ssize_t)
    cdef _take_back(self)
    cdef _forget_begun(self)
    cdef bytes _begun_with(self, bytes data, Py_ssize_t start, Py_ssize_t end)

    @cython.locals(size=Py_ssize_t)
    cdef _extend(self, bytes data, Py_ssize_t start, Py_ssize_t end)

    @cython.locals(size=Py_ssize_t, most=Py_ssize_t)
    cdef _write(self, bytes data, Py_ssize_t start, Py_ssize_t end)

    @cython.locals(size=Py_ssize_t, end=Py_ssize_t, most=Py_ssize_t)
    cdef Py_ssize_t _cut(self, bytes data, Py_ssize_t start, list lines, Py_ssize_t count) \
        except -1

    @cython.locals(
        held=Py_ssize_t, end=Py_ssize_t, behind=Py_ssize_t, is_too_long=bint, kept=bytes
    )
    cdef Py_ssize_t _continue_line(
        self, bytes data, Py_ssize_t start, Py_ssize_t searched, list lines
    ) except -1

    @cython.locals(
        held=Py_ssize_t, size=Py_ssize_t, end=Py_ssize_t, behind=Py_ssize_t, room=Py_ssize_t,
        seam=bytes
    )
    cdef tuple _end_of(self, bytes data, Py_ssize_t start, Py_ssize_t searched)
    cdef bint _goes_on(self, bytes data) except -1

    @cython.locals(room=Py_ssize_t, tail=bytes)
    cdef bytes _may_begin(self, bytes data, Py_ssize_t start)

    @cython.locals(held=bytes, room=Py_ssize_t, size=Py_ssize_t, behind=Py_ssize_t)
    cdef Py_ssize_t _split(self, bytes data, Py_ssize_t start, list lines) except -1

    @cython.locals(size=Py_ssize_t, prefix=bytes, begun=bytes)
    cdef _drop(self, bytes data, Py_ssize_t start, Py_ssize_t end)
