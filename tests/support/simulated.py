"""A network that does not exist: descriptors, streams, listeners, a poller and a clock in memory.

``Network`` is what a kernel would be, ``SimulatedSystem`` is the way of a loop to it: the
``System`` (``_core/system.py``) of a map.  Nothing of it makes a system call or takes time, and the
same calls give the same results on every machine.

Rules this file keeps:

* Streams behave as pairs of Unix sockets of Linux do: a closed end is a hang-up for the other, and
  a reset if it left input unread; what was sent before is still to be read.
* The lowest free number is the next descriptor, so that numbers are used again at once.
* A poller follows the open file behind a number, as epoll does: see ``pollers.py``.
* The clock moves only when a wait has nothing to report, and by as much as the wait may last.  A
  wait without end that has nothing to report is an AssertionError.
"""

from __future__ import annotations

import errno
import heapq
import os
import socket
import stat
from collections import deque
from types import SimpleNamespace
from typing import Any, ClassVar

READ, URGENT, WRITE, ERROR, HANG_UP, INVALID = 1, 2, 4, 8, 16, 32


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class File:
    """An open file: what is behind one number, or several."""

    __slots__ = ("users",)

    def __init__(self) -> None:
        self.users = 0  # how many numbers it has

    def happening(self) -> int:
        """What a poll would report, as flags."""
        raise NotImplementedError

    def end(self) -> None:
        """The last number was closed."""


class Stream(File):
    """One end of a connection; *room* is how many bytes it takes until the other end reads."""

    __slots__ = ("error", "hears", "inbox", "peer", "room", "speaks", "waiting")

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.peer: Stream | None = None
        self.inbox: deque[bytes] = deque()
        self.waiting = 0  # bytes in the inbox
        self.error = 0
        self.hears = self.speaks = True  # until that half is closed

    def happening(self) -> int:
        flags = 0
        if self.waiting or not self.hears:
            flags = READ
        peer = self.peer
        if peer is None or peer.waiting * 4 <= self.room:
            flags |= WRITE
        if self.error:
            flags |= ERROR
        if not (self.hears or self.speaks):
            flags |= HANG_UP
        return flags

    def recv(self, size: int) -> bytes:
        if not self.waiting:
            if self.error:
                number, self.error = self.error, 0
                raise _error(number)
            if not self.hears:
                return b""
            raise BlockingIOError(errno.EAGAIN, "nothing to read")
        inbox = self.inbox
        if len(inbox) == 1 and self.waiting <= size:
            self.waiting = 0
            return inbox.popleft()
        data = b"".join(inbox)
        inbox.clear()
        if len(data) > size:
            inbox.append(data[size:])
            data = data[:size]
        self.waiting -= len(data)
        return data

    def send(self, data: Any) -> int:
        peer = self.peer
        if not self.speaks or peer is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self.error:
            number, self.error = self.error, 0
            raise _error(number)
        room = self.room - peer.waiting
        if room <= 0 and len(data):
            raise BlockingIOError(errno.EAGAIN, "no room")
        part = bytes(data) if len(data) <= room else bytes(data[:room])
        if part:
            peer.inbox.append(part)
            peer.waiting += len(part)
        return len(part)

    def shut(self, how: int) -> None:
        """Close the half that *how* names, as ``shutdown`` does."""
        peer = self.peer
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self.hears = False
            if peer is not None:
                peer.speaks = False
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self.speaks = False
            if peer is not None:
                peer.hears = False

    def end(self) -> None:
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.peer = None
            peer.hears = peer.speaks = False
            if self.waiting:
                peer.error = errno.ECONNRESET
        self.inbox.clear()
        self.waiting = 0


class Listener(File):
    """What accepts connections; *backlog* is how many wait at most."""

    __slots__ = ("backlog", "queue")

    def __init__(self, backlog: int) -> None:
        super().__init__()
        self.backlog = backlog
        self.queue: deque[Stream] = deque()

    def happening(self) -> int:
        return READ if self.queue else 0

    def end(self) -> None:
        for stream in self.queue:
            stream.waiting = 1  # nobody read it, so the client is reset
            stream.end()


class Network:
    """All descriptors, and the clock."""

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self._free: list[int] = []
        self._next = 3
        self.now = 0.0
        self.waits = 0

    def open(self, file: File) -> int:
        """Give *file* the lowest free number."""
        if self._free:
            fd = heapq.heappop(self._free)
        else:
            fd = self._next
            self._next += 1
        self.files[fd] = file
        file.users += 1
        return fd

    def close(self, fd: int) -> None:
        """Free the number *fd*; raises OSError (EBADF) where it is free."""
        file = self.files.pop(fd, None)
        if file is None:
            raise _error(errno.EBADF)
        heapq.heappush(self._free, fd)
        file.users -= 1
        if not file.users:
            file.end()

    def pair(self, room: int = 20_000) -> tuple[Socket, Socket]:
        """Two connected sockets; each takes *room* bytes that the other has not read."""
        one, two = Stream(room), Stream(room)
        one.peer, two.peer = two, one
        return Socket(self, one), Socket(self, two)

    def listener(self, backlog: int = 5) -> Socket:
        """A socket that listens."""
        return Socket(self, Listener(backlog))

    def connect(self, listener: Socket, room: int = 20_000) -> Socket:
        """A client of *listener*.

        Raises ConnectionRefusedError where that is closed, BlockingIOError where it is full.
        """
        file = self.files.get(listener.fileno())
        if not isinstance(file, Listener):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
        if len(file.queue) > file.backlog:
            raise BlockingIOError(errno.EAGAIN, "too many wait")
        client, server = Stream(room), Stream(room)
        client.peer, server.peer = server, client
        file.queue.append(server)
        return Socket(self, client)


class Socket:
    """What channels and programs call of a socket, which never blocks."""

    __slots__ = ("__weakref__", "_fd", "_file", "_network")

    family = socket.AF_UNIX
    type = socket.SOCK_STREAM
    proto = 0

    def __init__(self, network: Network, file: Any) -> None:
        self._network = network
        self._file = file
        self._fd = network.open(file)

    def fileno(self) -> int:
        return self._fd

    def _there(self) -> Any:
        if self._network.files.get(self._fd) is not self._file:
            raise _error(errno.EBADF)
        return self._file

    def recv(self, size: int) -> bytes:
        data: bytes = self._there().recv(size)
        return data

    def send(self, data: Any, flags: int = 0) -> int:
        sent: int = self._there().send(data)
        return sent

    def accept(self) -> tuple[Socket, str]:
        queue = self._there().queue
        if not queue:
            raise BlockingIOError(errno.EAGAIN, "nobody to accept")
        return Socket(self._network, queue.popleft()), ""

    def listen(self, backlog: int = 5) -> None:
        self._there().backlog = backlog

    def shutdown(self, how: int) -> None:
        self._there().shut(how)

    def dup(self) -> Socket:
        """Another number for the same open file."""
        return Socket(self._network, self._there())

    def getpeername(self) -> str:
        if getattr(self._there(), "peer", None) is None:
            raise _error(errno.ENOTCONN)
        return ""

    def getsockname(self) -> str:
        self._there()
        return ""

    def getsockopt(self, level: int, name: int, size: int = 0) -> int:
        file = self._there()
        if (level, name) == (socket.SOL_SOCKET, socket.SO_ERROR) and isinstance(file, Stream):
            number, file.error = file.error, 0
            return number
        return 0

    def setsockopt(self, level: int, name: int, value: Any) -> None:
        self._there()

    def setblocking(self, flag: bool) -> None:
        self._there()

    def gettimeout(self) -> float:
        return 0.0

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._network.files.get(fd) is self._file:
            self._network.close(fd)


class Poller:
    """The interface of ``pollers.Poller`` over a network, with the ways of epoll."""

    __slots__ = ("_network", "_registered", "_reported", "always", "muted")

    name: ClassVar[str] = "simulated"
    is_kernel_set: ClassVar[bool] = True

    def __init__(self, network: Network) -> None:
        self._network = network
        # By number and file, as in a kernel: a number may be registered for a file it had.
        self._registered: dict[tuple[int, File], int] = {}
        self._reported: dict[tuple[int, File], int] = {}  # what was reported of the muted
        self.always: dict[int, int] = {}
        self.muted: dict[int, int] = {}

    def _key(self, fd: int) -> tuple[int, File]:
        if fd < 0:
            raise ValueError("a descriptor must not be negative")
        file = self._network.files.get(fd)
        if file is None:
            raise _error(errno.EBADF)
        return fd, file

    def register(self, fd: int, flags: int) -> None:
        key = self._key(fd)
        if key in self._registered:
            raise FileExistsError(errno.EEXIST, f"descriptor {fd} is registered")
        self._registered[key] = flags
        self.muted.pop(fd, None)

    def modify(self, fd: int, flags: int) -> None:
        self.muted.pop(fd, None)
        key = self._key(fd)
        if key not in self._registered:
            raise FileNotFoundError(errno.ENOENT, f"descriptor {fd} is not registered")
        self._registered[key] = flags
        if self._reported:
            self._reported.pop(key, None)

    def mute(self, fd: int, flags: int) -> None:
        self.modify(fd, flags)
        self.muted[fd] = flags
        key = self._key(fd)
        self._reported[key] = key[1].happening()

    def unregister(self, fd: int) -> bool:
        self.muted.pop(fd, None)
        file = self._network.files.get(fd)
        if file is None:
            return False
        self._reported.pop((fd, file), None)
        return self._registered.pop((fd, file), None) is not None

    def wait(self, milliseconds: int) -> list[tuple[int, int]]:
        network = self._network
        events = []
        for key, wanted in list(self._registered.items()):
            fd, file = key
            if not file.users:  # closing the last number took it out
                del self._registered[key]
                self._reported.pop(key, None)
                continue
            happened = file.happening()
            if self._reported and key in self._reported:
                if happened == self._reported[key]:
                    continue
                del self._reported[key]
                self.muted.pop(fd, None)
            happened &= wanted | ERROR | HANG_UP
            if happened:
                events.append((fd, happened))
        if not events:
            assert milliseconds >= 0, "a wait without end, in a network where nothing happens"
            network.now += milliseconds / 1000
            return events
        # Another one is the first each time, for a kernel promises no order.
        network.waits += 1
        at = network.waits % len(events)
        return events[at:] + events[:at]

    def close(self) -> None:
        self._registered.clear()
        self._reported.clear()
        self.muted.clear()


class _PollOnce:
    """What ``select.poll()`` returns."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._registered: dict[int, int] = {}

    def register(self, fd: int, flags: int) -> None:
        if fd < 0:
            raise ValueError("a descriptor must not be negative")
        self._registered[fd] = flags

    def poll(self, milliseconds: int | None) -> list[tuple[int, int]]:
        files = self._network.files
        events = []
        for fd, wanted in self._registered.items():
            file = files.get(fd)
            happened = INVALID
            if file is not None:
                happened = file.happening() & (wanted | ERROR | HANG_UP)
            if happened:
                events.append((fd, happened))
        if not events:
            assert milliseconds is not None, "a wait without end"
            self._network.now += max(milliseconds, 0) / 1000
        return events


class SimulatedSystem:
    """The ``System`` of a map whose channels are in *network*; *core* are the modules of the core.

    It has the methods of ``System``.  It makes no system call, and wakes nobody: a loop on it is
    alone in its thread.
    """

    def __init__(self, network: Network, core: Any) -> None:
        self.network = network
        self._modules = SimpleNamespace(select=self._select, poll=lambda: _PollOnce(network))
        core["pollers"].OWN_MODULES.add(__name__)

    def kinds(self) -> tuple[Any, ...]:
        return (Poller,)

    def has(self, kind: Any) -> bool:
        return kind is Poller

    def make(self, kind: Any) -> Any:
        return kind(self.network)

    def without_a_set(self) -> Any:
        return Poller(self.network)

    def make_waker(self) -> Any:
        raise _error(errno.ENOSYS)

    def select_module(self, names: dict[str, Any]) -> Any:
        return self._modules

    def _select(self, *arguments: Any) -> tuple[list[int], ...]:
        *lists, timeout = arguments
        files = self.network.files
        results: tuple[list[int], ...] = ([], [], [])
        means = (READ | HANG_UP | ERROR, WRITE | ERROR, URGENT)
        for fds, meant, result in zip(lists, means, results, strict=True):
            for fd in fds:
                file = files.get(fd)
                if file is None:
                    raise _error(errno.EBADF)
                if file.happening() & meant:
                    result.append(fd)
        if not any(results):
            assert timeout is not None, "a wait without end"
            self.network.now += timeout
        return results

    def fstat(self, fd: int) -> Any:
        if fd not in self.network.files:
            raise _error(errno.EBADF)
        return SimpleNamespace(st_mode=stat.S_IFSOCK)

    def is_readable(self, fd: int) -> bool:
        file = self.network.files.get(fd)
        return file is not None and file.happening() & (READ | ERROR | HANG_UP) == READ

    def refusal_of(self, fd: int) -> Any:
        return None if fd in self.network.files else OSError

    def unread(self, channel: Any) -> int:
        file = self.network.files.get(channel.socket.fileno())
        return file.waiting if isinstance(file, Stream) else 0

    def unsent(self, channel: Any) -> int:
        return 0  # what was sent is at the other end at once

    def monotonic(self, names: dict[str, Any]) -> float:
        return self.network.now

    def sleep(self, names: dict[str, Any], seconds: Any) -> None:
        self.network.now += seconds
