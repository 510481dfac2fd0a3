# What an async_chat channel keeps of its input and output; the twin is _state_py.py, which says
# what each attribute is for and what rules it keeps.

cdef class _Facts


cdef class State:
    """What an ``async_chat`` channel keeps of its input and output, in its ``_fc_state``.

    The public attributes ``ac_in_buffer``, ``producer_fifo`` and ``socket`` are properties over
    it.  A class may hide one of them behind an attribute of its own; then ``fits`` is false, and
    only the public attributes are used.
    """

    def __init__(self):
        self.buffer = self.socket = self.fifo = ABSENT
        self.facts = _UNKNOWN

    cpdef bint fits(self, channel) except -1:
        """Whether the class of *channel* leaves the three properties as they are."""
        if not _has_facts(channel, self):
            _find_facts(channel, self)
        if _has_facts(channel, self):
            return (<_Facts> self.facts).fits
        return has_properties(type(channel))

    def queue(self):
        """All output that waits, as the deque that programs know; whoever asks has flushed."""
        fifo = self.fifo
        if fifo is None:
            fifo = self.fifo = _new_queue()
        if self.offset and not (_is_sent_from(self) and self.sender != PyThread_get_thread_ident()):
            if fifo:
                fifo[0] = self.rest = fifo[0][self.offset:]
            self.offset = 0
        return fifo


cdef extern from "Python.h":
    int PyGC_Disable()
    int PyGC_Enable()


cdef object _new_queue():
    """An empty queue, for one that is not there yet.

    On CPython 3.11 whatever is made may set off a collection of garbage, which may run any code of
    Python: one that pushes, too, to the channel whose queue this is to be.
    """
    cdef bint was_enabled = PyGC_Disable()
    try:
        return deque()
    finally:
        if was_enabled:
            PyGC_Enable()


# How many forks there are between this process and the first, and the thread that made the last:
# the only one of the parent's that the child has, too.
cdef unsigned long _forks = 0
cdef unsigned long _forker = 0


cdef inline bint _is_sent_from(State state):
    """Whether a thread sends from the queue in *state*; one that only the parent has does not."""
    return state.sending and (state.forks == _forks or state.sender == _forker)


cdef inline void _begin_to_send(State state) noexcept:
    """Let this thread be the one that sends from the queue in *state*."""
    state.sending = True
    state.sender = PyThread_get_thread_ident()
    state.forks = _forks


# The channel whose input is delivered now, and its state: between a line that comes in and its
# reply the state is needed five times, and a look-up of the attribute costs 25 ns.  Both are owned
# while they are known, and always change together: what is released may run code of Python, so that
# comes last.
cdef object _known = None
cdef State _known_state = None


cdef int know(channel, State state) except -1:
    """Let *channel* with its *state* be the one that is known; None and None for nobody."""
    global _known, _known_state
    before, state_before = _known, _known_state  # released when this returns
    _known = channel
    _known_state = state
    return 0


cdef inline State _state_of(channel):
    """The state of *channel*; None where it has none, or something else under that name."""
    if channel is _known:
        return _known_state
    state = getattr(channel, "_fc_state", None)
    return <State> state if type(state) is State else None
