# Waiting for events, and handing out those that are plain input; and what comes before and after,
# the entry of a channel that joins or leaves.  The twin is _events_py.py.
#
# On Linux the system calls are made from here, which spares the list of tuples that select.epoll
# makes of the events; elsewhere the poller makes them.

cdef extern from *:
    """
    #if defined(__linux__)
    #include <errno.h>
    #include <poll.h>
    #include <sys/epoll.h>
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
    struct epoll_event { unsigned int events; union { int fd; } data; };
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
    ctypedef union epoll_data_t "union epoll_data":
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data
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

cdef enum:
    AT_ONCE = 256  # events of one wait: what does not fit is there at the next one


cdef class Entry:
    cdef public object channel
    cdef public object fd
    cdef public Py_ssize_t born
    cdef public int flags
    cdef public bint tracked
    cdef public object state
    cdef public object registration
    cdef public object said


@final
cdef class Flags:
    """Flags by descriptor: a byte each, where a dict would take a hundred."""

    cdef bytearray _bytes
    cdef readonly Py_ssize_t count  # how many descriptors have any

    def __init__(self):
        self._bytes = bytearray()

    def __getitem__(self, key):
        # Nobody waits for what is no descriptor, and may have any key in a map.
        cdef Py_ssize_t fd = _descriptor(key)
        return (<unsigned char> self._bytes[fd]) if 0 <= fd < len(self._bytes) else 0

    def __setitem__(self, key, int flags):
        cdef int had = self[key]
        if had == flags:
            return
        cdef Py_ssize_t fd = key
        if fd >= len(self._bytes):
            self._bytes.extend(bytes(fd + 64 - len(self._bytes)))
        self._bytes[fd] = flags
        self.count += (flags != 0) - (had != 0)


cdef inline int _descriptor(key):
    """The *key* of a map as a descriptor; -1 where it is none."""
    cdef int overflow = 0
    if not isinstance(key, int):
        return -1
    cdef long long number = PyLong_AsLongLongAndOverflow(key, &overflow)
    return number if overflow == 0 and 0 <= number <= INT_MAX else -1


cdef int _wait(int epoll, epoll_event *happened, int milliseconds) except -1:
    """epoll_wait() that goes on after a signal (PEP 475); returns how many events there are.

    Raises PollerLost where *epoll* is no set any more, and what a signal handler raises.
    """
    cdef int count
    cdef long long end = fastchat_now() + milliseconds if milliseconds > 0 else 0
    while True:
        with nogil:
            count = epoll_wait(epoll, happened, AT_ONCE, milliseconds)
        if count >= 0:
            return count
        if fastchat_lost():
            raise PollerLost
        if not fastchat_interrupted():
            PyErr_SetFromErrno(OSError)
        PyErr_CheckSignals()
        if milliseconds > 0:
            milliseconds = max(0, end - fastchat_now())


def is_readable(int fd):
    """Whether there is input on *fd* at this moment; false where it is closed."""
    cdef pollfd one
    if not FASTCHAT_EPOLL:
        return _events_py.is_readable(fd)
    one.fd = fd
    one.events = READS
    return poll(&one, 1, 0) == 1 and one.revents == READS


cpdef bint has_own(channel, str name, function) except -1:
    """Whether *function* is the method *name* of the class of *channel*, and no other hides it."""
    # The class first: what it has may be a property, whose code is not run here.
    return (
        getattr(type(channel), name, None) is function
        and fastchat_binds(getattr(channel, name, None), function, channel)
    )


cpdef bint has_bools(channel) except -1:
    """Whether to look at *connected* and *accepting* of *channel* runs no code of the program's."""
    kind = type(channel)
    return (
        _is_bool_or_int(getattr(kind, "connected", None))
        and _is_bool_or_int(getattr(kind, "accepting", None))
        and _is_bool_or_int(channel.connected)
        and _is_bool_or_int(channel.accepting)
    )


cdef inline bint _is_bool_or_int(value) noexcept:
    return value is True or value is False or type(value) is int


cpdef int ask_chat(channel, tuple stock) except -1:
    """What an ordinary async_chat waits for, as flags; 0 where *channel* is none.

    *stock* are the functions that it must have as ``readable``, ``writable``, ``handle_expt`` and
    ``handle_expt_event``.  Runs no code of the program's.
    """
    if not fastchat_is_ordinary(channel):
        return 0  # a proxy, perhaps of what is gone
    cdef State state = _state_of(channel)
    if (
        state is None
        or not state.fits(channel)
        or not has_own(channel, "readable", stock[0])
        or not has_own(channel, "writable", stock[1])
        or not has_own(channel, "handle_expt", stock[2])
        or not has_own(channel, "handle_expt_event", stock[3])
        or type(state.fifo) is Absent
        or not has_bools(channel)
        or channel.accepting
    ):
        return 0
    if state.held is not None or state.fifo or not channel.connected:
        return READS | WRITES
    return READS


cpdef registration_of(channel):
    """How often *channel* joined or left its map; None where it is no dispatcher, -1 where gone."""
    kind = type(channel)
    if issubclass(kind, _ProxyTypes):
        try:
            # No call: a signal handler may run behind one, whose exception would be lost here.
            kind = channel.__class__
        except ReferenceError:
            return -1
    if type(getattr(kind, "_fc_registration", None)) is not int:
        return None
    return channel._fc_registration


def touch_fd(watch, fd):
    """Ask who has *fd* in the next pass, and let that be soon."""
    while True:
        # A pass of another thread takes the dict away, and makes a new one.
        touched = watch.touched
        touched[fd] = None
        if touched is watch.touched:
            break
    stir(watch)


cpdef stir(watch):
    """Something has changed of which the poller knows nothing: let the loop not wait."""
    watch.is_stirred = True
    if watch.is_waiting:
        watch.wake()


def enter(watch, channel, fd):
    """Give *channel*, which is new, its entry in *watch*.

    Returns it, tracked and with its flags where ``ask_chat`` has any; from C also None, where
    nothing is left to do, because the poller waits for it already.
    """
    cdef Entry entry = Entry.__new__(Entry)
    entry.channel = channel
    entry.fd = fd
    entry.born = watch.passes
    cdef epoll_event event
    entry.registration = registration_of(channel)
    entry.flags = ask_chat(channel, watch.core["_STOCK_CHAT"])
    (<dict> watch.entries)[fd] = entry
    if not entry.flags:
        return entry
    entry.tracked = True
    entry.state = channel._fc_state
    cdef int epoll = -1 if watch.suspects else _epoll_of(watch)
    cdef int number = _descriptor(fd)
    if epoll >= 0 and number >= 0:
        memset(&event, 0, sizeof(event))
        event.events = entry.flags
        event.data.fd = number
        if epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event) == 0:
            (<Flags?> watch.registered)[fd] = entry.flags
            return None
    return entry


def forget(watch, fd):
    """The channel of *fd* left; its socket may be closed next."""
    cdef dict entries = watch.entries
    if fd in entries:
        del entries[fd]
        if watch.asked:
            watch.asked.pop(fd, None)
        watch.last_leave = watch.passes
        stir(watch)
    cdef Flags registered = watch.registered
    if not registered[fd]:
        return
    cdef int epoll = _epoll_of(watch)
    if epoll < 0:
        watch.unregister(fd)
        return
    registered[fd] = 0
    if epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL):
        watch.suspects.add(fd)


cdef int _epoll_of(watch) except -2:
    """The descriptor of the set of *watch*, if the set says all there is to say; else -1."""
    poller = watch.poller
    if FASTCHAT_EPOLL and type(poller) is Epoll and not poller.always and not poller.quiet:
        return poller.number
    return -1


def serve(watch, int milliseconds, bint is_poll2):
    """Wait for events of *watch*; hand out plain input, then room for output to who is tracked.

    Returns what else happened, as entries, flags and the answers of those who are asked on every
    pass (None for others); and None where nothing did in *milliseconds* (-1 for ever, 0 not at
    all).
    """
    cdef epoll_event happened[AT_ONCE]
    cdef int count, i
    cdef Py_ssize_t number = watch.passes
    cdef _Pass now
    poller = watch.poller
    cdef int epoll = _epoll_of(watch)
    if epoll >= 0:
        count = _wait(epoll, happened, milliseconds)
        watch.is_waiting = False
        if count == 0:
            return None
        now = _Pass(watch, number, is_poll2)
        if now.asked:
            for i in range(count):
                now.keep_answer(happened[i].data.fd, happened[i].events)
        for i in range(count):
            now.take(happened[i].data.fd, happened[i].events)
    else:
        events = poller.wait(milliseconds)
        watch.is_waiting = False
        if not events:
            return None
        count = len(events)
        now = _Pass(watch, number, is_poll2)
        if now.asked:
            for fd, flags in events:
                now.keep_answer(fd, flags)
        for fd, flags in events:
            now.take(fd, flags)
    watch.events += count
    if now.slow and not is_poll2:  # poll() hands out all input first
        return now.slow + [(entry, WRITES, None) for entry in now.roomy]
    for entry in now.roomy:
        if now.entries.get(entry.fd) is entry and (
            now.map is None or now.map.get(entry.fd) is entry.channel
        ):
            now.give_room(entry)
    return now.slow


cdef class _Pass:
    """What is the same for all events of one wait."""

    cdef object watch
    cdef dict entries
    cdef dict asked
    cdef dict answers  # by descriptor, of those who are asked on every pass
    cdef object map  # None where it tells of all changes
    cdef bint is_plain, is_poll2
    cdef Py_ssize_t number
    cdef list slow
    cdef list roomy

    def __init__(self, watch, number, is_poll2):
        self.watch = watch
        self.entries = watch.entries
        self.asked = watch.asked
        self.answers = {} if self.asked else None
        self.map = None if watch.is_told else watch.map
        self.is_plain = watch.core["_is_plain"](is_poll2)
        self.is_poll2 = is_poll2
        self.number = number
        self.slow = []
        self.roomy = []

    cdef int keep_answer(self, int fd, int flags) except -1:
        """Keep what was said for *fd*: a hook may make a pass of its own, which asks anew.

        As ``_ask_one`` has it.
        """
        cdef Entry entry
        if flags == READS and self.is_plain:
            return 0
        found = self.asked.get(fd)
        if found is not None:
            entry = <Entry> found
            self.answers[fd] = entry.channel, registration_of(entry.channel), entry.flags
        return 0

    cdef int take(self, int fd, int flags) except -1:
        """Hand out one event if it is plain input, else keep it for later."""
        key = fd
        found = self.entries.get(key)
        if found is None:
            self.watch.take_stranger(fd, self.number)
            return 0
        cdef Entry entry = found
        if entry.born > self.number:
            return 0
        cdef bint is_quick = flags == READS or (flags == WRITES and entry.tracked)
        if not (is_quick and self.is_plain):
            answer = None if self.answers is None else self.answers.get(key)
            self.slow.append((entry, flags, answer))
            return 0
        # Who is tracked is believed to be in a map that tells of all changes.
        if entry.tracked and self.map is None or self.watch.map.get(key) is entry.channel:
            if flags == WRITES:
                self.roomy.append(entry)
            elif entry.tracked:
                self.give_input(entry)
            else:
                self.give_asked_input(entry)
        return 0

    cdef int give_input(self, Entry entry) except -1:
        """Tell the channel of *entry* that there is input, if it still wants any."""
        channel = entry.channel
        cdef State state = entry.state
        try:
            if state is not None:
                _know(channel, state)
            if not channel.readable():
                self.watch.touched[entry.fd] = None
                return 0
            if state.told if state is not None else channel._fc_hung_up is not None:
                forget_hang_up(channel)
            channel.handle_read_event()
        except BaseException:
            self.watch.touched[entry.fd] = None  # for what follows may leave the loop
            self.watch.core["_settle_failure"](channel, self.watch.map, entry.fd, self.is_poll2)
        finally:
            _know(None, None)
        if state is None and self.watch.is_endless:
            self.watch.take_more(entry, self.is_poll2)
        return self.settle(entry)

    cdef int give_asked_input(self, Entry entry) except -1:
        """Tell the channel of *entry*, which is asked on every pass, that there is input."""
        channel = entry.channel
        core = self.watch.core
        if not core["_is_plain"](self.is_poll2):  # a hook has replaced what hands it out
            core["_hand_input"](channel, self.watch.map, entry.fd, self.is_poll2)
            return 0
        try:
            forget_hang_up(channel)
            channel.handle_read_event()
        except BaseException:
            core["_settle_failure"](channel, self.watch.map, entry.fd, self.is_poll2)
        return 0

    cdef int give_room(self, Entry entry) except -1:
        """Tell the channel of *entry* that there is room for output, if it still wants any."""
        channel = entry.channel
        cdef State state = entry.state
        try:
            if channel.writable() and not channel.accepting:
                if state.told if state is not None else channel._fc_hung_up is not None:
                    forget_hang_up(channel)
                channel.handle_write_event()
        except BaseException:
            self.watch.touched[entry.fd] = None  # for what follows may leave the loop
            self.watch.core["_settle_failure"](channel, self.watch.map, entry.fd, self.is_poll2)
        return self.settle(entry)

    cdef int settle(self, Entry entry) except -1:
        """Let the channel of *entry* be asked again, unless it clearly waits for the same."""
        cdef State state = entry.state
        if state is not None:
            if bool(state.fifo) == bool(entry.flags & WRITES):
                return 0
        elif entry.flags == READS and entry.channel.accepting and entry.channel._fc_rest is None:
            return 0
        self.watch.touched[entry.fd] = None
        return 0
