# The methods of channels through which every byte goes.  The twin is _channel_py.py, which has the
# rules of held output; what is not compiled is called there.
#
# Real sockets are received from and sent to without the detour over their Python methods.  That
# is done only for a socket of exactly the standard class, whose methods nobody has replaced.  Where
# a blocking socket has to wait, its method does.

cdef extern from *:
    """
    #if defined(__unix__) || defined(__APPLE__)
    #include <errno.h>
    #include <sys/socket.h>
    #endif
    #if defined(MSG_DONTWAIT)
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    #define FASTCHAT_DIRECT 1
    static Py_ssize_t fastchat_recv(int fd, void *data, size_t size)
    { return recv(fd, data, size, MSG_DONTWAIT); }
    static Py_ssize_t fastchat_send(int fd, const void *data, size_t size)
    { return send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL); }
    /* The error of the last call, and 0 for one that only means "not now". */
    static int fastchat_error(void)
    { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : errno; }
    #else
    #define FASTCHAT_DIRECT 0
    static Py_ssize_t fastchat_recv(int fd, void *data, size_t size) { return -1; }
    static Py_ssize_t fastchat_send(int fd, const void *data, size_t size) { return -1; }
    static int fastchat_error(void) { return 0; }
    #endif
    /* Whether *method* is *function*, bound to *channel*. */
    static int fastchat_binds(PyObject *method, PyObject *function, PyObject *channel)
    {
        return PyMethod_Check(method) && PyMethod_GET_FUNCTION(method) == function
            && PyMethod_GET_SELF(method) == channel;
    }
    /* Whether attributes of *object* are looked up the way of most objects. */
    static int fastchat_is_ordinary(PyObject *object)
    { return Py_TYPE(object)->tp_getattro == PyObject_GenericGetAttr; }
    """
    bint FASTCHAT_DIRECT
    Py_ssize_t fastchat_recv(int fd, void *data, size_t size)
    Py_ssize_t fastchat_send(int fd, const void *data, size_t size)
    int fastchat_error()
    bint fastchat_binds(object method, object function, object channel)
    bint fastchat_is_ordinary(object object)

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

# The class of sockets, None where something else has its place, and the version it had when its
# methods were last found to be its own: a class gets another version when anybody assigns to it.
cdef object _Socket = standard_class()
cdef unsigned int _socket_version = 0
cdef bint _socket_is_plain = False


# Of a plain socket it is called without the look-up, two times a line.
cdef object _fileno = _socket_core.socket.fileno


# Where input is received.  What is short is copied from there, which costs less than to allocate
# and to shrink what could have been long; what is long takes it along.
cdef PyObject *_room = NULL

# The channels that hold output at this moment, by their states; whether any ever did.
cdef dict _holding = {}
cdef bint _endings_are_watched = False


cdef bint _is_plain_socket(sock) except -1:
    """Whether *sock* is a socket of the system, with the methods that it was born with."""
    global _socket_version, _socket_is_plain
    if type(sock) is not _Socket:
        return False
    if fastchat_version_of(_Socket) != _socket_version or _socket_version == 0:
        _socket_is_plain = FASTCHAT_DIRECT and all([
            getattr(_Socket, name) is getattr(_socket_core.socket, name)
            for name in ("recv", "send", "fileno", "gettimeout", "__getattribute__")
        ])
        _socket_version = fastchat_version_of(_Socket)
    return _socket_is_plain


cdef _socket_to_use(channel, State state):
    """The socket of *channel*; what it holds is sent first, for a program may want to see it."""
    if state is None or state.held is not None or state.socket is ABSENT:
        return channel.socket
    return state.socket if _fits(channel, state) else channel.socket


cdef inline Py_ssize_t _number(value) except? -1:
    """*value* as a C number; 0 where it is no plain int, or so large that nobody means it."""
    if type(value) is not int:
        return 0
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    return 0 if overflow or number < 0 or number > PY_SSIZE_T_MAX else number


cdef bytes _receive(sock, Py_ssize_t size, int *error):
    """What a plain *sock* has, at most *size* bytes; None where its own method has to be asked.

    In *error* goes the number of an error that says more than that there is nothing now.
    """
    global _room
    cdef int fd = _fileno(sock)
    cdef Py_ssize_t count
    cdef object data
    if fd < 0:
        return None
    if _room == NULL or PyBytes_GET_SIZE(<object> _room) != size:
        Py_XDECREF(_room)
        _room = NULL
        data = PyBytes_FromStringAndSize(NULL, size)
        Py_INCREF(data)
        _room = <PyObject *> data
        data = None
    count = fastchat_recv(fd, PyBytes_AS_STRING(<object> _room), size)
    if count < 0:
        error[0] = fastchat_error()
        return None
    if count <= size // 4:
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(<object> _room), count)
    _PyBytes_Resize(&_room, count)
    data = <object> _room
    Py_DECREF(data)
    _room = NULL
    return <bytes> data


# The state of a channel, and its socket.


cpdef own_state(channel):
    """The state of *channel*, which is made where it has none yet."""
    state = channel._fc_state
    if state is None:
        state = channel._fc_state = State()
    return state


def begin(channel):
    """Let a new *channel* have neither input nor output; False where its class hides the state."""
    cdef State state = own_state(channel)
    if state.held is not None:
        flush(channel)
    if not _fits(channel, state):
        return False
    state.buffer = b""
    state.start = 0
    state.exposed = False
    state.offset = 0
    state.fifo = None
    return True


def get_socket(channel):
    """The socket of *channel*; what it holds is sent first, for a program may want to see it."""
    cdef State state = own_state(channel)
    if state.held is not None:
        flush(channel)
    return there(channel, "socket", state.socket) if state.socket is ABSENT else state.socket


def get_fifo(channel):
    """The queue of *channel*; what it holds is sent first, for a program may want to see it."""
    cdef State state = own_state(channel)
    if state.held is not None:
        flush(channel)
    touch(channel)
    if type(state.fifo) is Absent:
        return there(channel, "producer_fifo", state.fifo)
    state.exposed = True
    return state.queue()


def set_socket(channel, sock):
    """Give *channel* another socket; what it holds goes out by the one it has."""
    cdef State state = own_state(channel)
    if state.held is not None:
        flush(channel)
    state.socket = sock
    state.is_stream = None


# Input.


def drop_input(channel):
    """No hook of *channel* sees any more what it has received."""
    cdef State state = own_state(channel)
    if type(state.buffer) is bytes and _fits(channel, state):
        state.buffer = b""
        state.start = 0
    else:
        drop_input_plainly(channel)
    state.closes += 1


cdef object handle_read_event(self):
    """The descriptor is readable: a connection to take, a connect that is done, or input."""
    cdef State state = _state_of(self)
    if state is None or state.told or not self.connected or self.accepting:
        _channel_py.handle_read_event(self)
    else:
        self.handle_read()


cdef object handle_write_event(self):
    """The descriptor is writable: a connect that is done, or room for output."""
    cdef State state = _state_of(self)
    if state is None or state.told or not self.connected or self.accepting:
        _channel_py.handle_write_event(self)
    else:
        self.handle_write()


cdef object recv(self, buffer_size):
    """Receive at most *buffer_size* bytes.

    Returns ``b""`` at the end of the connection: ``handle_close`` has then been called.
    Raises BlockingIOError when there is nothing to receive, OSError for any other failure.
    """
    cdef Py_ssize_t size = _number(buffer_size)
    cdef bytes received = None
    cdef int error = 0
    sock = _socket_to_use(self, _state_of(self))
    if 0 < size <= LARGEST and _is_plain_socket(sock):
        received = _receive(sock, size, &error)
        if received is not None and PyBytes_GET_SIZE(received):
            return received
    data = received
    try:
        if error:
            raise OSError(error, _strerror(error))
        if data is None:
            data = sock.recv(buffer_size)
    except OSError as failure:
        if not means_gone(self, failure):
            raise
        data = b""
    if not data:
        hang_up(self)
        return b""
    return data


cdef object handle_read(self):
    """Receive once, and deliver what can be delivered."""
    cdef State state = _state_of(self)
    if state is None or not _fits(self, state):
        handle_read_plainly(self)
        return
    cdef Py_ssize_t closes = state.closes
    try:
        data = self.recv(self.ac_in_buffer_size)
    except BlockingIOError:
        return
    except OSError:
        self.handle_error()
        return
    if state.closes != closes:
        return
    if type(data) is bytes and type(state.buffer) is bytes:
        if state.start < PyBytes_GET_SIZE(state.buffer):
            data = (<bytes> state.buffer)[state.start:] + <bytes> data
        state.buffer = data
        state.start = 0
    else:
        self.ac_in_buffer = self.ac_in_buffer + data
    cdef unsigned long outer_thread = state.thread
    cdef bint outer_more = state.more
    state.depth += 1
    state.thread = PyThread_get_thread_ident()
    try:
        know(self, state)
        cut(self, state)
    finally:
        state.depth -= 1
        state.thread = outer_thread
        state.more = outer_more
        try:
            if state.held is not None:
                _flush(self, state)
        finally:
            know(None, None)


cdef object get_terminator(self):
    """What ``set_terminator`` set; for an int, how many bytes of it are still to come."""
    return self.terminator


# What the loop asks.


cdef object readable(self):
    """Whether to wait for input: always."""
    return 1


cdef object writable(self):
    """Whether to wait for room for output: while there is some, or no connection yet."""
    cdef State state = _state_of(self)
    if state is None or not _fits(self, state) or type(state.fifo) is Absent:
        return writable_plainly(self)
    if state.held is not None:
        _flush(self, state)
    if state.fifo:
        # Not queue(), which would cut off what was sent of the first entry, for every event.
        return state.fifo if state.exposed else True
    return not self.connected


# Output.


cdef object send(self, data):
    """Send what the kernel takes of *data* (bytes-like); returns how many bytes that was.

    Returns 0 when it takes none now, and when the connection is gone: ``handle_close`` has
    then been called.  Raises OSError for any other failure.
    """
    cdef Py_ssize_t count
    cdef int fd, error = 0
    sock = _socket_to_use(self, _state_of(self))
    if type(data) is bytes and _is_plain_socket(sock):
        fd = _fileno(sock)
        if fd >= 0:
            count = fastchat_send(fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if count == PyBytes_GET_SIZE(data):
                return count
            if count >= 0:
                if sock.gettimeout() is not None:
                    return count
                try:  # a blocking socket sends all of it
                    return count + sock.send(memoryview(data)[count:])
                except OSError:
                    return count  # the next call hears of it
            error = fastchat_error()
            if error == 0 and sock.gettimeout() == 0:
                return 0
    if error:
        return _not_sent(self, error)
    try:
        return sock.send(data)
    except OSError as failure:
        if failure.errno == EWOULDBLOCK:
            return 0
        if means_gone(self, failure):
            hang_up(self)
            return 0
        raise


cdef int _not_sent(channel, int error) except -1:
    """Do what is to be done where a system call failed to send by *error*; returns 0."""
    failure = OSError(error, _strerror(error))
    if not means_gone(channel, failure):
        raise failure
    hang_up(channel)
    return 0


cdef object push(self, data):
    """Queue *data* and send what can be sent at once.

    Raises TypeError unless *data* is bytes, bytearray or memoryview.
    """
    cdef State state = _state_of(self)
    cdef Py_ssize_t size, limit
    if state is None or type(data) is not bytes or not _fits(self, state):
        push_plainly(self, data, enqueue)
        return
    size = PyBytes_GET_SIZE(data)
    if (
        (state.more or state.held is not None)
        and state.depth > 0
        and state.thread == PyThread_get_thread_ident()
    ):
        limit = _limit_of(self, state)
        if 0 < size <= limit:
            if state.held is not None and state.held_size + size > limit:
                _flush(self, state)  # which may close the channel, and anything else
                push(self, data)
                return
            _hold(self, state, data, size)
            if not state.more:
                _flush(self, state)
            return
    if state.held is not None:
        _flush(self, state)
    if (
        size
        and size <= _number(self.ac_out_buffer_size)
        and _has_stock_initiate_send(self, state)
        and _has_stock_send(self, state)
        and self.connected
        # Last, for while the program is asked the above another thread may push.
        and state.held is None
        and _may_send_at_once(state)
    ):
        _send_at_once(self, state, <bytes> data, None)
    else:
        push_plainly(self, data, enqueue)


cdef inline bint _may_send_at_once(State state) except -1:
    """Whether nothing is queued before what is sent now, and the socket is a plain one."""
    return (
        _is_plain_socket(state.socket)
        and not _is_sent_from(state)
        and (state.fifo is None or (type(state.fifo) is deque and not state.fifo))
    )


cdef int _hold(channel, State state, data, Py_ssize_t size) except -1:
    """Let *data* wait for more to be sent with."""
    if not _endings_are_watched:
        _watch_endings()
    pieces = [] if state.held is None else None  # before it is looked at: see _new_queue()
    if state.held is None:
        state.held = pieces
        state.held_size = 0
        _holding[state] = channel
    state.held.append(data)
    state.held_size += size
    return 0


cdef int _watch_endings() except -1:
    """Send what is held before the process ends, or waits for another."""
    global _endings_are_watched
    _endings.watch(flush_everything, flush_all)
    _endings_are_watched = True
    return 0


cdef Py_ssize_t _limit_of(channel, State state) except -1:
    """How many bytes *channel* may hold; 0 where each push is to be sent at once."""
    if (
        (_is_sent_from(state) and state.sender == PyThread_get_thread_ident())
        or not _joins(channel, state)
        or not _has_stock_initiate_send(channel, state)
        or not _has_stock_push(channel, state)
        or not channel.connected
    ):
        return 0
    fifo = state.fifo
    if fifo is not None:
        # A queue of the program's own may have an append() that counts.
        if type(fifo) is not deque or (fifo and type(fifo[0]) is not bytes):
            return 0
    return min(_number(channel.ac_out_buffer_size), LARGEST)


cdef inline bint _is_stream(State state) except -1:
    """Whether nobody can tell one ``send`` of the socket from two; looked at when first needed."""
    if state.is_stream is None:
        state.is_stream = is_plain_stream(state.socket)
    return state.is_stream


cdef inline bint _joins(channel, State state) except -1:
    """Whether what *channel* sends may leave together, for nobody can tell."""
    return (
        _is_stream(state)
        and MAY_COALESCE
        and _has_stock_send(channel, state)
        and (_is_plain_socket(state.socket) or has_raw_send(state.socket))
        and channel.ac_out_coalesce
    )


cdef list _take_held(State state):
    """What is held, as a list of what was pushed, or None; from now on it is not held."""
    held, state.held = state.held, None
    if held is not None:
        _holding.pop(state, None)
    return held


cdef object _queue_with_held(State state):
    """The queue in *state*, with what was held at its end; no other thread can come between."""
    if state.fifo is None:
        state.fifo = _new_queue()
    cdef list held = _take_held(state)
    if held is not None:
        for piece in held:  # extend() would make an iterator: see _new_queue()
            state.fifo.append(piece)
    return state.fifo


def enqueue(channel, *entries):
    """Put *entries* at the end of the queue of *channel*; what it holds is sent first."""
    cdef State state = _state_of(channel)
    if state is None or type(state.fifo) is Absent or not _fits(channel, state):
        for entry in entries:
            channel.producer_fifo.append(entry)
    else:
        if state.held is not None:
            _flush(channel, state)
        # No code of Python between the two: an empty queue leaves the state when it was sent.
        fifo = _queue_with_held(state)
        for entry in entries:
            fifo.append(entry)
    touch(channel)


cdef int _send_at_once(channel, State state, bytes data, list pieces) except -1:
    """Send *data*, before which nothing is queued, by a plain socket; what is left is queued.

    *pieces* is what *data* was joined from, or None.
    """
    sock = state.socket
    cdef int fd = _fileno(sock)
    cdef int error = 0
    cdef Py_ssize_t count = -1
    if fd >= 0:
        count = fastchat_send(fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        if count == PyBytes_GET_SIZE(data):
            return 0
        error = 0 if count >= 0 else fastchat_error()
    if state.fifo is None:
        state.fifo = _new_queue()
    if pieces is None:
        state.fifo.append(data)
    else:
        for piece in pieces:
            state.fifo.append(piece)
    _advance(state, state.fifo, count)
    if state.exposed:
        state.queue()  # what a program may see, and change, has nothing sent in it
    if error:
        _begin_to_send(state)
        try:
            _not_sent(channel, error)
        except OSError:
            channel.handle_error()
        finally:
            state.sending = False
    elif fd < 0 or sock.gettimeout() != 0:
        return _send_once(channel, state, False)  # a blocking socket waits, a closed one complains
    touch(channel)
    return 0


cdef object handle_write(self):
    self.initiate_send()


cdef object initiate_send(self):
    """Send once of what is queued, at most ``ac_out_buffer_size`` bytes."""
    cdef State state = _state_of(self)
    if state is None:
        if send_piece(self):
            hang_up(self)
    else:
        _send_once(self, state, False)


cdef int _send_once(channel, State state, bint is_flush) except -1:
    """``initiate_send``, for a channel with a *state*; it does not nest.

    *is_flush* says that the stock ``send`` is to be used, because it was when the bytes were
    pushed.  Only who has made ``sending`` true takes anything from the queue; what another thread
    pushes meanwhile is sent when that is done.
    """
    if _is_sent_from(state):
        if state.sender != PyThread_get_thread_ident():
            if state.held is not None:
                _queue_with_held(state)  # where the loop sees it, whatever the other one still does
            state.again = True
        return 0
    cdef bint is_over
    for _ in range(2):  # once more for what another thread has pushed meanwhile
        state.again = False
        _begin_to_send(state)
        try:
            is_over = _send_queued(channel, state, is_flush)
        except BaseException:
            touch(channel)  # for what is queued now may have been held before
            raise
        finally:
            state.sending = False
        if is_over:
            hang_up(channel)  # not before, for handle_close() may push and send, too
            return 0
        if not state.again or state.sending:
            break
    if state.fifo:
        touch(channel)
    return 0


cdef int _send_queued(channel, State state, bint is_flush) except -1:
    """Send from the queue of *channel*, and what it holds; returns what ``send_piece`` does."""
    fifo = state.fifo if state.held is None else _queue_with_held(state)
    if (fifo is None or type(fifo) is deque) and _fits(channel, state):
        while True:
            if not fifo or not (is_flush or channel.connected):
                return 0
            head = fifo[0]
            if type(head) is bytes and PyBytes_GET_SIZE(head):
                return _send_bytes(channel, state, fifo, <bytes> head, is_flush)
            if not head or is_data(head):
                break
            produced = head.more()
            if state.fifo is not fifo:  # more() has put another one in its place
                take_produced(channel.producer_fifo, produced)
                break
            take_produced(fifo, produced)
    return send_piece(channel)


cdef int _send_bytes(channel, State state, fifo, bytes entry, bint is_flush) except -1:
    """Send the bytes at the head of *fifo*: small ones together, what is large in parts."""
    cdef Py_ssize_t size = _number(channel.ac_out_buffer_size)
    cdef Py_ssize_t left = PyBytes_GET_SIZE(entry) - state.offset
    cdef Py_ssize_t count = 1
    if is_flush:
        size = max(size, state.held_size)  # which it allowed when that was pushed
    if size == 0:
        return send_piece(channel)
    state.rest = None
    data = entry
    if left < size and len(fifo) > 1 and (is_flush or _joins(channel, state)):
        data = _joined(fifo, entry, state.offset, size, &count)
    elif state.offset or left > size:
        data = entry[state.offset : state.offset + size]
    try:
        sent = send(channel, data) if is_flush else channel.send(data)
    except OSError:
        channel.handle_error()
        return 0
    finally:
        # Another thread, or the send itself, may have changed the queue.
        if state.offset and (state.fifo is not fifo or not fifo or fifo[0] is not entry):
            state.offset = 0
    # Where somebody looked at the queue meanwhile, its first entry is what was left of this one.
    rest, state.rest = state.rest, None
    if not sent or state.fifo is not fifo or not fifo:
        return 0
    if type(sent) is not int or not 0 < sent <= (left if count == 1 else len(data)):
        state.rest = rest
        take_odd_count(state, fifo, entry, data, size, sent)
        return 0
    head = fifo[0]
    if head is not entry and (head is not rest or head is None):
        return 0
    if head is entry and len(fifo) == count and sent >= (left if count == 1 else len(data)):
        fifo.clear()
        state.offset = 0
    else:
        _advance(state, fifo, sent)
    if state.exposed:
        state.queue()
    elif not fifo:
        state.fifo = None  # an idle channel needs no deque, which is most of what it would take
    return 0


cdef int _advance(State state, fifo, Py_ssize_t sent) except -1:
    """Take *sent* bytes off the head of *fifo*, all of whose entries there are bytes."""
    cdef Py_ssize_t left
    while sent > 0 and fifo:
        left = len(fifo[0]) - state.offset
        if sent < left:
            state.offset += sent
            return 0
        fifo.popleft()
        sent -= left
        state.offset = 0
    return 0


cdef bytes _joined(
    fifo, bytes entry, Py_ssize_t offset, Py_ssize_t size, Py_ssize_t *count
):
    """*entry*, the head of *fifo*, from *offset*, with what follows: bytes, at most *size* of them.

    How many entries that are goes to *count*.  No code of Python runs here, so no other thread
    changes the queue meanwhile.
    """
    cdef list pieces = [entry[offset:] if offset else entry]
    cdef Py_ssize_t total = PyBytes_GET_SIZE(entry) - offset
    following = iter(fifo)
    next(following)
    for piece in following:
        if type(piece) is not bytes or PyBytes_GET_SIZE(piece) == 0:
            break
        total += PyBytes_GET_SIZE(piece)
        if total > size:
            break
        pieces.append(piece)
    count[0] = len(pieces)
    return b"".join(pieces)


cdef int _flush(channel, State state) except -1:
    """Send what *channel* holds; what the kernel does not take is queued."""
    cdef list held
    # Whether it is connected still is not asked: it was when this was pushed.
    if _may_send_at_once(state):
        held = _take_held(state)
        if held is not None:
            # By the stock send, whatever is in its place now: so it was when this was pushed.
            _send_at_once(channel, state, held[0] if len(held) == 1 else b"".join(held), held)
        return 0
    return _send_once(channel, state, True)


cpdef flush(channel):
    """Send what *channel* holds; what the kernel does not take stays queued."""
    cdef State state = _state_of(channel)
    if state is not None and state.held is not None:
        _flush(channel, state)


cpdef flush_all():
    """Send what the channels of this thread hold: before a pass waits."""
    cdef State state
    if _holding:
        for channel in reversed(list(_holding.values())):
            state = _state_of(channel)
            if state is not None and state.thread == PyThread_get_thread_ident():
                flush(channel)


cpdef flush_everything():
    """Send what all channels hold: before the process forks or ends."""
    with ExitStack() as stack:  # which calls all of them, the last first, whatever one raises
        for channel in list(_holding.values()):
            stack.callback(flush, channel)


cpdef leave_to_the_parent():
    """In a forked child: nobody holds output or sends.  Only threads that the parent has could do
    so at a fork, and what they hold or send is theirs.
    """
    global _forks, _forker
    _forks += 1
    _forker = PyThread_get_thread_ident()
    cdef State state
    for state in list(_holding):
        _queue_with_held(state)
