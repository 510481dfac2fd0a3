"""How ``serve`` ends: by a method, by signals, in a forked child, and under load."""

from __future__ import annotations

import random
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from fastchat._stop_signals import AtOnce, StopSignals
from tests.random import stops
from tests.support.channels import PATIENCE, Stage, posix_only
from tests.support.implementations import FASTCHAT
from tests.support.servers import (
    ECHO,
    LOCAL,
    channels,
    client_of,
    connected,
    linux_only,
    program,
    server_of,
)

pytestmark = pytest.mark.usefixtures("interruptible")

# serve().


def test_serve_leaves_other_channels_where_they_are(own: Stage) -> None:
    bystander = own.dispatcher()
    seen: list[Any] = []

    def on_start(server: Any) -> None:
        seen.append(server.addresses)
        server.stop()

    status = own.implementation.server.serve(channels(own), LOCAL, map=own.map, on_start=on_start)
    assert status == 0
    assert seen[0][0].startswith("127.0.0.1:")
    assert list(own.map.values()) == [bystander]
    bystander.close()


def test_what_on_start_raises_leaves_nothing(own: Stage) -> None:
    def on_start(server: Any) -> None:
        raise ZeroDivisionError

    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(ZeroDivisionError):
        own.implementation.server.serve(channels(own), LOCAL, map=own.map, on_start=on_start)
    assert not own.map
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_signal_ends_serve(own: Stage) -> None:
    call_later = own.implementation.timers.call_later
    call_later(0, signal.raise_signal, signal.SIGTERM, map=own.map)
    assert own.implementation.server.serve(channels(own), LOCAL, map=own.map) == 0
    assert not own.map


def test_close_all_ends_serve(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        own.asyncore.close_all(own.map)

    def on_start(server: Any) -> None:
        client_of(own, server).sendall(b"hello\r\n")

    kind = channels(own, line_received=line_received)
    assert own.implementation.server.serve(kind, LOCAL, map=own.map, on_start=on_start) == 0


def test_serve_leaves_nothing_in_the_agenda_of_the_map(own: Stage) -> None:
    serve = own.implementation.server.serve
    assert serve(channels(own), LOCAL, map=own.map, on_start=lambda server: server.abort()) == 0
    bystander = own.dispatcher()
    own.loop(3, use_poll=True)
    assert list(own.map.values()) == [bystander]
    bystander.close()


def test_the_end_of_an_outer_server_ends_the_inner_one(own: Stage) -> None:
    """Which runs in a hook, over the same map."""
    serve = own.implementation.server.serve
    seen: list[Any] = []

    def line_received(channel: Any, line: bytes) -> None:
        seen.append("inner begins")
        serve(channels(own), LOCAL, map=own.map, on_start=lambda inner: outer[0].stop(0))
        seen.append("inner returns")

    outer: list[Any] = []

    def on_start(server: Any) -> None:
        outer.append(server)
        client_of(own, server).sendall(b"hello\r\n")

    bystander = own.dispatcher()
    kind = channels(own, line_received=line_received)
    assert serve(kind, LOCAL, map=own.map, on_start=on_start) == 0
    assert seen == ["inner begins"]
    assert list(own.map.values()) == [bystander]
    bystander.close()


def test_an_inner_server_ends_alone(own: Stage) -> None:
    serve = own.implementation.server.serve
    outer: list[Any] = []
    clients: list[socket.socket] = []

    def line_received(channel: Any, line: bytes) -> bytes:
        status = serve(channels(own), LOCAL, map=own.map, on_start=lambda inner: inner.stop())
        channel.call_later(0, outer[0].stop)
        return b"%d" % status

    def on_start(server: Any) -> None:
        outer.append(server)
        clients.append(client_of(own, server))
        clients[0].sendall(b"hello\r\n")
        clients[0].shutdown(socket.SHUT_WR)

    kind = channels(own, line_received=line_received)
    assert serve(kind, LOCAL, map=own.map, on_start=on_start) == 0
    assert clients[0].recv(100) == b"0\r\n"


def test_exit_now_ends_serve(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        raise own.asyncore.ExitNow

    clients: list[socket.socket] = []

    def on_start(server: Any) -> None:
        clients.append(client_of(own, server))
        clients[0].sendall(b"hello\r\n")

    kind = channels(own, line_received=line_received)
    status = own.implementation.server.serve(kind, LOCAL, map=own.map, on_start=on_start)
    assert status == 0
    assert not own.map
    assert kind.made[0].events[-1] == "lost"


def test_what_leaves_connection_lost_ends_no_end(own: Stage) -> None:
    """The other connections are closed, and ``ExitNow`` is an orderly end there, too."""
    clients: list[socket.socket] = []

    def line_received(channel: Any, line: bytes) -> None:
        raise own.asyncore.ExitNow

    def connection_lost(channel: Any, problem: Any) -> None:
        channel.events.append("lost")
        raise own.asyncore.ExitNow

    def on_start(server: Any) -> None:
        clients.extend([client_of(own, server) for _ in range(4)])
        own.until(lambda: len(kind.made) == 4, use_poll=True)
        clients[0].sendall(b"hello\r\n")

    kind = channels(own, line_received=line_received, connection_lost=connection_lost)
    serve = own.implementation.server.serve
    assert serve(kind, LOCAL, map=own.map, on_start=on_start) == 0
    assert not own.map
    assert [each.events for each in kind.made] == [["lost"]] * 4


def test_abort_raises_what_a_hook_raised_when_all_is_closed(own: Stage) -> None:
    def connection_lost(channel: Any, problem: Any) -> None:
        raise KeyboardInterrupt

    kind = channels(own, connection_lost=connection_lost)
    server = server_of(own, kind)
    clients = [client_of(own, server) for _ in range(3)]
    own.until(lambda: len(kind.made) == 3, use_poll=True)
    with pytest.raises(KeyboardInterrupt):
        server.abort()
    assert not own.map
    assert server.stats().state == "stopped"
    assert [client.recv(10) for client in clients] == [b""] * 3


@posix_only
def test_handlers_are_put_back(own: Stage) -> None:
    said: list[int] = []

    def handler(number: int, frame: Any) -> None:
        said.append(number)

    def on_start(server: Any) -> None:
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # it stays ignored
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    before = [(each, signal.getsignal(each)) for each in (signal.SIGTERM, signal.SIGINT)]
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve = own.implementation.server.serve
        assert serve(channels(own), LOCAL, map=own.map, on_start=on_start) == 0
        assert not said
        signal.raise_signal(signal.SIGTERM)
        assert said == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        for number, handled in before:
            signal.signal(number, handled)


def test_the_second_signal_leaves_the_loop(own: Stage) -> None:
    kind = channels(own)
    clients: list[socket.socket] = []

    def on_start(server: Any) -> None:
        clients.append(client_of(own, server))
        own.until(lambda: kind.made, use_poll=True)
        kind.made[0].call_later(0, signal.raise_signal, signal.SIGTERM)
        kind.made[0].call_later(0, signal.raise_signal, signal.SIGINT)

    status = own.implementation.server.serve(kind, LOCAL, map=own.map, on_start=on_start)
    assert status == 128 + signal.SIGINT
    assert kind.made[0].events == ["lost"]
    assert not own.map


def test_in_another_thread_no_signal_is_handled(
    own: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    status: list[int] = []
    before = signal.getsignal(signal.SIGTERM)

    def run() -> None:
        serve = own.implementation.server.serve
        status.append(serve(channels(own), LOCAL, map=own.map, on_start=lambda it: it.stop()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert status == [0]
    assert signal.getsignal(signal.SIGTERM) == before
    assert "this is not the main thread: SIGTERM and SIGINT do not stop" in caplog.text


def test_a_handler_that_is_not_pythons_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    calls: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda *args: calls.append(args))
    with StopSignals(lambda: None):
        pass
    assert not calls


def test_the_status_is_what_a_shell_says() -> None:
    with StopSignals(lambda: None, ()) as signals:
        signals._handle(signal.SIGTERM, None)
        with pytest.raises(AtOnce) as caught:
            signals._handle(signal.SIGINT, None)
    assert caught.value.code == 130


@posix_only
def test_a_signal_while_handlers_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are put back, and none is raised, as many as come."""
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    change = signal.signal

    def set_late(number: int, handler: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        change(number, handler)

    with StopSignals(lambda: None):
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(signal, "signal", set_late)
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


@posix_only
@pytest.mark.parametrize("is_early", [False, True])
def test_signals_in_the_midst_of_the_immediate_end(own: Stage, is_early: bool) -> None:
    """As many as come: each connection is closed, and handlers are put back."""
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    clients: list[socket.socket] = []

    def connection_lost(channel: Any, problem: Any) -> None:
        channel.events.append("lost")
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    def on_start(server: Any) -> None:
        clients.extend([client_of(own, server) for _ in range(3)])
        own.until(lambda: len(kind.made) == 3, use_poll=True)
        if is_early:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        raise own.asyncore.ExitNow

    kind = channels(own, connection_lost=connection_lost)
    status = own.implementation.server.serve(kind, LOCAL, map=own.map, on_start=on_start)
    assert status == 128 + (signal.SIGTERM if is_early else signal.SIGINT)
    assert not own.map
    assert [each.events for each in kind.made] == [["lost"]] * 3
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


@posix_only
def test_another_process_has_what_was_handled_before(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: said.append(number))
    try:
        with StopSignals(lambda: said.append(0)) as signals:
            monkeypatch.setattr(signals, "_pid", 0)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        assert said == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


# Real signals.

SERVED = (
    ECHO
    + """
    sys.exit(fastchat.serve(Echo, "127.0.0.1:0", on_start=ready))
"""
)
# A hook that never comes back, and says so; so does what the first signal calls.
STUCK = (
    ECHO
    + """
    class Stuck(Echo):
        def lines_received(self, lines):
            os.write(1, b"stuck\\n")  # print() may be what a signal interrupts
            while True:  # a signal that comes just before a wait does not end it
                threading.Event().wait(0.05)

    def stop(server):
        original(server)
        os.write(1, b"stopping\\n")  # print() may be what it interrupts

    original, fastchat.Server.stop = fastchat.Server.stop, stop
    sys.exit(fastchat.serve(Stuck, "127.0.0.1:0", on_start=ready))
"""
)


@posix_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_order(ours: Any, number: int) -> None:
    with program(SERVED, ours.name) as server, connected(server.line()) as client:
        client.sendall(b"one\r\n")
        assert client.recv(100) == b"one\r\n"
        client.sendall(b"two\r\n")
        server.signal(number)
        assert client.recv(100) == b"two\r\n"
        assert client.recv(100) == b""
        client.close()
        assert server.status() == 0
        assert server.errors() == ""


@posix_only
@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ((signal.SIGTERM, signal.SIGTERM), 143),
        ((signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGTERM, signal.SIGINT), 130),
    ],
)
def test_the_second_signal_is_immediate(ours: Any, numbers: tuple[int, int], status: int) -> None:
    with program(STUCK, ours.name) as server, connected(server.line()) as client:
        client.sendall(b"one\r\n")
        assert server.line() == "stuck"
        server.signal(numbers[0])
        assert server.line() == "stopping"
        server.signal(numbers[1])
        assert server.status() == status


@linux_only
@pytest.mark.parametrize("name", FASTCHAT)
def test_a_stop_under_load_drops_no_reply(name: str) -> None:
    """Three of those that ``python -m tests.random.stops --times 20`` makes."""
    for _ in range(3):
        seed = random.randrange(2**32)
        fault = stops.fault_of(name, seed)
        assert fault is None, f"--implementation {name} --seed {seed} --times 1: {fault}"


# Forked children.

FORKS = (
    ECHO
    + """
    class Forks(Echo):
        def lines_received(self, lines):
            if lines == [b"end"]:
                child = os.fork()
                if not child:
                    sys.exit(5)
            elif lines == [b"terminate"]:
                reading, writing = os.pipe()
                child = os.fork()
                if not child:
                    os.write(writing, b"x")  # a signal that comes in the fork is lost
                    for _ in range(10**9):
                        pass
                    os._exit(9)
                os.read(reading, 1)
                os.kill(child, 15)
            else:
                return lines
            self.send_line(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

        def connection_lost(self, exc):
            print("lost", os.getpid() == parent, flush=True)

    parent = os.getpid()
    sys.exit(fastchat.serve(Forks, "unix:" + sys.argv[1], on_start=ready))
"""
)


@posix_only
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_ends_nothing_of_its_parent(ours: Any, place: Path) -> None:
    path = str(place / "socket")
    with program(FORKS, ours.name, [path]) as server, connected(server.line()) as client:
        client.sendall(b"end\r\n")
        assert client.recv(100) == b"5\r\n"
        with connected("unix:" + path) as second:
            second.sendall(b"two\r\n")
            assert second.recv(100) == b"two\r\n"
        assert server.line() == "lost True"
        client.sendall(b"three\r\n")
        assert client.recv(100) == b"three\r\n"
        server.signal()
        assert client.recv(100) == b""
        client.close()
        assert server.line() == "lost True"
        assert server.status() == 0
    assert not Path(path).exists()


@posix_only
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_signal_ends_a_forked_child(ours: Any, place: Path) -> None:
    path = str(place / "socket")
    with program(FORKS, ours.name, [path]) as server, connected(server.line()) as client:
        client.sendall(b"terminate\r\n")
        assert client.recv(100) == b"-15\r\n"
        client.close()
        server.signal()
        assert server.status() == 0
