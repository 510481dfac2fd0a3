# The methods of channels through which every byte goes.  The twin is _channel_py.py, which has the
# rules of held output; what is not compiled is called there.
#
# Real sockets are received from and sent to without the detour over their Python methods.  That
# is done only for a socket of exactly the standard class, whose methods nobody has replaced, and
# only as long as it succeeds: whatever else the kernel says is left to the method, which makes the
# proper exception of it, or waits if it is a blocking socket.

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
    static unsigned int fastchat_version_of(PyObject *type)
    { return ((PyTypeObject *) type)->tp_version_tag; }
    /* Whether *method* is *function*, bound to *channel*. */
    static int fastchat_binds(PyObject *method, PyObject *function, PyObject *channel)
    {
        return PyMethod_Check(method) && PyMethod_GET_FUNCTION(method) == function
            && PyMethod_GET_SELF(method) == channel;
    }
    /* Whether attributes of *object* are looked up the way of most objects. */
    static int fastchat_is_ordinary(PyObject *object)
    { return Py_TYPE(object)->tp_getattro == PyObject_GenericGetAttr; }
    /* The first member of a socket object, in all versions of CPython so far. */
    static int fastchat_fd_of(PyObject *sock)
    { return *(int *) ((char *) sock + sizeof(PyObject)); }
    """
    bint FASTCHAT_DIRECT
    Py_ssize_t fastchat_recv(int fd, void *data, size_t size)
    Py_ssize_t fastchat_send(int fd, const void *data, size_t size)
    int fastchat_error()
    unsigned int fastchat_version_of(object kind)
    bint fastchat_binds(object method, object function, object channel)
    bint fastchat_is_ordinary(object object)
    int fastchat_fd_of(object sock)

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    object PyErr_SetFromErrno(object kind)

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

# The class of sockets, and the version it had when its methods were last found to be its own: a
# class gets another version when anybody assigns to it.
cdef object _Socket = _socket_module.socket
cdef unsigned int _socket_version = 0
cdef bint _socket_is_plain = False

cdef int _STREAM = _socket_module.SOCK_STREAM


cdef bint _find_fd_in_sockets() except -1:
    """Whether the descriptor of a socket is where it is thought to be."""
    if not FASTCHAT_DIRECT:
        return False
    try:
        sockets = [_socket_core.socket() for _ in range(2)]
        found = all([fastchat_fd_of(sock) == sock.fileno() for sock in sockets])
        for sock in sockets:
            sock.close()
        return found
    except Exception:  # no descriptor left, or sockets are forbidden here
        return False


# Asking a socket for it costs a method call, 40 ns twice a line.
cdef bint _fd_is_in_sockets = _find_fd_in_sockets()


# Where input is received.  What is short is copied from there, which costs less than to allocate
# and to shrink what could have been long; what is long takes it along.
cdef PyObject *_room = NULL

# The channels that hold output at this moment, each once.
cdef list _holding = []


cdef bint _is_plain_socket(sock) except -1:
    """Whether *sock* is a socket of the system, with the methods that it was born with."""
    global _socket_version, _socket_is_plain
    if type(sock) is not _Socket:
        return False
    if fastchat_version_of(_Socket) != _socket_version or _socket_version == 0:
        _socket_is_plain = FASTCHAT_DIRECT and all([
            getattr(_Socket, name) is getattr(_socket_core.socket, name)
            for name in ("recv", "send", "fileno")
        ])
        _socket_version = fastchat_version_of(_Socket)
    return _socket_is_plain


cdef inline bint _has_stock(channel, str name) except -1:
    """Whether what *channel* has as the method *name* is the stock one, and its own."""
    return fastchat_binds(getattr(channel, name, None), _stock[name], channel)


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
    cdef int fd = fastchat_fd_of(sock) if _fd_is_in_sockets else sock.fileno()
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
    there(channel, "producer_fifo", state.fifo)
    state.exposed = True
    return state.queue()


def set_socket(channel, sock):
    """Give *channel* another socket; what it holds goes out by the one it has."""
    cdef State state = own_state(channel)
    if state.held is not None:
        flush(channel)
    state.socket = sock
    is_real = issubclass(type(sock), _Socket)  # mocks say that they are instances
    state.keeps_bounds = not is_real or _type_of(sock) != _STREAM


# Input.


def drop_input(channel):
    """No hook of *channel* sees any more what it has received."""
    cdef State state = own_state(channel)
    if type(state.buffer) is bytes and _fits(channel, state):
        state.buffer = b""
        state.start = 0
    else:
        channel.ac_in_buffer = channel.ac_in_buffer[:0]
    state.closes += 1


cpdef handle_read_event(self):
    """The descriptor is readable: a connection to take, a connect that is done, or input."""
    cdef State state = _state_of(self)
    if state is None or state.told or not _is_connected(self, state) or _is_accepting(self, state):
        _channel_py.handle_read_event(self)
    elif _has_shape(self, state) and state.shape.stock_reading:
        handle_read(self)
    else:
        self.handle_read()


cpdef handle_write_event(self):
    """The descriptor is writable: a connect that is done, or room for output."""
    cdef State state = _state_of(self)
    if state is None or state.told or not _is_connected(self, state) or _is_accepting(self, state):
        _channel_py.handle_write_event(self)
    elif _has_shape(self, state) and state.shape.stock_writing:
        _send_once(self, state)
    else:
        self.handle_write()


cpdef recv(self, buffer_size):
    """Receive at most *buffer_size* bytes.

    Returns ``b""`` at the end of the connection: ``handle_close`` has then been called.
    Raises BlockingIOError when there is nothing to receive, OSError for any other failure.
    """
    return _recv(self, _state_of(self), _number(buffer_size), buffer_size)


cdef object _recv(channel, State state, Py_ssize_t size, buffer_size):
    """``recv``, where *buffer_size* as a C number is *size*, or None if that says all."""
    cdef bytes received = None
    cdef int error = 0
    sock = _socket_to_use(channel, state)
    if 0 < size <= LARGEST and _is_plain_socket(sock):
        received = _receive(sock, size, &error)
        if received is not None and PyBytes_GET_SIZE(received):
            return received
    data = received
    try:
        if error:
            raise OSError(error, _strerror(error))
        if data is None:
            data = sock.recv(size if buffer_size is None else buffer_size)
    except OSError as failure:
        if not means_gone(failure):
            raise
        data = b""
    if not data:
        hang_up(channel)
        return b""
    return data


cpdef handle_read(self):
    """Receive once, and deliver what can be delivered."""
    cdef State state = _state_of(self)
    if state is None or not _fits(self, state):
        handle_read_plainly(self)
        return
    cdef Py_ssize_t closes = state.closes
    try:
        if _has_shape(self, state) and state.shape.stock_reading and state.shape.in_size:
            data = _recv(self, state, state.shape.in_size, None)
        else:
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
    cdef Py_ssize_t outer_limit = state.limit
    cdef bint outer_more = state.more
    state.depth += 1
    state.thread = PyThread_get_thread_ident()
    state.limit = -1
    try:
        _know(self, state)
        cut(self, state)
    finally:
        state.depth -= 1
        try:
            if state.listed:
                _unlist(state)
                flush(self)
        finally:
            state.thread = outer_thread
            state.limit = outer_limit
            state.more = outer_more
            _know(None, None)


cpdef get_terminator(self):
    """What ``set_terminator`` set; for an int, how many bytes of it are still to come."""
    return self.terminator


# What the loop asks.


cpdef readable(self):
    """Whether to wait for input: always."""
    return 1


cpdef writable(self):
    """Whether to wait for room for output: while there is some, or no connection yet."""
    cdef State state = _state_of(self)
    if state is None or not _fits(self, state) or state.fifo is ABSENT:
        return writable_plainly(self)
    if state.held is not None:
        flush(self)
    if state.fifo:
        # Not queue(), which would cut off what was sent of the first entry, for every event.
        return state.fifo if state.exposed else True
    return not _is_connected(self, state)


# Output.


cpdef send(self, data):
    """Send what the kernel takes of *data* (bytes-like); returns how many bytes that was.

    Returns 0 when it takes none now, and when the connection is gone: ``handle_close`` has
    then been called.  Raises OSError for any other failure.
    """
    cdef Py_ssize_t count
    cdef int fd, error = 0
    sock = _socket_to_use(self, _state_of(self))
    if type(data) is bytes and _is_plain_socket(sock):
        fd = fastchat_fd_of(sock) if _fd_is_in_sockets else sock.fileno()
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
    try:
        if error:
            raise OSError(error, _strerror(error))
        return sock.send(data)
    except OSError as failure:
        if failure.errno == EWOULDBLOCK:
            return 0
        if means_gone(failure):
            hang_up(self)
            return 0
        raise


cpdef push(self, data):
    """Queue *data* and send what can be sent at once.

    Raises TypeError unless *data* is bytes, bytearray or memoryview.
    """
    cdef State state = _state_of(self)
    cdef bint delivers
    cdef Py_ssize_t limit, size
    if state is None or type(data) is not bytes or state.sending:
        push_plainly(self, data)
        return
    delivers = state.depth > 0 and state.thread == PyThread_get_thread_ident()
    limit = _limit_of(self, state)
    if delivers and limit:  # else what is held goes the way that was open when it was pushed
        state.limit = limit
    size = PyBytes_GET_SIZE(data)
    if not 0 < size <= limit:
        push_plainly(self, data)
    elif state.fifo is not None and state.fifo:
        if delivers and state.more and type(state.fifo[0]) is bytes and _coalesces(self, state):
            _hold(self, state, data, size, limit)
        else:
            push_plainly(self, data)
    elif delivers and state.more and _coalesces(self, state):
        _hold(self, state, data, size, limit)
    elif state.held is None:
        state.sending = True
        try:
            _send_out(self, state, data)
        finally:
            state.sending = False
    else:
        _hold(self, state, data, size, limit)
        flush(self)


cdef int _hold(channel, State state, data, Py_ssize_t size, Py_ssize_t limit) except -1:
    """Keep *data* until there is more to send it with."""
    if state.held is None:
        state.held = [data]
        state.held_size = size
        if state.depth > 0 and not state.listed:
            state.listed = True
            _holding.append(channel)
        return 0
    if state.held_size + size > limit:
        flush(channel)
        return _hold(channel, state, data, size, limit)
    state.held.append(data)
    state.held_size += size
    return 0


cdef Py_ssize_t _limit_of(channel, State state) except -1:
    """How many bytes *channel* sends without queueing them; 0 where it has to queue everything."""
    if (
        not _has_stock_initiate_send(channel, state)
        or (state.fifo is not None and not isinstance(state.fifo, deque))
        or state.keeps_bounds
        or not _fits(channel, state)
    ):
        return 0
    return min(_out_size(channel, state), LARGEST)


cdef inline bint _has_stock_initiate_send(channel, State state) except -1:
    if _has_shape(channel, state) and state.shape.stock_initiate_send:
        return True
    return _has_stock(channel, "initiate_send")


cdef inline bint _coalesces(channel, State state) except -1:
    if _has_shape(channel, state) and state.shape.coalesces:
        return True
    return bool(channel.ac_out_coalesce)


cpdef handle_write(self):
    self.initiate_send()


cpdef initiate_send(self):
    """Send once of what is queued, at most ``ac_out_buffer_size`` bytes."""
    cdef State state = _state_of(self)
    if state is None:
        send_piece(self)
    else:
        _send_once(self, state)


cdef int _send_once(channel, State state) except -1:
    """``initiate_send``, for a channel with a state; it does not nest."""
    if state.sending:
        return 0
    state.sending = True
    try:
        if state.held is not None and not state.fifo and _fits(channel, state):
            _send_held(channel, state)
        else:
            _send_queued(channel, state)
    finally:
        state.sending = False
    return 0


cdef int _send_queued(channel, State state) except -1:
    """Send from the queue of *channel*."""
    fifo = state.fifo
    if isinstance(fifo, deque) and _fits(channel, state):
        if state.held is not None:
            fifo.extend(state.held)
            state.held = None
            state.held_size = 0
        while True:
            if not fifo or not _is_connected(channel, state):
                return 0
            head = fifo[0]
            if type(head) is bytes and PyBytes_GET_SIZE(head):
                return _send_bytes(channel, state, fifo, <bytes> head)
            if not head or is_data(head):
                break
            produced = head.more()
            if state.fifo is not fifo:  # more() has put another one in its place
                take_produced(channel.producer_fifo, produced)
                break
            take_produced(fifo, produced)
    send_piece(channel)
    return 0


cdef int _send_bytes(channel, State state, fifo, bytes entry) except -1:
    """Send the bytes at the head of *fifo*: small ones together, what is large in parts."""
    cdef Py_ssize_t size = _out_size(channel, state), left = PyBytes_GET_SIZE(entry) - state.offset
    if size == 0:
        send_bytes(channel, state, fifo)
        return 0
    state.rest = None
    data = entry
    if left < size and len(fifo) > 1 and not state.keeps_bounds and _coalesces(channel, state):
        data = joined(fifo, state.offset, size)
    elif state.offset or left > size:
        data = entry[state.offset : state.offset + size]
    try:
        sent = _send_by(channel, state, data)
    except OSError:
        channel.handle_error()
        return 0
    # Where somebody looked at the queue meanwhile, its first entry is what was left of this one.
    rest, state.rest = state.rest, None
    if not sent or state.fifo is not fifo or not fifo:
        return 0
    head = fifo[0]
    if head is not entry and (head is not rest or head is None):
        return 0
    if head is entry and state.offset == 0 and sent == left:
        del fifo[0]
    else:
        advance(state, sent)
    if state.exposed:
        state.queue()
    return 0


cdef inline object _send_by(channel, State state, bytes data):
    """``channel.send(data)``."""
    if _has_shape(channel, state) and state.shape.stock_send:
        return send(channel, data)
    return channel.send(data)


cdef inline Py_ssize_t _out_size(channel, State state) except -1:
    """``ac_out_buffer_size`` of *channel*, or 0 where it is no plain number, or not to be meant."""
    if _has_shape(channel, state) and state.shape.out_size:
        return state.shape.out_size
    return _number(channel.ac_out_buffer_size)


cdef int _send_held(channel, State state) except -1:
    """Send what *channel* holds, where nothing is queued before it."""
    cdef list held = state.held
    state.held = None
    state.held_size = 0
    return _send_out(channel, state, held[0] if len(held) == 1 else b"".join(held))


cdef int _send_out(channel, State state, bytes data) except -1:
    """Send *data*, with nothing before it; what the kernel does not take is queued."""
    cdef Py_ssize_t size
    state.outgoing = data
    sent = 0
    try:
        if _is_connected(channel, state):
            size = state.limit if state.limit > 0 else channel.ac_out_buffer_size
            sent = _send_by(
                channel, state, data if PyBytes_GET_SIZE(data) <= size else data[:size]
            )
    except OSError:
        settle(channel, state, data, 0)
        channel.handle_error()
        return 0
    except BaseException:
        settle(channel, state, data, 0)
        raise
    size = sent or 0
    if size >= PyBytes_GET_SIZE(data) and state.outgoing is data:
        state.outgoing = None
    else:
        settle(channel, state, data, size)
    return 0


cpdef flush(channel):
    """Send what *channel* holds; what the kernel does not take is queued."""
    cdef State state = _state_of(channel)
    if state is None or state.sending or state.held is None:
        return
    # Not channel.initiate_send(): the stock one, as it was when the bytes were pushed.
    _send_once(channel, state)


cdef int _unlist(State state) except -1:
    """A delivery of the channel with *state* ended: it holds nothing any more."""
    # Nearly always the last.  By the state, which two objects share where a program gave one of
    # them the __dict__ of the other.
    cdef Py_ssize_t at = len(_holding) - 1
    state.listed = False
    while at >= 0 and _state_of(_holding[at]) is not state:
        at -= 1
    if at >= 0:
        del _holding[at]
    return 0


def flush_all():
    """Send what the channels of this thread hold: before a pass waits, and before a fork."""
    cdef State state
    if _holding:
        for channel in reversed(_holding[:]):
            state = _state_of(channel)
            if state is not None and state.thread == PyThread_get_thread_ident():
                flush(channel)


# The methods are functions of Python (_channel_c.py), as a program may expect of a method: mock and
# inspect treat them like any.  Called from C, as they mostly are, each goes straight to its cpdef
# function above, without a frame of Python: 50 ns less a call, seven times a line.  A call that is
# not plain, with keywords or a wrong number of arguments, takes the way of a Python function.

cdef extern from *:
    """
    static vectorcallfunc fastchat_vectorcall_of(PyObject *function)
    { return ((PyFunctionObject *) function)->vectorcall; }
    static void fastchat_set_vectorcall(PyObject *function, vectorcallfunc call)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        PyFunction_SetVectorcall((PyFunctionObject *) function, call);
    #else
        ((PyFunctionObject *) function)->vectorcall = call;
    #endif
    }
    """
    ctypedef PyObject *const_args "PyObject *const"
    ctypedef object (*vectorcallfunc)(PyObject *, const_args *, size_t, PyObject *)
    vectorcallfunc fastchat_vectorcall_of(object function)
    void fastchat_set_vectorcall(object function, vectorcallfunc call)

cdef extern from "Python.h":
    Py_ssize_t PyVectorcall_NARGS(size_t flags)

cdef vectorcallfunc _call_plainly = NULL

cdef inline bint _is_call_of(Py_ssize_t count, size_t flags, PyObject *names):
    return names == NULL and PyVectorcall_NARGS(flags) == count


cdef object _call_handle_read_event(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(1, flags, names):
        return handle_read_event(<object> args[0])
    return _call_plainly(function, args, flags, names)


cdef object _call_handle_write_event(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(1, flags, names):
        return handle_write_event(<object> args[0])
    return _call_plainly(function, args, flags, names)


cdef object _call_handle_write(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(1, flags, names):
        return handle_write(<object> args[0])
    return _call_plainly(function, args, flags, names)


cdef object _call_handle_read(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(1, flags, names):
        return handle_read(<object> args[0])
    return _call_plainly(function, args, flags, names)


cdef object _call_get_terminator(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(1, flags, names):
        return get_terminator(<object> args[0])
    return _call_plainly(function, args, flags, names)


cdef object _call_readable(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(1, flags, names):
        return readable(<object> args[0])
    return _call_plainly(function, args, flags, names)


cdef object _call_writable(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(1, flags, names):
        return writable(<object> args[0])
    return _call_plainly(function, args, flags, names)


cdef object _call_initiate_send(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(1, flags, names):
        return initiate_send(<object> args[0])
    return _call_plainly(function, args, flags, names)


cdef object _call_recv(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(2, flags, names):
        return recv(<object> args[0], <object> args[1])
    return _call_plainly(function, args, flags, names)


cdef object _call_send(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(2, flags, names):
        return send(<object> args[0], <object> args[1])
    return _call_plainly(function, args, flags, names)


cdef object _call_push(
    PyObject *function, const_args *args, size_t flags, PyObject *names
):
    if _is_call_of(2, flags, names):
        return push(<object> args[0], <object> args[1])
    return _call_plainly(function, args, flags, names)


def adopt(functions):
    """Let *functions*, a dict by name of Python functions, be called without their own code."""
    global _call_plainly
    _stock.update(functions)
    _call_plainly = fastchat_vectorcall_of(functions["push"])
    fastchat_set_vectorcall(functions["handle_read_event"], _call_handle_read_event)
    fastchat_set_vectorcall(functions["handle_write_event"], _call_handle_write_event)
    fastchat_set_vectorcall(functions["handle_write"], _call_handle_write)
    fastchat_set_vectorcall(functions["recv"], _call_recv)
    fastchat_set_vectorcall(functions["handle_read"], _call_handle_read)
    fastchat_set_vectorcall(functions["get_terminator"], _call_get_terminator)
    fastchat_set_vectorcall(functions["readable"], _call_readable)
    fastchat_set_vectorcall(functions["writable"], _call_writable)
    fastchat_set_vectorcall(functions["send"], _call_send)
    fastchat_set_vectorcall(functions["push"], _call_push)
    fastchat_set_vectorcall(functions["initiate_send"], _call_initiate_send)
