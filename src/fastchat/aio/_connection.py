"""``open_lines()``, ``open_reader()`` and ``open_writer()``: what is beneath a reader and a writer.

Rules this file keeps:

* What came in before the connection was lost can be read; only then its error is raised.
* Both directions are bounded: reading pauses above ``_HIGH`` bytes that nobody has read, and
  ``drain()`` waits while the transport has enough to send.
* A cancellation of ``read()`` or ``drain()`` leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import os
import stat
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

    _transport: Any

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._is_reading = True
        self._has_ended = False
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._lost = self._loop.create_future()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data) + _PIECE
        if self._size > _HIGH and self._is_reading and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._wake_reader()
        # So that what the program has still to write can be; with TLS that is impossible.
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._has_room.clear()

    def resume_writing(self) -> None:
        self._has_room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = True
        self._failure = exc
        self._lost.set_result(None)
        self._wake_reader()
        self._has_room.set()

    # What a reader and a writer call.

    async def read(self, n: int, /) -> bytes:
        """The next piece of input, however long; none at the end."""
        while not self._pieces:
            if self._has_ended:
                if self._failure is not None:
                    raise self._failure
                return b""
            if self._reader is not None:
                raise RuntimeError("two tasks read from one connection")
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        piece = self._pieces.popleft()
        self._size -= len(piece) + _PIECE
        if self._size < _LOW and not (self._is_reading or self._transport.is_closing()):
            self._is_reading = True
            self._transport.resume_reading()
        return piece

    def write(self, data: bytes, /) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until there is room.  Raises ConnectionResetError where nothing can be sent."""
        await self._has_room.wait()
        if self._transport.is_closing():
            raise self._failure or ConnectionResetError("the connection is closed")

    def close(self) -> None:
        self._transport.close()

    async def wait_closed(self) -> None:
        await asyncio.shield(self._lost)
        if self._failure is not None:
            raise self._failure

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


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

    async def read(self, n: int, /) -> bytes:
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = loop.run_in_executor(None, os.read, self._file.fileno(), n)
        await asyncio.wait([self._pending])  # a cancellation leaves it for the next call
        done, self._pending = self._pending, None
        return done.result()

    def write(self, data: bytes, /) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file.fileno(), left) :]

    async def drain(self) -> None:
        """There is always room."""

    def close(self) -> None:
        self._file.close()

    async def wait_closed(self) -> None:
        """It is closed."""


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
    written ends with the first of several delimiters.  Closing the writer closes both.
    """
    connection = _Connection()
    reader = LineReader(
        connection, delimiter=delimiter, max_line=max_line, keepends=keepends, overflow=overflow
    )
    first = delimiter if isinstance(delimiter, bytes) else delimiter[0]
    connect: Any = asyncio.get_running_loop().create_connection
    await connect(lambda: connection, host, port, **options)
    return reader, LineWriter(connection, delimiter=first)


async def open_reader(
    file: _File,
    *,
    delimiter: bytes | tuple[bytes, ...] = b"\n",
    max_line: int = 16 * 2**20,
    keepends: bool = False,
    overflow: Literal["raise", "discard", "split"] = "raise",
) -> LineReader:
    """A reader of the lines of *file*, which nobody has read from: ``sys.stdin``, a pipe, a file.

    The reader has the file then, and closes it.  The other arguments are LineReader's.  A pipe
    becomes non-blocking; any other file, and a pipe on Windows, is read by a thread, for which the
    end of the program may have to wait.
    """
    source = _Connection() if _can_be_waited_for(file) else _PlainFile(file)
    reader = LineReader(
        source, delimiter=delimiter, max_line=max_line, keepends=keepends, overflow=overflow
    )
    if isinstance(source, _Connection):
        await asyncio.get_running_loop().connect_read_pipe(lambda: source, file)
    return reader


async def open_writer(file: _File, *, delimiter: bytes = b"\n") -> LineWriter:
    """A writer of lines to *file*: ``sys.stdout``, a pipe, a file.

    What the file has in its own buffer is sent before.  The writer has the file then, and closes
    it.  A pipe becomes non-blocking; any other file, and a pipe on Windows, blocks for a write.
    """
    file.flush()
    sink = _Connection() if _can_be_waited_for(file) else _PlainFile(file)
    writer = LineWriter(sink, delimiter=delimiter)
    if isinstance(sink, _Connection):
        await asyncio.get_running_loop().connect_write_pipe(lambda: sink, file)
    return writer
