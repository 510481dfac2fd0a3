"""How what a ``LineReader`` of ``fastchat.aio`` reads from ends: connections, pipes, no file."""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False, disable-error-code="name-defined, misc"

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

import pytest

from tests.support.aio import Aio, turns


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_line_that_has_begun_when_this_side_closes_is_none(net: Aio, how: str) -> None:
    class Begins(net.LineProtocol):
        def connection_made(self, transport: Any) -> None:
            self.write(b"one\nbegun")

    async def main() -> None:
        async with net.serving(Begins) as address:
            reader, writer = await net.module.open_lines(**address)
            assert await reader.line() == b"one"
            waits = asyncio.create_task(reader.line())
            await turns()
            getattr(writer, how)()
            assert await waits is None
            assert reader.is_terminated
            with suppress(OSError):
                await writer.wait_closed()

    net.run(main)


def test_a_file_that_is_not_there_is_told_so(alone: Aio) -> None:
    """As standard input where the program was given none."""

    async def main() -> None:
        for call in (alone.module.open_reader, alone.module.open_writer):
            with pytest.raises(TypeError, match="None is no file"):
                await call(None)

    alone.run(main)


@pytest.mark.skipif(os.name == "nt", reason="pipes of Unix")
def test_a_pipe_that_has_ended_is_closed(tcp: Aio) -> None:
    async def main() -> None:
        number, other = os.pipe()
        file = os.fdopen(number, "rb", 0)
        reader = await tcp.module.open_reader(file)
        os.write(other, b"one\nbegun")
        os.close(other)
        assert [line async for line in reader] == [b"one", b"begun"]
        while not file.closed:
            await asyncio.sleep(0)

    tcp.run(main)
