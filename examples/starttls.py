"""A line server on asyncio that goes over to TLS: `python examples/starttls.py CERTIFICATE KEY`

What stands behind STARTTLS came without TLS, from whoever was on the way: it ends the connection.
"""

import asyncio
import signal
import ssl
import sys
from contextlib import suppress

from fastchat import LineBuffer, LineTooLong, join_lines


class Lines(asyncio.Protocol):
    def __init__(self, context: ssl.SSLContext) -> None:
        self.context, self.lines = context, LineBuffer(b"\r\n", max_line=1000)
        self.upgrade: asyncio.Task[None] | None = None
        self.most: int | None = None  # lines that are cut from what comes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # pyright: ignore

    def pause_writing(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            found = self.lines.feed(data, self.most)
        except LineTooLong:
            return self.transport.abort()
        answers = [b"go ahead" if line == b"STARTTLS" else line.upper() for line in found]
        if b"STARTTLS" in found:
            if self.upgrade or found.index(b"STARTTLS") + 1 < len(found) or len(self.lines):
                return self.transport.abort()
            self.transport.pause_reading()  # the next byte is for TLS
            self.upgrade = asyncio.create_task(self.start_tls())
        self.transport.write(join_lines(answers, b"\r\n"))

    async def start_tls(self) -> None:
        loop, self.most = asyncio.get_running_loop(), 0  # no line before it can be answered by TLS
        with suppress(OSError):  # plain text again, or a minute of nothing; it is closed then
            tls = await loop.start_tls(self.transport, self, self.context, server_side=True)
            self.transport, self.most = tls or self.transport, None  # None: the client is gone
            self.data_received(b"")


async def main(context: ssl.SSLContext) -> None:
    context.load_cert_chain(*sys.argv[1:3])
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: Lines(context), "127.0.0.1")
    print("listening on {}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await ended.wait()
    server.close()  # and no `async with`, which waits for all clients from Python 3.12 on


if __name__ == "__main__":
    asyncio.run(main(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)))
