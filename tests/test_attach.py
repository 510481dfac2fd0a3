"""``attach()``: channels that are served inside a loop of asyncio or uvloop, and what runs when."""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import threading
from typing import Any

import pytest

from tests.support.aio import turns
from tests.support.attached import Inside, ask, echo_class, received
from tests.support.channels import Stage, posix_only, watch_a_dict, watch_of
from tests.support.line_channels import line_channel


def test_old_server_beside_one_of_asyncio(polled: Inside) -> None:
    stage = polled.stage
    echo = echo_class(stage)

    class Listener(stage.asyncore.dispatcher):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__(None, stage.map)
            self.create_socket()
            self.bind(("127.0.0.1", 0))
            self.listen(5)

        def handle_accepted(self, sock: socket.socket, addr: Any) -> None:
            echo(sock, stage.map)

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(line.upper())
        writer.close()

    async def talk(address: tuple[str, int], expected: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        got = []
        for line in (b"one\n", b"two\n"):
            writer.write(line)
            got.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
        assert got == expected

    async def main() -> None:
        listener = Listener()
        server = await asyncio.start_server(shout, "127.0.0.1", 0)
        with polled.attach() as attachment:
            assert attachment.is_attached
            await asyncio.gather(
                talk(listener.socket.getsockname(), [b"one\n", b"two\n"]),
                talk(server.sockets[0].getsockname(), [b"ONE\n", b"TWO\n"]),
            )
            listener.close()
            await attachment.wait()
        server.close()
        assert not stage.map

    polled.run(main)


def test_each_kind_of_channel(polled: Inside) -> None:
    stage = polled.stage

    async def main() -> None:
        chat = polled.chat()
        lines = line_channel(stage, line_received=lambda channel, line: line.upper())
        sender = stage.channel(
            stage.asyncore.dispatcher_with_send,
            handle_read=lambda channel: channel.send(channel.recv(100)),
        )
        with polled.attach():
            assert await ask(chat.peer, b"a\n", b"b\n") == [b"a\n", b"b\n"]
            assert await ask(lines.peer, b"a\r\n", b"b\r\n") == [b"A\r\n", b"B\r\n"]
            assert await ask(sender.peer, b"a\n", b"b\n") == [b"a\n", b"b\n"]

    polled.run(main)


@posix_only
def test_file_dispatcher(polled: Inside) -> None:
    stage = polled.stage

    async def main() -> None:
        loop = asyncio.get_running_loop()
        got: asyncio.Future[bytes] = loop.create_future()
        reading, writing = os.pipe()

        class Reader(stage.asyncore.file_dispatcher):  # type: ignore[name-defined]
            def writable(self) -> bool:
                return False

            def handle_read(self) -> None:
                data = self.recv(100)
                if data:
                    got.set_result(data)

        channel = Reader(reading, stage.map)
        os.close(reading)
        with polled.attach() as attachment:
            os.write(writing, b"from the pipe")
            assert await got == b"from the pipe"
            os.close(writing)
            await attachment.wait()
        assert channel.socket.fileno() == -1

    polled.run(main)


def test_a_thousand_channels(served: Inside) -> None:
    resource = pytest.importorskip("resource")
    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    served.stage.at_the_end(resource.setrlimit, resource.RLIMIT_NOFILE, limits)

    async def main() -> None:
        chats = [served.chat() for _ in range(1000)]
        with served.attach():
            answers = await asyncio.gather(*(ask(chat.peer, b"x\n", b"y\n") for chat in chats))
            assert answers == [[b"x\n", b"y\n"]] * 1000
        for chat in chats:
            chat.close()

    served.run(main)


def test_a_dict(polled: Inside) -> None:
    watch_a_dict(polled.stage)

    async def main() -> None:
        with polled.attach(timeout=None) as attachment:
            chat = polled.chat()
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            chat.close()
            await attachment.wait()

    polled.run(main)


def test_plain_dict_is_let_go_at_the_end(served: Inside) -> None:
    served.stage.map = {}

    async def main() -> None:
        with served.attach():
            chat = served.chat()
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            served.stage.asyncore.loop(0, False, served.stage.map, 1)
            assert watch_of(served.stage) is not None
        assert watch_of(served.stage) is None

    served.run(main)


def test_attached_before_the_loop_runs(own: Stage) -> None:
    async def main() -> list[bytes]:
        return await ask(chat.peer, b"a\n")

    inside = Inside(own, "asyncio")
    chat = inside.chat()
    loop = asyncio.new_event_loop()
    try:
        with inside.attach(loop):
            assert loop.run_until_complete(main()) == [b"a\n"]
    finally:
        loop.close()


def test_handlers_start_tasks(served: Inside) -> None:
    tasks = []

    async def answer(channel: Any, line: bytes) -> None:
        await asyncio.sleep(0)
        channel.push(line.upper() + b"\n")

    def found_terminator(channel: Any) -> None:
        tasks.append(asyncio.create_task(answer(channel, b"".join(channel.parts))))
        channel.parts.clear()

    async def main() -> None:
        chat = served.chat(found_terminator=found_terminator)
        with served.attach():
            assert await ask(chat.peer, b"a\n", b"b\n") == [b"A\n", b"B\n"]
        assert len(await asyncio.gather(*tasks)) == 2

    served.run(main)


def test_handlers_run_in_the_context_of_attach(served: Inside) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen = []

    async def main() -> None:
        variable.set("that of attach()")
        chat = served.chat(found_terminator=lambda channel: seen.append(variable.get()))
        done = asyncio.Event()
        with served.attach():
            await turns()
            variable.set("that of the task")
            chat.peer.send(b"x\n")
            for seconds in (0, 0.01):
                served.later(lambda: seen.append(variable.get()), seconds=seconds)
            served.later(done.set, seconds=0.01)
            await done.wait()
        assert set(seen) == {"that of attach()"}

    served.run(main)


def test_busy_map_does_not_starve_the_loop(polled: Inside) -> None:
    """Between two turns of the loop there is a pass, or two."""
    stage = polled.stage

    async def main() -> None:
        channel = stage.dispatcher(handle_read=lambda channel: None)  # it reads nothing
        channel.peer.send(b"x")
        with polled.attach():
            most = 0
            for _ in range(100):
                before = polled.passes
                await asyncio.sleep(0)
                most = max(most, polled.passes - before)
            assert 1 <= most <= 2
            assert channel.events.count("read") > 20

    polled.run(main)


def test_lines_of_one_peer_leave_the_loop_its_turns(served: Inside) -> None:
    """What is left of a read, above ``lines_per_pass``, comes in later turns."""
    done: list[int] = []

    async def main() -> None:
        channel = line_channel(
            served.stage, lines_per_pass=2, lines_received=lambda channel, lines: done.append(1)
        )
        with served.attach():
            channel.peer.send(b"x\r\n" * 20)
            turns = 0
            while len(done) < 10:
                await asyncio.sleep(0)
                turns += 1
            assert turns >= 4

    served.run(main)


def test_nested_loop_in_a_handler(polled: Inside) -> None:
    stage = polled.stage

    def found_terminator(channel: Any) -> None:
        channel.parts.clear()
        other.peer.send(b"nested\n")
        while not other.heard:
            stage.asyncore.loop(1, False, stage.map, 1)
        channel.push(b"done\n")

    def note(channel: Any) -> None:
        channel.heard = True
        channel.push(b"x" * 5_000_000 + b"\n")  # which the pass of the nested loop does not send

    other = polled.chat(found_terminator=note)
    other.heard = False

    async def main() -> None:
        chat = polled.chat(found_terminator=found_terminator)
        with polled.attach():
            assert await ask(chat.peer, b"a\n") == [b"done\n"]
            assert len(await received(other.peer)) == 5_000_001

    polled.run(main)


def test_nested_loop_in_a_task(polled: Inside) -> None:
    stage = polled.stage

    async def main() -> None:
        chat = polled.chat()
        with polled.attach():
            await asyncio.sleep(0)
            chat.peer.send(b"x\n")
            stage.asyncore.loop(0, False, stage.map, 1)
            chat.push(b"y" * 5_000_000 + b"\n")
            stage.asyncore.loop(0, False, stage.map, 1)
            assert len(await received(chat.peer, b"y\n")) == 2 + 5_000_001

    polled.run(main)


def test_nested_loop_that_empties_the_map(polled: Inside) -> None:
    stage = polled.stage

    async def main() -> None:
        with polled.attach():
            chat = polled.chat()
            chat.peer.close()
            stage.asyncore.loop(1, False, stage.map)
            assert not stage.map
            chat = polled.chat()
            assert await ask(chat.peer, b"a\n") == [b"a\n"]

    polled.run(main)


def test_two_threads_with_two_maps(own: Stage) -> None:
    answers: list[Any] = []

    def serve(stage: Stage) -> None:
        inside = Inside(stage, "asyncio")

        async def main() -> None:
            chat = inside.chat()
            with inside.attach():
                answers.append(await ask(chat.peer, *[b"x\n"] * 50))

        inside.run(main)

    with Stage(own.implementation) as other:
        threads = [threading.Thread(target=serve, args=(stage,)) for stage in (own, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [[b"x\n"] * 50] * 2


def test_two_maps_in_one_loop(served: Inside) -> None:
    async def main() -> None:
        with Stage(served.stage.implementation) as stage:
            other = Inside(stage, served.loop)
            chats = [served.chat(), other.chat()]
            with served.attach(), other.attach():
                for chat in chats:
                    assert await ask(chat.peer, b"a\n") == [b"a\n"]

    served.run(main)


def test_urgent_data_and_use_poll(served: Inside) -> None:
    """The passes are those of ``poll2()`` where the program asks for them."""
    stage = served.stage

    async def main() -> None:
        done = asyncio.Event()
        mine, peer = stage.tcp_pair()
        channel = stage.dispatcher(mine, handle_expt=lambda channel: done.set())
        with served.attach(use_poll=True):
            peer.send(b"!", socket.MSG_OOB)
            await done.wait()
            assert watch_of(stage).is_poll2
        assert "expt" in channel.events

    served.run(main)


def test_socket_map_is_the_default(served: Inside) -> None:
    stage = served.stage
    stage.map = stage.asyncore.socket_map

    async def main() -> None:
        chat = served.chat()
        with stage.implementation.attachment.attach() as attachment:
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            chat.close()
            await attachment.wait()

    served.run(main)
