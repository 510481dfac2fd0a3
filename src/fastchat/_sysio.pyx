# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""System calls on raw descriptors, compiled.

On Linux the loop waits by epoll_wait() itself, which spares the list of tuples that
``select.epoll`` makes of the events.  Elsewhere ``is_readable`` asks a poller.  Sockets of the
system are received from and sent to without the detour over their Python methods; where a blocking
one has to wait, its method does.

Rules this file keeps: the GIL is released where a call can wait, and nothing here keeps an object
from one call to the next, but for the room that input is received in.
"""

import _socket
from os import strerror

from cython cimport auto_pickle, final
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, PyObject
from libc.string cimport memset

from fastchat._core import pollers as _pollers
from fastchat._core.facts cimport HAS_GIL
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

cdef extern from *:
    """
    #if defined(__unix__) || defined(__APPLE__)
    #include <errno.h>
    #include <sys/socket.h>
    #endif
    #if defined(MSG_DONTWAIT)
    #define FASTCHAT_DIRECT 1
    static Py_ssize_t fastchat_recv(int fd, void *data, size_t size)
    { return recv(fd, data, size, MSG_DONTWAIT); }
    static Py_ssize_t fastchat_send(int fd, const void *data, size_t size)
    { return send(fd, data, size, MSG_DONTWAIT); }
    /* The error of the last call, and 0 for one that only means "not now". */
    static int fastchat_error(void)
    { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : errno; }
    #else
    #define FASTCHAT_DIRECT 0
    static Py_ssize_t fastchat_recv(int fd, void *data, size_t size) { return -1; }
    static Py_ssize_t fastchat_send(int fd, const void *data, size_t size) { return -1; }
    static int fastchat_error(void) { return 0; }
    #endif
    """
    bint FASTCHAT_DIRECT
    Py_ssize_t fastchat_recv(int fd, void *data, size_t size)
    Py_ssize_t fastchat_send(int fd, const void *data, size_t size)
    int fastchat_error()

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    int PyErr_CheckSignals() except -1
    object PyErr_SetFromErrno(object kind)

cdef int READ = _READ

# Of a socket of the system it is called without the look-up, two times a line.
cdef object _fileno = _socket.socket.fileno

# Where input is received, if there is a GIL.  What is short is copied from there, which costs less
# than to allocate and to shrink what could have been long; what is long takes it along.
cdef PyObject *_receive_buffer = NULL


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
        return _pollers.is_readable(fd)
    one.fd = fd
    one.events = READ
    return poll(&one, 1, 0) == 1 and one.revents == READ


cdef bint makes_calls() noexcept:
    """Whether the two below do anything here."""
    return FASTCHAT_DIRECT


cdef object receive(sock, Py_ssize_t size):
    """At most *size* bytes that *sock*, one of the system, has; b"" at its end.

    None where its own method has to be asked, because there is nothing now.  Raises OSError.
    """
    global _receive_buffer
    cdef int fd = _fileno(sock)
    cdef Py_ssize_t count
    cdef int error
    cdef object data
    if fd < 0:
        return None
    if not HAS_GIL:
        return _receive_anew(fd, size)
    if _receive_buffer == NULL or PyBytes_GET_SIZE(<object> _receive_buffer) != size:
        Py_XDECREF(_receive_buffer)
        _receive_buffer = NULL
        data = PyBytes_FromStringAndSize(NULL, size)
        Py_INCREF(data)
        _receive_buffer = <PyObject *> data
        data = None
    count = fastchat_recv(fd, PyBytes_AS_STRING(<object> _receive_buffer), size)
    if count < 0:
        error = fastchat_error()
        if error:
            raise OSError(error, strerror(error))
        return None
    if count <= size // 4:
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(<object> _receive_buffer), count)
    _PyBytes_Resize(&_receive_buffer, count)
    data = <object> _receive_buffer
    Py_DECREF(data)
    _receive_buffer = NULL
    return data


cdef object _receive_anew(int fd, Py_ssize_t size):
    """``receive``, with a buffer that no other thread has."""
    cdef object data = PyBytes_FromStringAndSize(NULL, size)
    cdef Py_ssize_t count = fastchat_recv(fd, PyBytes_AS_STRING(data), size)
    cdef int error
    if count < 0:
        error = fastchat_error()
        if error:
            raise OSError(error, strerror(error))
        return None
    return data if count == size else PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), count)


cdef Py_ssize_t send_bytes(sock, bytes data, bint waits) except -2:
    """How many bytes of *data* the kernel took for *sock*, one of the system.

    -1 where its own method has to be asked: it is closed, or is to wait.  Where *waits* is true, a
    blocking socket sends all of it, if it begins to.  Raises OSError.
    """
    cdef int fd = _fileno(sock)
    cdef int error
    cdef Py_ssize_t count
    if fd < 0 or PyBytes_GET_SIZE(data) == 0:  # nothing may wait for room, too
        return -1
    count = fastchat_send(fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    if count == PyBytes_GET_SIZE(data):
        return count
    if count < 0:
        error = fastchat_error()
        if error:
            raise OSError(error, strerror(error))
        return 0 if sock.gettimeout() == 0 else -1
    if waits and sock.gettimeout() is None:
        try:
            return count + sock.send(memoryview(data)[count:])
        except OSError:
            pass  # the next call hears of it
    return count
