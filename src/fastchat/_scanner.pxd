# What the compiled core uses of the compiled scanner.  _state_py.py says what the attributes of a
# State are for.

cimport cython


@cython.final
cdef class State:
    cdef public object buffer
    cdef public Py_ssize_t start
    cdef public Py_ssize_t closes
    cdef public object socket
    cdef public object fifo
    cdef public Py_ssize_t offset
    cdef public object rest
    cdef public bint exposed
    cdef public list held
    cdef public Py_ssize_t held_size
    cdef public int depth
    cdef public unsigned long thread
    cdef public bint sending
    cdef public unsigned long sender
    cdef unsigned long forks  # of which process the sender is a thread
    cdef public bint again
    cdef public bint more
    cdef public bint told
    cdef public object is_stream  # None where nobody has looked yet
    cdef object facts  # what is known of its class, a _Facts
    cdef public object plain

    cpdef bint fits(self, channel) except -1

cdef int know(channel, State state) except -1
cdef bint binds(method, function, channel) noexcept
cpdef flush_all()
cpdef flush_everything()
cpdef leave_to_the_parent()
