cimport cython

from fastchat._core.facts cimport binds
from fastchat._core.family cimport Family
from fastchat._core.line_state cimport LineState
from fastchat._core.state cimport State

cdef int READ, URGENT, WRITE

cpdef bint has_stock(channel, str name, function) except -1
cdef bint _is_bool(value) except -1
cpdef bint has_bools(channel) except -1


@cython.locals(state=State, is_usual=bint, has_output=bint)
cpdef int ask_chat(channel, tuple stock) except -1
cpdef registration_of(channel)


@cython.locals(flags=int)
cpdef tuple ask_one(Family family, channel, map, fd)
cpdef bint wants_urgent(Family family, channel) except -1
cdef bint _fits(State state, channel) except -1

cpdef LineState line_of(Family family, channel)


@cython.locals(line=LineState)
cpdef LineState ask_line(Family family, channel)


@cython.locals(knows=bint)
cpdef bint is_tracked(Family family, channel) except -1
