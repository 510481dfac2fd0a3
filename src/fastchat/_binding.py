"""Sockets that listen, for the places of ``_addresses.py``.

Rules this file keeps:

* All or nothing: where one place cannot be had, what was opened for the others is closed again,
  and nobody could connect in between.  Sockets that were given stay open.
* A socket file is removed before only where it is a socket that nobody answers at, and at the end
  only where it is the same file still.
* From the look at a socket file until somebody listens there, its directory is locked, by flock(2).
  Two servers that start at one moment would else both find a file that nobody answers at, or one
  find the file of the other between its bind() and its listen(), and each would take it away.  The
  lock is on the directory, and not on a file beside the socket, so that nothing is left behind
  which a later server would have to tell from a lock that is held, and it needs no rights that
  bind() does not need.  Whoever is no server of fastchat does not know of it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from fastchat._addresses import Place, shown

if sys.platform != "win32":  # pragma: no branch (there Python has no Unix sockets)
    import fcntl

# The first descriptor that systemd hands over.
_FIRST = 3
# How often port 0 is tried, where one port must be free in IPv4 and in IPv6.
_TRIES = 10
# How long a start waits for another one in the same directory, and how often it looks, in seconds.
_PATIENCE = 2.0
_LOOK = 0.01


class Bound:
    """A socket that listens, and what to do with it at the end."""

    def __init__(self, sock: socket.socket, path: str = "", is_given: bool = False) -> None:
        self.sock = sock
        self.is_given = is_given
        self.name = ""  # once it is bound
        self._path = path
        self._file = _identity(path) if path else None
        self._pid = os.getpid()
        # As it was given.
        self._timeout = sock.gettimeout()

    def close(self) -> None:
        """Close it, and remove its socket file; to close twice does nothing more.

        In a process that was forked meanwhile the file stays: it is the parent's.
        """
        is_own = self._path and self._pid == os.getpid()
        if is_own and self._file == _identity(self._path):
            try:
                os.unlink(self._path)
            except OSError:
                pass  # it is stale, and the next server here will find that out
        self._path = ""
        self.sock.close()

    def give_back(self) -> None:
        """The server does not come to be."""
        if not self.is_given:
            self.close()
        elif self.sock.fileno() >= 0:
            self.sock.settimeout(self._timeout)


@contextmanager
def all_opened(
    places: Sequence[Place], backlog: int, unix_mode: int | None
) -> Iterator[list[Bound]]:
    """A context in which all *places* are listened on, and after it, unless it is left by a raise.

    *unix_mode* is the mode of socket files, None for that of the umask.  Raises OSError, which
    names the place, where one cannot be had.
    """
    opened: list[Bound] = []
    try:
        with _locked(places):
            for place in places:
                _open(place, unix_mode, opened)
            for bound in opened:
                _listen(bound, backlog)
        yield opened
    except BaseException:
        for bound in opened:
            bound.give_back()
        raise
    _hide_systemd(places)


def _hide_systemd(places: Sequence[Place]) -> None:
    """Take what systemd has said out of the environment, where a child would see it."""
    if any(place.is_systemd for place in places):
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)


def _open(place: Place, unix_mode: int | None, opened: list[Bound]) -> None:
    """Open the sockets of *place*, bound, and put them into *opened*."""
    if place.sock is not None:
        opened.append(Bound(place.sock, is_given=True))
    elif place.is_systemd:
        _take_from_systemd(place, opened)
    elif place.path:
        _open_unix(place, unix_mode, opened)
    else:
        _open_tcp(place, opened)


def _listen(bound: Bound, backlog: int) -> None:
    try:
        bound.sock.listen(backlog)  # for one that listens already, it changes the backlog only
        if bound.sock.family in (socket.AF_INET, socket.AF_INET6):
            # What is accepted inherits it: a reply in several pieces waits for no acknowledgement.
            bound.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound.name = shown(bound.sock)
    except OSError as failure:
        _refuse(shown(bound.sock) if bound.sock.fileno() >= 0 else repr(bound.sock), failure)


def _refuse(text: str, failure: OSError) -> NoReturn:
    """Raise *failure* again, with the place in its message."""
    raise OSError(failure.errno, f"cannot listen on {text}: {failure.strerror}") from None


# TCP.


def _open_tcp(place: Place, opened: list[Bound]) -> None:
    left = _TRIES
    while True:
        left -= 1
        sockets: list[socket.socket] = []
        try:
            _bind_each(place, sockets)
        except OSError as failure:
            for sock in sockets:
                sock.close()
            is_taken = failure.errno == errno.EADDRINUSE and sockets and place.port == 0
            if not is_taken or not left:
                _refuse(place.text, failure)
        else:
            opened.extend([Bound(sock) for sock in sockets])
            return


def _bind_each(place: Place, sockets: list[socket.socket]) -> None:
    """Bind a socket to each address that *place* means, and put them into *sockets*.

    Where it means several, those are left out that this machine does not have.
    """
    missing = None
    for family, host in _resolve(place):
        port = sockets[0].getsockname()[1] if sockets and not place.port else place.port
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as failure:  # no IPv6, or no descriptor
            missing = failure
            if failure.errno != errno.EAFNOSUPPORT:
                raise
            continue
        sockets.append(sock)
        if os.name == "posix":  # pragma: no branch (on Windows it means something else)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((host[0], port, *host[2:]))
        except OSError as failure:
            missing = failure
            if failure.errno != errno.EADDRNOTAVAIL:
                raise
            sockets.remove(sock)
            sock.close()
    if missing is not None and not sockets:
        raise missing


def _resolve(place: Place) -> list[tuple[int, tuple[Any, ...]]]:
    """The families and addresses that *place* means, each once, IPv4 first."""
    if not place.host:
        both: list[tuple[int, tuple[Any, ...]]] = [(socket.AF_INET, ("0.0.0.0", 0))]
        if socket.has_ipv6:
            both.append((socket.AF_INET6, ("::", 0, 0, 0)))
        return both
    try:
        found = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as failure:
        raise OSError(errno.EADDRNOTAVAIL, failure.strerror) from None
    except UnicodeError:
        raise OSError(errno.EADDRNOTAVAIL, "it is no name of a host") from None
    kinds = (socket.AF_INET, socket.AF_INET6)
    unique = {(each[0], each[4]) for each in found if each[0] in kinds}
    return sorted(unique, key=lambda each: (kinds.index(each[0]), each[1]))


# Unix sockets.


def _open_unix(place: Place, mode: int | None, opened: list[Bound]) -> None:
    if not hasattr(socket, "AF_UNIX"):
        _refuse(place.text, OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets"))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_among(place.path, opened):  # which do not listen yet, and so look stale
            raise OSError(errno.EADDRINUSE, "the server listens there already")
        _remove_stale(place.path)
        if mode is not None and sys.platform == "linux":
            os.fchmod(sock.fileno(), mode)  # which bind() gives to the file, as the umask lets it
        sock.bind(place.path)
        bound = Bound(sock, place.path)
    except OSError as failure:
        sock.close()
        if failure.strerror is None:  # the path is too long
            failure = OSError(errno.ENAMETOOLONG, str(failure))
        _refuse(place.text, failure)
    opened.append(bound)
    if mode is not None:
        try:
            os.chmod(place.path, mode)
        except OSError as failure:
            _refuse(place.text, failure)


def _is_among(path: str, opened: list[Bound]) -> bool:
    """Whether the file at *path* is that of a socket of *opened*."""
    found = _identity(path)
    open_ones = [each.sock for each in opened if each.sock.fileno() >= 0]
    names = [sock.getsockname() for sock in open_ones if sock.family == socket.AF_UNIX]
    return found is not None and found in [_identity(name) for name in names]


def _remove_stale(path: str) -> None:
    """Remove the socket file at *path* that a server left behind which is no more.

    Raises OSError where there is a file that is none, or somebody answers.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)  # or a full backlog would hold this up
        result = client.connect_ex(path)
    if result == errno.ECONNREFUSED:
        os.unlink(path)
    elif result in (0, errno.EAGAIN, errno.EINPROGRESS, errno.EPROTOTYPE):
        raise OSError(errno.EADDRINUSE, "somebody answers there")
    elif result != errno.ENOENT:  # it went meanwhile
        raise OSError(result, os.strerror(result))


@contextmanager
def _locked(places: Sequence[Place]) -> Iterator[None]:
    """Keep other servers from starting on socket files in the directories of *places*.

    Whoever may read a directory can lock it for ever.  So a start that has waited ``_PATIENCE``
    goes on without, as it does where a directory cannot be opened, or its file system has no locks:
    bind() says what is wrong with one that is not there.
    """
    directories: dict[tuple[int, int], int] = {}
    end = time.monotonic() + _PATIENCE
    try:
        for place in places:
            _find_directory(place, directories)
        for key in sorted(directories):  # in one order, so that no two wait for each other
            _lock(directories[key], end)
        yield
    finally:
        for fd in directories.values():
            _unlock(fd)


def _find_directory(place: Place, found: dict[tuple[int, int], int]) -> None:
    """Open the directory of *place*, and put it into *found*, by what tells it from others."""
    if sys.platform == "win32":  # pragma: no cover
        return
    if not place.path:
        return
    try:
        fd = os.open(os.path.dirname(place.path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    status = os.fstat(fd)
    if found.setdefault((status.st_dev, status.st_ino), fd) != fd:
        os.close(fd)


def _lock(fd: int, end: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return
            time.sleep(_LOOK)
        except OSError:
            return
        else:
            return


def _unlock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing does not, as long as a forked child has it
    except OSError:
        pass  # there are no locks
    os.close(fd)


def _identity(path: str | bytes) -> tuple[int, ...] | None:
    """What tells the file at *path* from every other, None where there is none."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):  # a name in the abstract namespace is none of a file
        return None
    # A new file may get the number of one that was removed.
    return found.st_dev, found.st_ino, found.st_mtime_ns


# systemd.


def _take_from_systemd(place: Place, opened: list[Bound]) -> None:
    """Take the sockets that the service manager hands over: sd_listen_fds(3)."""
    environ = os.environ
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal() or count == "0":
        reason = "LISTEN_FDS and LISTEN_PID hand over no sockets to this process"
        _refuse(place.text, OSError(errno.ENOTSOCK, reason))
    for fd in range(_FIRST, _FIRST + int(count)):
        try:
            os.set_inheritable(fd, False)
            sock = socket.socket(fileno=fd)
        except OSError as failure:
            _refuse(f"descriptor {fd} of systemd", failure)
        if sock.type != socket.SOCK_STREAM or not _is_listening(sock):
            sock.detach()
            reason = "it is no stream socket that listens (Accept=yes is not supported)"
            _refuse(f"descriptor {fd} of systemd", OSError(errno.EINVAL, reason))
        opened.append(_FromSystemd(sock, is_given=True))


class _FromSystemd(Bound):
    """One that stays open where the server does not come to be."""

    def give_back(self) -> None:
        super().give_back()
        self.sock.detach()


def _is_listening(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
