# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""What an ``async_chat`` channel keeps of its input and output, and who sends from its queue.

One small object for each channel holds what the hot path works on, so that it costs one look-up to
get there, and a few hundred bytes less than attributes of the channel would.  The public attributes
``ac_in_buffer``, ``producer_fifo`` and ``socket`` are properties over it (``_properties.py``).

Rules that all who touch a state keep:

* Input is ``buffer[start:]``.  Whoever changes what is behind ``start`` assigns another object.
* Output is ``fifo`` without its first ``offset`` bytes; what is held is at its end.  Only
  ``queue()`` shows it to a program.
* On a free-threaded CPython, compiled, all of it is used with the lock of the state, a critical
  section: two threads that read and assign one field at the same time would crash.  Methods and
  properties of channels are called with it (``_method.pyx``); others take it (``lock_of``).
* Any thread may put something at the end of ``fifo``.  Only the thread that has the *turn* takes
  something away.  Compiled, the turn is a number in the state, for no other thread gets at it
  between two lines that call nothing; as it is, it is an entry in ``_senders``, which is made in
  one step, and removed without a call, behind which a signal handler might raise.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from fastchat._core.shown import ABSENT, has_properties

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled:
    from threading import get_ident

    from fastchat._core.facts import UNKNOWN

    if TYPE_CHECKING:
        from fastchat._core._externs import HAS_GIL, gc_disable, gc_enable, has_version
        from fastchat._core.facts import facts_of


class State:
    """What an ``async_chat`` channel keeps of its input and output, in its ``_fc_state``.

    The public attributes ``ac_in_buffer``, ``producer_fifo`` and ``socket`` are properties over
    it.  A class may hide one of them behind an attribute of its own; then ``fits`` is false, and
    only the public attributes are used.
    """

    __slots__ = (  # noqa: RUF023 (what belongs together stands together)
        "buffer",  # the input, of whatever type was received or assigned
        "start",  # how much of it was delivered
        "closes",  # how often the channel was closed
        "socket",
        "fifo",  # the queue of output; None where it is empty and nobody needed it (compiled only)
        "offset",  # how much of fifo was sent: of its first entry, and perhaps more while one sends
        "unsent_head",  # what queue() made of the first entry, or None
        "exposed",  # whether a program has had its hands on fifo
        "held",  # whether the last of the queue was pushed without a send
        "held_size",  # how many bytes of it; not reset when they are sent
        "most",  # how many bytes may be held, looked at when that began
        "depth",  # how deep deliveries of the channel's input are nested
        "more",  # whether undelivered input follows the piece that the hook at work was given
        "thread",  # the thread that makes the innermost delivery
        "again",  # whether another thread has pushed while one was sending
        "is_stream",  # whether two send() can be made one; None where nobody has looked
        "close_notified",  # whether handle_close() was called, as _hangups.was_told() has it
        "facts",  # what is known of its class
        "push_version",  # for which version of its class push() was stock when the delivery began
        "terminator_version",  # for which get_terminator() was; 0 for none; both are compiled only
        "fitting_class",  # the class of the channel, if it fits; never compiled
        "_kind",  # the class for which that was found out; never compiled
        "turns",  # how often somebody took the turn, or gave it back early
        "is_full",  # whether the kernel took less than it was offered, and told of no room since
        "sender",  # which thread has the turn, 0 for none; compiled only
        "forks",  # how many forks there were then; compiled only
    )

    def __init__(self) -> None:
        self.buffer: Any = ABSENT
        self.start = 0
        self.closes = 0
        self.socket: Any = ABSENT
        self.fifo: Any = ABSENT
        self.offset = 0
        self.unsent_head: bytes | None = None
        self.exposed = False
        self.held = False
        self.held_size = 0
        self.most = 0
        self.depth = 0
        self.more = False
        self.thread = 0
        self.again = False
        self.is_stream: bool | None = None
        self.close_notified = False
        self.facts = UNKNOWN
        self.push_version = 0
        self.terminator_version = 0
        if not cython.compiled:
            self.fitting_class: Any = None
            self._kind: Any = None
        self.turns = 0
        self.is_full = False
        self.sender = 0
        self.forks = 0

    def fits(self, channel: Any) -> bool:
        """Whether the class of *channel* leaves the three properties as they are."""
        if cython.compiled:
            if not has_version(channel, self.facts.version):
                self.facts = facts_of(channel)
                if not has_version(channel, self.facts.version):
                    return has_properties(type(channel))
            return self.facts.fits
        else:
            if type(channel) is not self._kind:
                kind = type(channel)
                self.fitting_class = kind if has_properties(kind) else None
                self._kind = kind
            return self.fitting_class is not None

    def begin(self) -> None:
        """Let there be neither input nor output."""
        self.buffer = b""
        self.start = 0
        self.exposed = False
        self.offset = 0
        self.fifo = None if cython.compiled else deque()

    def queue(self) -> Any:
        """All output that waits, as the deque that programs know; whoever asks has flushed."""
        fifo = queue_of(self)
        if not self.offset:
            return fifo
        me = get_ident()
        if cython.compiled:
            if sender_of(self) in (0, me):
                self._show_what_is_left(fifo)
            return fifo
        else:
            if _senders.get(self) == me:
                self._show_what_is_left(fifo)
                return fifo
            is_mine = True
            try:
                is_mine = _senders.setdefault(self, me) == me
                if is_mine:
                    self._show_what_is_left(fifo)
            finally:
                # Without a call, for after each a signal handler might raise; and without asking
                # first, for another thread may take its own away meanwhile.
                try:
                    if is_mine and _senders[self] == me:
                        del _senders[self]
                except KeyError:
                    pass
            return fifo

    def _show_what_is_left(self, fifo: Any) -> None:
        """Cut off what was sent of the first entry of *fifo*, with the turn."""
        drop_sent(self, fifo)
        if self.offset:
            fifo[0] = self.unsent_head = fifo[0][self.offset :]
            self.offset = 0


def new_queue() -> Any:  # compiled only
    """An empty queue, for one that is not there yet.

    On CPython 3.11 whatever is made may set off a collection of garbage, which may run any code of
    Python: one that pushes, too, to the channel whose queue this is to be.
    """
    was_enabled = gc_disable()
    try:
        return deque()
    finally:
        if was_enabled:
            gc_enable()


def queue_of(state: State) -> Any:
    """The queue in *state*, which is made where it is not there."""
    if cython.compiled and state.fifo is None:
        state.fifo = new_queue()
    return state.fifo


def has_queue(state: State) -> bool:
    """Whether there is anything in the queue in *state*, whose lock nobody needs to have."""
    if cython.compiled:
        with cython.critical_section(state):
            return bool(state.fifo)
    else:
        return bool(state.fifo)


def drop_sent(state: State, fifo: Any) -> None:
    """Take off *fifo* the entries of bytes that were sent whole, as ``offset`` says.

    Whatever raises here, what is left and ``offset`` go together.
    """
    while state.offset and fifo:
        size = len(fifo[0])
        if state.offset < size:
            return
        # No call between these two.
        del fifo[0]
        state.offset -= size
    if not fifo:
        state.offset = 0


# Where there is a GIL, the channel whose input is delivered now, and its state: between a line that
# comes in and its reply the state is needed five times, and a look-up of the attribute costs 25 ns.
# Both are owned while they are known, and always change together: what is released may run code of
# Python, so that comes last.
_current: Any = None
_current_state: State | None = None


def set_current(channel: Any, state: State | None) -> None:  # compiled only
    """Let *channel* with its *state* be the one that is known, or none, where both are None."""
    global _current, _current_state
    if not HAS_GIL:
        return
    _before, _state_before = _current, _current_state  # released when this returns
    _current = channel
    _current_state = state


def state_of(channel: Any) -> State | None:
    """The state of *channel*; None where it has none, or where its class hides a property."""
    state: State
    if cython.compiled:
        is_known = HAS_GIL and channel is _current
        found = _current_state if is_known else getattr(channel, "_fc_state", None)
        if type(found) is not State:
            return None
        state = found
        if has_version(channel, state.facts.version):
            return state if state.facts.fits else None
        return state if state.fits(channel) else None
    else:
        # Nothing is called in here: a signal handler may raise an AttributeError of its own.
        try:
            state = channel._fc_state
            fitting_class = state.fitting_class
        except AttributeError:  # none yet, or whatever borrows a method of a channel
            return None
        if type(channel) is fitting_class:
            return state
        # The type first, for a mock has an answer to every name.
        return state if type(state) is State and state.fits(channel) else None


def socket_of(channel: Any) -> Any:  # compiled only
    """``channel.socket``, without the detour over the property where that has nothing to do."""
    state = state_of(channel)
    if state is None or state.held or state.socket is ABSENT:
        return channel.socket
    return state.socket


# Locked by who makes a state: another thread may ask for it at the same moment.
_making = object()


def own_state(channel: Any) -> State:
    """The state of *channel*, which is made where it has none yet."""
    state: State | None = channel._fc_state
    if state is None:
        with cython.critical_section(_making):
            return _made_state(channel)
    return state


def _made_state(channel: Any) -> State:
    """The state of *channel*, which is made unless another thread has made it meanwhile."""
    state: State | None = channel._fc_state
    if state is None:  # pragma: no branch (another thread was faster)
        state = channel._fc_state = State()
    return state


def lock_of(channel: Any) -> Any:
    """What is locked while anything of the state of *channel* is used, on a Python without a GIL.

    Nothing of a state may be used without that, unless the channel is shown to nobody yet.
    """
    state = getattr(channel, "_fc_state", None)
    return channel if state is None else state


# Who has the turn.

# Which thread sends, by state.
_senders: dict[State, int] = {}

# How many forks there are between this process and the first, and the thread that made the last:
# the only one of the parent's that the child has, too.
_forks = 0
_forker = 0


def sender_of(state: State) -> int:
    """The thread that sends from the queue in *state*; 0 for none, or one of the parent's."""
    if cython.compiled:
        if not state.sender:
            return 0
        return state.sender if state.forks == _forks or state.sender == _forker else 0
    else:
        return _senders.get(state, 0)


def take_turn(state: State, me: int) -> bool:
    """Let the thread *me* send from the queue in *state*; False where another one does.

    What that one has not seen yet, it sends when it is done.
    """
    if cython.compiled:
        if state.sender and sender_of(state):
            state.again = True
            return False
        state.sender = me
        state.forks = _forks
        return True
    else:
        while _senders.setdefault(state, me) != me:
            state.again = True
            if state in _senders:  # and so will see that
                return False
        return True


def end_turn(channel: Any) -> None:
    """Give the turn at *channel* back if this thread has it, before a hook that may push is called.

    Who had it leaves the queue alone after that if ``turns`` is another number.
    """
    found = getattr(channel, "_fc_state", None)
    if type(found) is not State:
        return
    state: State = found
    me = get_ident()
    if cython.compiled:
        if state.sender == me:
            state.turns += 1
            state.sender = 0
    else:
        try:  # without a call in between, as for all who give it back
            if _senders[state] == me:  # pragma: no branch
                state.turns += 1
                del _senders[state]
        except KeyError:
            pass


def forget_senders() -> None:
    """In a forked child: who was sending is a thread of the parent's, unless it made the fork."""
    global _forks, _forker
    _forks += 1
    _forker = get_ident()
    if not cython.compiled:
        for state in [state for state, thread in _senders.items() if thread != _forker]:
            del _senders[state]
