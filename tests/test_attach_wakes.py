"""What an attached map is told of: changes by tasks, threads and signal handlers, and timers.

Every change is made where asyncio waits, or is going to, and what it leads to is awaited.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.attached import Inside, Selector, ask, received, rested
from tests.support.channels import Stage, alarms, inside, posix_only, watch_a_dict, watch_of
from tests.support.line_channels import line_channel
from tests.support.waiting import SOON
from tests.support.watched import deaf

MUCH = 5_000_000  # more bytes than the kernel takes for one peer


def test_output_of_a_task(polled: Inside) -> None:
    async def main() -> None:
        chat = polled.chat()
        line = line_channel(polled.stage)
        with polled.attach():
            await rested(polled)
            chat.push(b"x" * MUCH + b"\n")
            line.send(b"x" * MUCH + b"\n")
            for channel in (chat, line):
                assert len(await received(channel.peer)) == MUCH + 1

    polled.run(main)


def test_output_put_into_the_queue(polled: Inside) -> None:
    async def main() -> None:
        chat = polled.chat()
        with polled.attach():
            await rested(polled)
            chat.producer_fifo.append(b"x\n")
            assert await received(chat.peer) == b"x\n"

    polled.run(main)


def test_output_of_a_thread(polled: Inside) -> None:
    async def main() -> None:
        chat = polled.chat()
        with polled.attach():
            await rested(polled)
            thread = threading.Thread(target=chat.push, args=(b"x" * MUCH + b"\n",))
            thread.start()
            assert len(await received(chat.peer)) == MUCH + 1
            thread.join()

    polled.run(main)


@pytest.mark.parametrize("is_kept", [True, False], ids=["channel_map", "dict"])
def test_channels_that_a_task_adds_and_closes(polled: Inside, is_kept: bool) -> None:
    if not is_kept:
        watch_a_dict(polled.stage)

    async def main() -> None:
        with polled.attach(timeout=None) as attachment:
            await rested(polled)
            for _ in range(3):
                chat = polled.chat()
                assert await ask(chat.peer, b"a\n") == [b"a\n"]
                last = asyncio.create_task(attachment.wait())
                await rested(polled)
                assert not last.done()
                chat.close()
                await last

    polled.run(main)


def test_number_that_is_used_again_at_once(polled: Inside) -> None:
    """The loop forgets a descriptor before anybody else can get its number."""

    async def main() -> None:
        with polled.attach():
            chat = polled.chat()
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            number = chat.socket.fileno()
            chat.close()
            mine, peer = polled.stage.pair()
            if os.name == "posix":  # where the lowest free number is taken
                assert mine.fileno() == number
            waiting = asyncio.create_task(received(mine))
            await rested(polled)
            peer.send(b"for asyncio\n")
            assert await waiting == b"for asyncio\n"

    polled.run(main)


def test_client_of_a_task(polled: Inside) -> None:
    stage = polled.stage

    async def main() -> None:
        connected = asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as server, polled.attach():
            await rested(polled)
            client = stage.bare(
                stage.asynchat.async_chat, handle_connect=lambda channel: connected.set()
            )
            client.create_socket()
            client.connect(server.getsockname())
            await connected.wait()
            client.close()

    polled.run(main)


def test_modes_of_a_line_channel(polled: Inside) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def main() -> None:
        channel = line_channel(
            polled.stage,
            line_received=lambda channel, line: heard.put_nowait(line),
            connection_lost=lambda channel, exc: heard.put_nowait(exc),
        )
        with polled.attach() as attachment:
            channel.peer.send(b"one\r\n")
            assert await heard.get() == b"one"
            channel.pause_reading()
            channel.peer.send(b"two\r\n")
            await rested(polled)
            assert heard.empty()
            channel.resume_reading()
            assert await heard.get() == b"two"
            await rested(polled)
            channel.unread([b"three"])
            assert await heard.get() == b"three"
            channel.close()
            channel.peer.close()
            assert await heard.get() is None
            await attachment.wait()

    polled.run(main)


def test_deadline_that_a_task_sets(polled: Inside) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def main() -> None:
        channel = line_channel(
            polled.stage, timed_out=lambda channel, which: heard.put_nowait(which)
        )
        with polled.attach():
            await rested(polled)
            channel.idle_timeout = 0.01
            assert await heard.get() == "idle"

    polled.run(main)


def test_deadlines_know_when_a_task_has_sent(served: Inside, monkeypatch: Any) -> None:
    """However long ago the last pass was."""
    stage = served.stage

    async def main() -> None:
        channel = line_channel(stage, idle_timeout=1000)
        with served.attach():
            await rested(served)
            ahead = time.monotonic() + 900
            monkeypatch.setitem(
                vars(stage.asyncore), "time", type("Ahead", (), {"monotonic": lambda: ahead})
            )
            channel.send(b"x")
            assert channel._fc_line.heard == ahead

    served.run(main)


def test_calls_of_threads_and_timers(polled: Inside) -> None:
    timers = polled.stage.implementation.timers

    async def main() -> None:
        done = asyncio.Event()
        map = polled.stage.map
        with polled.attach():
            await rested(polled)
            thread = threading.Thread(target=lambda: timers.call_threadsafe(done.set, map=map))
            thread.start()
            await done.wait()
            thread.join()
            done.clear()
            begun = time.monotonic()
            polled.later(done.set, seconds=0.05)
            polled.later(done.clear, seconds=3600)
            await done.wait()
            assert time.monotonic() - begun >= 0.05
            done.clear()
            every = timers.call_every(0.001, done.set, map=map)
            for _ in range(3):
                await done.wait()
                done.clear()
            every.cancel()

    polled.run(main)


@posix_only
def test_a_signal_handler(polled: Inside) -> None:
    """asyncio does not wait with a call of Python's, so that one that pushes has to wake it."""

    async def main() -> None:
        chat = polled.chat()
        with polled.attach():
            await rested(polled)
            with alarms(lambda *_: chat.push(b"x" * MUCH + b"\n"), SOON):
                assert len(await received(chat.peer)) == MUCH + 1

    # The handler runs between two steps of Python: uvloop comes to one where Python has told it
    # of a descriptor to write a signal's number into.
    polled.run(main)


def own_predicate(served: Inside) -> Any:
    """A channel as the manual of 3.11 has it, with a buffer that it looks at when it is asked."""
    channel = served.stage.channel(
        served.stage.asyncore.dispatcher,
        writable=lambda channel: bool(channel.buffer),
        handle_write=lambda channel: setattr(
            channel, "buffer", channel.buffer[channel.send(channel.buffer) :]
        ),
    )
    channel.buffer = b""
    return channel


def test_predicates_of_the_program(polled: Inside) -> None:
    """They are asked in each pass: after ``wake()``, an event of another channel, a timer."""

    async def main() -> None:
        channel, chat = own_predicate(polled), polled.chat()
        with polled.attach(timeout=None) as attachment:
            await rested(polled)
            channel.buffer = b"by wake()\n"
            attachment.wake()
            assert await received(channel.peer) == b"by wake()\n"
            await rested(polled)
            channel.buffer = b"by an event\n"
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            assert await received(channel.peer) == b"by an event\n"

    polled.run(main)


def test_wake_in_a_pass_is_for_the_next_one(polled: Inside) -> None:
    async def main() -> None:
        asked: list[int] = []

        def readable(channel: Any) -> bool:
            asked.append(1)
            attachment.wake()
            return False

        with polled.attach(timeout=None) as attachment:
            polled.stage.dispatcher(readable=readable)
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(asked) > 50

    polled.run(main)


def test_predicates_of_the_program_are_asked_again(polled: Inside) -> None:
    async def main() -> None:
        channel = own_predicate(polled)
        with polled.attach(timeout=0.01):
            await rested(polled)
            channel.buffer = b"after a while\n"
            assert await received(channel.peer) == b"after a while\n"

    polled.run(main)


def test_what_is_put_into_a_dict_is_found_again(served: Inside) -> None:
    served.stage.map = {}

    async def main() -> None:
        chat = served.chat()
        fd = chat._fileno
        del served.stage.map[fd]
        with served.attach(timeout=0.01):
            await rested(served)
            served.stage.map[fd] = chat  # of which nobody is told
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            chat.close()

    served.run(main)


def test_pass_that_a_task_makes_is_followed_by_one(polled: Inside) -> None:
    """For what it leaves to the next, of which no event tells: a rest of a listener that begins."""

    async def main() -> None:
        polled.chat()
        with polled.attach():
            await rested(polled)
            polled.stage.loop()
            before = polled.passes
            for _ in range(5):
                await asyncio.sleep(0)
            assert polled.passes > before

    polled.run(main)


# What does not wake the loop.


class Idle:
    """A loop of asyncio that calls back where it would wait for ever."""

    def __init__(self) -> None:
        self.selector = Selector()
        self.is_idle = asyncio.Event()
        self.selector.idle = self.is_idle.set

    def run(self, main: Callable[[], Any]) -> None:
        def loop() -> asyncio.AbstractEventLoop:
            return asyncio.SelectorEventLoop(self.selector)

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())

    async def wait(self) -> None:
        self.is_idle.clear()
        await self.is_idle.wait()


def test_idle_map_costs_no_wake_up(own: Stage) -> None:
    """The loop would wait for ever, after it has checked all channels once."""
    served, idle = Inside(own, "asyncio"), Idle()

    async def main() -> None:
        chats = [served.chat() for _ in range(20)]
        with served.attach() as attachment:
            await idle.wait()
            passes = served.passes
            await idle.wait()
            assert served.passes == passes
            assert await ask(chats[3].peer, b"a\n") == [b"a\n"]
            await idle.wait()
            assert served.passes <= passes + 4
            timer = served.later(print, seconds=3600)
            await rested(served)
            timer.cancel()
            attachment.wake()
            await idle.wait()
            served.later(print, seconds=0.01)
            await idle.wait()
            for chat in chats:
                chat.close()
            await idle.wait()

    idle.run(main)


def test_one_pass_for_one_event(served: Inside) -> None:
    async def main() -> None:
        chat = served.chat()
        with served.attach():
            await ask(chat.peer, b"x\n")
            before = served.passes
            await ask(chat.peer, *[b"x\n"] * 200)
            assert served.passes - before < 240  # some are those of the checks

    served.run(main)


def test_many_changes_of_a_task_make_one_pass(served: Inside) -> None:
    async def main() -> None:
        chats = [served.chat() for _ in range(50)]
        with served.attach():
            await rested(served)
            before = served.passes
            for chat in chats:
                chat.producer_fifo.append(b"x\n")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert served.passes - before < 10
            for chat in chats:
                chat.close()

    served.run(main)


@posix_only
def test_closed_behind_its_back(polled: Inside) -> None:
    """As in ``asyncore.loop()`` it is found while nothing happens, and nobody else suffers."""

    async def main() -> None:
        chat, other = polled.chat(), polled.chat()
        with polled.attach():
            await ask(chat.peer, b"a\n")
            os.close(chat.socket.detach())
            assert await ask(other.peer, b"a\n") == [b"a\n"]
            while chat._fileno in polled.stage.map:
                await asyncio.sleep(0.001)  # there is nothing to await
            assert await ask(other.peer, b"a\n") == [b"a\n"]

    polled.run(main)


def test_set_that_a_program_closes(served: Inside) -> None:
    """The loop waits for a duplicate, and for the set that replaces it from the next pass on."""
    watch_kind = inside(served.stage, "pollers")["KINDS"][0].name
    if watch_kind not in ("epoll", "kqueue"):
        pytest.skip("no poller here has a set")

    async def main() -> None:
        chat = served.chat()
        with served.attach():
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            before = watch_of(served.stage).poller
            os.close(before.fileno())
            assert await ask(chat.peer, b"a\n", b"b\n") == [b"a\n", b"b\n"]
            assert watch_of(served.stage).poller is not before
            other = served.chat()  # of which the old set does not know
            await rested(served)
            assert await ask(other.peer, b"c\n") == [b"c\n"]

    served.run(main)


def test_new_set(polled: Inside) -> None:
    """As it is made where an event came for what nobody has registered."""

    async def main() -> None:
        chat = polled.chat()
        with polled.attach():
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            watch_of(polled.stage).needs_new_set = True
            assert await ask(chat.peer, b"b\n") == [b"b\n"]
            await rested(polled)
            assert await ask(chat.peer, b"c\n") == [b"c\n"]

    polled.run(main)


@posix_only
def test_regular_file_is_always_ready(polled: Inside, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"what is in the file")

    async def main() -> None:
        got: list[bytes] = []
        stage = polled.stage

        def handle_read(channel: Any) -> None:
            got.append(channel.recv(1))

        kind = type(
            "Reader",
            (stage.asyncore.file_dispatcher,),
            {"handle_read": handle_read, "writable": lambda channel: False},
        )
        with path.open("rb") as file:
            kind(file, stage.map)
        with polled.attach() as attachment:
            for _ in range(200):  # turns in which nothing waits
                await asyncio.sleep(0)
            assert b"".join(got) == b"what is in the file"
            await attachment.wait()

    polled.run(main)


@posix_only
def test_hang_up_of_who_wants_no_input(polled: Inside) -> None:
    """It ends no wait, for ``select()`` would not tell it; and the loop does not spin."""

    async def main() -> None:
        channel, chat = deaf(polled.stage), polled.chat()
        with polled.attach() as attachment:
            await ask(chat.peer, b"a\n")
            before = polled.passes
            for _ in range(200):
                await asyncio.sleep(0)
            assert polled.passes - before < 20
            channel.wants = True
            attachment.wake()
            while "close" not in channel.events:
                await asyncio.sleep(0.001)  # there is nothing to await

    polled.run(main)
