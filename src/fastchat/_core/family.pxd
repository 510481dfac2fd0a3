cimport cython


@cython.final
cdef class Family:
    cdef public dict names
    cdef public tuple events
    cdef public tuple readables
    cdef public object writable
    cdef public object sender_writable
    cdef public object expt
    cdef public object expt_event
    cdef public object error
    cdef public tuple stock_chat
    cdef public tuple line_stock
    cdef public object line_state
    cdef public object resting

    cpdef reraised(self)
    cpdef bint has_stock_events(self, bint is_poll2) except -1
    cpdef bint rests(self, channel) except -1
    cpdef until_rest_ends(self, timeout, system)
