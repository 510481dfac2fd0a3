"""What fastchat is shown beside: echoes as their authors write them, ``--beside``.

``python -m bench.hostile.rivals uvloop`` is a protocol on uvloop that cuts lines by hand, and
``streams`` are asyncio's, which have a limit of 64 KiB for a line and ``drain()``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

# What each is of.
MODULES = {"uvloop": "uvloop", "streams": "asyncio"}


class ByHand(asyncio.Protocol):
    """Keeps what is no line in one bytearray, and looks at no byte twice for its end."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.rest = bytearray()

    def data_received(self, data: bytes) -> None:
        if b"\n" not in data:
            self.rest += data
            return
        *lines, rest = (bytes(self.rest) + data).split(b"\n")
        self.rest = bytearray(rest)
        self.transport.write(b"\n".join(lines) + b"\n")


async def by_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ValueError:
            pass  # the line is too long
        finally:
            writer.close()


async def serve(rival: str) -> None:
    loop = asyncio.get_running_loop()
    server: asyncio.Server
    if rival == "uvloop":
        server = await loop.create_server(ByHand, "127.0.0.1", 0)
    else:
        server = await asyncio.start_server(by_streams, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


def main(rival: str) -> None:
    if rival == "uvloop":
        import uvloop  # noqa: PLC0415 (it is needed only here, and may not be there)

        uvloop.run(serve(rival))
    else:
        asyncio.run(serve(rival))


if __name__ == "__main__":
    main(sys.argv[1])
