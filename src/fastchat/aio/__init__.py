"""Lines with asyncio: a protocol for servers, and streams of lines for everything else.

``LineProtocol`` is to be derived from, for either end of a connection.  ``LineReader`` and
``LineWriter`` are for coroutines; ``open_lines()`` connects, ``open_reader()`` and
``open_writer()`` take a pipe or a file, standard input and output among them.

All stand on ``fastchat.LineBuffer``, and work on every event loop that keeps asyncio's contract.
``import fastchat`` does not import this package, nor asyncio.

The manual: https://github.com/fastchat/fastchat/blob/main/docs/aio.md
"""

from fastchat._core.line_rules import Reply
from fastchat.aio._connection import open_lines, open_reader, open_writer
from fastchat.aio._protocol import LineProtocol
from fastchat.aio._streams import LineReader, LineWriter

__all__ = [
    "LineProtocol",
    "LineReader",
    "LineWriter",
    "Reply",
    "open_lines",
    "open_reader",
    "open_writer",
]
