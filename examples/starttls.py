"""A line server on asyncio that goes over to TLS: `python examples/starttls.py CERTIFICATE KEY`

What stands behind STARTTLS came without TLS, from whoever was on the way: it ends the connection.
"""

import asyncio
import signal
import ssl
import sys

from fastchat import LineBuffer, LineTooLong, join_lines


class Lines(asyncio.Protocol):
    upgrade: "asyncio.Task[None] | None" = None
    most: int | None = None  # lines that are cut from what comes

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context, self.lines = context, LineBuffer(b"\r\n", max_line=1000)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

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
        self.most = 0  # lines may come under TLS before this knows how to answer them
        start = asyncio.get_running_loop().start_tls
        tls = await start(self.transport, self, self.context, server_side=True)
        self.transport, self.most = tls or self.transport, None  # None where the client is gone
        self.data_received(b"")


async def main(context: ssl.SSLContext) -> None:
    context.load_cert_chain(*sys.argv[1:3])
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    async with await loop.create_server(lambda: Lines(context), "127.0.0.1") as server:
        print("listening on {}:{}".format(*server.sockets[0].getsockname()), flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)))
