"""What programs do to an attachment besides: loops that end without ``detach()``, numbers that are
given away, waits that are cancelled, arguments that are mixed up."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from typing import Any

import pytest

from tests.support.attached import Inside, ask
from tests.support.channels import Stage, fail_with, inside


def test_set_goes_with_its_loop_and_its_map(served: Inside) -> None:
    """A program that makes both anew each time, and never detaches, keeps no descriptor."""
    if not hasattr(inside(served.stage, "pollers")["KINDS"][0], "fileno"):
        pytest.skip("no poller here has a set")
    attach = served.stage.implementation.attachment.attach
    kept: list[int] = []

    async def main() -> None:
        kept.append(attach(map=served.stage.asyncore.channel_map())._descriptor)
        await asyncio.sleep(0)
        os.fstat(kept[0])

    served.run(main)
    gc.collect()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(kept[0])


def test_set_goes_where_the_loop_refuses_it(own: Stage) -> None:
    if not hasattr(inside(own, "pollers")["KINDS"][0], "fileno"):
        pytest.skip("no poller here has a set")
    served = Inside(own, "asyncio")
    refused: list[int] = []

    def add_reader(fd: int, *args: Any) -> None:
        refused.append(fd)
        raise NotImplementedError

    loop = asyncio.new_event_loop()
    try:
        vars(loop)["add_reader"] = add_reader
        with pytest.raises(NotImplementedError):
            served.attach(loop)
    finally:
        loop.close()
    gc.collect()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(refused[0])


def test_next_attach_lets_go_the_dicts_of_closed_loops(served: Inside) -> None:
    watches = inside(served.stage, "touch")["watches"]
    chat = served.chat()
    served.stage.map = {}

    async def main() -> None:
        served.attach()
        await asyncio.sleep(0)

    async def other() -> None:
        attach = served.stage.implementation.attachment.attach
        with attach(map={}) as one, served.attach():
            assert before not in watches
            assert one.is_attached

    served.run(main)
    before = id(served.stage.map)
    assert before in watches
    served.stage.map, kept = chat._map, served.stage.map
    served.run(other)
    assert kept == {}


def test_exit_now_while_the_wait_is_cancelled(served: Inside) -> None:
    """Then nobody gets it by ``wait()``, so the loop's exception handler does."""

    async def main() -> None:
        def leave() -> None:
            waiting.cancel()
            raise served.stage.asyncore.ExitNow("enough")

        chat = served.chat()
        with served.attach() as attachment:
            waiting = asyncio.create_task(attachment.wait())
            await asyncio.sleep(0)
            chat.found_terminator = leave
            chat.peer.send(b"x\n")
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert served.aio.failures() == ["ExitNow('enough')"]

    served.run(main)


# Numbers of descriptors.


def test_transport_gets_the_number_of_a_channel(
    polled: Inside, capsys: pytest.CaptureFixture[str]
) -> None:
    """The socket was closed behind the channel's back; the end of that leaves the transport be."""
    if polled.loop != "asyncio":
        pytest.skip("uvloop gives no transport a number for which it still waits")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        chat, other = polled.chat(), polled.chat()
        with polled.attach() as attachment:
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            mine, peer = polled.stage.pair()
            number = chat.socket.fileno()
            chat.socket.close()
            again = polled.stage.at_number(mine, number)
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=again)
            transport.pause_reading()  # so that the channel will see it, too
            peer.send(b"for the transport\n")
            while number in polled.stage.map:
                assert await ask(other.peer, b"b\n") == [b"b\n"]
            assert attachment.is_attached
            assert not transport.is_closing()
        transport.abort()
        await asyncio.sleep(0)

    polled.run(main)
    assert capsys.readouterr().out == ""


def test_socket_goes_from_a_channel_to_a_transport(polled: Inside) -> None:
    async def main() -> None:
        chat = polled.chat()
        with polled.attach():
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            chat.del_channel()
            reader, writer = await asyncio.open_connection(sock=chat.socket)
            writer.write(b"of the transport\n")
            assert await ask(chat.peer, b"for the transport\n") == [b"of the transport\n"]
            assert await reader.readline() == b"for the transport\n"
            writer.close()
            await writer.wait_closed()

    polled.run(main)


def test_channel_gets_the_number_of_a_transport(polled: Inside) -> None:
    """Nobody else is served worse for it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        mine, _ = polled.stage.pair()
        mine.setblocking(False)
        other = polled.chat()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
        with polled.attach() as attachment:
            polled.stage.chat(sock=mine)
            assert await ask(other.peer, b"a\n", b"b\n") == [b"a\n", b"b\n"]
            assert attachment.is_attached
            polled.stage.map.pop(mine.fileno())
        transport.abort()
        await asyncio.sleep(0)

    polled.run(main)


def test_other_failures_of_a_loop_end_it(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Inside(own, "asyncio")
    pollers = inside(own, "pollers")
    monkeypatch.setitem(pollers, "KINDS", pollers["KINDS"][-1:])  # select() has no set

    async def main() -> None:
        served.chat()
        with served.attach() as attachment:
            loop = asyncio.get_running_loop()
            vars(loop)["add_reader"] = fail_with(RuntimeError("of another kind"))
            with pytest.raises(RuntimeError, match="of another kind"):
                await attachment.wait()

    served.run(main)


# Arguments.


@pytest.mark.parametrize("what", ["channel_map", "dict", "text"])
def test_loop_that_is_something_else(own: Stage, what: str) -> None:
    """A map in the place of the loop, above all."""
    loop = {"channel_map": own.map, "dict": {}, "text": "asyncio"}[what]
    with pytest.raises(TypeError, match=r"a loop of asyncio or uvloop is wanted, not \w+: give a"):
        Inside(own, "asyncio").attach(loop)


@pytest.mark.parametrize("timeout", ["3", True, [3]])
def test_timeout_that_is_no_number(own: Stage, timeout: Any) -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(
            TypeError, match=f"a number of seconds or None, not {re.escape(repr(timeout))}"
        ):
            Inside(own, "asyncio").attach(loop, timeout=timeout)
    finally:
        loop.close()
