# pyright: strict, reportPrivateUsage=false
"""What programs do with fastchat, written with annotations: no type checker may object to any.

Each class overrides hooks by the signatures that programs have; the functions at the end name the
type of everything that has one worth naming.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections import deque
from collections.abc import Iterator, MutableMapping
from typing import Any, assert_type
from weakref import WeakValueDictionary

import fastchat
from fastchat import aio, asynchat, asyncore


class Limits:
    """A mixin that knows nothing of channels."""

    max_line = 1000

    def too_long(self, size: int) -> bool:
        return size > self.max_line


class Logs(asyncore.dispatcher):
    """A mixin that is a dispatcher."""

    debug = True
    ignore_log_types = frozenset({"info"})

    def log(self, message: str) -> None:
        sys.stderr.write(message + "\n")

    def log_info(self, message: str, type: str = "info") -> None:
        if type not in self.ignore_log_types:
            self.log(f"{type}: {message}")


class Session(Limits, Logs, asynchat.async_chat):
    """Hooks of an async_chat, and its knobs."""

    ac_in_buffer_size = 4096
    ac_out_buffer_size = 4096
    ac_out_coalesce = False
    use_encoding = 1
    encoding = "utf-8"

    def __init__(self, sock: socket.socket, sessions: dict[int, Session]) -> None:
        asynchat.async_chat.__init__(self, sock, sessions)
        self.set_terminator(b"\r\n")
        self.lines: list[bytes] = []

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data()
        self.lines.append(line)
        self.push(line + b"\r\n")
        self.push(bytearray(line))
        self.push(memoryview(line)[1:])
        self.push_with_producer(Countdown(3))
        self.push_with_producer(Pieces(iter([line])))
        self.push_with_producer(asynchat.simple_producer(line, buffer_size=10))
        if self.too_long(len(line)):
            self.close_when_done()
        if self.get_terminator() == b"\r\n":
            self.set_terminator(len(line))

    def readable(self) -> bool:
        return super().readable() and len(self.lines) < 10

    def writable(self) -> int:
        return len(self.producer_fifo)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        return self.socket.send(data)

    def recv(self, buffer_size: int) -> bytes:
        return super().recv(min(buffer_size, 10))

    def push(self, data: bytes | bytearray | memoryview) -> None:
        self.log_info(f"{len(data)} bytes")
        super().push(data)

    def set_terminator(self, term: Any) -> None:
        super().set_terminator(term)

    def get_terminator(self) -> bytes | int | None:
        return b"\r\n"

    def handle_read(self) -> None:
        asynchat.async_chat.handle_read(self)

    def handle_write(self) -> None:
        self.initiate_send()

    def handle_connect(self) -> None:
        self.connected = True

    def handle_expt(self) -> None:
        self.close()

    def handle_error(self) -> None:
        _, kind, error, _ = asyncore.compact_traceback()
        self.log_info(f"{kind.__name__}: {error}", "error")
        self.handle_close()

    def handle_close(self) -> None:
        self.log_info(f"{self.addr[0]} {self.socket.getsockname()} has gone")
        self.discard_buffers()
        self.close()

    def close(self) -> None:
        self.del_channel()
        super().close()


class ByNamesOfItsOwn(asynchat.async_chat):
    """Parameters that only the package passes have the names that a program gives them."""

    def collect_incoming_data(self, chunk: bytes) -> None:
        print(chunk)

    def found_terminator(self) -> None:
        self.set_terminator((b"\r\n", b"\n"))
        if self.matched_terminator is not None:
            print(len(self.matched_terminator))


class Borrows(asynchat.async_chat):
    """The stock method under the name of the hook, as the documentation of old has it."""

    collect_incoming_data = asynchat.async_chat._collect_incoming_data


class Secure(asynchat.async_chat):
    """A channel whose socket is TLS's."""

    socket: ssl.SSLSocket

    def begin(self, context: ssl.SSLContext) -> None:
        self.set_socket(context.wrap_socket(self.socket, do_handshake_on_connect=False))

    def handle_write(self) -> None:
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return
        assert_type(self.socket, ssl.SSLSocket)
        self.log_info(self.socket.cipher())


class Countdown:
    """A producer of producers."""

    def __init__(self, count: int) -> None:
        self.count = count

    def more(self) -> bytes | Countdown | None:
        self.count -= 1
        return Countdown(self.count) if self.count else None


class Pieces:
    """A producer that always has bytes, the last of which are none."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def more(self) -> bytes:
        return next(self.pieces, b"")


class Shouting(asynchat.simple_producer):
    def more(self) -> bytes:
        return asynchat.simple_producer.more(self).upper()


class Server(asyncore.dispatcher):
    """A listener, of which each version of the hook is seen in some program."""

    def __init__(self, address: tuple[str, int]) -> None:
        asyncore.dispatcher.__init__(self)
        self.sessions: dict[int, Session] = {}
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(address)
        self.listen(5)

    def handle_accept(self) -> None:
        pair = self.accept()
        if pair is not None:
            sock, addr = pair
            self.handle_accepted(sock, addr)

    def handle_accepted(self, sock: socket.socket, addr: tuple[str, int]) -> None:
        Session(sock, self.sessions)

    def writable(self) -> bool:
        return False


class SecureServer(Server):
    def accept(self) -> tuple[ssl.SSLSocket, tuple[str, int]] | None:
        return None


class ListenerOfTls(asyncore.dispatcher):
    """One whose socket gives the sockets of TLS."""

    def handle_accepted(self, connection: ssl.SSLSocket, address: tuple[str, int]) -> None:
        print(connection.version(), address)
        Secure(connection)


class Client(asyncore.dispatcher_with_send):
    def __init__(self, address: tuple[str, int] | str, request: bytes) -> None:
        super().__init__()
        self.create_socket()
        self.connect(address)
        self.out_buffer = request

    def handle_connect(self) -> None:
        self.send(b"hello")

    def handle_read(self) -> None:
        self.send(self.recv(8192))
        self.out_buffer = self.out_buffer[1:]

    def writable(self) -> bool:
        return not self.connected or bool(self.out_buffer)


class OfLongAgo(asynchat.async_chat):
    """What the documentation of Python 2 has, and what its programs did."""

    ac_in_buffer = b""
    debug = 0
    ignore_log_types = ("warning", "info")

    def __init__(self, conn: socket.socket) -> None:
        asynchat.async_chat.__init__(self, conn=conn)
        self.producer_fifo = asynchat.fifo()
        self.set_terminator((b"\r\n", b"\n"))
        self.connected = 1

    def refill_buffer(self) -> None:
        self.producer_fifo.append(b"x")


class Duck:
    """Serves a loop's events, and is no dispatcher."""

    def handle_read_event(self) -> None: ...
    def handle_error(self) -> None: ...


class FakeSocket:
    """What a test of a program gives to its channels."""

    def fileno(self) -> int:
        return 1


if sys.platform != "win32":

    class Input(asyncore.file_dispatcher):
        def __init__(self) -> None:
            asyncore.file_dispatcher.__init__(self, sys.stdin)

        def handle_read(self) -> None:
            assert_type(self.recv(1), bytes)

    def files(server: Server) -> None:
        asyncore.readwrite(server, asyncore.select.POLLIN)
        asyncore.file_dispatcher(sys.stdin, {}).set_file(0)
        assert_type(asyncore.file_wrapper(0).read(1), bytes)


def serve(address: tuple[str, int], map: MutableMapping[int, Any]) -> None:
    server = Server(address)
    channels: dict[int, asyncore.dispatcher] = {1: server}
    weak: WeakValueDictionary[int, Server] = WeakValueDictionary({1: server})
    asyncore.loop()
    asyncore.loop(1)
    asyncore.loop(30, 1)
    asyncore.loop(timeout=1, use_poll=True, map=asyncore.socket_map, count=1)
    asyncore.loop(0.5, map=weak)
    asyncore.loop(map=channels)
    asyncore.loop(map=asyncore.channel_map())
    asyncore.poll(0.1, map)
    asyncore.poll3(None, map)
    Session(socket.socket(), {})
    asynchat.async_chat(FakeSocket())
    asyncore.dispatcher(map=channels).set_socket(FakeSocket())
    try:
        asyncore.read(Duck())
        asyncore.write(server)
    except asyncore.ExitNow:
        asyncore.close_all(map, ignore_all=True)


def on_any_python() -> None:
    fastchat.install()
    fastchat.install(replace=True, coalesce=True)
    fastchat.uninstall()
    assert_type(fastchat.implementation, str)
    assert_type(fastchat.__version__, str)


def types(chat: asynchat.async_chat, channel: asyncore.dispatcher, client: Client) -> None:
    assert_type(asyncore.EWOULDBLOCK, int)
    assert_type(asyncore.errorcode[asyncore.EAGAIN], str)
    assert_type(asyncore.time.time(), float)
    assert_type(asyncore.os.getpid(), int)
    assert_type(asyncore.socket.gethostname(), str)
    assert_type(
        asyncore.compact_traceback(),
        tuple[tuple[str, str, str], type[BaseException], BaseException, str],
    )
    assert_type(channel.accept(), tuple[socket.socket, Any] | None)
    assert_type(channel.socket, socket.socket | Any)
    assert_type(channel.recv(1), bytes)
    assert_type(channel.send(memoryview(b"x")), int)
    assert_type(client.out_buffer, bytes)
    assert_type(chat.ac_in_buffer, bytes)
    assert_type(chat.matched_terminator, bytes | None)
    assert_type(chat.producer_fifo, deque[Any])
    assert_type(asynchat.asyncore.socket_map, dict[int, Any])
    assert_type(asynchat.find_prefix_at_end(b"x\r", b"\r\n"), int)
    assert_type(asynchat.find_prefix_at_end("x\r", "\r\n"), int)
    assert_type(asynchat.simple_producer(b"x").more(), bytes)
    assert_type(asynchat.simple_producer("x").more(), str)
    assert_type(asynchat.fifo([1]).pop(), tuple[int, Any])
    assert_type(asynchat.fifo().list, asynchat.fifo)
    for term in (b"x", "x", 1, None, bytearray(b"x"), (b"x", "y"), (b"x",)):
        chat.set_terminator(term)


def lines(buffer: fastchat.LineBuffer, data: bytearray) -> None:
    try:
        assert_type(buffer.feed(data), list[bytes])
    except fastchat.LineTooLong as failure:
        assert_type(failure.lines, list[bytes])
        assert_type(failure.waiting, int)
    assert_type(buffer.delimiter, bytes | tuple[bytes, ...])
    buffer.delimiter = (b"\r\n", b"\n")
    assert_type(buffer.dropped, int)
    assert_type(buffer.take(1), bytes | None)
    assert_type(fastchat.join_lines([b"x", data, memoryview(data)]), bytes)


def private_names_in_use(server: Server) -> None:
    """Those that programs are known to use."""
    asyncore._exception(server)
    assert_type(asyncore._DISCONNECTED, frozenset[int])
    assert_type(asyncore._reraised_exceptions, tuple[type[BaseException], ...])
    assert_type(asyncore._strerror(1), str)
    assert_type(server._map, MutableMapping[int, Any])
    assert_type(server._fileno, int | None)


class ByLine(aio.LineProtocol):
    """A server's protocol, whose hooks return what they have."""

    delimiter = b"\r\n"
    max_line = 1000
    idle_timeout = None
    high_water = 2**16

    def __init__(self, names: set[bytes]) -> None:
        self.names = names

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert_type(self.transport, asyncio.Transport)
        self.send_line(b"hello")

    def line_received(self, line: bytes) -> bytes | None:
        if line in self.names:
            self.close()
            return None
        self.send_lines([line, bytearray(line)])
        self.write(memoryview(line))
        return line

    def line_too_long(self, prefix: bytes, size: int) -> list[bytes]:
        return [prefix, b"%d" % size]

    def timed_out(self, which: str) -> None:
        self.abort()

    def eof_received(self) -> bool:
        return bool(self.unterminated)

    def connection_lost(self, exc: Exception | None) -> None:
        print(exc, self.is_full)


class ByBatch(aio.LineProtocol):
    delimiter = (b"\r\n", b"\n")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pause_reading()
        self.resume_reading()

    def lines_received(self, lines: list[bytes]) -> list[bytes]:
        return lines


async def lines_with_asyncio(context: ssl.SSLContext, process: asyncio.subprocess.Process) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: ByLine(set()), "127.0.0.1", 0, ssl=context)
    await loop.create_server(ByBatch, "127.0.0.1", 0)
    reader, writer = await aio.open_lines("127.0.0.1", 1, ssl=context, max_line=1000)
    assert_type(reader, aio.LineReader)
    assert_type(await reader.line(), bytes | None)
    async for line in reader:
        assert_type(line, bytes)
    async for lines in reader.batches():
        assert_type(lines, list[bytes])
        await writer.writelines(lines)
    await writer.write_line(b"x")
    writer.close()
    await writer.wait_closed()
    if process.stdout and process.stdin:
        aio.LineReader(process.stdout, delimiter=b"\0", overflow="discard").close()
        await aio.LineWriter(process.stdin).writelines(line for line in (b"one", bytearray(b"two")))
    await aio.open_reader(sys.stdin)
    assert_type(await aio.open_writer(sys.stdout.buffer), aio.LineWriter)
    reply: aio.Reply = None
    print(reply)


class Lines(fastchat.LineChannel):
    """A channel with limits of its own."""

    delimiter = (b"\r\n", b"\n")
    max_line = 100
    idle_timeout = None

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.max_output = 1000
        self.timer: fastchat.Timer = self.call_later(1.5, self.send_line, b"still there")

    def connection_made(self) -> bytes:
        return b"hello"

    def lines_received(self, lines: list[bytes]) -> list[bytes]:
        self.timer.cancel()
        return lines


class Served(fastchat.LineChannel):
    def connection_made(self) -> fastchat.Reply:
        return [b"welcome"]

    def line_received(self, line: bytes) -> bytes:
        return line.upper()


def made(sock: socket.socket, map: object) -> Served:
    return Served(sock, map)


def servers() -> int:
    server = fastchat.Server(Served, "127.0.0.1:0", "unix:/tmp/x", max_connections=None, grace=1)
    server.start()
    assert_type(server.addresses, tuple[str, ...])
    stats: fastchat.ServerStats = server.stats()
    print(stats.open, stats.state)
    by_class: tuple[fastchat.ChannelStats, ...] = stats.channels
    print([each.lines for each in by_class])
    fastchat.limit_logs(20, period=5)
    fastchat.limit_logs(None)
    server.stop()
    fastchat.serve(made, socket.socket(), max_connections="auto", refusal=b"full", unix_mode=0o600)
    return fastchat.serve(Served, ":0", max_memory=2**20, on_start=lambda it: print(it.addresses))
