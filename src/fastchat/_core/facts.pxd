cimport cython

from fastchat._method cimport binds as _binds
from fastchat._method cimport finds, guards, is_ordinary
from fastchat._sysio cimport makes_calls

cdef extern from *:
    """
    static inline unsigned int fastchat_version_of(PyObject *type)
    { return ((PyTypeObject *) type)->tp_version_tag; }
    static inline int fastchat_has_version(PyObject *object, unsigned int version)
    { return version != 0 && version == fastchat_version_of((PyObject *) Py_TYPE(object)); }
    """
    unsigned int version_of "fastchat_version_of"(object kind)
    bint has_version "fastchat_has_version"(object object, unsigned int version)


@cython.final
cdef class Facts:
    cdef readonly unsigned int version
    cdef int looks
    cdef object initiate_send
    cdef object send
    cdef object push
    cdef object get_terminator
    cdef bint fits

    @cython.locals(version=cython.uint)
    cdef look_at(self, channel)

cdef dict stock
cpdef set_stock(methods)
cdef Facts UNKNOWN
cdef Facts _latest
cdef dict _all


@cython.locals(facts=Facts)
cdef Facts facts_of(channel)
cdef Facts _facts_of_class(kind)
cdef object _stock_of(kind, str name)
cdef bint binds(method, function, channel) except -1
cdef bint has_stock_output(channel, Facts facts) except -1
cdef bint has_stock_send(channel) except -1


@cython.locals(is_stock=bint)
cdef bint has_stock_push(channel, Facts facts, unsigned int looked) except -1
cdef bint has_stock_terminator(channel, Facts facts) except -1
cdef bint still_has_stock_terminator(channel, Facts facts, unsigned int looked) noexcept

cdef unsigned int _socket_version
cdef bint _socket_is_plain
cdef bint is_plain_socket(sock) except -1
cdef bint _socket_is_as_born() except -1
