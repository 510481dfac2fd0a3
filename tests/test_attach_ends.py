"""How ``attach()`` ends, and what it refuses: exceptions that leave, ``detach()``, closed loops."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from collections import UserDict
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from tests.support.attached import Inside, ask, rested
from tests.support.channels import Stage, fail_with, forking, inside, posix_only, watch_of


def raising(problem: BaseException) -> dict[str, Any]:
    """A hook that raises."""
    return {"found_terminator": fail_with(problem)}


async def reported(served: Inside) -> list[str]:
    """What the loop reports, once it does."""
    while not served.aio.reports:
        await asyncio.sleep(0)
    return served.aio.failures()


def test_exit_now_leaves_wait(polled: Inside) -> None:
    async def main() -> None:
        chat = polled.chat(**raising(polled.stage.asyncore.ExitNow("enough")))
        with polled.attach() as attachment:
            chat.peer.send(b"x\n")
            with pytest.raises(polled.stage.asyncore.ExitNow, match="enough"):
                await attachment.wait()
            assert not attachment.is_attached
            with pytest.raises(polled.stage.asyncore.ExitNow):
                await attachment.wait()
        # As after asyncore.loop(), whatever is left can be served again.
        with polled.attach():
            chat.found_terminator = lambda: chat.push(b"on it goes\n")
            assert await ask(chat.peer, b"y\n") == [b"on it goes\n"]

    polled.run(main)


def test_exit_now_is_reported_where_nobody_waits(served: Inside) -> None:
    async def main() -> None:
        chat = served.chat(**raising(served.stage.asyncore.ExitNow("enough")))
        with served.attach() as attachment:
            chat.peer.send(b"x\n")
            assert await reported(served) == ["ExitNow('enough')"]
            assert not attachment.is_attached

    served.run(main)


def test_what_leaves_handle_error_ends_it(served: Inside) -> None:
    async def main() -> None:
        chat = served.chat(**raising(KeyError("x")), handle_error=fail_with(ValueError("y")))
        with served.attach() as attachment:
            chat.peer.send(b"x\n")
            with pytest.raises(ValueError, match="y"):
                await attachment.wait()

    served.run(main)


def test_failing_channel_costs_nobody_else_anything(
    served: Inside, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        chat, other = served.chat(**raising(KeyError("x"))), served.chat()
        with served.attach():
            assert await ask(chat.peer, b"x\n") == [b""]
            assert await ask(other.peer, b"x\n") == [b"x\n"]

    served.run(main)
    assert "KeyError" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_leaves_the_loop(served: Inside, kind: type[BaseException]) -> None:
    """It leaves ``run_forever()``; where the loop runs again, the map is served."""
    loop = asyncio.new_event_loop() if served.loop == "asyncio" else new_uvloop()
    try:
        chat = served.chat(**raising(kind("enough")))
        attachment = served.attach(loop)
        chat.peer.send(b"x\n")
        with pytest.raises(kind, match="enough"):
            loop.run_forever()
        chat.found_terminator = lambda: chat.push(b"on it goes\n")
        assert loop.run_until_complete(ask(chat.peer, b"y\n")) == [b"on it goes\n"]
        attachment.detach()
    finally:
        loop.close()


def new_uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


def test_detach(polled: Inside) -> None:
    async def main() -> None:
        chat = polled.chat()
        attachment = polled.attach()
        assert "1 channels" in repr(attachment)
        assert await ask(chat.peer, b"a\n") == [b"a\n"]
        waiting = asyncio.create_task(attachment.wait())
        await asyncio.sleep(0)
        attachment.detach()
        attachment.detach()
        attachment.wake()
        await waiting
        assert "detached" in repr(attachment)
        chat.peer.send(b"b\n")
        for _ in range(20):
            await asyncio.sleep(0)
        with pytest.raises(BlockingIOError):
            chat.peer.recv(1)
        polled.stage.loop(2)
        assert chat.peer.recv(9) == b"b\n"
        assert not hasattr(watch_of(polled.stage).poller, "followed")  # it is one as before
        with polled.attach():
            assert await ask(chat.peer, b"c\n") == [b"c\n"]

    polled.run(main)


@pytest.mark.parametrize("is_kept", [True, False], ids=["channel_map", "dict"])
def test_detach_in_a_handler(polled: Inside, is_kept: bool) -> None:
    if not is_kept:
        polled.stage.map = {}

    async def main() -> None:
        chat = polled.chat()
        chat.peer.send(b"x\ny\n")
        attachment = polled.attach()
        chat.found_terminator = attachment.detach
        await attachment.wait()
        assert (watch_of(polled.stage) is not None) == is_kept
        chat.close()

    polled.run(main)


def test_timers_end_with_it(served: Inside) -> None:
    async def main() -> None:
        called: list[int] = []
        chat = served.chat()
        with served.attach():
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            served.later(called.append, 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert called == []
        served.stage.until(lambda: called)

    served.run(main)


def test_attached_twice(served: Inside) -> None:
    async def main() -> None:
        served.chat()
        with served.attach() as attachment:
            with pytest.raises(RuntimeError, match=r"the map is attached to .*detach\(\)"):
                served.attach()
            assert attachment.is_attached

    served.run(main)


@pytest.mark.parametrize("how", ["push", "close", "attach", "detach"])
def test_loop_that_is_closed_before_detach(served: Inside, how: str) -> None:
    """The next change ends it, without an error; or the next ``attach()`` does."""
    kept: list[Any] = []

    async def main() -> None:
        kept.append(served.chat())
        kept.append(served.attach())
        assert await ask(kept[0].peer, b"a\n") == [b"a\n"]

    async def again() -> None:
        with served.attach():
            assert await ask(chat.peer, b"a\n") == [b"a\n"]

    served.run(main)
    chat, attachment = kept
    assert attachment.is_attached
    if how == "attach":
        served.run(again)
    elif how == "push":
        chat.push(b"x" * 5_000_000)
    elif how == "close":
        chat.close()
    else:
        attachment.detach()
    assert not attachment.is_attached
    served.stage.loop()


def test_nothing_stays_open(served: Inside) -> None:
    """The duplicate of the set's descriptor is closed, whatever ends it."""

    async def main() -> None:
        chat = served.chat(found_terminator=fail_with(served.stage.asyncore.ExitNow))
        with served.attach() as attachment:
            descriptor = attachment._descriptor
            os.fstat(descriptor)
            chat.peer.send(b"x\n")
            with pytest.raises(served.stage.asyncore.ExitNow):
                await attachment.wait()
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(descriptor)

    if not hasattr(inside(served.stage, "pollers")["KINDS"][0], "fileno"):
        pytest.skip("no poller here has a set")
    served.run(main)


def test_no_descriptor_for_a_duplicate(served: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the loop waits for each channel by itself."""

    async def main() -> None:
        chat = served.chat()
        with monkeypatch.context() as patch:
            patch.setattr(os, "dup", fail_with(OSError("of a signal handler")))
            with pytest.raises(OSError, match="of a signal handler"):
                served.attach()
        with monkeypatch.context() as patch:
            patch.setattr(os, "dup", fail_with(OSError("none left")))
            # Its frame is then not one of a signal handler's.
            patch.setattr("tests.support.channels.__name__", "fastchat.attachment")
            attachment = served.attach()
        with attachment:
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            assert isinstance(
                watch_of(served.stage).poller, inside(served.stage, "pollers")["Poll"]
            )

    if not hasattr(inside(served.stage, "pollers")["KINDS"][0], "fileno"):
        pytest.skip("no poller here has a set")
    served.run(main)


def test_loop_that_can_wait_for_no_more(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of a channel ends the attachment, for nobody would hear of that channel."""
    served = Inside(own, "asyncio")
    pollers = inside(own, "pollers")
    monkeypatch.setitem(pollers, "KINDS", pollers["KINDS"][-1:])  # select() has no set

    async def main() -> None:
        served.chat()
        loop = asyncio.get_running_loop()
        with served.attach() as attachment:
            vars(loop)["add_reader"] = fail_with(OSError(errno.ENOSPC, "too many"))
            with pytest.raises(OSError, match="too many"):
                await attachment.wait()

    served.run(main)


def test_signal_handler_that_raises_in_wake(own: Stage) -> None:
    """What it raises leaves, and the next ``wake()`` wakes."""
    served = Inside(own, "asyncio")

    async def main() -> None:
        chat = served.chat()
        loop = asyncio.get_running_loop()
        with served.attach() as attachment:
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            interrupted = mock.Mock(side_effect=KeyboardInterrupt)
            vars(loop)["call_soon_threadsafe"] = interrupted
            with pytest.raises(KeyboardInterrupt):
                attachment.wake()
            del vars(loop)["call_soon_threadsafe"]
            before = served.passes
            attachment.wake()
            await asyncio.sleep(0)
            assert served.passes > before

    served.run(main)


def test_task_that_waits_may_be_cancelled(served: Inside) -> None:
    async def main() -> None:
        served.chat()
        attachment = served.attach()
        tasks = [asyncio.create_task(attachment.wait()) for _ in range(2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        attachment.detach()
        await tasks[1]
        assert tasks[0].cancelled()

    served.run(main)


# What is refused.


def test_map_that_is_none(served: Inside) -> None:
    served.stage.map = UserDict()  # type: ignore[assignment]

    async def main() -> None:
        with pytest.raises(
            TypeError, match="a channel_map or a dict can be attached, not UserDict"
        ):
            served.attach()

    served.run(main)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_timeout_that_is_none(served: Inside, timeout: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="timeout must be more than 0 s, or None"):
            served.attach(timeout=timeout)

    served.run(main)


def test_loops_that_are_none(own: Stage) -> None:
    served = Inside(own, "asyncio")
    with pytest.raises(RuntimeError, match="no loop is running"):
        served.attach()
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="is closed"):
        served.attach(loop)

    class Windows(asyncio.BaseEventLoop):
        """As the one that is the default there."""

    windows = Windows()
    try:
        with pytest.raises(RuntimeError, match=r"add_reader\(\).*SelectorEventLoop"):
            served.attach(windows)
    finally:
        windows.close()


def test_loop_of_another_thread(served: Inside) -> None:
    async def main() -> None:
        def attach() -> None:
            with pytest.raises(RuntimeError, match="runs in another thread"):
                served.attach(loop)
            done.append(1)

        done: list[int] = []
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=attach)
        thread.start()
        thread.join()
        assert done

    served.run(main)


def test_where_no_registrations_can_be_kept(
    served: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under gevent, which replaces what is waited with."""

    async def main() -> None:
        served.chat()
        monkeypatch.setitem(inside(served.stage, "pollers"), "KINDS", ())
        with pytest.raises(RuntimeError, match="no registrations can be kept"):
            served.attach()

    served.run(main)


def test_loop_that_refuses_leaves_nothing_behind(own: Stage) -> None:
    served = Inside(own, "asyncio")
    chat = served.chat()
    loop = asyncio.new_event_loop()
    try:
        vars(loop)["add_reader"] = fail_with(NotImplementedError())
        with pytest.raises(NotImplementedError):
            served.attach(loop)
    finally:
        loop.close()
    assert inside(own, "agenda")["agenda_of"](own.map).attached is None
    served.run(lambda: _echoes(served, chat))


async def _echoes(served: Inside, chat: Any) -> None:
    with served.attach():
        assert await ask(chat.peer, b"a\n") == [b"a\n"]


def test_select_that_is_replaced_later(served: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is served on, by what it was attached with."""

    async def main() -> None:
        chat = served.chat()
        with served.attach():
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            monkeypatch.setattr(served.stage.asyncore, "select", SimpleNamespace())
            served.stage.loop()
            assert await ask(chat.peer, b"a\n") == [b"a\n"]

    served.run(main)


# Forks, and debug mode.


@posix_only
def test_forked_child_leaves_the_loop_of_its_parent_alone(polled: Inside) -> None:
    async def main() -> None:
        chat = polled.chat()
        with polled.attach() as attachment:
            assert await ask(chat.peer, b"a\n") == [b"a\n"]
            with forking():
                child = os.fork()
            if not child:
                code = 1
                try:
                    assert not attachment.is_attached
                    mine, peer = socket.socketpair()
                    type(chat)(mine, polled.stage.map)
                    peer.send(b"in the child\n")
                    polled.stage.loop(3)
                    assert peer.recv(100) == b"in the child\n"
                    attachment.detach()
                    polled.stage.asyncore.close_all(polled.stage.map)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            # The end of the child's channel is no end of the connection; and no check helps.
            await rested(polled)
            assert await ask(chat.peer, b"b\n") == [b"b\n"]

    polled.run(main)


def test_debug_mode_names_it(own: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Where a pass takes long, asyncio says that it was one over the channels."""
    served = Inside(own, "asyncio")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.0
        chat = served.chat()
        with served.attach():
            assert await ask(chat.peer, b"a\n") == [b"a\n"]

    with caplog.at_level(logging.WARNING, "asyncio"), asyncio.Runner(debug=True) as runner:
        runner.run(main())
    assert "Attachment._run" in caplog.text
