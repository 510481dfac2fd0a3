# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""System calls on raw descriptors, compiled.

On Linux the loop waits by epoll_wait() itself, which spares the list of tuples that
``select.epoll`` makes of the events.  Elsewhere only ``is_readable`` is used, and asks a poller.

Rules this file keeps: the GIL is released where a call can wait, and nothing here keeps an object
from one call to the next.
"""

from cython cimport auto_pickle, final
from libc.string cimport memset

from fastchat import _sysio_py
from fastchat._core.pollers import READ as _READ
from fastchat._core.pollers import PollerLost

cdef extern from *:
    """
    #if defined(__linux__)
    #include <errno.h>
    #include <poll.h>
    #include <time.h>
    #define FASTCHAT_EPOLL 1
    static long long fastchat_now(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    }
    static int fastchat_interrupted(void) { return errno == EINTR; }
    static int fastchat_lost(void) { return errno == EBADF || errno == EINVAL; }
    #else
    #define FASTCHAT_EPOLL 0
    struct pollfd { int fd; short events, revents; };
    static int poll(struct pollfd *some, unsigned long count, int timeout) { return -1; }
    static int epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
    { return -1; }
    enum { EPOLL_CTL_ADD, EPOLL_CTL_DEL };
    static int epoll_ctl(int set, int action, int fd, struct epoll_event *event) { return -1; }
    static long long fastchat_now(void) { return 0; }
    static int fastchat_interrupted(void) { return 0; }
    static int fastchat_lost(void) { return 0; }
    #endif
    """
    bint FASTCHAT_EPOLL
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *some, unsigned long count, int timeout)
    int EPOLL_CTL_ADD, EPOLL_CTL_DEL
    int epoll_wait(int fd, epoll_event *events, int count, int timeout) nogil
    int epoll_ctl(int set, int action, int fd, epoll_event *event)
    long long fastchat_now()
    bint fastchat_interrupted()
    bint fastchat_lost()

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    object PyErr_SetFromErrno(object kind)

cdef int READ = _READ


@final
@auto_pickle(False)
cdef class EventBuffer:
    """Room for the events of one wait."""


cdef int wait(int epoll, EventBuffer buffer, int milliseconds) except -1:
    """epoll_wait() that goes on after a signal (PEP 475); returns how many events there are.

    Waits for ever where *milliseconds* is negative.  Raises PollerLost where *epoll* is no set any
    more, and what a signal handler raises.
    """
    cdef int count
    cdef long long end = fastchat_now() + milliseconds if milliseconds > 0 else 0
    # No code of Python may have run since a signal came, and epoll_wait() does not end for it.
    PyErr_CheckSignals()
    while True:
        with nogil:
            count = epoll_wait(epoll, buffer.events, MOST_EVENTS, milliseconds)
        if count >= 0:
            return count
        if fastchat_lost():
            raise PollerLost
        if not fastchat_interrupted():
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()
        if milliseconds > 0:
            milliseconds = max(0, end - fastchat_now())


cdef bint add(int epoll, int fd, int flags) noexcept:
    """Let *epoll* wait for *flags* on *fd*, which it has not yet; whether it does."""
    cdef epoll_event event
    memset(&event, 0, sizeof(event))
    event.events = flags
    event.data.fd = fd
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0


cdef bint remove(int epoll, int fd) noexcept:
    """Take *fd* out of *epoll*; whether it was there."""
    return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) == 0


cpdef bint is_readable(int fd) except -1:
    """Whether there is input on *fd* at this moment; false where it is closed."""
    cdef pollfd one
    if not FASTCHAT_EPOLL:
        return _sysio_py.is_readable(fd)
    one.fd = fd
    one.events = READ
    return poll(&one, 1, 0) == 1 and one.revents == READ
