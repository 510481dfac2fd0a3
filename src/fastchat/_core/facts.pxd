cimport cython

from fastchat._method cimport binds as _binds
from fastchat._method cimport finds, guards, is_ordinary
from fastchat._sysio cimport makes_calls

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define FASTCHAT_HAS_GIL 0
    #else
    #define FASTCHAT_HAS_GIL 1
    #endif
    /* dict.get(), with a reference from the first: another thread may drop the item. */
    static inline PyObject *fastchat_get_item(PyObject *items, PyObject *key)
    {
        PyObject *found;
    #if PY_VERSION_HEX >= 0x030D0000
        if (PyDict_GetItemRef(items, key, &found) < 0)
            return NULL;
        return found ? found : Py_NewRef(Py_None);
    #else
        found = PyDict_GetItemWithError(items, key);
        if (found == NULL && PyErr_Occurred())
            return NULL;
        return Py_NewRef(found ? found : Py_None);
    #endif
    }
    static inline unsigned int fastchat_version_of(PyObject *type)
    {
    #if defined(Py_GIL_DISABLED) && defined(__GNUC__)
        /* Another thread may give the class a version at this moment. */
        return __atomic_load_n(&((PyTypeObject *) type)->tp_version_tag, __ATOMIC_ACQUIRE);
    #else
        return ((PyTypeObject *) type)->tp_version_tag;
    #endif
    }
    static inline int fastchat_has_version(PyObject *object, unsigned int version)
    { return version != 0 && version == fastchat_version_of((PyObject *) Py_TYPE(object)); }
    """
    const bint HAS_GIL "FASTCHAT_HAS_GIL"  # of the interpreter that this is compiled for
    object get_item "fastchat_get_item"(dict items, object key)
    unsigned int version_of "fastchat_version_of"(object kind)
    bint has_version "fastchat_has_version"(object object, unsigned int version)


@cython.final
cdef class Facts:
    cdef readonly unsigned int version
    cdef readonly int looks
    cdef object initiate_send
    cdef object send
    cdef object push
    cdef object get_terminator
    cdef bint fits


@cython.locals(version=cython.uint, facts=Facts)
cdef Facts _look_at(channel, int looks)

cdef dict stock
cpdef set_stock(methods)
cdef Facts UNKNOWN
cdef Facts LEFT_ALONE
cdef Facts _latest
cdef dict _all


@cython.locals(facts=Facts)
cdef Facts facts_of(channel)
cdef object _stock_of(kind, str name)
cdef bint binds(method, function, channel) except -1
cdef bint has_stock_output(channel, Facts facts) except -1
cdef bint has_stock_send(channel) except -1


@cython.locals(is_stock=bint)
cdef bint has_stock_push(channel, Facts facts, unsigned int looked) except -1
cdef bint has_stock_terminator(channel, Facts facts) except -1
cdef bint still_has_stock_terminator(channel, Facts facts, unsigned int looked) noexcept

cdef long long _socket_version
cdef bint is_plain_socket(sock) except -1


@cython.locals(looked=cython.longlong, version=cython.longlong)
cdef bint _socket_is_as_born() except -1
