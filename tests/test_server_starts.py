"""How a server starts where another one starts, and what a start that fails leaves: nothing."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastchat import _binding
from fastchat._addresses import understood
from fastchat._stop_signals import STOPPING, StopSignals
from tests.support.channels import PATIENCE, Stage, posix_only
from tests.support.interruption import Interruption
from tests.support.servers import LOCAL, channels, client_of, connected, server_of

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


def binding_of(stage: Stage) -> dict[str, Any]:
    """The names of the module ``_binding`` that the servers of *stage* use."""
    names: dict[str, Any] = stage.implementation.server.all_opened.__wrapped__.__globals__
    return names


# Two at one moment.


def leave_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


@needs_unix
@pytest.mark.parametrize("is_stale", [False, True])
def test_one_of_many_that_start_at_once_has_the_path(place: Path, is_stale: bool) -> None:
    path = place / "socket"
    places = [understood(f"unix:{path}")]
    for _ in range(30):
        if is_stale:
            leave_stale(path)
        begin, end = threading.Barrier(8), threading.Barrier(8)
        outcomes: list[Any] = []

        def start(begin: Any = begin, end: Any = end, outcomes: Any = outcomes) -> None:
            begin.wait(PATIENCE)
            try:
                with _binding.all_opened(places, 100, None) as opened:
                    outcomes.append(opened[0])
            except OSError as failure:
                outcomes.append(failure)
            end.wait(PATIENCE)

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bound = [each for each in outcomes if isinstance(each, _binding.Bound)]
        said = [str(each) for each in outcomes if isinstance(each, OSError)]
        try:
            assert len(bound) == 1
            assert len(said) == 7
            assert all("somebody answers there" in each for each in said)
            # The file is that of the one that has it.
            with connected(f"unix:{path}"):
                bound[0].sock.accept()[0].close()
        finally:
            for each in bound:
                each.close()


@needs_unix
def test_a_start_waits_for_no_lock_for_ever(
    own: Stage, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read the directory can hold it."""
    binding, fcntl = binding_of(own), pytest.importorskip("fcntl")
    times = iter(range(100))
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: float(next(times)), sleep=slept.append)
    fd = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        monkeypatch.setitem(binding, "time", clock)
        server = server_of(own, channels(own), f"unix:{place / 'socket'}")
    finally:
        os.close(fd)
    assert 1 <= len(slept) <= binding["_PATIENCE"]
    client_of(own, server)
    own.until(lambda: server.stats().accepted == 1, use_poll=True)


@needs_unix
def test_a_start_that_has_waited_goes_on(
    own: Stage, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding = binding_of(own)
    there, beside = understood(f"unix:{place / 'one'}"), f"unix:{place / 'two'}"
    lock = binding["_locked"]([there])
    lock.__enter__()

    def sleep(seconds: float) -> None:
        lock.__exit__(None, None, None)

    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=sleep)
    monkeypatch.setitem(binding, "time", clock)
    assert server_of(own, channels(own), beside).addresses == (beside,)


@needs_unix
def test_several_sockets_in_one_directory_and_in_others(own: Stage, place: Path) -> None:
    (place / "a").mkdir()
    (place / "b").mkdir()
    (place / "c").symlink_to(place / "a")
    bind = [f"unix:{place / name}" for name in ("b/1", "a/1", "c/2", "b/2")]
    before = open_descriptors()
    server = server_of(own, channels(own), *bind)
    assert server.addresses == tuple(bind)
    if before is not None:  # the locks are gone
        assert len(open_descriptors() or ()) == len(before) + len(bind)
    assert sorted(os.listdir(place / "a")) == ["1", "2"]


def open_descriptors() -> set[str] | None:
    """The descriptors of this process, None where the system does not list them."""
    return set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else None


@needs_unix
@pytest.mark.parametrize("way", ["path", "link", "socket", "abstract"])
def test_one_path_twice(own: Stage, place: Path, way: str) -> None:
    """The first does not listen yet when the second is looked at, and is no stale file."""
    path = place / "socket"
    (place / "link").symlink_to(place)
    first: Any = f"unix:{path}"
    if way in ("socket", "abstract"):
        if way == "abstract" and sys.platform != "linux":
            pytest.skip("no abstract namespace here")
        first = own.new_socket(socket.AF_UNIX)
        first.bind(str(path) if way == "socket" else b"\0" + bytes(path))
    second = f"unix:{place / 'link' / 'socket' if way == 'link' else path}"
    server = own.implementation.server.Server(channels(own), first, second, map=own.map)
    own.at_the_end(server.abort)
    if way == "abstract":  # which is another place
        server.start()
        assert server.addresses[1] == second
        return
    with pytest.raises(OSError, match="the server listens there already") as caught:
        server.start()
    assert caught.value.errno == errno.EADDRINUSE
    assert path.exists() == (way == "socket")


@needs_unix
def test_a_relative_path_is_locked_where_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    found: dict[Any, Any] = {}
    _binding._find_directory(understood("unix:socket"), found)
    ((key, fd),) = found.items()
    os.close(fd)
    assert key == (place.stat().st_dev, place.stat().st_ino)


@needs_unix
@pytest.mark.parametrize("missing", ["open", "flock"])
def test_a_start_goes_on_where_there_are_no_locks(
    own: Stage, place: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def fail(*args: Any) -> int:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(f"{'os' if missing == 'open' else 'fcntl'}.{missing}", fail)
    address = f"unix:{place / 'socket'}"
    assert server_of(own, channels(own), address).addresses == (address,)


# All or nothing, to the last step.


class Failing:
    """What stands in for a function, and raises at call number *at*."""

    def __init__(self, function: Callable[..., Any], at: int) -> None:
        self.function = function
        self.left = at

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        self.left -= 1
        if not self.left:
            raise Interruption
        return self.function(*args, **keywords)


def fail_in(own: Stage, monkeypatch: pytest.MonkeyPatch, step: str, at: int) -> None:
    """Let *step* of a start fail at its call number *at*."""
    server = own.implementation.server
    listener = server.Listener
    places = {
        "make a listener": (server, "Listener"),
        "begin": (listener, "begin"),
        "be served": (listener, "set_socket"),
        "join the map": (listener, "add_channel"),
        "note the time": (server.time, "monotonic"),
        "note the process": (server.os, "getpid"),
    }
    where, name = places[step]
    failing = Failing(getattr(where, name), at)
    replacement: Any = failing if where is server or name in ("monotonic", "getpid") else None
    if replacement is None:

        def replacement(listener: Any, *args: Any) -> Any:
            return failing(listener, *args)

    if where in (server.time, server.os):  # for the server alone
        module = SimpleNamespace(**vars(where) | {name: replacement})
        monkeypatch.setattr(server, where.__name__, module)
    else:
        monkeypatch.setattr(where, name, replacement)


STEPS = [
    *[(step, at) for step in ("make a listener", "begin", "be served") for at in (1, 2, 3)],
    *[("join the map", at) for at in (1, 2, 3)],
    *(("note the time", 1), ("note the process", 1)),
]


@pytest.mark.parametrize(("step", "at"), STEPS)
def test_a_start_that_fails_behind_the_sockets_leaves_nothing(
    own: Stage, place: Path, monkeypatch: pytest.MonkeyPatch, step: str, at: int
) -> None:
    given = own.new_socket()
    given.bind(("127.0.0.1", 0))
    given.settimeout(7)
    path = place / "socket"
    bind = [LOCAL, given, f"unix:{path}" if hasattr(socket, "AF_UNIX") else LOCAL]
    server = own.implementation.server.Server(channels(own), *bind, map=own.map)
    before = open_descriptors()
    with monkeypatch.context() as patched:
        fail_in(own, patched, step, at)
        with pytest.raises(Interruption):
            server.start()
    assert not own.map
    assert not path.exists()
    assert open_descriptors() == before
    assert given.fileno() >= 0
    assert given.gettimeout() == 7
    assert server.addresses == ()
    assert server.stats().state == "new"
    # So it can be tried again.
    own.at_the_end(server.abort)
    server.start()
    for number in range(3):
        client_of(own, server, number)
    own.until(lambda: server.stats().accepted == 3, use_poll=True)


@posix_only
@pytest.mark.parametrize(("step", "at"), [*STEPS, ("on_start", 1)])
def test_serve_that_fails_leaves_signals_as_they_were(
    own: Stage, place: Path, monkeypatch: pytest.MonkeyPatch, step: str, at: int
) -> None:
    def on_start(server: Any) -> None:
        raise Interruption

    before = [signal.getsignal(number) for number in STOPPING]
    descriptors = open_descriptors()
    path = place / "socket"
    with monkeypatch.context() as patched:
        if step != "on_start":
            fail_in(own, patched, step, at)
        with pytest.raises(Interruption):
            own.implementation.server.serve(
                channels(own), LOCAL, LOCAL, f"unix:{path}", map=own.map, on_start=on_start
            )
    assert [signal.getsignal(number) for number in STOPPING] == before
    assert not own.map
    assert not path.exists()
    own.implementation.core["maps"].release(own.map)
    assert open_descriptors() == descriptors


def change_hands(inside: Callable[[], None]) -> None:
    with StopSignals(lambda: None):
        inside()


@posix_only
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("way", ["in", "out"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_handler_that_raises_while_signals_change_hands(
    monkeypatch: pytest.MonkeyPatch, way: str, at: int
) -> None:
    """What was handled before is handled so again, whatever that handler raises meanwhile."""
    before = [signal.getsignal(number) for number in STOPPING]
    original = signal.signal

    def install(*args: Any) -> Any:
        found = original(*args)
        failing()
        return found

    failing = Failing(lambda: None, at)
    if way == "in":
        monkeypatch.setattr(signal, "signal", install)
    with pytest.raises(Interruption):
        change_hands(lambda: monkeypatch.setattr(signal, "signal", install))
    assert [signal.getsignal(number) for number in STOPPING] == before
