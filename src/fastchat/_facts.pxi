# What is known of a class of channels, so that it need not be looked up for every line.
#
# A program may replace a method at any time, on a class or on one channel, and from then on its own
# is to be called.  What is called is looked up at each call.  This file is for what is not called:
# push() sends by a system call of its own, or holds what it gets, where nobody could tell; for that
# it has to know that what stands under the names push, initiate_send and send is the stock.
#
# * A class has a version, and gets another one when anybody assigns to it, or to a class that it
#   inherits from.  So what was found out about a class is true while it has the version it had.
#   The version is the one thing here that is the interpreter's own, and nothing is known of a class
#   that has none.
# * What a channel has of its own is looked up on it each time, but nothing is made for that: a
#   Method that is looked for, and not called, need not be bound (fastchat_finds).

cdef extern from *:
    """
    static unsigned int fastchat_version_of(PyObject *type)
    { return ((PyTypeObject *) type)->tp_version_tag; }
    static int fastchat_has_version(PyObject *object, unsigned int version)
    { return version != 0 && version == fastchat_version_of((PyObject *) Py_TYPE(object)); }
    """
    unsigned int fastchat_version_of(object kind)
    bint fastchat_has_version(object object, unsigned int version)

cdef enum:
    OFTEN = 1000  # how many times a class may change before it is left alone

# What a program finds on async_chat under the names of methods, where it has replaced nothing.
cdef dict _stock = {}

# To look at a class without any code of its metaclass.
cdef object _mro_of = type.__dict__["__mro__"].__get__
cdef object _members_of = type.__dict__["__dict__"].__get__


@final
@auto_pickle(False)
cdef class _Facts:
    """What is known of one class."""

    cdef unsigned int version  # of the class; 0 where nothing is known
    cdef int looks
    # The stock methods that it has; None where there is another, or a look-up of its own.
    cdef object initiate_send
    cdef object send
    cdef object push
    # Whether the state of a channel is used.
    cdef bint fits

    cdef int look_at(self, channel) except -1:
        """Find out what holds for the class of *channel* now."""
        kind = type(channel)
        cdef unsigned int version = fastchat_version_of(kind)
        self.version = 0
        if self.looks >= OFTEN:
            return 0
        self.looks += 1
        self.initiate_send = self.send = self.push = None
        if fastchat_is_ordinary(channel):
            self.initiate_send = self._stock_of(kind, "initiate_send")
            self.send = self._stock_of(kind, "send")
            self.push = self._stock_of(kind, "push")
        self.fits = has_properties(kind)
        # Code of Python may have run, and changed the class: then its version is another one.
        if fastchat_version_of(kind) == version:
            self.version = version
        return 0

    cdef object _stock_of(self, kind, str name):
        """The stock method *name* where *kind* has it, else None."""
        for base in _mro_of(kind):
            members = _members_of(base)
            if name in members:
                stock = _stock[name]
                return stock if members[name] is stock else None
        return None


# Those of a channel of which nothing is known yet; those found last; and those of all classes, by
# id, with a weak reference to the class: its metaclass may have made it something without a hash.
cdef _Facts _UNKNOWN = _Facts()
cdef _Facts _latest = _UNKNOWN
cdef dict _facts = {}


cdef _Facts _facts_of_class(kind):
    """The facts that belong to the class *kind*, which are made where there are none yet."""
    cdef tuple entry = _facts.get(id(kind))
    if entry is None or entry[0]() is not kind:
        key = id(kind)
        entry = ref(kind, lambda gone: _facts.pop(key, None)), _Facts()
        _facts[key] = entry
    return entry[1]


cdef inline bint _has_facts(channel, State state) noexcept:
    """Whether the facts in *state* are those of the class of *channel*, as it is now.

    No two classes share a version.
    """
    return fastchat_has_version(channel, (<_Facts> state.facts).version)


cdef int _find_facts(channel, State state) except -1:
    """Find out what holds for the class of *channel*, of which *state* has no facts that do."""
    global _latest
    cdef _Facts facts = _latest
    if not fastchat_has_version(channel, facts.version):
        facts = _facts_of_class(type(channel))
        if not fastchat_has_version(channel, facts.version):
            facts.look_at(channel)
        _latest = facts
    state.facts = facts
    return 0


cdef inline bint _has_stock_initiate_send(channel, State state) except -1:
    if _has_facts(channel, state) and (<_Facts> state.facts).initiate_send is not None:
        return fastchat_finds(channel, "initiate_send", (<_Facts> state.facts).initiate_send)
    return _has_stock(channel, "initiate_send")


cdef inline bint _has_stock_send(channel, State state) except -1:
    if _has_facts(channel, state) and (<_Facts> state.facts).send is not None:
        return fastchat_finds(channel, "send", (<_Facts> state.facts).send)
    return _has_stock(channel, "send")


cdef inline bint _has_stock_push(channel, State state) except -1:
    if _has_facts(channel, state) and (<_Facts> state.facts).push is not None:
        return fastchat_finds(channel, "push", (<_Facts> state.facts).push)
    return _has_stock(channel, "push")


cdef bint binds(method, function, channel) noexcept:
    """Whether *method* is *function*, bound to *channel*."""
    return fastchat_binds(method, function, channel)


cdef bint _has_stock(channel, str name) except -1:
    """Whether what *channel* has as the method *name* is the stock one, and its own."""
    return fastchat_binds(getattr(channel, name, None), _stock[name], channel)


cdef inline bint _fits(channel, State state) except -1:
    """``state.fits(channel)``."""
    return (<_Facts> state.facts).fits if _has_facts(channel, state) else state.fits(channel)


def knows_class_of(channel):
    """Whether what is known of the class of *channel* holds; for tests."""
    cdef State state = _state_of(channel)
    return state is not None and _has_facts(channel, state)
