"""What classes of ``fastchat.aio.LineProtocol`` may be, and what is refused of them."""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False, disable-error-code="name-defined, misc"

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.support.aio import Aio, Transport


@pytest.mark.parametrize("name", ["data_received", "get_buffer", "buffer_updated"])
def test_what_no_transport_would_find_cannot_be_overridden(alone: Aio, name: str) -> None:
    with pytest.raises(TypeError, match=rf"Wrong\.{name}.*override line_received"):
        type("Wrong", (alone.LineProtocol,), {name: lambda self, data: None})


@pytest.mark.parametrize("where", ["connection_made", "line_received"])
def test_a_hook_that_is_assigned_later_is_refused(alone: Aio, where: str) -> None:
    def assign(self: Any, argument: Any) -> None:
        self.resume_writing = print

    async def main() -> None:
        transport = Transport(high=3)
        protocol = transport.connect(type("Assigns", (alone.LineProtocol,), {where: assign})())
        if where == "line_received":
            transport.receive(b"one\n")
            protocol.send_line(b"full")  # and nothing would tell of room
        assert transport.did[-1] == "abort"
        (failure,) = alone.failures()
        assert "resume_writing of the object" in failure

    alone.run(main)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_hook_that_is_a_generator_function_is_told_so(alone: Aio, is_async: bool) -> None:
    def generator(self: Any, transport: Any) -> Any:
        yield

    async def async_generator(self: Any, transport: Any) -> Any:
        yield

    async def main() -> None:
        transport = Transport()
        hook = async_generator if is_async else generator
        transport.connect(type("Wrong", (alone.LineProtocol,), {"connection_made": hook})())
        (failure,) = alone.failures()
        assert "no generator function" in failure

    alone.run(main)


def test_a_protocol_may_be_a_frozen_dataclass(alone: Aio) -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(alone.LineProtocol):
        name: bytes

        def line_received(self, line: bytes) -> bytes:
            return self.name

    async def main() -> None:
        transport = Transport()
        protocol = transport.connect(Frozen(b"name"))
        transport.receive(b"one\nbegun")
        protocol.eof_received()
        protocol.connection_lost(None)
        assert (transport.sent, protocol.unterminated) == (b"name\n", b"begun")

    alone.run(main)
