# What channels of one class have under the names that the hot path uses, found out once.
#
# A program may replace a method at any time, on a class or on one channel, and from then on its own
# is to be called.  Sixteen honest look-ups of names are a quarter of what a line costs outside the
# kernel.  The interpreter has the same problem, and what its own inline caches rely on tells us too
# that no look-up could find anything new:
#
# * The class has the version that it had: it gets another one when anybody assigns to it, or to a
#   class that it inherits from.
# * The names of the attributes that channels of the class have themselves stand in a table that
#   they share and that only grows.  It has as many entries as it had, none of which is a name that
#   was looked up on the class; and this channel still uses it.
#
# Where one of the two does not hold, names are looked up, one by one, as for any object: always in
# a channel whose __dict__ somebody has asked for, or whose class has a __getattr__.  So this is for
# speed only, and without it nothing changes but that.  What it reads is the interpreter's own
# business, described by its own headers, for versions that were tried; and at import it is tried
# again, as in _find_fd_in_sockets().

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
    #define FASTCHAT_SHAPES 1
    /* The table of names: struct _dictkeysobject of the interpreter, and its entries. */
    typedef struct {
        Py_ssize_t references;
        uint8_t log2_size, log2_bytes_of_indexes, kind;
        uint32_t version;
        Py_ssize_t usable, count;
        char indexes[];
    } fastchat_names;
    typedef struct { PyObject *name, *value; } fastchat_entry;
    enum { FASTCHAT_NAMES_ARE_ANYTHING = 0 };  /* else they are str */
    static inline fastchat_names *fastchat_names_of(PyTypeObject *kind)
    { return (fastchat_names *) ((PyHeapTypeObject *) kind)->ht_cached_keys; }
    static inline Py_ssize_t fastchat_count_names(PyTypeObject *kind)
    { return fastchat_names_of(kind)->count; }
    static PyObject *fastchat_name_at(PyTypeObject *kind, Py_ssize_t at)
    {
        fastchat_names *names = fastchat_names_of(kind);
        size_t size = (size_t) 1 << names->log2_bytes_of_indexes;
        return ((fastchat_entry *) (names->indexes + size))[at].name;
    }
    /* The values of the attributes with these names, or NULL where *object* has a dict of its own
       for them.  It must be of a class for which fastchat_shares_names(). */
    static inline PyObject **fastchat_values_of(PyObject *object)
    {
    #if PY_VERSION_HEX >= 0x030D0000
        struct { uint8_t room, size, is_embedded, is_valid; PyObject *values[1]; } *own
            = (void *) (object + 1);
        return own->is_valid ? own->values : NULL;
    #elif PY_VERSION_HEX >= 0x030C0000
        char *own = ((char **) object)[-3];
        return (uintptr_t) own & 1 ? (PyObject **) (own + 1) : NULL;
    #else
        return ((PyObject ***) object)[-4];
    #endif
    }
    /* Whether objects of *kind* share a table of names, and are looked at in the usual way. */
    static int fastchat_shares_names(PyTypeObject *kind)
    {
    #if PY_VERSION_HEX >= 0x030D0000
        unsigned long needed
            = Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_MANAGED_DICT | Py_TPFLAGS_INLINE_VALUES;
    #else
        unsigned long needed = Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_MANAGED_DICT;
    #endif
        return (kind->tp_flags & needed) == needed
            && kind->tp_getattro == PyObject_GenericGetAttr
            && fastchat_names_of(kind) != NULL
            && fastchat_names_of(kind)->kind != FASTCHAT_NAMES_ARE_ANYTHING;
    }
    #else
    #define FASTCHAT_SHAPES 0
    static inline Py_ssize_t fastchat_count_names(PyTypeObject *kind) { return -1; }
    static PyObject *fastchat_name_at(PyTypeObject *kind, Py_ssize_t at) { return NULL; }
    static inline PyObject **fastchat_values_of(PyObject *object) { return NULL; }
    static int fastchat_shares_names(PyTypeObject *kind) { return 0; }
    #endif
    #if defined(__GNUC__)
    #define FASTCHAT_INLINE static inline __attribute__((always_inline))
    #else
    #define FASTCHAT_INLINE static inline
    #endif
    /* Whether *object* is of a class that has this *version*, and this count of shared *names*.  No
       two classes share a version; a class without one has 0. */
    FASTCHAT_INLINE int fastchat_has(PyObject *object, unsigned int version, Py_ssize_t names)
    {
        PyTypeObject *kind = Py_TYPE(object);
        return version == kind->tp_version_tag && version != 0
            && names == fastchat_count_names(kind) && fastchat_values_of(object) != NULL;
    }
    """
    bint FASTCHAT_SHAPES
    bint fastchat_has(PyObject *object, unsigned int version, Py_ssize_t names)
    ctypedef struct PyTypeObject:
        unsigned int tp_version_tag
    PyObject **fastchat_values_of(PyObject *object)
    bint fastchat_shares_names(PyTypeObject *kind)
    Py_ssize_t fastchat_count_names(PyTypeObject *kind)
    PyObject *fastchat_name_at(PyTypeObject *kind, Py_ssize_t at)

cdef extern from "Python.h":
    PyObject *Py_True
    PyObject *Py_False
    PyTypeObject *Py_TYPE(PyObject *object)
    PyObject *_PyType_Lookup(PyTypeObject *kind, PyObject *name)
    bint PyType_HasFeature(PyTypeObject *kind, unsigned long feature)
    unsigned long Py_TPFLAGS_METHOD_DESCRIPTOR
    object PyObject_Vectorcall(object called, PyObject **args, size_t count, PyObject *names)

cdef enum:
    OFTEN = 1000  # how many times a class may change before it is left alone


# What a program finds on async_chat under the names of methods, where it has replaced nothing.
cdef dict _stock = {}


@final
@auto_pickle(False)
cdef class _Shape:
    """What channels of one class have under the names that the hot path uses."""

    cdef unsigned int version  # of the class; 0 where nothing is known
    cdef Py_ssize_t names  # that its channels share
    cdef int made
    # Whether the class has the stock ones.
    cdef bint stock_reading  # readable, handle_read_event, handle_read and recv
    cdef bint stock_writing  # writable, handle_write_event, handle_write and initiate_send
    cdef bint stock_get_terminator
    cdef bint stock_initiate_send
    cdef bint stock_send
    cdef bint stock_push
    # Whether the state of a channel is used.
    cdef bint fits
    cdef bint coalesces
    cdef Py_ssize_t in_size  # ac_in_buffer_size, or 0 where it has to be looked up
    cdef Py_ssize_t out_size  # the same of ac_out_buffer_size
    # Functions, which the class keeps alive, or NULL where they have to be looked up.
    cdef PyObject *collect
    cdef PyObject *found
    # The places of values among those of a channel, -1 where none has one of its own.
    cdef Py_ssize_t connected
    cdef Py_ssize_t accepting
    cdef Py_ssize_t terminator
    # What those have that have none of their own.
    cdef bint is_connected
    cdef bint is_accepting

    cdef int look_at(self, PyTypeObject *kind) except -1:
        """Find out what holds for *kind* now."""
        cdef unsigned int version
        self.version = 0
        if self.made >= OFTEN or not fastchat_shares_names(kind):
            return 0
        self.made += 1
        _PyType_Lookup(kind, <PyObject *> "connected")  # gives it a version, if it had none
        version = kind.tp_version_tag
        self.names = fastchat_count_names(kind)
        self.stock_reading = (
            self._is_stock(kind, "readable")
            and self._is_stock(kind, "handle_read_event")
            and self._is_stock(kind, "handle_read")
            and self._is_stock(kind, "recv")
        )
        self.stock_get_terminator = self._is_stock(kind, "get_terminator")
        self.stock_initiate_send = self._is_stock(kind, "initiate_send")
        self.stock_send = self._is_stock(kind, "send")
        self.stock_push = self._is_stock(kind, "push")
        self.stock_writing = (
            self.stock_initiate_send
            and self._is_stock(kind, "writable")
            and self._is_stock(kind, "handle_write_event")
            and self._is_stock(kind, "handle_write")
        )
        self.fits = has_properties(<object> kind)
        self.coalesces = self._of_class(kind, "ac_out_coalesce") == Py_True
        self.in_size = self._size(kind, "ac_in_buffer_size")
        self.out_size = self._size(kind, "ac_out_buffer_size")
        self.collect = self._function(kind, "collect_incoming_data")
        self.found = self._function(kind, "found_terminator")
        self.connected = self._place(kind, "connected")
        self.accepting = self._place(kind, "accepting")
        self.terminator = self._place(kind, "terminator")
        if _PyType_Lookup(kind, <PyObject *> "terminator") != NULL:
            self.terminator = -1  # it may be a property
        self.is_connected = _PyType_Lookup(kind, <PyObject *> "connected") == Py_True
        self.is_accepting = _PyType_Lookup(kind, <PyObject *> "accepting") == Py_True
        if self._is_bool(kind, "connected") and self._is_bool(kind, "accepting"):
            # Code of Python may have run, and changed the class: then its version is another one.
            if kind.tp_version_tag == version:
                self.version = version
        return 0

    cdef bint _is_bool(self, PyTypeObject *kind, str name) except -1:
        cdef PyObject *value = _PyType_Lookup(kind, <PyObject *> name)
        return value == Py_True or value == Py_False

    cdef Py_ssize_t _place(self, PyTypeObject *kind, str name) except -2:
        """Where channels of *kind* have their own *name*; -1 where none has one."""
        cdef Py_ssize_t at
        cdef PyObject *known
        for at in range(self.names):
            known = fastchat_name_at(kind, at)
            if known != NULL and <str> known == name:
                return at
        return -1

    cdef PyObject *_of_class(self, PyTypeObject *kind, str name) except? NULL:
        """What all channels of *kind* have as *name*; NULL where they may differ."""
        return NULL if self._place(kind, name) >= 0 else _PyType_Lookup(kind, <PyObject *> name)

    cdef bint _is_stock(self, PyTypeObject *kind, str name) except -1:
        stock = _stock.get(name)
        return self._of_class(kind, name) == <PyObject *> stock

    cdef PyObject *_function(self, PyTypeObject *kind, str name) except? NULL:
        """What all channels of *kind* have as the method *name*, or NULL if it is no plain one."""
        cdef PyObject *method = self._of_class(kind, name)
        if method != NULL and PyType_HasFeature(Py_TYPE(method), Py_TPFLAGS_METHOD_DESCRIPTOR):
            return method
        return NULL

    cdef Py_ssize_t _size(self, PyTypeObject *kind, str name) except -1:
        cdef PyObject *size = self._of_class(kind, name)
        return 0 if size == NULL else _number(<object> size)


# That of a channel of which nothing is known yet; the one found last; and those of all classes, by
# id, with a weak reference to the class: its metaclass may have made it something without a hash.
cdef _Shape _SHAPELESS = _Shape()
cdef _Shape _latest = _SHAPELESS
cdef dict _shapes = {}


cdef _Shape _shape_of_class(kind):
    """The shape that belongs to the class *kind*, which is made where there is none yet."""
    cdef tuple entry = _shapes.get(id(kind))
    if entry is None or entry[0]() is not kind:
        key = id(kind)
        entry = ref(kind, lambda gone: _shapes.pop(key, None)), _Shape()
        _shapes[key] = entry
    return entry[1]


cdef inline bint _is_of(PyTypeObject *kind, _Shape shape) noexcept:
    """Whether *shape* is that of *kind*, as it is now.  No two classes share a version."""
    return (
        shape.version != 0
        and shape.version == kind.tp_version_tag
        and shape.names == fastchat_count_names(kind)
    )


cdef inline bint _has_shape(channel, State state) noexcept:
    """Whether what the shape in *state* says is true of *channel* at this moment."""
    return fastchat_has(<PyObject *> channel, state.shape.version, state.shape.names)


cdef int _find_shape(channel, State state) except -1:
    """Find out what holds for the class of *channel*, whose shape is not true of it now."""
    global _latest
    cdef _Shape shape
    cdef PyTypeObject *kind = Py_TYPE(<PyObject *> channel)
    if not _shapes_work or _is_of(kind, state.shape) or not fastchat_shares_names(kind):
        return 0
    owned = type(channel)  # to look at a class may run code of its metaclass
    shape = _latest
    if not _is_of(kind, shape):
        shape = _shape_of_class(owned)
        if not _is_of(kind, shape):
            shape.look_at(kind)
        _latest = shape
    state.shape = shape
    return 0


cdef inline int _flag_at(channel, Py_ssize_t place, bint of_class) noexcept:
    """The flag at *place* among the values of *channel*; -1 where it is no bool."""
    cdef PyObject *value = NULL
    if place >= 0:
        value = fastchat_values_of(<PyObject *> channel)[place]
    if value == NULL:
        return of_class
    if value == Py_True:
        return 1
    return 0 if value == Py_False else -1


cdef inline bint _is_connected(channel, State state) except -1:
    cdef int flag = -1
    if _has_shape(channel, state):
        flag = _flag_at(channel, state.shape.connected, state.shape.is_connected)
    return bool(channel.connected) if flag < 0 else flag


cdef inline bint _has_bools(channel, State state) noexcept:
    """Whether both flags of *channel* are known to be bools."""
    return (
        _has_shape(channel, state)
        and _flag_at(channel, state.shape.connected, state.shape.is_connected) >= 0
        and _flag_at(channel, state.shape.accepting, state.shape.is_accepting) >= 0
    )


cdef inline bint _is_accepting(channel, State state) except -1:
    cdef int flag = -1
    if _has_shape(channel, state):
        flag = _flag_at(channel, state.shape.accepting, state.shape.is_accepting)
    return bool(channel.accepting) if flag < 0 else flag


cdef inline object _terminator_of(channel, State state):
    """What ``get_terminator`` returns."""
    cdef PyObject *value
    if not (_has_shape(channel, state) and state.shape.stock_get_terminator):
        return channel.get_terminator()
    if state.shape.terminator >= 0:
        value = fastchat_values_of(<PyObject *> channel)[state.shape.terminator]
        if value != NULL:
            return <object> value
    return channel.terminator


cdef inline int _collect(channel, State state, bytes piece) except -1:
    """``channel.collect_incoming_data(piece)``."""
    cdef PyObject *args[2]
    if _has_shape(channel, state) and state.shape.collect != NULL:
        hook = <object> state.shape.collect  # owned, for it may take itself off the class
        args[0] = <PyObject *> channel
        args[1] = <PyObject *> piece
        PyObject_Vectorcall(hook, args, 2, NULL)
    else:
        channel.collect_incoming_data(piece)
    return 0


cdef inline int _found(channel, State state) except -1:
    """``channel.found_terminator()``."""
    cdef PyObject *args[1]
    if _has_shape(channel, state) and state.shape.found != NULL:
        hook = <object> state.shape.found
        args[0] = <PyObject *> channel
        PyObject_Vectorcall(hook, args, 1, NULL)
    else:
        channel.found_terminator()
    return 0


cdef inline bint _fits(channel, State state) except -1:
    """``state.fits(channel)``."""
    return state.shape.fits if _has_shape(channel, state) else state.fits(channel)


def _try_shapes():
    """Whether shapes are true while they should be, and not when they should not."""
    kind = type("_Tried", (), {"connected": False, "accepting": False})
    tried, other = kind(), kind()
    tried.connected = True
    tried.terminator = other.connected = None
    cdef PyTypeObject *raw = Py_TYPE(<PyObject *> tried)
    if not fastchat_shares_names(raw):
        return False
    cdef State state = State()
    cdef _Shape shape = _Shape()
    state.shape = shape
    shape.look_at(raw)
    holds = (
        _has_shape(tried, state)
        and _flag_at(tried, shape.connected, shape.is_connected) == 1
        and _flag_at(tried, shape.accepting, shape.is_accepting) == 0
        and _flag_at(tried, shape.terminator, False) == -1
        and _flag_at(other, shape.terminator, True) == 1
    )
    other.recv = None
    holds = holds and not _has_shape(tried, state)
    shape.look_at(raw)
    holds = holds and _has_shape(tried, state) and shape._place(raw, "recv") >= 0
    kind.connected = True
    holds = holds and not _has_shape(tried, state)
    shape.look_at(raw)
    holds = holds and _has_shape(tried, state) and shape.is_connected
    tried.__dict__ = {"connected": None}
    return holds and not _has_shape(tried, state)


cdef bint _shapes_work = False
try:
    _shapes_work = FASTCHAT_SHAPES and _try_shapes()
except Exception:
    pass
