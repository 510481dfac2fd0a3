# System calls on raw descriptors, for the compiled core.  As it is, it has pollers and the methods
# of sockets in their place.

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/epoll.h>
    #else
    struct epoll_event { unsigned int events; union epoll_data { int fd; } data; };
    #endif
    """
    ctypedef union epoll_data_t "union epoll_data":
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data

cdef enum:
    MOST_EVENTS = 256  # of one wait: what does not fit is there at the next one

cdef class EventBuffer:
    cdef epoll_event events[MOST_EVENTS]

cdef inline int fd_at(EventBuffer buffer, Py_ssize_t index) noexcept:
    return buffer.events[index].data.fd

cdef inline int flags_at(EventBuffer buffer, Py_ssize_t index) noexcept:
    return buffer.events[index].events

cdef int wait(int epoll, EventBuffer buffer, int milliseconds) except -1
cdef bint add(int epoll, int fd, int flags) noexcept
cdef bint remove(int epoll, int fd) noexcept
cpdef bint is_readable(int fd) except -1
cdef bint makes_calls() noexcept
cdef object receive(sock, Py_ssize_t size)
cdef Py_ssize_t send_bytes(sock, bytes data, bint waits) except -2
