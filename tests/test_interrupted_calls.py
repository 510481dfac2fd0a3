"""What a signal handler raises in the middle of a call, where each line can be seen to run.

No signal arrives here: what stands in for a call raises as a handler does.
"""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fastchat import _output
from fastchat._core import pollers as _pollers
from tests.support.channels import (
    PATIENCE,
    Stage,
    fail_with,
    inside,
    needs_epoll,
    watch_of,
)
from tests.support.interruption import Interruption, where_there_are_points

pytestmark = where_there_are_points


class Late(int):
    """A number whose comparison runs a function, as if that were a handler."""

    run: Callable[[], Any]

    def __gt__(self, other: Any) -> Any:
        self.run()
        return int(self) > other

    def __le__(self, other: Any) -> Any:
        self.run()
        return int(self) <= other

    def __lt__(self, other: Any) -> Any:
        self.run()
        return int(self) < other


def test_what_was_gathered_to_be_sent_is_put_back() -> None:
    output = _output.Output(b"ab")
    for piece in (b"cd", b"ef"):
        output.append(piece)
    size = Late(100)
    count: list[int] = []

    def run() -> None:
        count.append(1)
        if len(count) == 3:
            raise Interruption

    size.run = run
    with pytest.raises(Interruption):
        output.head(size)
    assert output.joined() == b"abcdef"


def test_what_a_handler_has_sent_is_not_dropped_twice() -> None:
    output = _output.Output(b"ab")
    output.append(b"cd")
    count = Late(2)
    count.run = lambda: output.drop(2)
    output.drop(count)
    assert (output.joined(), len(output)) == (b"cd", 2)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("register", PermissionError),
        ("modify", PermissionError),
        ("unregister", FileNotFoundError),
        ("unregister", ValueError),
        ("_without_muted", PermissionError),
    ],
)
def test_a_handler_s_exception_leaves_epoll(method: str, kind: type[Exception]) -> None:
    poller = _pollers.Epoll.__new__(_pollers.Epoll)
    poller.always, poller.muted = {}, {}
    if method == "_without_muted":
        poller.muted = {7: 1}
        poller._set = SimpleNamespace(modify=fail_with(kind()))
        with pytest.raises(kind):
            poller._without_muted([(7, 1)])
        return
    poller._set = SimpleNamespace(**{method: fail_with(kind())})
    with pytest.raises(kind):
        getattr(poller, method)(*[7, 1][: 1 if method == "unregister" else 2])


def test_a_handler_s_exception_leaves_poll() -> None:
    poller = _pollers.Poll.__new__(_pollers.Poll)
    poller.muted = {}
    poller._poll = SimpleNamespace(unregister=fail_with(KeyError()))
    with pytest.raises(KeyError):
        poller.unregister(7)


def test_a_handler_s_exception_leaves_kqueue(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = _pollers.Kqueue.__new__(_pollers.Kqueue)
    poller.always, poller._registered, poller._filters = {}, {7: 1}, {1: 1}
    monkeypatch.setattr(_pollers._system, "KQ_EV_DELETE", 2, raising=False)
    monkeypatch.setattr(_pollers.Kqueue, "_change", fail_with(OSError(errno.EIO, "a handler's")))
    with pytest.raises(OSError, match="a handler's"):
        poller.unregister(7)


@pytest.mark.parametrize("kind", [FileNotFoundError, FileExistsError])
def test_a_handler_s_exception_is_not_taken_for_the_poller_s(
    own: Stage, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = own.chat()
    own.loop()
    watch = watch_of(own)
    monkeypatch.setattr(watch, "poller", SimpleNamespace(modify=fail_with(kind())))
    with pytest.raises(kind):
        watch._register(chat._fileno, 7)


def test_a_handler_s_exception_leaves_a_waker(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    waker = inside(own, "waker")["Waker"]()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail_with(BlockingIOError()))
        patch.setattr(os, "read", fail_with(BlockingIOError()))
        for method in (waker.set, waker.clear):
            with pytest.raises(BlockingIOError):
                method()


def failing_kind() -> Any:
    """A kind of poller, select() as it happens, that fails the first time."""

    class Kind(_pollers.Select):
        fails = [1]

        def __init__(self) -> None:
            super().__init__()
            if self.fails:
                self.fails.clear()
                raise OSError(errno.EBADF, "a handler's")

    return Kind


# Where a system call's failure has a meaning, what stands for a handler raises the same: by what is
# called there, what fails (a function of a module, or a method of the poller) and what is called.
MEANINGFUL: dict[str, tuple[str, Callable[[Any, Any, Any], Any]]] = {
    "Watch._is_open": ("os.fstat", lambda own, watch, chat: watch._is_open(0)),
    "Watch._owns_its_number": (
        "os.fstat",
        lambda own, watch, chat: watch._owns_its_number(watch.poller),
    ),
    "_file_of": ("os.fstat", lambda own, watch, chat: inside(own, "waker")["_file_of"](0)),
    "Watch._replace_poller": (
        "nothing",
        lambda own, watch, chat: watch._replace_poller(failing_kind()),
    ),
    "Watch.wake": ("register", lambda own, watch, chat: watch.wake()),
    "Watch._set_interest": (
        "modify",
        lambda own, watch, chat: watch._set_interest(watch.entries[chat._fileno], _pollers.WRITE),
    ),
    "Watch._check": ("modify", lambda own, watch, chat: watch._check(chat._fileno)),
    "watch_over": (
        "available",
        lambda own, watch, chat: own.asyncore._watch_over({}, own.asyncore._family, True),
    ),
    "_unread": ("_ioctl", lambda own, watch, chat: own.asyncore._unread(chat)),
    "refusal_of": (
        "nothing",
        lambda own, watch, chat: own.implementation.core["pollers"].refusal_of(
            SimpleNamespace(fileno=fail_with(OSError(errno.EBADF, "a handler's")))
        ),
    ),
}


@needs_epoll
@pytest.mark.parametrize("call", MEANINGFUL)
def test_a_handler_s_exception_is_not_taken_for_a_system_call_s(
    own: Stage, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = own.chat()
    own.loop()
    watch = watch_of(own)
    fails, act = MEANINGFUL[call]
    raises = fail_with(OSError(errno.EBADF, "a handler's"))
    gc.collect()  # what earlier tests left looks at its descriptors when it is freed
    with monkeypatch.context() as patch:
        if fails == "os.fstat":
            patch.setattr(os, "fstat", raises)
        elif fails == "_ioctl":
            patch.setattr(own.implementation.core["system"], "_ioctl", raises)
        elif fails == "available":
            patch.setattr(own.implementation.core["pollers"], "available", lambda: [failing_kind()])
        elif fails != "nothing":
            kernels = SimpleNamespace(is_kernel_set=True, muted={}, **{fails: raises})
            patch.setattr(watch, "poller", kernels)
        with pytest.raises(OSError, match="a handler's"):
            act(own, watch, chat)
    own.loop()
    assert is_answered(own, chat)


def is_answered(stage: Stage, chat: Any) -> bool:
    """Whether *chat* still hears of what its peer sends."""
    stage.feed(chat, b"line\n")
    return bool(chat.events[-1] == "found")


def test_a_dict_is_end_loopd_though_that_is_interrupted(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.map = {}
    chat = own.chat()
    release = own.asyncore._end_loop
    calls: list[Any] = []

    def late(map: Any) -> None:
        calls.append(map)
        if len(calls) == 1:
            raise Interruption
        release(map)

    monkeypatch.setattr(own.asyncore, "_end_loop", late)
    with pytest.raises(Interruption):
        own.asyncore.loop(0, map=own.map, count=2)
    assert watch_of(own) is None
    assert is_there(own, chat)


def is_there(stage: Stage, chat: Any) -> bool:
    return chat in stage.map.values()


def test_an_empty_map_gives_nothing(own: Stage) -> None:
    for _ in range(2):
        with pytest.raises(KeyError):
            own.map.popitem()
        own.chat().close()
        own.loop()


def test_a_new_set_that_is_not_finished_is_made_again(own: Stage) -> None:
    to_come = [Interruption]
    select: Any = own.implementation.core["pollers"].Select

    def register(poller: Any, fd: int, flags: int) -> None:
        while to_come:
            raise to_come.pop()
        select.register(poller, fd, flags)

    interrupted: Any = type("Interrupted", (select,), {"register": register})
    chat = own.chat()
    own.loop()
    watch = watch_of(own)
    with pytest.raises(Interruption):
        watch.make_new_set(interrupted)
    assert watch.needs_new_set
    assert is_answered(own, chat)


@pytest.mark.parametrize("kind", ["ExitNow", KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_leaves_where_handle_error_is_looked_up(
    own: Stage, kind: Any
) -> None:
    problems = [ValueError(), own.ending(kind)()]

    def look_up(chat: Any) -> Any:
        raise problems.pop(0)

    chat = own.chat(found_terminator=fail_with(TypeError()))
    type(chat).handle_error = property(look_up)
    chat.peer.sendall(b"x\n")
    with pytest.raises(own.ending(kind)):
        own.loop(timeout=PATIENCE)
    del type(chat).handle_error


@pytest.mark.parametrize("failure", [ValueError, OverflowError, Interruption])
def test_a_handler_s_exception_in_a_registration_with_poll_leaves(
    own: Stage, failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For poll itself raises ValueError of a negative descriptor, and that channel is buried."""
    chat = own.chat()
    pollster = SimpleNamespace(register=fail_with(failure()), poll=lambda timeout: [])
    monkeypatch.setattr(own.asyncore, "select", SimpleNamespace(poll=lambda: pollster))
    with pytest.raises(failure):
        own.asyncore.poll2(0, own.map)
    assert own.map == {chat._fileno: chat}
