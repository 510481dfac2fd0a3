"""Channels and the loop that serves them: what Python's ``asyncore`` was.

This is the compatible layer: names, signatures, defaults, class attributes, exceptions and the
texts of log lines are those of CPython 3.11, so that a program written for the standard library's
module runs unmodified.  Where fastchat differs on purpose, there is a row in
https://github.com/fastchat/fastchat/blob/main/docs/compat.md

How the pieces fit.  A *channel* is anything with ``readable``, ``writable``, ``accepting`` and
the ``handle_*_event`` methods; ``dispatcher`` is the one everybody inherits.  A *map* takes file
descriptors to channels.  ``loop`` makes passes over a map; one pass (``poll`` or ``poll2``) knows
or asks what every channel waits for, waits, and hands each event to ``read``, ``write``,
``_exception`` or ``readwrite``.

Rules this file keeps:

* Whatever a program may override, replace or fake is looked up at the moment it is needed:
  methods on the channel, functions in this module's globals, ``self.socket``.
* An event belongs to the registration that was waited for.  A channel that was closed, replaced
  or registered again in the meantime does not see it.
* A channel that fails, in whatever method, is the only one that suffers.  What leaves the loop are
  the exceptions named in ``_reraised_exceptions``, and any that leaves a ``handle_error`` which is
  not the stock one: a program that raises there wants that.

The signatures carry no annotations because programs compare them with the standard library's;
the types are in ``asyncore.pyi``.
"""

import errno as _errno
import os
import select
import socket
import sys
import time  # noqa: F401 (the loop looks here for the clock)
import warnings
from errno import (  # noqa: F401 (programs take them from here)
    EAGAIN,
    EALREADY,
    EBADF,
    ECONNABORTED,
    ECONNRESET,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    ENOTCONN,
    EPIPE,
    ESHUTDOWN,
    EWOULDBLOCK,
    errorcode,
)

from fastchat import _copying
from fastchat._accepting import accept as _accept
from fastchat._backend import methods as _methods
from fastchat._core.agenda import run_due as _run_due
from fastchat._core.failures import fail as _fail
from fastchat._core.failures import safe_repr as _safe_repr
from fastchat._core.family import Family as _Family
from fastchat._core.full_passes import poll_once as _poll_once
from fastchat._core.full_passes import select_once as _select_once
from fastchat._core.incoming import drop_input as _drop_input
from fastchat._core.maps import ChannelMap as _ChannelMap
from fastchat._core.maps import begin_loop as _begin_loop
from fastchat._core.maps import end_loop as _end_loop
from fastchat._core.maps import is_outermost as _is_outermost
from fastchat._core.maps import watch_over as _watch_over
from fastchat._core.outgoing import flush_this_thread as _flush_this_thread
from fastchat._core.passes import make_pass as _make_pass
from fastchat._core.passes import make_passes as _make_passes
from fastchat._core.system import system_of as _system_of
from fastchat._core.touch import touch as _touch
from fastchat._core.touch import watches as _watches
from fastchat._hangups import DISCONNECTED as _DISCONNECTED  # noqa: F401 (programs replace it)
from fastchat._hangups import begin_to_rest as _begin_to_rest
from fastchat._hangups import closes_of as _closes
from fastchat._hangups import count_close as _count_close
from fastchat._hangups import dispatcher_attribute as _dispatcher_attribute
from fastchat._hangups import forget_hang_up as _forget_hang_up
from fastchat._hangups import hang_up as _hang_up
from fastchat._hangups import is_dispatcher as _is_dispatcher
from fastchat._hangups import remember_closed as _remember_closed
from fastchat._hangups import was_told as _was_told
from fastchat._output import Output as _Output

# Errors of accept() that mean the client thought better of it, or was never there.
_NOTHING_TO_ACCEPT = frozenset({EWOULDBLOCK, EAGAIN, ECONNABORTED})

# Errors of accept() that mean the process or the machine has run out of something.  The client
# stays in the backlog and the listener stays readable, so asking again at once only burns CPU.
_EXHAUSTED = frozenset({_errno.EMFILE, _errno.ENFILE, _errno.ENOBUFS, _errno.ENOMEM})

# How long a listener is left alone after such an error, in seconds.
_REST = 0.5

# How much dispatcher_with_send offers to one send(), in bytes.
_SEND_SIZE = 65536

channel_map = _ChannelMap

if "socket_map" not in globals():  # importlib.reload() must not forget the open channels
    socket_map = channel_map()
    _family = _Family(globals())


class ExitNow(Exception):
    """Raise it in any handler to leave ``loop``; the loop does not treat it as a failure."""


_reraised_exceptions = (ExitNow, KeyboardInterrupt, SystemExit)


def _strerror(err):
    """The text of error number *err*, also where the platform has none."""
    try:
        return os.strerror(err)
    except (ValueError, OverflowError, NameError):
        return errorcode.get(err, f"Unknown error {err}")


# ---------------------------------------------------------------------------------------------
# Events: each of these hands one event to one channel, and the channel's failure to its
# handle_error.  Programs with a loop of their own call them too.
# ---------------------------------------------------------------------------------------------


def read(obj):
    """Tell *obj* that its descriptor is readable; an exception goes to its ``handle_error``."""
    _forget_hang_up(obj)
    try:
        obj.handle_read_event()
    except _reraised_exceptions:
        raise
    except BaseException:
        obj.handle_error()


def write(obj):
    """Tell *obj* that its descriptor is writable; an exception goes to its ``handle_error``."""
    _forget_hang_up(obj)
    try:
        obj.handle_write_event()
    except _reraised_exceptions:
        raise
    except BaseException:
        obj.handle_error()


def _exception(obj):
    """Tell *obj* that urgent data arrived; an exception goes to its ``handle_error``."""
    _forget_hang_up(obj)
    try:
        obj.handle_expt_event()
    except _reraised_exceptions:
        raise
    except BaseException:
        obj.handle_error()


def readwrite(obj, flags):
    """Hand the ``poll`` events in *flags* (an int of ``select.POLL*`` bits) to *obj*.

    Input comes before output, output before urgent data, a hang-up last.  A hang-up with unread
    input waits until the input has been read; a channel that closed, or that was told of the
    hang-up by its own ``recv`` or ``send``, hears nothing more of these flags.
    """
    _forget_hang_up(obj)
    registration = _dispatcher_attribute(obj, "_fc_registration")
    gone = flags & (select.POLLHUP | select.POLLERR | select.POLLNVAL)
    try:
        if flags & select.POLLIN:
            unread = _unread(obj) if gone and _is_dispatcher(obj) else 0
            obj.handle_read_event()
            if unread and _unread(obj) < unread:
                return  # it is draining; the next pass has the rest of the input, then the end
        if flags & select.POLLOUT and not _is_over(obj, registration):
            obj.handle_write_event()
        if flags & select.POLLPRI and not _is_over(obj, registration):
            obj.handle_expt_event()
        if gone and not _is_over(obj, registration):
            _hang_up(obj)
    except _reraised_exceptions:
        raise
    except BaseException as failure:
        _fail(_family, obj, failure)


_family.events = read, write, _exception, readwrite


def _is_over(channel, registration):
    """Whether the event being handed out no longer concerns *channel*."""
    return _was_told(channel) or _dispatcher_attribute(channel, "_fc_registration") != registration


def _unread(channel):
    """How many bytes wait in the kernel for *channel*; 0 where that cannot be told."""
    return _system_of(getattr(channel, "_map", None)).unread(channel)


# ---------------------------------------------------------------------------------------------
# Passes.
# ---------------------------------------------------------------------------------------------


def poll(timeout=0.0, map=None):
    """Make one pass over *map* in the manner of ``select``.

    Waits at most *timeout* seconds for an event.  All input is handed out first, then all room
    for output, then urgent data.
    """
    if map is None:
        map = socket_map
    if not map:
        return
    watch = _watch_over(map, _family, False)
    if watch is None:
        _flush_this_thread()
        _select_once(_family, timeout, map)
        _run_due(map)
    else:
        _make_pass(watch, timeout, False, True)


def poll2(timeout=0.0, map=None):
    """Make one pass over *map* with ``poll``, where the system has it.

    Waits at most *timeout* seconds for an event, cut down to whole milliseconds as CPython 3.11
    does; None waits for ever.
    """
    if map is None:
        map = socket_map
    if not map:
        return
    watch = _watch_over(map, _family, False)
    if watch is None:
        _flush_this_thread()
        _poll_once(_family, timeout, map)
        _run_due(map)
    else:
        _make_pass(watch, timeout, True, True)


poll3 = poll2  # its name in the days when poll2 was another function


def loop(timeout=30.0, use_poll=False, map=None, count=None):
    """Make passes over *map* until it is empty, or *count* passes were made.

    *timeout* is the longest wait of one pass in seconds; *use_poll* chooses ``poll2`` over
    ``poll`` where the system has ``poll``; *map* is any mapping, ``socket_map`` by default;
    *count* is a number of passes, or None for no end.
    """
    if map is None:
        map = socket_map
    function = poll2 if use_poll and hasattr(select, "poll") else poll
    is_stock = function in _STOCK_PASSES
    is_first = True
    is_outermost = False
    known = None
    try:
        while True:  # without a condition, as in Output.head()
            if not map or (count is not None and count <= 0):
                break
            if count is not None:
                count -= 1
            watch = None
            if is_stock:
                watch = _watch_over(map, _family, count is None or count > 0)
            if watch is None:
                function(timeout, map)
            else:
                if watch is not known:
                    if type(map) is dict:
                        # First, so that an exception of a signal handler behind _begin_loop()
                        # still ends what has begun.
                        is_outermost |= _is_outermost(watch)
                        _begin_loop(watch)
                    known = watch
                if count is None:
                    _make_passes(watch, _family, timeout, function is poll2, is_first)
                else:
                    _make_pass(watch, timeout, function is poll2, is_first)
                is_first = False
    finally:
        if is_outermost or not map:
            try:
                _end_loop(map)
            except BaseException:  # of a signal handler, and perhaps before anything was done
                _end_loop(map)
                raise


_STOCK_PASSES = (poll, poll2)


# ---------------------------------------------------------------------------------------------
# Channels.
# ---------------------------------------------------------------------------------------------


class dispatcher:
    """A socket that the loop serves: override the ``handle_*`` methods, ``readable``, ``writable``.

    *sock* is a connected socket, an unconnected one, or None (then call ``create_socket``); *map*
    is the map to join, ``socket_map`` by default.  Raises OSError where the peer of *sock* cannot
    be told for another reason than that there is none.
    """

    debug = False
    connected = False
    accepting = False
    connecting = False
    closing = False
    addr = None
    ignore_log_types = frozenset({"warning"})

    # Where programs put other functions and values.
    _fc_core = globals()
    # How often this channel joined or left a map.  An event of an earlier count is stale.
    _fc_registration = 0
    # How often it was closed.  Input cut before a close is not delivered after it.
    _fc_closes = 0
    # The socket whose end handle_close was told, in this event or before it closed the channel.
    _fc_hung_up = None
    # The socket that was closed; with another one the channel is open again.
    _fc_closed = None
    # Until when a listener is not asked to accept (time.monotonic() in seconds).
    _fc_rest = None
    # Whether it has an ac_in_buffer from which input is delivered.
    _fc_delivers = False
    # What an async_chat keeps of its input and output.
    _fc_state = None
    # What a LineChannel keeps.
    _fc_line = None
    # Whether the last accept() found the process out of descriptors or memory.
    _fc_accept_failing = False
    # Properties that were attributes of the instance in CPython 3.11.
    _fc_properties = ()

    def __init__(self, sock=None, map=None):
        self._map = socket_map if map is None else map
        self._fileno = None
        if not sock:
            self.socket = None
            return
        # A socket of accept() comes blocking, and one blocking socket stops the loop.
        sock.setblocking(False)
        self.set_socket(sock, map)
        self.connected = True
        try:
            self.addr = sock.getpeername()
        except OSError as failure:
            if failure.errno not in (ENOTCONN, EINVAL):
                self.del_channel(map)
                raise
            # There is no peer yet.  macOS says EINVAL when the peer has gone again.
            self.connected = False

    def __getstate__(self):
        return _copying.public(self, super().__getstate__())

    def __setstate__(self, state):
        # That of a base of the program's, which in CPython 3.11 there would be nothing before.
        of_a_base = getattr(super(), "__setstate__", None)
        if of_a_base is None:
            _copying.restore(self, state)
        else:
            of_a_base(state)

    def __repr__(self):
        words = [f"{self.__class__.__module__}.{self.__class__.__qualname__}"]
        if self.accepting and self.addr:
            words.append("listening")
        elif self.connected:
            words.append("connected")
        if self.addr is not None:
            try:
                words.append("%s:%d" % self.addr)  # noqa: UP031 (a tuple of two, or TypeError)
            except TypeError:  # IPv6 has four parts, a Unix socket is one string
                words.append(repr(self.addr))
        return f"<{' '.join(words)} at {id(self):#x}>"

    def add_channel(self, map=None):
        """Join *map*, by default the one given to ``__init__``."""
        if map is None:
            map = self._map
        _count_registration(self, map)
        fd = self._fileno  # once, for a signal handler may close the channel in between
        # close() takes the descriptor, so this is one anew, perhaps of the same object.
        if fd is not None and getattr(self, "_fc_closed", None) is not None:
            _remember_closed(self, None)
        map[fd] = self
        if type(map) is dict:
            watch = _watches.get(id(map))  # once, for another thread's loop may end meanwhile
            if watch is not None:
                watch.note(fd)

    def del_channel(self, map=None):
        """Leave *map*, by default the one given to ``__init__``."""
        if map is None:
            map = self._map
        _count_registration(self, map)
        fd = self._fileno
        if type(map) is _ChannelMap or type(map) is dict:
            # A signal handler or another thread may close it at this moment, too.
            entry = map.get(fd, map)
            if entry is self or (entry is not map and not _belongs_to_another(entry, self)):
                map.pop(fd, None)
                watch = _watches.get(id(map)) if type(map) is dict else None
                if watch is not None:
                    watch.forget(fd)
        elif fd in map and (map[fd] is self or not _belongs_to_another(map[fd], self)):
            del map[fd]
        self._fileno = None

    def create_socket(self, family=socket.AF_INET, type=socket.SOCK_STREAM):
        """Make a non-blocking socket and serve it."""
        self.family_and_type = family, type
        sock = socket.socket(family, type)
        sock.setblocking(False)
        self.set_socket(sock)

    def set_socket(self, sock, map=None):
        """Serve *sock*, which should be non-blocking, in *map*."""
        self.socket = sock
        self._fileno = sock.fileno()
        _count_registration(self)  # in whatever map, for the number may be an old one
        self.add_channel(map)

    def set_reuse_addr(self):
        """Let the address be bound again while connections of an earlier server linger."""
        try:
            value = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) | 1
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, value)
        except OSError:
            pass

    # What the loop asks on every pass.

    def readable(self):
        """Whether to wait for input; where it is overridden, asked on every pass."""
        return True

    def writable(self):
        """Whether to wait for room for output; where it is overridden, asked on every pass."""
        return True

    # What a socket does.

    def listen(self, num):
        """Accept connections; *num* is the backlog, at most 5 on Windows."""
        self.accepting = True
        _touch(self)
        if os.name == "nt" and num > 5:
            num = 5
        return self.socket.listen(num)

    def bind(self, addr):
        """Bind the socket to *addr*."""
        self.addr = addr
        return self.socket.bind(addr)

    def connect(self, address):
        """Begin to connect to *address*; ``handle_connect`` is called when it is done.

        That may be before this method returns.  Raises OSError where it fails at once.
        """
        self.connected = False
        self.connecting = True
        err = self.socket.connect_ex(address)
        pending = err in (EINPROGRESS, EALREADY, EWOULDBLOCK)
        if pending or (err == EINVAL and os.name == "nt"):
            self.addr = address
        elif err in (0, EISCONN):
            self.addr = address
            self.handle_connect_event()
        else:
            raise OSError(err, errorcode[err])

    def accept(self):
        """Take one connection: ``(socket, address)``, or None where there is none to take.

        There is none either when the process has no descriptor or memory left for it; the
        listener then rests for half a second, and one line says so.
        """
        try:
            conn, addr = _accept(self.socket)
        except TypeError:  # some sockets return None rather than raise
            return None
        except OSError as failure:
            if failure.errno in _NOTHING_TO_ACCEPT:
                return None
            if failure.errno not in _EXHAUSTED:
                raise
            _family.resting[id(self)] = end = _now_of(self) + _REST
            if _begin_to_rest(self, end):
                self.log_info(
                    f"cannot accept a connection now ({_strerror(failure.errno)}): "
                    f"{_safe_repr(self)} tries again every {_REST} s",
                    "error",
                )
            return None
        if getattr(self, "_fc_accept_failing", False):
            self._fc_accept_failing = False
        return conn, addr

    send = _methods.send
    recv = _methods.recv

    def close(self):
        """Leave the map and close the socket, at once; what was to be sent is dropped."""
        sock = self.socket  # for an async_chat, what it pushed before is sent first
        try:
            self._fc_closes += 1
        except AttributeError:  # whatever borrows this method
            _count_close(self)
        if getattr(self, "_fc_delivers", False):
            _drop_input(self)
        self.connected = False
        self.accepting = False
        self.connecting = False
        if getattr(self, "_fc_rest", None) is not None:
            self._fc_rest = None
        self.del_channel()
        # Not before: a signal handler that raises up to here leaves a channel that has events, and
        # that must hear of its end once more to close.
        _remember_closed(self, sock)
        sock = self.socket
        if sock is not None:
            try:
                sock.close()
            except OSError as failure:
                if failure.errno not in (ENOTCONN, EBADF):
                    raise

    # What it says.

    def log(self, message):
        """Write *message* to standard error."""
        sys.stderr.write(f"log: {message!s}\n")

    def log_info(self, message, type="info"):
        """Print *message* unless *type* is one of ``ignore_log_types``."""
        if type not in self.ignore_log_types:
            print(f"{type!s}: {message!s}")

    # What the loop calls.

    handle_read_event = _methods.handle_read_event

    def handle_connect_event(self):
        """A connect is done; raises OSError where it failed."""
        err = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if err != 0:
            raise OSError(err, _strerror(err))
        closes = _closes(self)
        self.handle_connect()
        if _closes(self) == closes:
            self.connected = True
            self.connecting = False

    handle_write_event = _methods.handle_write_event

    def handle_expt_event(self):
        """Urgent data, or an error that some systems report the same way."""
        err = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if err != 0:
            _hang_up(self)
        else:
            self.handle_expt()

    def handle_error(self):
        """An exception left a handler: log one line and close the channel."""
        _, kind, value, where = compact_traceback()
        self.log_info(
            f"uncaptured python exception, closing channel {_safe_repr(self)}"
            f" ({kind}:{value!s} {where})",
            "error",
        )
        if not _was_told(self):
            _hang_up(self)
        elif self._fc_hung_up is self.socket:
            self.close()  # handle_close was called in this event; perhaps it is what failed

    # What programs override.

    def handle_expt(self):
        """Urgent data arrived."""
        self.log_info("unhandled incoming priority event", "warning")

    def handle_read(self):
        """Input arrived: call ``recv``."""
        self.log_info("unhandled read event", "warning")

    def handle_write(self):
        """There is room for output: call ``send``."""
        self.log_info("unhandled write event", "warning")

    def handle_connect(self):
        """The connection is there; ``connected`` becomes true when this returns."""
        self.log_info("unhandled connect event", "warning")

    def handle_accept(self):
        """A connection can be taken: calls ``handle_accepted`` with it."""
        pair = self.accept()
        if pair is not None:
            self.handle_accepted(*pair)

    def handle_accepted(self, sock, addr):
        """A connection was taken; *sock* is its socket, *addr* the peer's address."""
        sock.close()
        self.log_info("unhandled accepted event", "warning")

    def handle_close(self):
        """The connection is gone."""
        self.log_info("unhandled close event", "warning")
        self.close()


_family.readables = dispatcher.readable, _methods.readable
_family.writable = dispatcher.writable
_family.expt = dispatcher.handle_expt
_family.expt_event = dispatcher.handle_expt_event
_family.error = dispatcher.handle_error
_family.stock_chat = (
    _methods.readable,
    _methods.writable,
    dispatcher.handle_expt,
    dispatcher.handle_expt_event,
)


def _count_registration(channel, map=None):
    """Note that *channel* joins or leaves *map*, if that is the one given to ``__init__``, or None.

    To join or leave another one changes nothing for the events of this one.
    """
    # Who has called no __init__() has none, and may join one by name.
    if map is None or map is getattr(channel, "_map", map):
        try:  # nothing is called in here: a signal handler may raise an AttributeError of its own
            channel._fc_registration += 1
        except AttributeError:
            pass  # whatever borrows the methods that call this is no dispatcher


def _now_of(channel):
    """What the clock of the loop of *channel* says, in seconds."""
    return _system_of(getattr(channel, "_map", None)).monotonic(_family.names)


def _belongs_to_another(entry, channel):
    """Whether the map's *entry*, not *channel*, is a later user of the number of its descriptor.

    An entry for the same socket is the channel's own, be it a weak proxy or a wrapper.
    """
    sock = getattr(channel, "socket", None)
    try:
        return entry.socket is not sock
    except ReferenceError:  # a weak proxy of something that is gone
        return False
    except AttributeError:
        return True


class dispatcher_with_send(dispatcher):
    """A dispatcher whose ``send`` queues what the kernel does not take at once.

    ``out_buffer`` is what is still to be sent, as bytes; it may be assigned to.
    """

    _fc_properties = ("out_buffer",)

    def __init__(self, sock=None, map=None):
        self.out_buffer = b""
        # Last, because joining the map makes the channel visible to other threads' loops.
        dispatcher.__init__(self, sock, map)

    # Bytes are kept as pieces, which is linear; anything else, and everything where a class hides
    # the property behind an attribute of its own, is what the program assigned and nothing more.

    @property
    def out_buffer(self):
        output = self._fc_output
        return output.joined() if type(output) is _Output else output

    @out_buffer.setter
    def out_buffer(self, data):
        self._fc_output = _Output(data) if type(data) is bytes else data
        _touch(self)

    def initiate_send(self):
        """Offer up to 64 KiB of ``out_buffer`` to ``dispatcher.send``."""
        output = getattr(self, "_fc_output", None)
        if type(output) is _Output:
            output.drop(dispatcher.send(self, output.head(_SEND_SIZE)) or 0)
            _touch(self)
        else:
            sent = dispatcher.send(self, self.out_buffer[:_SEND_SIZE])
            self.out_buffer = self.out_buffer[sent:]

    def handle_write(self):
        self.initiate_send()

    def writable(self):
        output = getattr(self, "_fc_output", None)
        return (not self.connected) or len(output if type(output) is _Output else self.out_buffer)

    def send(self, data):
        """Queue *data* (bytes-like) and send what can be sent at once; returns None."""
        if self.debug:
            self.log_info(f"sending {data!r}")
        output = getattr(self, "_fc_output", None)
        if type(output) is _Output:
            output.append(data)
        else:
            self.out_buffer = self.out_buffer + data
        self.initiate_send()


_family.sender_writable = dispatcher_with_send.writable


def compact_traceback():
    """The exception being handled, in one line.

    Returns ``((file, function, line), type, value, text)``, where *text* is one ``[file|function|
    line]`` for each frame.  Raises AssertionError where no exception is being handled.
    """
    kind, value, trace = sys.exc_info()
    if trace is None:
        raise AssertionError("traceback does not exist")
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        # Compiled functions have the name of their module before their own.
        name = code.co_name.rpartition(".")[2]
        frames.append((code.co_filename, name, str(trace.tb_lineno)))
        trace = trace.tb_next
    return frames[-1], kind, value, " ".join(f"[{'|'.join(frame)}]" for frame in frames)


def close_all(map=None, ignore_all=False):
    """Close every channel of *map* and empty it.

    An exception of a ``close`` leaves, unless it is EBADF or *ignore_all* is true; those of
    ``_reraised_exceptions`` always leave.
    """
    if map is None:
        map = socket_map
    for channel in list(map.values()):
        try:
            if _dispatcher_attribute(channel, "_fc_line") is None:
                channel.close()
            else:
                channel.abort()  # nobody will send what waits
        except _reraised_exceptions:
            raise
        except BaseException as failure:
            closed_already = isinstance(failure, OSError) and failure.errno == EBADF
            if not (closed_already or ignore_all):
                raise
    map.clear()


if os.name == "posix":

    class file_wrapper:
        """A descriptor that looks enough like a socket for a dispatcher.

        Works on a duplicate of *fd*, so that the two can be closed independently.  Raises OSError
        where *fd* is not open.
        """

        def __init__(self, fd):
            self.fd = os.dup(fd)

        def __del__(self):
            if getattr(self, "fd", -1) >= 0:  # there is none where os.dup() failed
                warnings.warn(f"unclosed file {self!r}", ResourceWarning, stacklevel=1, source=self)
                self.close()

        def recv(self, *args):
            return os.read(self.fd, *args)

        def send(self, *args):
            return os.write(self.fd, *args)

        def getsockopt(self, level, optname, buflen=None):
            if (level, optname) == (socket.SOL_SOCKET, socket.SO_ERROR) and not buflen:
                return 0
            raise NotImplementedError("Only asyncore specific behaviour implemented.")

        read = recv
        write = send

        def close(self):
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)

        def fileno(self):
            return self.fd

    class file_dispatcher(dispatcher):
        """A dispatcher for a descriptor or a file object: pipes, terminals, devices.

        The original becomes non-blocking, as do all its duplicates.  Raises OSError where *fd* is
        not open.
        """

        def __init__(self, fd, map=None):
            dispatcher.__init__(self, None, map)
            self.connected = True
            if hasattr(fd, "fileno"):
                fd = fd.fileno()
            self.set_file(fd)
            os.set_blocking(fd, False)

        def set_file(self, fd):
            """Serve a duplicate of descriptor *fd*."""
            self.socket = file_wrapper(fd)
            self._fileno = self.socket.fileno()
            self.add_channel()
