"""``open_lines()``, ``open_reader()`` and ``open_writer()``: what is beneath a reader and a writer.

Rules this file keeps:

* What came in before the connection was lost can be read; only then its error is raised.
* Both directions are bounded: reading pauses above ``_HIGH`` bytes that nobody has read, and
  ``drain()`` waits while the transport has enough to send.
* A cancellation of ``read()`` or ``drain()`` leaves everything as it was.
* What nobody has closed, and nobody can close any more, is closed with a ResourceWarning.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import warnings
from collections import deque
from typing import Any, Literal, Protocol

from fastchat.aio._streams import LineReader, LineWriter

# How many bytes may wait to be read, and of how few on there is room for more.
_HIGH = 256 * 1024
_LOW = 64 * 1024
# What a piece of input costs besides its bytes, so that many small ones are bounded, too.
_PIECE = 64


class _Connection(asyncio.Protocol):
    """One end of a connection or a pipe: what a reader reads from, and a writer writes to."""

    transport: Any

    def __init__(self, file: _File | None = None) -> None:
        self._file = file  # that closes with this
        self.loop = asyncio.get_running_loop()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._is_reading = True
        self._has_ended = False
        self._is_given_up = False  # before the end, by this side
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._lost = self.loop.create_future()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data) + _PIECE
        if self._size > _HIGH and self._is_reading and not self.transport.is_closing():
            self._is_reading = False
            self.transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._wake_reader()
        # So that what the program has still to write can be; with TLS that is impossible, and a
        # pipe that is read has no other direction.
        return self._file is None and self.transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._has_room.clear()

    def resume_writing(self) -> None:
        self._has_room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = True
        if self._file is not None:
            self._file.close()
        if isinstance(exc, OSError) and exc.errno == errno.EIO:
            exc = None  # a terminal has been hung up
        self._failure = exc
        self._lost.set_result(None)
        self._wake_reader()
        self._has_room.set()

    # What a reader and a writer call.

    async def read(self, n: int, /) -> bytes:
        """The next piece of input, however long; none at the end."""
        while not self._pieces:
            if self._has_ended:
                self._raise_failure()
                return b""
            if self._reader is not None:
                raise RuntimeError("two tasks read from one connection")
            self._reader = self.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        piece = self._pieces.popleft()
        self._size -= len(piece) + _PIECE
        goes_on = not (self._is_reading or self._has_ended or self.transport.is_closing())
        if self._size < _LOW and goes_on:
            self._is_reading = True
            self.transport.resume_reading()
        return piece

    def write(self, data: bytes, /) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until there is room.  Raises ConnectionResetError where nothing can be sent."""
        await self._has_room.wait()
        if self.transport.is_closing():
            if not self._lost.done():
                await asyncio.sleep(0)  # why, the transport tells next
            self._raise_failure()
            raise ConnectionResetError("the connection is closed")

    def write_eof(self) -> None:
        self.transport.write_eof()

    def get_extra_info(self, name: str, default: Any = None, /) -> Any:
        return self.transport.get_extra_info(name, default)

    def close(self) -> None:
        self._is_given_up = not self._has_ended
        self.transport.close()

    def abort(self) -> None:
        self._is_given_up = not self._has_ended
        self.transport.abort()

    def is_cut_off(self) -> bool:
        """Whether the input has ended because this side wanted no more of it."""
        return self._is_given_up

    async def wait_closed(self) -> None:
        await asyncio.shield(self._lost)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            # It is raised for each call, and would grow by the way of each.
            raise self._failure.with_traceback(None)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _Closer:
    """What the readers and writers of *connection* have in common, and nothing else has.

    The event loop keeps a connection alive, as it does a transport, and so the end of those who use
    it would not be noticed.
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def __del__(self, warn: Any = warnings.warn) -> None:
        transport, loop = self._connection.transport, self._connection.loop
        if transport.is_closing():
            return
        if not loop.is_closed():
            loop.call_soon_threadsafe(transport.close)  # the collector runs in any thread
        warn(f"neither reader nor writer was closed: {transport!r}", ResourceWarning, source=self)


class _File(Protocol):
    """A file object: standard input, a pipe, what ``open()`` returns."""

    def fileno(self) -> int: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class _PlainFile:
    """A file that no event loop can wait for, since it is always ready: read by threads."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._pending: asyncio.Future[bytes] | None = None
        self._is_waited_for = False
        self.transport = self  # of LineWriter, for abort()

    async def read(self, n: int, /) -> bytes:
        if self._is_waited_for:
            raise RuntimeError("two tasks read from one file")
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = loop.run_in_executor(None, os.read, self._file.fileno(), n)
        self._is_waited_for = True
        try:
            await asyncio.wait([self._pending])  # a cancellation leaves it for the next call
        finally:
            self._is_waited_for = False
        done, self._pending = self._pending, None
        return done.result()

    def write(self, data: bytes, /) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file.fileno(), left) :]

    async def drain(self) -> None:
        """There is always room."""

    def write_eof(self) -> None:
        """A file ends where it ends."""

    def get_extra_info(self, name: str, default: Any = None, /) -> Any:
        return default

    def close(self) -> None:
        if self._pending is None:
            self._file.close()
        else:
            # Before the thread has read, its number may go to another file.
            self._pending.add_done_callback(self._close_behind)

    abort = close

    def _close_behind(self, read: asyncio.Future[bytes]) -> None:
        self._file.close()
        if not read.cancelled():
            read.exception()  # nobody waits for it

    async def wait_closed(self) -> None:
        """It is closed."""


def _opened_anew(file: _File, mode: Literal["rb", "wb"]) -> Any:
    """*file*, or the terminal that it is under a number of its own, where that can be.

    The standard files are often one open file, in which all are non-blocking where one is.
    """
    number = file.fileno()
    if not os.isatty(number):
        return file
    flags = os.O_RDONLY if mode == "rb" else os.O_WRONLY
    try:
        name = os.ttyname(number)
        if "ptmx" in name:  # the master's end, of which another opening is another terminal
            return file
        return open(os.open(name, flags | os.O_NOCTTY), mode, 0)
    except OSError:  # another user's, for example
        return file


def _check_file(file: _File | None) -> None:
    """Raise TypeError for None, which ``sys.stdin`` is in a program that was given no such file."""
    if file is None:
        raise TypeError("None is no file: sys.stdin and sys.stdout are None where they are closed")


def _can_be_waited_for(file: _File) -> bool:
    """Whether an event loop takes *file*: a pipe, a socket, a terminal, and none on Windows."""
    mode = os.fstat(file.fileno()).st_mode
    is_stream = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(file.fileno())
    return is_stream and os.name != "nt"


async def open_lines(
    host: str | None = None,
    port: int | None = None,
    *,
    delimiter: bytes | tuple[bytes, ...] = b"\n",
    max_line: int = 16 * 2**20,
    keepends: bool = False,
    overflow: Literal["raise", "discard", "split"] = "raise",
    **options: Any,
) -> tuple[LineReader, LineWriter]:
    """Connect to *host* and *port*, and return a reader and a writer of lines.

    *options* (``ssl``, ``sock``, ``server_hostname``...) are those of the loop's
    ``create_connection()``, which raises what it raises; the others are LineReader's.  What is
    written ends with the first of several delimiters.  Closing the writer closes both; without that
    there is a ResourceWarning once both are gone.
    """
    connection = _Connection()
    reader = LineReader(
        connection, delimiter=delimiter, max_line=max_line, keepends=keepends, overflow=overflow
    )
    first = delimiter if isinstance(delimiter, bytes) else delimiter[0]
    connect: Any = asyncio.get_running_loop().create_connection
    await connect(lambda: connection, host, port, **options)
    writer = LineWriter(connection, delimiter=first)
    reader._closer = writer._closer = _Closer(connection)
    return reader, writer


async def open_reader(
    file: _File,
    *,
    delimiter: bytes | tuple[bytes, ...] = b"\n",
    max_line: int = 16 * 2**20,
    keepends: bool = False,
    overflow: Literal["raise", "discard", "split"] = "raise",
) -> LineReader:
    """A reader of the lines of *file*, which nobody has read from: ``sys.stdin``, a pipe, a file.

    The reader has the file then, and closes it.  The other arguments are LineReader's.  Its
    bytes are read, whatever kind of file object it is.  A pipe becomes non-blocking, and with it
    what shares it; a terminal is opened anew.  Any other file, and a pipe on Windows, is read by a
    thread, for which the end of the program may have to wait.
    """
    _check_file(file)
    source = _Connection(file) if _can_be_waited_for(file) else _PlainFile(file)
    reader = LineReader(
        source, delimiter=delimiter, max_line=max_line, keepends=keepends, overflow=overflow
    )
    if isinstance(source, _Connection):
        await asyncio.get_running_loop().connect_read_pipe(lambda: source, _opened_anew(file, "rb"))
        reader._closer = _Closer(source)
    return reader


async def open_writer(file: _File, *, delimiter: bytes = b"\n") -> LineWriter:
    """A writer of lines to *file*: ``sys.stdout``, a pipe, a file.

    What the file has in its own buffer is sent before.  The writer has the file then, and closes
    it.  A pipe becomes non-blocking, and with it what shares it; a terminal is opened anew.  Any
    other file, and a pipe on Windows, blocks for a write.
    """
    _check_file(file)
    file.flush()
    sink = _Connection(file) if _can_be_waited_for(file) else _PlainFile(file)
    writer = LineWriter(sink, delimiter=delimiter)
    if isinstance(sink, _Connection):
        await asyncio.get_running_loop().connect_write_pipe(lambda: sink, _opened_anew(file, "wb"))
        writer._closer = _Closer(sink)
    return writer
