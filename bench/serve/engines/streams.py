"""Streams of asyncio, on its own event loop and on uvloop's: a coroutine for each connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bench.serve.engines import BACKLOG, announce
from bench.serve.engines.loops import new_event_loop
from bench.serve.engines.pieces import Producer

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await reader.readuntil(b"\r\n")
        writer.write(line)
        await writer.drain()


async def ingest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    lines = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        if line == b"?\r\n":
            writer.write(b"%d\r\n" % lines)
            await writer.drain()
        else:
            lines += 1


async def bodies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await reader.readuntil(b"\r\n")
        body = await reader.readexactly(int(line))
        writer.write(b"%d %b%b\r\n" % (len(body), body[:8], body[-8:]))
        await writer.drain()


async def downloads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await reader.readuntil(b"\r\n")
        producer = Producer(int(line))
        while piece := producer.more():
            writer.write(piece)
            await writer.drain()


HANDLERS: dict[str, Handler] = {
    "echo": echo,
    "ingest": ingest,
    "bodies": bodies,
    "downloads": downloads,
}


def until_closed(handler: Handler) -> Handler:
    """*handler*, ended by the end of the input."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return handle


def serve(engine: str, service: str) -> None:
    """Serve until the process ends."""
    loop = new_event_loop(engine)
    starting = asyncio.start_server(
        until_closed(HANDLERS[service]), "127.0.0.1", 0, backlog=BACKLOG
    )
    server = loop.run_until_complete(starting)
    announce(*server.sockets[0].getsockname())
    loop.run_forever()
