"""Each deliberate difference from the standard library, one section for each row of the list.

A test runs the same scene on fastchat and, where the interpreter has it, on the standard library,
and says what it expects of either (``stage.either``).  So a row that has stopped to be a difference
is noticed as well.  Where only fastchat has what is tested, the fixture is ``ours``.

The names of the tests begin with the row: d1 to d11, d17, d20, old (Python 2.6) and several
(terminators).

Rules this file keeps: descriptors run out in a process of its own; a loop that would spin is
counted by its passes or its hooks, never timed; random scenes have seeds, and the seed of a failure
is in its message.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import asyncio
import errno
import functools
import itertools
import json
import os
import random
import re
import select
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import pytest

from tests.channels import (
    PATIENCE,
    POLLERS,
    FakeSocket,
    Stage,
    failure,
    forget,
    fresh,
    name_of,
    needs_poll,
    posix_only,
    receive_all,
    recording,
)
from tests.implementations import load

if sys.platform != "win32":
    import resource

ROOT = Path(__file__).resolve().parent.parent

ENDING = ["ExitNow", KeyboardInterrupt, SystemExit]


def ending(stage: Stage, kind: Any) -> Any:
    """The exception class that *kind*, of ``ENDING``, stands for."""
    return stage.asyncore.ExitNow if kind == "ExitNow" else kind


def left_by(stage: Stage, use_poll: bool, passes: int = 1) -> type[BaseException] | None:
    """The class of the exception that left the loop in so many passes, or None."""
    try:
        stage.loop(passes, use_poll, PATIENCE if passes == 1 else 0)
    except Exception as problem:
        return type(problem)
    return None


def reset(peer: socket.socket) -> None:
    """Close *peer* so that the other end gets a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def arrived(sock: socket.socket) -> None:
    """Wait until *sock* has something to read, an end included."""
    assert select.select([sock], [], [], PATIENCE)[0]


# d1, d2: accept() finds no descriptor or no memory left.

EXHAUSTION = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]


class Exhaustion(NamedTuple):
    """What a listener did while the process had no descriptor left, and afterwards."""

    listening: bool
    lines: list[str]
    accepts: int
    # The same of one with a handle_error that does nothing.
    tolerant_accepts: int
    passes: int
    cpu: float
    served: bool
    accepted_after: float | None


def exhaust(name: str) -> Exhaustion:
    """Run a listener of implementation *name* out of descriptors; lowers the process's limit."""
    lines: list[str] = []
    accepts: list[Any] = []
    accepted: list[float] = []
    with Stage(load(name)) as stage:

        def accept(channel: Any) -> Any:
            accepts.append(channel)
            return stage.asyncore.dispatcher.accept(channel)

        def handle_accepted(channel: Any, sock: socket.socket, addr: Any) -> None:
            accepted.append(time.monotonic())
            stage.chat(sock=stage.keep(sock), found_terminator=lambda chat: chat.push(b"served\n"))

        def log_info(channel: Any, text: str, kind: str = "info") -> None:
            lines.append(text)

        def listen(**members: Any) -> Any:
            return stage.listener(accept=accept, handle_accepted=handle_accepted, **members)

        listener = listen(log_info=log_info)
        tolerant = listen(handle_error=lambda channel: None, log_info=lambda *arguments: None)
        old = stage.client(listener.address)
        stage.until(lambda: accepted)
        # A listener that dies leaves its descriptor to the first client of the other.
        waiting = [stage.client(one.address) for one in (listener, listener, *[tolerant] * 3)]
        accepted.clear()
        accepts.clear()

        spare = os.open(os.devnull, os.O_RDONLY)
        os.close(spare)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, limits[1]))
        passes = 0
        cpu = time.process_time()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            stage.loop(timeout=0.1)
            passes += 1
        cpu = time.process_time() - cpu
        asked = accepts.count(listener), accepts.count(tolerant)
        listening = listener in stage.map.values()
        old.sendall(b"still there?\n")
        stage.loop(timeout=0.1)
        stage.loop(timeout=0.1)
        served = old.recv(100) == b"served\n"
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

        relief = time.monotonic()
        while listening and len(accepted) < len(waiting) and time.monotonic() < relief + 2:
            stage.loop(timeout=0.1)
        after = accepted[0] - relief if len(accepted) == len(waiting) else None
        stage.asyncore.close_all(stage.map)
    return Exhaustion(listening, lines, *asked, passes, cpu, served, after)


@functools.cache
def exhausted(name: str) -> Exhaustion:
    """``exhaust`` in a process of its own."""
    program = (
        "import json; from tests.test_differences import exhaust;"
        f"print('result', json.dumps(exhaust({name!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return Exhaustion(*json.loads(done.stdout.rpartition("result")[2]))


@posix_only
def test_d1_a_listener_outlives_the_last_descriptor(stage: Stage) -> None:
    outcome = exhausted(stage.implementation.name)
    assert outcome.listening is stage.either(fastchat=True, stdlib=False)


@posix_only
def test_d1_a_listener_accepts_again_soon_after_relief(stage: Stage) -> None:
    outcome = exhausted(stage.implementation.name)
    accepts_again = outcome.accepted_after is not None and outcome.accepted_after < 1
    assert accepts_again is stage.either(fastchat=True, stdlib=False)


@posix_only
def test_d1_clients_from_before_are_served_meanwhile(stage: Stage) -> None:
    assert exhausted(stage.implementation.name).served


@posix_only
def test_d1_one_line_says_so(own: Stage) -> None:
    (line,) = exhausted(own.implementation.name).lines
    assert line.startswith(f"cannot accept a connection now ({os.strerror(errno.EMFILE)}): <")


@posix_only
def test_d2_a_listener_without_descriptors_rests(stage: Stage) -> None:
    # The standard library's only gets so far with a handle_error that lets it live.
    spins = exhausted(stage.implementation.name).tolerant_accepts > 20
    assert spins is stage.either(fastchat=False, stdlib=True)


@posix_only
def test_d2_a_resting_listener_asks_once_and_costs_no_time(own: Stage) -> None:
    # 0.3 s in passes of at most 0.1 s, and one or two for the first accept of each.
    outcome = exhausted(own.implementation.name)
    assert (outcome.accepts, outcome.tolerant_accepts) == (1, 1)
    assert outcome.passes <= 6
    assert outcome.cpu < 0.1


class Clock:
    """A clock that a test moves, for a module that looks at its ``time``."""

    # No two tests have the same time, so that no rest of one is on when another begins.
    _starts = itertools.count(10**9, 10**6)

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = float(next(self._starts))
        self.slept: list[float] = []
        monkeypatch.setattr(
            stage.asyncore,
            "time",
            SimpleNamespace(monotonic=lambda: self.now, sleep=self.slept.append),
        )


@pytest.fixture
def clock(own: Stage, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(own, monkeypatch)


def starved(stage: Stage, *answers: Any, **members: Any) -> Any:
    """A listener with a client, whose accept() gives *answers*; what it logs is in ``lines``."""
    lines: list[Any] = []
    members.setdefault("handle_accepted", lambda channel, sock, addr: None)
    listener = stage.listener(
        log_info=lambda channel, *arguments: lines.append(arguments), **members
    )
    stage.client(listener.address)
    arrived(listener.socket)
    stage.keep(listener.socket)
    listener.socket = FakeSocket(listener.socket.fileno(), accept=answers)
    listener.lines = lines
    return listener


@pytest.mark.parametrize("number", EXHAUSTION, ids=name_of)
def test_d1_accept_finds_nothing_where_something_ran_out(stage: Stage, number: int) -> None:
    channel = stage.bare(log_info=lambda channel, *arguments: None)
    channel.socket = FakeSocket(accept=[failure(number)])
    try:
        outcome = channel.accept()
    except OSError as problem:
        outcome = problem.errno
    assert outcome == stage.either(fastchat=None, stdlib=number)


@pytest.mark.parametrize("number", EXHAUSTION, ids=name_of)
@pytest.mark.parametrize("use_poll", POLLERS)
def test_d1_a_listener_survives_whatever_ran_out(
    own: Stage, clock: Clock, number: int, use_poll: bool
) -> None:
    listener = starved(own, failure(number), ("sock", "addr"))
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert listener.events == []
    clock.now += 0.51
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert listener.events == ["accepted"]


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d2_a_resting_listener_is_not_waited_for(own: Stage, clock: Clock, use_poll: bool) -> None:
    listener = starved(own, failure(errno.EMFILE))
    own.loop(1, use_poll, PATIENCE)
    for _ in range(9):
        clock.now += 0.05
        own.loop(1, use_poll)
    assert listener.socket.calls.count("accept") == 1


def test_d2_a_pass_is_not_longer_than_the_rest(own: Stage, clock: Clock) -> None:
    starved(own, failure(errno.EMFILE))
    own.loop(timeout=30)
    clock.now += 0.2
    own.loop(timeout=30)
    assert clock.slept == [pytest.approx(0.3)]


def test_d2_a_short_pass_stays_short(own: Stage, clock: Clock) -> None:
    starved(own, failure(errno.EMFILE))
    own.loop(timeout=PATIENCE)
    own.loop(timeout=0.25)
    assert clock.slept == [0.25]


def test_d2_a_pass_without_end_ends_with_the_rest(own: Stage, clock: Clock) -> None:
    starved(own, failure(errno.EMFILE))
    own.loop(timeout=PATIENCE)
    own.asyncore.poll(None, own.map)
    assert clock.slept == [pytest.approx(0.5)]


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d2_the_others_are_served_while_a_listener_rests(
    own: Stage, clock: Clock, use_poll: bool
) -> None:
    starved(own, failure(errno.EMFILE))
    own.loop(1, use_poll, PATIENCE)
    chat = own.chat()
    chat.peer.sendall(b"line\n")
    own.loop(1, use_poll)
    assert chat.events == [b"line", "found"]


def test_d2_a_channel_that_could_never_listen_is_served_while_a_listener_rests(
    own: Stage, clock: Clock
) -> None:
    # It has no dispatcher's attributes; as long as it does not write, no loop has asked for them.
    starved(own, failure(errno.EMFILE))
    own.loop(timeout=PATIENCE)
    told: list[str] = []
    mine, peer = own.pair()
    own.map[mine.fileno()] = SimpleNamespace(
        readable=lambda: True,
        writable=lambda: False,
        handle_read_event=lambda: told.append("read"),
        handle_error=lambda: told.append("error"),
    )
    peer.sendall(b"x")
    own.loop()
    assert told == ["read"]


def test_d2_another_listener_does_not_rest_with_it(own: Stage, clock: Clock) -> None:
    starved(own, failure(errno.EMFILE))
    own.loop(timeout=PATIENCE)
    other = starved(own, ("sock", "addr"))
    own.loop()
    assert other.events == ["accepted"]


def test_d2_it_is_logged_once_however_long_it_lasts(own: Stage, clock: Clock) -> None:
    listener = starved(own, failure(errno.EMFILE))
    for _ in range(5):
        own.loop()
        clock.now += 1
    assert listener.socket.calls.count("accept") == 5
    assert [kind for _, kind in listener.lines] == ["error"]


def test_d2_the_next_time_is_logged_again(own: Stage, clock: Clock) -> None:
    listener = starved(own, failure(errno.EMFILE), ("sock", "addr"), failure(errno.EMFILE))
    for _ in range(3):
        own.loop()
        clock.now += 1
    assert len(listener.lines) == 2


def test_d2_a_listener_that_was_closed_shortens_no_pass_for_ever(own: Stage, clock: Clock) -> None:
    listener = starved(own, failure(errno.EMFILE))
    own.loop(timeout=PATIENCE)
    listener.close()
    idle = own.dispatcher()
    idle.readable = lambda: False
    clock.now += 1
    own.loop(timeout=30)
    assert clock.slept == [30]


def test_d2_a_listener_that_is_opened_again_does_not_rest(own: Stage, clock: Clock) -> None:
    listener = starved(
        own, failure(errno.EMFILE), handle_accepted=lambda channel, sock, addr: sock.close()
    )
    own.loop(timeout=PATIENCE)
    listener.close()
    listener.create_socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    own.client(listener.socket.getsockname())
    own.loop(timeout=PATIENCE)
    assert listener.events == ["accepted"]


class Moment(float):
    """A time at which, whenever it is looked at, another thread does something first."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def __add__(self, seconds: float) -> Moment:
        return Moment(float(self) + seconds)

    def __le__(self, other: float) -> bool:
        self.meanwhile()
        return float(self) <= other

    def __sub__(self, other: float) -> float:
        self.meanwhile()
        return float(self) - other


def test_d2_a_listener_of_another_thread_may_run_out_at_any_moment(
    own: Stage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now = Moment(clock.now)
    starved(own, failure(errno.EMFILE))
    others = [own.bare(log_info=lambda channel, *arguments: None) for _ in range(9)]
    own.loop(timeout=PATIENCE)

    def run_out() -> None:
        if others:
            other = others.pop()
            other.socket = FakeSocket(accept=[failure(errno.EMFILE)])
            other.accept()

    monkeypatch.setattr(Moment, "meanwhile", staticmethod(run_out))
    own.loop(2)
    assert len(clock.slept) == 2


def unpack(channel: Any) -> None:
    """handle_accept, as most programs write it."""
    sock, addr = channel.accept()
    channel.handle_accepted(sock, addr)


@pytest.mark.parametrize("number", EXHAUSTION, ids=name_of)
def test_d1_a_handle_accept_that_unpacks_what_it_gets_survives(
    own: Stage, clock: Clock, number: int
) -> None:
    listener = starved(own, failure(number), ("sock", "addr"), handle_accept=unpack)
    own.loop(timeout=PATIENCE)
    clock.now += 1
    own.loop(timeout=PATIENCE)
    assert listener.events == ["accept", "accept", "accepted"]


def test_d1_it_survives_the_second_time_as_well(own: Stage, clock: Clock) -> None:
    listener = starved(own, failure(errno.EMFILE), handle_accept=unpack)
    for _ in range(3):
        own.loop(timeout=PATIENCE)
        clock.now += 1
    assert listener.events == ["accept"] * 3


@pytest.mark.parametrize("answer", [failure(errno.EAGAIN), failure(errno.ECONNABORTED), None])
def test_d1_unpacking_nothing_for_another_reason_is_still_an_error(
    stage: Stage, answer: Any
) -> None:
    listener = starved(stage, answer, handle_accept=unpack)
    stage.loop(timeout=PATIENCE)
    assert listener.events == ["accept", TypeError, "close"]


def test_d1_any_other_type_error_is_still_an_error(stage: Stage) -> None:
    def handle_accept(channel: Any) -> None:
        channel.accept()
        raise TypeError

    listener = starved(stage, ("sock", "addr"), handle_accept=handle_accept)
    stage.loop(timeout=PATIENCE)
    assert listener.events == ["accept", TypeError, "close"]


def test_d1_a_type_error_after_a_rest_is_still_an_error(own: Stage, clock: Clock) -> None:
    def handle_accept(channel: Any) -> None:
        unpack(channel)
        raise TypeError

    listener = starved(own, failure(errno.EMFILE), ("s", "a"), handle_accept=handle_accept)
    own.loop(timeout=PATIENCE)
    clock.now += 1
    own.loop(timeout=PATIENCE)
    assert listener.events == ["accept", "accept", "accepted", TypeError, "close"]


# d3: an urgent byte that nobody reads.


def urge(stage: Stage, base: Any = None, **members: Any) -> tuple[Any, socket.socket]:
    """A channel over TCP with an urgent byte waiting, and its peer."""
    mine, peer = stage.tcp_pair()
    channel = stage.channel(base or stage.asyncore.dispatcher, mine, **members)
    peer.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [mine], PATIENCE)[2]
    return channel, peer


@pytest.mark.parametrize("use_poll", POLLERS)
@pytest.mark.parametrize("base", ["dispatcher", "async_chat"])
def test_d3_an_urgent_byte_that_nobody_wants_wakes_nobody(
    stage: Stage, base: str, use_poll: bool
) -> None:
    warnings: list[str] = []
    channel, _ = urge(
        stage,
        getattr(stage.asyncore if base == "dispatcher" else stage.asynchat, base),
        writable=lambda channel: False,
        log_info=lambda channel, text, kind: warnings.append(text),
    )
    channel.terminator = b"\n"
    stage.loop(5, use_poll)
    warning = "unhandled incoming priority event"
    assert warnings == stage.either(fastchat=[], stdlib=[warning] * 5)


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d3_other_input_arrives_around_it(stage: Stage, use_poll: bool) -> None:
    chat, peer = urge(stage, stage.asynchat.async_chat, log_info=lambda *arguments: None)
    chat.set_terminator(b"\n")
    peer.sendall(b"line\n")
    stage.until(lambda: chat.events, use_poll)
    assert chat.events == [b"line", "found"]


def take(channel: Any) -> None:
    """A handle_expt that reads what is urgent."""
    channel.urgent = channel.socket.recv(1, socket.MSG_OOB)


class Taking:
    """The same for a mixin."""

    handle_expt = take


@pytest.mark.parametrize("use_poll", POLLERS)
@pytest.mark.parametrize("hook", ["handle_expt", "handle_expt_event"])
@pytest.mark.parametrize("where", ["class", "object"])
def test_d3_an_urgent_byte_is_for_those_who_override_the_hook(
    stage: Stage, hook: str, where: str, use_poll: bool
) -> None:
    members = {hook: take} if where == "class" else {}
    channel, _ = urge(stage, writable=lambda channel: False, **members)
    if where == "object":
        setattr(channel, hook, functools.partial(take, channel))
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.urgent == b"!"


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d3_an_urgent_byte_is_for_a_mixin_that_overrides_the_hook(
    stage: Stage, use_poll: bool
) -> None:
    class Mixed(Taking, stage.asyncore.dispatcher):  # type: ignore[name-defined]
        pass

    channel, _ = urge(stage, Mixed, writable=lambda channel: False)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.urgent == b"!"


@pytest.mark.parametrize("use_poll", POLLERS)
@pytest.mark.parametrize("hook", ["handle_expt", "handle_expt_event"])
@pytest.mark.parametrize("where", ["class", "object"])
def test_d3_an_urgent_byte_is_for_a_mock_in_place_of_the_hook(
    stage: Stage, hook: str, where: str, use_poll: bool
) -> None:
    channel, _ = urge(stage, writable=lambda channel: False)
    target = stage.asyncore.dispatcher if where == "class" else channel
    with mock.patch.object(target, hook) as patched:
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    patched.assert_called_once_with()


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d3_an_urgent_byte_is_for_whatever_is_no_dispatcher(stage: Stage, use_poll: bool) -> None:
    told: list[str] = []
    mine, peer = stage.tcp_pair()
    stage.map[mine.fileno()] = SimpleNamespace(
        readable=lambda: True,
        writable=lambda: False,
        accepting=False,
        handle_expt_event=lambda: told.append("expt"),
        handle_read_event=lambda: told.append("read"),
    )
    peer.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [mine], PATIENCE)[2]
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert told == ["expt"]


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d3_poll_looks_for_urgent_data_together_with_input_only(
    stage: Stage, use_poll: bool
) -> None:
    # As ever; select() looks for it together with either.
    channel, _ = urge(
        stage,
        handle_expt=lambda channel: None,
        handle_write=lambda channel: None,
        readable=lambda channel: False,
    )
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["write", *([] if use_poll else ["expt"])]


@pytest.mark.parametrize("connecting", [True, False])
def test_d3_windows_says_in_urgent_data_that_a_connect_failed(
    own: Stage, monkeypatch: pytest.MonkeyPatch, connecting: bool
) -> None:
    asked: list[Any] = []

    def note(*lists: Any) -> Any:
        asked.append(lists)
        return [], [], lists[2]

    channel = own.dispatcher(writable=lambda channel: True)
    fd = channel.socket.fileno()
    channel.connected, channel.connecting = False, connecting
    channel.socket = FakeSocket(fd, getsockopt=[errno.ECONNREFUSED])
    monkeypatch.setattr(own.asyncore, "os", SimpleNamespace(name="nt", strerror=os.strerror))
    monkeypatch.setattr(own.asyncore, "select", SimpleNamespace(select=note))
    own.loop()
    assert asked == [([fd], [fd], [fd] if connecting else [], 0)]
    assert channel.events == (["close"] if connecting else [])


# d5: a hang-up with unread input.


def hung_up_pair(stage: Stage, kind: str, data: bytes) -> Any:
    """A socket whose peer sent *data*, or as much as there was room for, and then hung up.

    Returns the socket and what was sent.  ``poll()`` says POLLIN and POLLHUP of it.
    """
    mine, peer = stage.pair() if kind == "unix" else stage.tcp_pair()
    if kind == "tcp":
        mine.shutdown(socket.SHUT_WR)
    peer.setblocking(False)
    sent = 0
    try:
        while sent < len(data):
            sent += peer.send(data[sent:])
    except BlockingIOError:
        pass
    peer.close()
    pollster = select.poll()
    pollster.register(mine, 0)  # which leaves the hang-up
    assert pollster.poll(PATIENCE * 1000) == [(mine.fileno(), select.POLLHUP)]
    return mine, data[:sent]


LINES = b"".join(b"line %d of many\n" % number for number in range(3000))


@needs_poll
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_d5_all_that_was_sent_before_a_hang_up_arrives(stage: Stage, kind: str) -> None:
    mine, sent = hung_up_pair(stage, kind, LINES)
    chat = stage.chat(None, mine)
    chat.ac_in_buffer_size = 4096
    stage.until(lambda: not stage.map, use_poll=True)
    received = b"".join(chat.events[:-1])
    assert received == stage.either(fastchat=sent, stdlib=sent[:4096])


@needs_poll
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_d5_and_then_comes_one_close(own: Stage, kind: str) -> None:
    mine, _ = hung_up_pair(own, kind, LINES)
    chat = own.chat(sock=mine)
    chat.ac_in_buffer_size = 4096
    own.until(lambda: not own.map, use_poll=True)
    assert (closes(chat), chat.events[-1]) == (1, "close")


@needs_poll
def test_d5_with_the_sizes_that_are_usual(stage: Stage) -> None:
    # 200,000 bytes, where an AF_UNIX socket has the buffer that Linux gives it.
    mine, sent = hung_up_pair(stage, "unix", (LINES * 10)[:200000])
    chat = stage.chat(sock=mine)
    stage.until(lambda: not stage.map, use_poll=True)
    expected = stage.either(fastchat=sent, stdlib=sent[: chat.ac_in_buffer_size])
    assert chat.events.count("found") == expected.count(b"\n")


@needs_poll
@posix_only
def test_d5_all_that_went_into_a_pipe_arrives(stage: Stage) -> None:
    got: list[bytes] = []
    reading, writing = os.pipe()
    channel = recording(
        stage.asyncore.file_dispatcher,
        handle_read=lambda channel: got.append(channel.recv(10)),
        writable=lambda channel: False,
    )(reading, stage.map)
    os.close(reading)
    os.write(writing, b"much more than ten bytes")
    os.close(writing)
    stage.until(lambda: not stage.map, use_poll=True)
    assert b"".join(got) == stage.either(fastchat=b"much more than ten bytes", stdlib=b"much more ")
    assert channel.events[-1] == "close"


@needs_poll
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_d5_a_channel_that_never_reads_is_closed_at_once(stage: Stage, kind: str) -> None:
    mine, _ = hung_up_pair(stage, kind, b"unread")
    channel = stage.dispatcher(mine, handle_read=lambda channel: None)
    stage.loop(use_poll=True, timeout=PATIENCE)
    assert (channel.events, stage.map) == (["read", "close"], {})


@needs_poll
def test_d5_a_channel_that_waits_for_nothing_is_closed_at_once(stage: Stage) -> None:
    mine, _ = hung_up_pair(stage, "unix", b"")
    channel = stage.dispatcher(mine, writable=lambda channel: True, readable=lambda channel: False)
    stage.loop(use_poll=True, timeout=PATIENCE)
    assert stage.map == {}
    assert channel.events == ["close"]


@needs_poll
@pytest.mark.parametrize("module", ["fcntl", "termios"])
def test_d5_where_the_unread_bytes_cannot_be_asked_for_it_is_as_it_was(
    own: Stage, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    own.asyncore = fresh(own.asyncore)
    mine, _ = hung_up_pair(own, "unix", b"one two")
    got: list[bytes] = []
    channel = own.dispatcher(mine, handle_read=lambda channel: got.append(channel.recv(4)))
    own.loop(use_poll=True, timeout=PATIENCE)
    assert (channel.events, got) == (["read", "close"], [b"one "])


# d6: one handle_close for one connection.


def closes(channel: Any) -> int:
    """How often the handle_close of *channel* was called."""
    return int(channel.events.count("close"))


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d6_a_reset_with_output_waiting_is_one_close(stage: Stage, use_poll: bool) -> None:
    mine, peer = stage.tcp_pair()
    chat = stage.chat(sock=mine)
    chat.producer_fifo.append(b"output")
    reset(peer)
    arrived(mine)
    stage.until(lambda: not stage.map, use_poll)
    assert closes(chat) == stage.either(fastchat=1, stdlib=2 if use_poll else 1)


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d6_a_reset_of_a_plain_dispatcher_is_one_close(stage: Stage, use_poll: bool) -> None:
    mine, peer = stage.tcp_pair()
    channel = stage.channel(
        stage.asyncore.dispatcher,
        mine,
        handle_read=lambda channel: channel.recv(10),
        handle_write=lambda channel: channel.send(b"x"),
    )
    reset(peer)
    arrived(mine)
    stage.until(lambda: not stage.map, use_poll)
    assert (closes(channel) == 1) is stage.either(fastchat=True, stdlib=not use_poll)


def read_and_fail(channel: Any) -> None:
    channel.recv(10)
    raise ValueError


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d6_an_exception_after_the_end_is_one_close(stage: Stage, use_poll: bool) -> None:
    channel = stage.dispatcher(handle_read=read_and_fail)
    channel.peer.close()
    stage.until(lambda: not stage.map, use_poll)
    expected = stage.either(fastchat=[], stdlib=["close"])
    assert channel.events == ["read", "close", ValueError, *expected]


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d6_output_after_the_end_is_one_close(stage: Stage, use_poll: bool) -> None:
    # An echo that does not look at what it received.
    channel = stage.dispatcher(handle_read=lambda channel: channel.send(channel.recv(10)))
    channel.peer.close()
    stage.until(lambda: not stage.map, use_poll)
    assert closes(channel) == stage.either(fastchat=1, stdlib=3 if use_poll else 2)


@pytest.mark.parametrize("use_poll", POLLERS)
@pytest.mark.parametrize("base", ["dispatcher", "dispatcher_with_send"])
def test_d6_several_sends_into_a_reset_are_one_close(
    stage: Stage, base: str, use_poll: bool
) -> None:
    def handle_write(channel: Any) -> None:
        for _ in range(3):
            channel.send(b"x")

    mine, peer = stage.tcp_pair()
    channel = stage.channel(
        getattr(stage.asyncore, base),
        mine,
        handle_write=handle_write,
        readable=lambda channel: False,
        writable=lambda channel: True,
    )
    if base == "dispatcher_with_send":
        channel.out_buffer = b"x"
    reset(peer)
    arrived(mine)
    stage.until(lambda: not stage.map, use_poll)
    assert (closes(channel) == 1) is stage.either(fastchat=True, stdlib=False)


def test_d6_several_sends_outside_of_the_loop_are_one_close(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.peer.close()
    for _ in range(3):
        channel.send(b"x")
    assert closes(channel) == stage.either(fastchat=1, stdlib=3)


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d6_a_last_push_and_a_hang_up_are_one_close(stage: Stage, use_poll: bool) -> None:
    chat = stage.chat()
    chat.close_when_done()
    chat.peer.close()
    stage.until(lambda: not stage.map, use_poll)
    assert closes(chat) == stage.either(fastchat=1, stdlib=2 if use_poll else 1)


CLOSE_PROBLEMS = [ValueError(), OSError(errno.EIO, "I/O"), failure(errno.ENOTCONN)]


def fail_with(problem: BaseException) -> Callable[..., Any]:
    """A method that raises *problem*."""

    def method(*args: Any) -> Any:
        raise problem

    return method


@pytest.mark.parametrize("problem", CLOSE_PROBLEMS, ids=["ValueError", "EIO", "ENOTCONN"])
@pytest.mark.parametrize(
    ("reads", "use_poll"),
    [
        pytest.param(True, False, id="select"),
        pytest.param(True, True, id="poll", marks=needs_poll),
        # select() cannot tell a hang-up from input.
        pytest.param(False, True, id="poll, never reads", marks=needs_poll),
    ],
)
def test_d6_a_handle_close_that_fails_is_called_once_and_the_channel_closed(
    stage: Stage, problem: Exception, reads: bool, use_poll: bool
) -> None:
    channel = stage.dispatcher(
        handle_read=lambda channel: channel.recv(10) if reads else None,
        handle_close=fail_with(problem),
    )
    channel.peer.close()
    left = left_by(stage, use_poll, passes=5)
    outcome = (left, closes(channel), len(stage.map))
    if stage.implementation.is_stdlib:
        assert outcome != (None, 1, 0)
    else:
        assert outcome == (None, 1, 0)
        assert channel.socket.fileno() == -1


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d6_a_handle_close_that_does_not_close_is_called_once_in_a_pass(
    own: Stage, use_poll: bool
) -> None:
    mine, peer = own.tcp_pair()
    channel = own.channel(
        own.asyncore.dispatcher,
        mine,
        handle_read=lambda channel: channel.recv(10),
        handle_write=lambda channel: channel.send(b"x"),
        handle_close=lambda channel: None,
    )
    reset(peer)
    arrived(mine)
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert closes(channel) == 1


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d6_a_handle_close_that_does_not_close_is_called_again_in_the_next_pass(
    stage: Stage, use_poll: bool
) -> None:
    channel = stage.dispatcher(
        handle_read=lambda channel: channel.recv(10), handle_close=lambda channel: None
    )
    channel.peer.close()
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    first = closes(channel)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (first, closes(channel)) == stage.either(
        fastchat=(1, 2), stdlib=(2, 4) if use_poll else (1, 2)
    )


FLAGS = ["POLLIN", "POLLOUT", "POLLPRI", "POLLHUP", "POLLERR", "POLLNVAL"]


@needs_poll
@pytest.mark.parametrize("state", ["open", "ended", "reset"])
@pytest.mark.parametrize("fails", [False, True])
def test_d6_any_flags_are_one_close_at_most(stage: Stage, state: str, fails: bool) -> None:
    def handle_read(channel: Any) -> None:
        try:
            channel.recv(10)
        except BlockingIOError:
            pass
        if fails:
            raise ValueError

    most = 0
    for chosen in itertools.product([False, True], repeat=len(FLAGS)):
        flags = 0
        for flag in itertools.compress(FLAGS, chosen):
            flags |= getattr(select, flag)
        mine, peer = stage.tcp_pair()
        channel = stage.channel(
            stage.asyncore.dispatcher,
            mine,
            handle_read=handle_read,
            handle_write=lambda channel: channel.send(b"x"),
            handle_expt=lambda channel: None,
        )
        if state != "open":
            (reset if state == "reset" else socket.socket.close)(peer)
            arrived(mine)
        stage.asyncore.readwrite(channel, flags)
        most = max(most, closes(channel))
        channel.close()
        peer.close()
    if stage.implementation.is_stdlib and state != "open":
        assert most > 1
    else:
        assert most == 1


class Scene:
    """One random life of one channel: what its hooks do, and what its peer does meanwhile."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.rng = random.Random(seed)
        self.use_poll = hasattr(select, "poll") and self.rng.random() < 0.6
        self.mine, self.peer = stage.tcp_pair() if self.rng.random() < 0.5 else stage.pair()
        self.peer.setblocking(False)
        choose = self.rng.choice
        reading = choose(
            ["recv", "recv", "recv send", "recv fail", "fail", "close", "", "recv recv"]
        )
        writing = choose(["send", "send send", "fail", "close", ""])
        ending = choose(["close", "close", "close", "close fail", "fail", "gone"])
        wants = choose([True, True, False])
        self.channel = stage.channel(
            stage.asyncore.dispatcher,
            self.mine,
            handle_read=lambda channel: self.act(channel, reading),
            handle_write=lambda channel: self.act(channel, writing),
            handle_close=lambda channel: self.act(channel, ending),
            writable=lambda channel: wants,
            log_info=lambda channel, *arguments: None,
        )

    def act(self, channel: Any, actions: str) -> None:
        for action in actions.split():
            if action == "recv":
                try:
                    channel.recv(4)
                except BlockingIOError:
                    pass
            elif action == "send":
                channel.send(b"x")
            elif action == "close":
                channel.close()
            elif action == "gone":
                channel.close()
                raise failure(errno.ENOTCONN)
            else:
                raise ValueError

    def peer_acts(self) -> None:
        action = self.rng.choice(["send", "send", "end", "reset", "half", "read", ""])
        try:
            if action == "send":
                self.peer.send(b"some input")
            elif action == "read":
                self.peer.recv(100)
            elif action == "half":
                self.peer.shutdown(socket.SHUT_WR)
            elif action == "end":
                self.peer.close()
            elif action == "reset":
                reset(self.peer)
        except OSError:
            pass  # it has ended, or been ended, earlier

    def breaks_the_rule(self) -> bool:
        """Live it; whether any hook was called after handle_close, or the loop was left."""
        try:
            for _ in range(8):
                self.peer_acts()
                self.stage.loop(use_poll=self.use_poll)
            self.peer.close()
            self.stage.loop(4, self.use_poll)
        except (ValueError, OSError):
            return True
        finally:
            self.channel.close()
            self.stage.map.clear()
        events = self.channel.events
        after = events[events.index("close") + 1 :] if "close" in events else []
        return any(isinstance(event, str) for event in after)


def test_d6_in_any_order_of_events_it_is_one_close_and_the_last_event(stage: Stage) -> None:
    broken = [seed for seed in range(400) if Scene(stage, seed).breaks_the_rule()]
    if stage.implementation.is_stdlib:
        assert broken
    else:
        assert broken == []


# d20, a part of d6: what is closed stays closed.


def connecting(stage: Stage, **members: Any) -> Any:
    """A channel that waits for a connect that is done, and closes in handle_connect."""
    channel = stage.channel(
        stage.asyncore.dispatcher,
        handle_connect=lambda channel: channel.close(),
        handle_read=lambda channel: None,
        handle_write=lambda channel: None,
        **members,
    )
    channel.connected, channel.connecting = False, True
    return channel


@pytest.mark.parametrize("event", ["read", "write"])
def test_d20_close_in_handle_connect_is_the_last_event(stage: Stage, event: str) -> None:
    channel = connecting(stage)
    getattr(stage.asyncore, event)(channel)
    assert channel.events == ["connect", *stage.either(fastchat=[], stdlib=[event])]


@pytest.mark.parametrize("event", ["read", "write"])
def test_d20_a_channel_closed_in_handle_connect_is_not_connected(stage: Stage, event: str) -> None:
    channel = connecting(stage)
    getattr(stage.asyncore, event)(channel)
    assert channel.connected is stage.either(fastchat=False, stdlib=True)


def test_d20_a_channel_closed_in_a_connect_that_is_done_at_once_is_not_connected(
    stage: Stage,
) -> None:
    channel = stage.bare(handle_connect=lambda channel: channel.close())
    channel.set_socket(FakeSocket(7))
    channel.connect(("192.0.2.1", 7))
    assert channel.connected is stage.either(fastchat=False, stdlib=True)


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d20_a_reconnect_in_handle_connect_waits_for_its_own_connection(
    own: Stage, use_poll: bool
) -> None:
    def handle_connect(channel: Any) -> None:
        if channel.events == ["connect"]:
            channel.close()
            channel.set_socket(FakeSocket(7, connect_ex=[errno.EINPROGRESS]))
            channel.connect(("192.0.2.1", 7))

    channel = own.bare(handle_connect=handle_connect)
    channel.set_socket(FakeSocket(8))
    channel.connect(("192.0.2.1", 8))
    assert (channel.connected, channel.connecting) == (False, True)
    own.map.clear()


# d7: a descriptor that is used again in the same pass.


def reopen(channel: Any, fd: int, sock: socket.socket) -> socket.socket:
    """Close *channel*, which has descriptor *fd*; returns a socket like *sock* with that number."""
    channel.close()
    os.dup2(sock.fileno(), fd)
    return socket.socket(fileno=fd)


def replacing(stage: Stage, replace: Callable[[Any, socket.socket], None], **members: Any) -> Any:
    """Two channels with input, of which the first that is served has *replace* close the other.

    Returns them with the events of the first cut off.
    """
    spare, _ = stage.pair()
    spare.setblocking(False)
    pair: list[Any] = []

    def handle_read(channel: Any) -> None:
        if [other.events for other in pair].count([]) == 1:
            (other,) = (other for other in pair if other is not channel)
            replace(other, stage.keep(reopen(other, other.socket.fileno(), spare)))

    for _ in range(2):
        pair.append(stage.dispatcher(handle_read=handle_read, **members))
    for channel in pair:
        channel.peer.sendall(b"x")
    return pair


@posix_only
@pytest.mark.parametrize("use_poll", POLLERS)
def test_d7_a_new_channel_on_an_old_number_does_not_get_the_old_event(
    stage: Stage, use_poll: bool
) -> None:
    new: list[Any] = []

    def replace(other: Any, sock: socket.socket) -> None:
        new.append(stage.dispatcher(sock, handle_read=lambda channel: None))

    replacing(stage, replace)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert new[0].events == stage.either(fastchat=[], stdlib=["read"])
    assert new[0] in stage.map.values()


@posix_only
@pytest.mark.parametrize("use_poll", POLLERS)
def test_d7_a_channel_that_was_opened_again_does_not_get_its_old_event(
    stage: Stage, use_poll: bool
) -> None:
    opened: list[Any] = []

    def replace(other: Any, sock: socket.socket) -> None:
        other.set_socket(sock)
        opened.append(other)

    replacing(stage, replace)
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert opened[0].events == stage.either(fastchat=[], stdlib=["read"])
    assert opened[0] in stage.map.values()


@posix_only
@pytest.mark.parametrize("use_poll", POLLERS)
def test_d7_a_channel_that_opens_itself_again_does_not_get_the_rest_of_the_event(
    stage: Stage, use_poll: bool
) -> None:
    spare, _ = stage.pair()
    spare.setblocking(False)

    def handle_read(channel: Any) -> None:
        channel.set_socket(stage.keep(reopen(channel, channel.socket.fileno(), spare)))

    channel = stage.channel(
        stage.asyncore.dispatcher, handle_read=handle_read, handle_write=lambda channel: None
    )
    channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.events == ["read", *stage.either(fastchat=[], stdlib=["write"])]


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d7_an_entry_that_was_replaced_does_not_get_the_old_event(
    stage: Stage, use_poll: bool
) -> None:
    # By hand, and without a close: both are channels of the program's own.
    def handle_read(channel: Any) -> None:
        for fd, other in stage.map.items():
            if other is not channel:
                stage.map[fd] = new

    new = stage.bare(handle_read=lambda channel: None, writable=lambda channel: False)
    channels = [stage.dispatcher(handle_read=handle_read) for _ in range(2)]
    for channel in channels:
        channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert sorted(channel.events for channel in channels) == [[], ["read"]]
    assert new.events == stage.either(fastchat=[], stdlib=["read"])


@posix_only
@pytest.mark.parametrize("use_poll", POLLERS)
def test_d7_a_channel_opened_while_the_others_are_asked_is_asked_itself_first(
    stage: Stage, use_poll: bool
) -> None:
    # The first is asked, and answers; the second, when it is asked, puts a stranger on its number.
    spare, _ = stage.pair()
    spare.setblocking(False)
    stranger: list[Any] = []

    def readable(channel: Any) -> bool:
        if not stranger:
            sock = stage.keep(reopen(first, first.socket.fileno(), spare))
            stranger.append(stage.channel(stage.asyncore.dispatcher, sock, handle_write=ignore))
        return False

    def ignore(channel: Any) -> None:
        pass

    first = stage.channel(stage.asyncore.dispatcher, handle_write=ignore)
    stage.dispatcher(readable=readable)
    stage.loop(use_poll=use_poll)
    assert (first.events, stranger[0].events) == ([], stage.either(fastchat=[], stdlib=["write"]))


# d8: a channel that leaves a map takes nobody with it.


@posix_only
def test_d8_a_late_close_leaves_the_next_user_of_the_number_alone(stage: Stage) -> None:
    late = stage.dispatcher()
    spare, _ = stage.pair()
    fd = late.socket.detach()
    os.dup2(spare.fileno(), fd)
    new = stage.dispatcher(stage.keep(socket.socket(fileno=fd)))
    late.close()
    assert stage.map == stage.either(fastchat={fd: new}, stdlib={})


@posix_only
def test_d8_a_late_del_channel_leaves_another_map_alone(stage: Stage) -> None:
    late = stage.dispatcher()
    fd = late.socket.fileno()
    another = {fd: stage.dispatcher()}
    late.del_channel(another)
    assert len(another) == stage.either(fastchat=1, stdlib=0)
    late._fileno = fd
    late.close()


def dead_proxy(stage: Stage) -> Any:
    """A weak proxy whose channel is gone."""
    channels = [stage.asyncore.dispatcher(None, stage.map)]
    proxy = weakref.proxy(channels[0])
    forget(channels)
    return proxy


def test_d8_a_weak_proxy_of_the_channel_leaves_with_it(stage: Stage) -> None:
    channel = stage.dispatcher()
    stage.map[channel.socket.fileno()] = weakref.proxy(channel)
    channel.close()
    assert stage.map == {}


def test_d8_a_stand_in_for_the_channel_leaves_with_it(stage: Stage) -> None:
    channel = stage.dispatcher()
    stage.map[channel.socket.fileno()] = SimpleNamespace(socket=channel.socket)
    channel.close()
    assert stage.map == {}


def test_d8_a_stranger_that_has_no_socket_stays(stage: Stage) -> None:
    channel = stage.dispatcher()
    fd = channel.socket.fileno()
    stage.map[fd] = stranger = object()
    channel.close()
    assert stage.map == stage.either(fastchat={fd: stranger}, stdlib={})


def test_d8_a_dead_proxy_is_in_nobodys_way(stage: Stage) -> None:
    channel = stage.dispatcher()
    stage.map[channel.socket.fileno()] = dead_proxy(stage)
    channel.close()
    assert channel.socket.fileno() == -1


# d9: a descriptor that was closed behind a channel's back.


def close_the_socket(channel: Any) -> None:
    channel.socket.close()


def close_the_number(channel: Any) -> None:
    os.close(channel.socket.detach())


BEHIND = [close_the_socket, pytest.param(close_the_number, marks=posix_only)]


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("use_poll", POLLERS)
def test_d9_a_closed_descriptor_costs_one_channel_only(
    stage: Stage, behind: Callable[[Any], None], use_poll: bool
) -> None:
    dead = stage.dispatcher()
    other = stage.dispatcher(handle_read=lambda channel: channel.recv(10))
    behind(dead)
    other.peer.sendall(b"x")
    left = left_by(stage, use_poll, passes=3)
    if stage.implementation.is_stdlib and not use_poll:
        assert (left, other.events) == (OSError, [])
    else:
        assert (left, other.events) == (None, ["read"])
        assert (dead.events, list(stage.map.values())) == (["close"], [other])


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d9_a_closed_descriptor_leaves_the_map_whatever_handle_close_does(
    stage: Stage, use_poll: bool
) -> None:
    dead = stage.dispatcher(handle_close=lambda channel: None)
    dead.socket.close()
    left = left_by(stage, use_poll, passes=3)
    outcome = (left, closes(dead), len(stage.map))
    assert outcome == stage.either(
        fastchat=(None, 1, 0), stdlib=(None, 3, 1) if use_poll else (OSError, 0, 1)
    )


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d9_several_closed_descriptors_leave_together(own: Stage, use_poll: bool) -> None:
    dead = [own.dispatcher() for _ in range(3)]
    for channel in dead:
        channel.socket.close()
    own.loop(use_poll=use_poll)
    assert ([channel.events for channel in dead], own.map) == ([["close"]] * 3, {})


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d9_a_negative_descriptor_costs_one_channel_only(stage: Stage, use_poll: bool) -> None:
    closed, _ = stage.pair()
    closed.close()
    dead = stage.bare(writable=lambda channel: False)
    dead.set_socket(closed)
    assert list(stage.map) == [-1]
    other = stage.dispatcher(handle_read=lambda channel: channel.recv(10))
    other.peer.sendall(b"x")
    left = left_by(stage, use_poll, passes=3)
    if stage.implementation.is_stdlib:
        assert (left, other.events) == (ValueError, [])
    else:
        assert (left, other.events) == (None, ["read"])
        assert (dead.events, list(stage.map.values())) == (["close"], [other])


def test_d9_a_pass_over_a_closed_descriptor_does_not_wait(own: Stage) -> None:
    # With nothing else in the map there would be nothing to end it.
    own.dispatcher().socket.close()
    own.asyncore.poll(None, own.map)
    assert own.map == {}


@needs_poll
def test_d9_a_pass_over_a_negative_descriptor_does_not_wait(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []

    class Pollster:
        def __init__(self) -> None:
            self.register = pollster.register

        def poll(self, timeout: Any) -> list[Any]:
            waited.append(timeout)
            return []

    dead = own.dispatcher()
    own.map[-1] = own.map.pop(dead.socket.fileno())
    idle = own.dispatcher()
    pollster = select.poll()
    monkeypatch.setattr(own.asyncore.select, "poll", Pollster)
    own.loop(use_poll=True, timeout=30)
    assert waited == [0]
    assert list(own.map.values()) == [idle]


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d9_a_channel_closed_while_the_pass_begins_hears_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool
) -> None:
    # As another thread would do it: after the channel was asked, and before the kernel is.
    closing = stage.dispatcher(handle_read=lambda channel: channel.recv(10))
    other = stage.dispatcher(handle_read=lambda channel: channel.recv(10))
    other.peer.sendall(b"x")

    def wait(*arguments: Any) -> Any:
        closing.close()
        return select.select(*arguments)

    class Pollster:
        def __init__(self) -> None:
            self._pollster = select.poll()
            self.register = self._pollster.register

        def poll(self, timeout: Any) -> Any:
            closing.close()
            return self._pollster.poll(timeout)

    names = {**vars(select), "select": wait, "poll": Pollster}
    monkeypatch.setattr(stage.asyncore, "select", SimpleNamespace(**names))
    left = left_by(stage, use_poll, passes=3)
    assert left is stage.either(fastchat=None, stdlib=None if use_poll else OSError)
    if left is None:
        assert (closing.events, other.events) == ([], ["read"])


def test_d9_a_dead_channel_that_another_one_buried_hears_of_it_once(own: Stage) -> None:
    dead: list[Any] = []

    def handle_close(channel: Any) -> None:
        for other in dead:
            other.close()

    dead += [own.dispatcher(handle_close=handle_close) for _ in range(2)]
    for channel in dead:
        channel.socket.close()
    own.loop()
    # Whichever came first closed the other, which then is no longer in the map to be told.
    assert sorted(closes(channel) for channel in dead) == [0, 1]


# d10: nothing that a channel does costs the others anything.


def troubled(stage: Stage, hook: str, problem: BaseException) -> Any:
    """A channel whose *hook* raises *problem* as soon as its peer has sent something."""
    fail = fail_with(problem)
    members: dict[str, Any] = {"handle_read": fail_with(ValueError()), hook: fail}
    if hook == "handle_close":
        members["handle_read"] = lambda channel: channel.handle_close()
    channel = stage.dispatcher(**members)
    channel.peer.sendall(b"x")
    return channel


HOOKS = ["handle_error", "handle_close", "readable", "writable", "close", "log_info"]


@pytest.mark.parametrize("use_poll", POLLERS)
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    "problem",
    [ValueError(), failure(errno.ENOTCONN), RecursionError(), asyncio.CancelledError()],
    ids=lambda problem: type(problem).__name__,
)
def test_d10_an_exception_of_any_hook_costs_one_channel_only(
    stage: Stage, hook: str, problem: BaseException, use_poll: bool
) -> None:
    broken = troubled(stage, hook, problem)
    sock = broken.socket
    other = stage.dispatcher(handle_read=lambda channel: channel.recv(10))
    other.peer.sendall(b"x")
    try:
        stage.loop(3, use_poll)
        left = False
    except BaseException:
        left = True
    assert left is stage.either(fastchat=False, stdlib=True)
    if not left:
        assert (list(stage.map.values()), other.events) == ([other], ["read"])
        assert sock.fileno() == -1


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d10_an_exception_of_repr_costs_one_channel_only(stage: Stage, use_poll: bool) -> None:
    broken = troubled(stage, "__repr__", ValueError())
    stage.loop(2, use_poll)
    assert (broken.events, stage.map) == (["read", ValueError, "close"], {})


@pytest.mark.parametrize("use_poll", POLLERS)
@pytest.mark.parametrize("hook", [*HOOKS, "handle_read"])
@pytest.mark.parametrize("kind", ENDING)
def test_d10_what_ends_the_program_leaves_the_loop_from_every_hook(
    stage: Stage, hook: str, kind: Any, use_poll: bool
) -> None:
    wanted = ending(stage, kind)
    troubled(stage, hook, wanted())
    with pytest.raises(wanted):
        stage.loop(2, use_poll)


@pytest.mark.parametrize("kind", ENDING)
@pytest.mark.parametrize("method", ["log_info", "close"])
def test_d10_what_ends_the_program_leaves_the_loop_while_a_channel_is_dropped(
    own: Stage, kind: Any, method: str
) -> None:
    wanted = ending(own, kind)
    channel = troubled(own, "handle_error", ValueError())
    setattr(channel, method, fail_with(wanted()))
    with pytest.raises(wanted):
        own.loop()


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d10_a_channel_that_fails_in_everything_is_dropped(own: Stage, use_poll: bool) -> None:
    class Broken:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            raise RuntimeError

    mine, _ = own.pair()
    own.map[mine.fileno()] = Broken()
    other = own.dispatcher(handle_read=lambda channel: channel.recv(10))
    other.peer.sendall(b"x")
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (list(own.map.values()), other.events) == ([other], ["read"])


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d10_a_proxy_whose_channel_is_gone_is_dropped(own: Stage, use_poll: bool) -> None:
    mine, _ = own.pair()
    own.map[mine.fileno()] = dead_proxy(own)
    own.loop(use_poll=use_poll)
    assert own.map == {}


@pytest.mark.parametrize("use_poll", POLLERS)
def test_d10_an_exception_without_a_text_costs_one_channel_only(own: Stage, use_poll: bool) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise Mute

    broken = troubled(own, "handle_read", Mute())
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert (broken.events[:2], own.map) == (["read", Mute], {})


def test_d10_dropping_a_channel_says_why(own: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    channel = troubled(own, "handle_error", ZeroDivisionError("the text"))
    name = repr(channel)
    own.loop(timeout=PATIENCE)
    assert re.fullmatch(
        rf"error: exception in error handling, dropping channel {re.escape(name)} "
        r"\(<class 'ZeroDivisionError'>:the text( \[[^|\]]+\|\w+\|\d+\])+\)\n",
        capsys.readouterr().out,
    )


def test_d10_an_exception_of_readable_goes_to_handle_error(own: Stage) -> None:
    channel = own.dispatcher(readable=fail_with(ValueError()), handle_error=lambda channel: None)
    own.loop(2)
    assert channel.events == [ValueError, ValueError]
    assert own.map


def test_d10_a_pass_that_begins_with_an_exception_does_not_wait(own: Stage, clock: Clock) -> None:
    # Its channel may have closed, or have got a new socket that nobody asked about yet.
    own.dispatcher(readable=fail_with(ValueError()))
    own.loop(timeout=30)
    assert clock.slept == [0]


def test_d10_an_exception_of_close_does_not_keep_the_descriptor(own: Stage) -> None:
    channel = troubled(own, "close", ValueError())
    own.loop(timeout=PATIENCE)
    assert (own.map, channel.socket.fileno()) == ({}, -1)


# d11: no input after close().


def close(chat: Any, *args: Any) -> Any:
    """A hook that closes."""
    chat.close()


KINDS = [
    pytest.param(b"\n", id="bytes"),
    pytest.param(bytearray(b"\n"), id="bytearray"),
    pytest.param(4, id="number"),
]
BUFFERS = [
    pytest.param({}, id="usual buffer"),
    pytest.param({"ac_in_buffer": b""}, id="buffer of the class"),
]


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("terminator", KINDS)
def test_d11_close_in_found_terminator_ends_the_input(
    stage: Stage, terminator: Any, buffer: dict[str, Any]
) -> None:
    def found(chat: Any) -> None:
        chat.set_terminator(terminator)
        chat.close()

    chat = stage.chat(terminator, found_terminator=found, **buffer)
    stage.feed(chat, b"QUIT\nMORE\n" if terminator != 4 else b"QUITMORE")
    expected = stage.either(fastchat=[], stdlib=[b"MORE", "found"])
    assert chat.events == [b"QUIT", "found", *expected]


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("terminator", KINDS)
def test_d11_close_in_collect_incoming_data_ends_the_input(
    stage: Stage, terminator: Any, buffer: dict[str, Any]
) -> None:
    chat = stage.chat(terminator, collect_incoming_data=close, **buffer)
    stage.feed(chat, b"QUIT\nMORE\n" if terminator != 4 else b"QUITMORE")
    more = [] if terminator == 4 else ["found"]
    after = ["found", b"MORE", *more]
    assert chat.events == [b"QUIT", *stage.either(fastchat=[], stdlib=after)]


@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_input_put_back_after_close_is_not_delivered(
    stage: Stage, buffer: dict[str, Any]
) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"QUIT", "found"]:
            chat.close()
            chat.ac_in_buffer = b"MORE\n"

    chat = stage.chat(found_terminator=found, **buffer)
    stage.feed(chat, b"QUIT\n")
    assert chat.events[2:] == stage.either(fastchat=[], stdlib=[b"MORE", "found"])


@pytest.mark.parametrize("hook", ["found_terminator", "collect_incoming_data"])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_close_ends_the_input_with_several_terminators(
    own: Stage, hook: str, buffer: dict[str, Any]
) -> None:
    chat = own.chat((b"\n", b";"), **{hook: close}, **buffer)
    own.feed(chat, b"QUIT;MORE\n")
    found = ["found"] if hook == "found_terminator" else []
    assert (chat.events, chat.ac_in_buffer) == ([b"QUIT", *found], b"")


@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_close_in_recv_ends_the_input(stage: Stage, buffer: dict[str, Any]) -> None:
    def recv(chat: Any, size: int) -> bytes:
        chat.close()
        return b"MORE\n"

    chat = stage.chat(recv=recv, **buffer)
    chat.handle_read()
    assert chat.events == stage.either(fastchat=[], stdlib=[b"MORE", "found"])


@pytest.mark.parametrize("hook", ["found_terminator", "collect_incoming_data", "recv"])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_what_was_not_delivered_is_dropped(
    own: Stage, hook: str, buffer: dict[str, Any]
) -> None:
    def closing(chat: Any, *args: Any) -> bytes:
        chat.close()
        return b"QUIT\nMORE\n"

    chat = own.chat(**{hook: closing}, **buffer)
    own.feed(chat, b"QUIT\nMORE\n")
    assert chat.ac_in_buffer == b""


def test_d11_what_was_left_over_is_not_delivered_at_the_end(stage: Stage) -> None:
    def fail(chat: Any) -> None:
        raise ValueError

    chat = stage.chat(found_terminator=fail, handle_error=lambda chat: None)
    stage.feed(chat, b"one\ntwo\n")
    chat.peer.close()
    stage.until(lambda: not stage.map)
    after = [b"two", "found", ValueError]
    assert chat.events[3:] == ["close", *stage.either(fastchat=[], stdlib=after)]


def reconnect(stage: Stage, chat: Any) -> None:
    """Close *chat*, and give it a new connection."""
    chat.close()
    mine, chat.peer = stage.pair()
    mine.setblocking(False)
    chat.set_socket(mine)
    chat.connected = True


def test_d11_a_new_connection_does_not_see_the_rest_of_the_old_one(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"old", "found"]:
            reconnect(stage, chat)

    chat = stage.chat(found_terminator=found)
    stage.feed(chat, b"old\nrest\n")
    stage.feed(chat, b"new\n")
    rest = stage.either(fastchat=[], stdlib=[b"rest", "found"])
    assert chat.events == [b"old", "found", *rest, b"new", "found"]


def test_d11_a_new_connection_does_not_see_what_the_old_one_held_back(stage: Stage) -> None:
    chat = stage.chat(b"\r\n")
    stage.feed(chat, b"old\r")
    reconnect(stage, chat)
    stage.feed(chat, b"\nnew")
    assert chat.events == [b"old", *stage.either(fastchat=[b"\nnew"], stdlib=["found", b"new"])]


def test_d11_a_new_connection_of_a_class_that_works_with_text_has_text(stage: Stage) -> None:
    chat = stage.chat("\r\n", recv=lambda chat, size: "one\r\n\r")
    chat.ac_in_buffer = ""
    chat.handle_read()
    reconnect(stage, chat)
    chat.handle_read()
    assert chat.events == ["one", "found", stage.either(fastchat="one", stdlib="\rone"), "found"]


def test_d11_a_new_connection_does_not_see_what_an_exception_left(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"old", "found"]:
            raise ValueError

    chat = stage.chat(found_terminator=found)
    stage.feed(chat, b"old\nrest\n")
    reconnect(stage, chat)
    stage.feed(chat, b"new\n")
    rest = stage.either(fastchat=[], stdlib=[b"rest", "found"])
    assert chat.events[4:] == [*rest, b"new", "found"]


def test_d11_a_nested_handle_read_that_closes_ends_the_outer_one(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"one", "found"]:
            chat.peer.sendall(b"QUIT\nMORE\n")
            chat.handle_read()
        elif chat.events[-2] == b"QUIT":
            chat.close()

    chat = stage.chat(found_terminator=found)
    stage.feed(chat, b"one\n")
    after = stage.either(fastchat=[], stdlib=[b"MORE", "found"])
    assert chat.events == [b"one", "found", b"QUIT", "found", *after]


# d17: the same bytes from dispatcher_with_send, with less work.


class Taker(FakeSocket):
    """A socket that takes of each send as much as it likes."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(7)
        self.rng = rng

    def send(self, data: bytes) -> int:
        size = len(data)
        count = self.rng.choice([0, min(1, size), size // 2, size, size, size])
        self.sent.append(bytes(data[:count]))
        return count


@pytest.mark.parametrize("members", [{}, {"out_buffer": b""}], ids=["usual", "class attribute"])
def test_d17_the_bytes_of_a_sender_stay_what_they_were(
    stage: Stage, members: dict[str, Any]
) -> None:
    for seed in range(30):
        rng = random.Random(seed)
        sock = Taker(rng)
        channel = stage.channel(stage.asyncore.dispatcher_with_send, sock, **members)
        expected = b""
        for _ in range(60):
            data = rng.randbytes(rng.choice([0, 1, 1, 2, 5, 30000, 70000]))
            action = rng.choice(["send", "send", "send", "write", "add", "assign", "look"])
            if action == "send":
                expected += data
                channel.send(rng.choice([bytes, bytearray, memoryview])(data))
            elif action == "write":
                channel.handle_write()
            elif action == "add":
                channel.out_buffer += data
                expected += data
            elif action == "assign":
                channel.out_buffer = data
                expected = b"".join(sock.sent) + data
            assert len(channel.out_buffer) == channel.writable(), seed
            if action == "look":
                assert channel.out_buffer == expected[len(b"".join(sock.sent)) :], seed
        assert b"".join(sock.sent) + channel.out_buffer == expected, seed


def test_d17_many_small_sends_arrive_whole(stage: Stage) -> None:
    channel = stage.channel(stage.asyncore.dispatcher_with_send)
    words = [b"%d of many small words that together are too many, " % n for n in range(10000)]
    received = bytearray()

    def receive() -> bool:
        received.extend(channel.peer.recv(1 << 20))
        return not channel.out_buffer

    for word in words:
        channel.send(word)
    stage.until(receive)
    channel.close()
    assert received + receive_all(channel.peer) == b"".join(words)


def test_d17_a_buffer_assigned_in_handle_close_stays(stage: Stage) -> None:
    def handle_close(channel: Any) -> None:
        channel.out_buffer = b"greeting of the next connection"

    sock = FakeSocket(7, send=[failure(errno.EPIPE)])
    channel = stage.channel(stage.asyncore.dispatcher_with_send, sock, handle_close=handle_close)
    channel.send(b"lost")
    assert channel.out_buffer == b"greeting of the next connection"


# old: what Python 2.6 documents, and later versions had dropped.


def test_old_async_chat_takes_conn_for_sock(own: Stage) -> None:
    mine, _ = own.pair()
    chat = own.asynchat.async_chat(conn=mine, map=own.map)
    assert own.map == {mine.fileno(): chat}


def test_old_the_standard_library_has_no_conn(stage: Stage) -> None:
    mine, _ = stage.pair()
    try:
        stage.asynchat.async_chat(conn=mine, map=stage.map)
        refused = False
    except TypeError:
        refused = True
    assert refused is stage.either(fastchat=False, stdlib=True)


def test_old_sock_and_conn_are_too_many(own: Stage) -> None:
    mine, _ = own.pair()
    with pytest.raises(TypeError, match="sock and conn are two names of one argument"):
        own.asynchat.async_chat(mine, own.map, conn=mine)
    assert own.map == {}


def test_old_fifo_is_an_addition(stage: Stage) -> None:
    assert hasattr(stage.asynchat, "fifo") is stage.either(fastchat=True, stdlib=False)


def test_old_a_fifo_begins_empty(own: Stage) -> None:
    fifo = own.asynchat.fifo()
    assert (len(fifo), fifo.is_empty(), fifo.pop()) == (0, True, (0, None))


def test_old_a_fifo_gives_its_items_in_order(own: Stage) -> None:
    fifo = own.asynchat.fifo()
    fifo.push("one")
    fifo.push("two")
    assert (len(fifo), fifo.is_empty()) == (2, False)
    assert [fifo.pop(), fifo.pop(), fifo.pop()] == [(1, "one"), (1, "two"), (0, None)]


def test_old_the_first_item_of_a_fifo_stays(own: Stage) -> None:
    fifo = own.asynchat.fifo(["one", "two"])
    assert (fifo.first(), fifo.first(), len(fifo)) == ("one", "one", 2)


def test_old_an_empty_fifo_has_no_first(own: Stage) -> None:
    with pytest.raises(IndexError):
        own.asynchat.fifo().first()


def test_old_a_fifo_copies_what_it_is_made_of(own: Stage) -> None:
    content = ["one"]
    fifo = own.asynchat.fifo(content)
    fifo.push("two")
    assert (content, list(fifo.list)) == (["one"], ["one", "two"])


def test_old_a_fifo_can_be_the_queue(own: Stage) -> None:
    chat = own.chat()
    chat.producer_fifo = own.asynchat.fifo([b"one"])
    chat.push(b"two")
    chat.producer_fifo.push(b"three")
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"onetwothree"


class Old:
    """Output as a program of 2005 does it: its own refill_buffer, over a fifo."""

    refilled = 0

    def refill_buffer(self: Any) -> None:
        self.refilled += 1
        while not self.producer_fifo.is_empty():
            first = self.producer_fifo.first()
            if first is None:
                if not self.ac_out_buffer:
                    self.producer_fifo.pop()
                    self.close()
                return
            data = first if isinstance(first, bytes) else first.more()
            if isinstance(first, bytes) or not data:
                self.producer_fifo.pop()
            if data:
                self.ac_out_buffer += data
                return


def old_chat(stage: Stage, sock: Any = None, **members: Any) -> Any:
    base = type("Old", (Old, stage.asynchat.async_chat), {})
    return stage.channel(base, sock, **members)


def test_old_refill_buffer_is_called_if_it_is_overridden(own: Stage) -> None:
    chat = old_chat(own)
    chat.push(b"data")
    assert (chat.refilled, chat.peer.recv(10), chat.ac_out_buffer) == (1, b"data", b"")


def test_old_refill_buffer_feeds_everything_in_order(own: Stage) -> None:
    chat = old_chat(own)
    chat.push(b"one")
    chat.push_with_producer(own.asynchat.simple_producer(b"two three", 4))
    chat.push(b" four")
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"onetwo three four"


def test_old_refill_buffer_on_the_object_is_called(own: Stage) -> None:
    chat = own.chat()
    with mock.patch.object(chat, "refill_buffer") as refill:
        chat.push(b"data")
    refill.assert_called_once_with()


def test_old_refill_buffer_is_not_called_while_the_buffer_is_full(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7, send=[0]))
    chat.ac_out_buffer_size = 4
    chat.push(b"12345678")
    chat.initiate_send()
    assert (chat.refilled, chat.ac_out_buffer) == (1, b"1234")


def test_old_what_was_not_taken_is_offered_again(own: Stage) -> None:
    sock = FakeSocket(7, send=[3, 0, 1, 2])
    chat = old_chat(own, sock)
    chat.push(b"123456")
    for _ in range(3):
        assert chat.writable()
        chat.handle_write()
    assert b"".join(sock.sent) == b"123456"
    assert not chat.writable()


def test_old_before_it_is_connected_it_only_refills(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7))
    chat.connected = False
    chat.push(b"data")
    assert (chat.ac_out_buffer, chat.socket.sent) == (b"data", [])


def test_old_nothing_queued_is_nothing_sent(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7))
    chat.initiate_send()
    assert "send" not in chat.socket.calls


def test_old_an_error_of_send_is_for_handle_error(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7, send=[failure(errno.EIO)]))
    chat.push(b"data")
    assert chat.events == [OSError, "close"]


def test_old_discard_buffers_forgets_the_output_buffer(own: Stage) -> None:
    chat = old_chat(own, FakeSocket(7, send=[0]))
    chat.push(b"data")
    chat.discard_buffers()
    assert (chat.ac_out_buffer, len(chat.producer_fifo)) == (b"", 0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_old_the_stock_refill_buffer_can_be_built_upon(own: Stage, kind: Any) -> None:
    stock = own.asynchat.async_chat.refill_buffer
    chat = own.chat(refill_buffer=lambda chat: stock(chat))
    chat.push(kind(b"one"))
    chat.push_with_producer(own.asynchat.simple_producer(b"two three", 4))
    chat.close_when_done()
    own.until(lambda: not own.map)
    assert receive_all(chat.peer) == b"onetwo three"
    assert closes(chat) == 1


def test_old_the_stock_refill_buffer_passes_over_empty_producers(own: Stage) -> None:
    stock = own.asynchat.async_chat.refill_buffer
    chat = own.chat(refill_buffer=lambda chat: stock(chat))
    chat.push_with_producer(own.asynchat.simple_producer(b""))
    assert len(chat.producer_fifo) == 0


def test_old_the_stock_refill_buffer_closes_after_the_last_byte(own: Stage) -> None:
    stock = own.asynchat.async_chat.refill_buffer
    chat = own.chat(sock=FakeSocket(7, send=[0, 4]), refill_buffer=lambda chat: stock(chat))
    chat.push(b"data")
    chat.close_when_done()
    chat.handle_write()
    assert chat.events == []
    chat.handle_write()
    assert chat.events == ["close"]


def test_old_nobody_else_has_an_output_buffer(own: Stage) -> None:
    chat = own.chat()
    chat.ac_out_buffer = b"ignored"
    assert not chat.writable()
    chat.push(b"data")
    assert chat.peer.recv(100) == b"data"
    assert type(chat.producer_fifo) is not own.asynchat.fifo


# several: a tuple of terminators.


def deliver(stage: Stage, terminator: Any, *chunks: bytes, **members: Any) -> Any:
    """A chat, without a socket, that has received *chunks*."""
    script = list(chunks)
    chat = recording(stage.asynchat.async_chat, recv=lambda chat, size: script.pop(0), **members)(
        None, stage.map
    )
    chat.set_terminator(terminator)
    while script:
        stage.asyncore.read(chat)
    return chat


def note_the_match(chat: Any) -> None:
    """A found_terminator that writes down what was found."""
    chat.events[-1] = (chat.matched_terminator,)


def test_several_terminators_are_an_addition(stage: Stage) -> None:
    chat = deliver(stage, (b"\r\n", b";"), b"one\r\ntwo;")
    fastchat = [b"one", "found", b"two", "found"]
    assert chat.events == stage.either(fastchat=fastchat, stdlib=[TypeError, "close"])


def test_several_the_one_that_matched_can_be_told(own: Stage) -> None:
    chat = deliver(own, (b"\r\n", b";"), b"one;two\r\n", found_terminator=note_the_match)
    assert chat.events == [b"one", (b";",), b"two", (b"\r\n",)]


def test_several_before_any_match_there_is_none(own: Stage) -> None:
    assert deliver(own, (b"\r\n", b";"), b"one").matched_terminator is None


@pytest.mark.parametrize(
    ("terminators", "data", "events"),
    [
        pytest.param((b"ab", b"b"), b"xab", [b"xa", (b"b",)], id="the shortest of one end"),
        pytest.param((b"b", b"ab"), b"xab", [b"xa", (b"b",)], id="in any order"),
        pytest.param((b"abc", b"b"), b"xabc", [b"xa", (b"b",), b"c"], id="the earliest end"),
        pytest.param((b"abcd", b"bc"), b"xabcd", [b"xa", (b"bc",), b"d"], id="not the first begun"),
        pytest.param((b"a", b"ab"), b"xab", [b"x", (b"a",), b"b"], id="a prefix of another"),
        pytest.param((b"\n", b"\n"), b"x\n", [b"x", (b"\n",)], id="the same twice"),
        pytest.param((b"\n",), b"x\ny", [b"x", (b"\n",), b"y"], id="only one"),
        pytest.param((b"\n", b"\r\n"), b"\n\r\n", [(b"\n",), b"\r", (b"\n",)], id="empty lines"),
    ],
)
def test_several_the_earliest_end_wins_and_then_the_shortest(
    own: Stage, terminators: Any, data: bytes, events: list[Any]
) -> None:
    assert deliver(own, terminators, data, found_terminator=note_the_match).events == events


def cut(data: bytes, terminators: tuple[bytes, ...]) -> list[Any]:
    """The pieces of *data*, each with the terminator that ended it, found the slowest way."""
    pieces: list[Any] = []
    begin = 0
    for end in range(1, len(data) + 1):
        ended = [term for term in terminators if data[begin:end].endswith(term)]
        if ended:
            match = min(ended, key=len)
            pieces.append((data[begin : end - len(match)], match))
            begin = end
    return [*pieces, (data[begin:], None)]


def pieces_of(chat: Any) -> list[Any]:
    """The events of *chat* in the form of ``cut``."""
    pieces: list[Any] = []
    piece = b""
    for event in chat.events:
        if isinstance(event, tuple):
            pieces.append((piece, *event))
            piece = b""
        else:
            piece += event
    return [*pieces, (piece + chat.ac_in_buffer, None)]


@pytest.mark.parametrize("buffer", BUFFERS)
def test_several_every_way_to_split_gives_the_same(own: Stage, buffer: dict[str, Any]) -> None:
    words = [b"a", b"b", b"ab", b"ba", b"aab", b"abab"]
    choices = [*itertools.permutations(words, 2), *itertools.combinations(words, 3)]
    for seed, terminators in enumerate(choices):
        rng = random.Random(seed)
        data = bytes(rng.choices(b"aab.", k=40))
        expected = cut(data, terminators)
        splits = [[data], [data[n : n + 1] for n in range(len(data))]]
        for _ in range(10):
            ends = sorted(rng.choices(range(len(data)), k=4))
            splits.append([data[a:b] for a, b in itertools.pairwise([0, *ends, len(data)])])
        for chunks in splits:
            chat = deliver(own, terminators, *chunks, found_terminator=note_the_match, **buffer)
            assert pieces_of(chat) == expected, (terminators, chunks)


def test_several_a_match_is_found_however_far_away(own: Stage) -> None:
    # The input is searched in stretches, and a match may lie across the end of one.
    terminators = (b"\r\n.\r\n", b"12", b"--")
    for distance in range(600):
        data = b"x" * distance + b"\r\n.\r\n" + b"y" * distance + b"12z"
        chat = deliver(own, terminators, data, found_terminator=note_the_match)
        assert pieces_of(chat) == [
            (b"x" * distance, terminators[0]),
            (b"y" * distance, terminators[1]),
            (b"z", None),
        ], distance


@pytest.mark.parametrize(
    ("terminators", "kind", "text"),
    [
        ((), ValueError, "is empty"),
        ((b"\n", b""), ValueError, "is empty"),
        ((b"\n", "\n"), TypeError, "may only have bytes"),
        ((b"\n", bytearray(b"\n")), TypeError, "may only have bytes"),
        ((b"\n", 5), TypeError, "may only have bytes"),
        ((b"\n", None), TypeError, "may only have bytes"),
    ],
)
def test_several_a_wrong_tuple_is_refused_and_changes_nothing(
    own: Stage, terminators: Any, kind: type[Exception], text: str
) -> None:
    chat = own.chat(b"\n")
    with pytest.raises(kind, match=text):
        chat.set_terminator(terminators)
    assert chat.get_terminator() == b"\n"


@pytest.mark.parametrize("terminators", [(b"\n", b""), (b"\n", "x"), (b"\n", 5)])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_several_a_wrong_tuple_of_get_terminator_fails_when_input_arrives(
    own: Stage, terminators: Any, buffer: dict[str, Any]
) -> None:
    chat = own.chat(get_terminator=lambda chat: terminators, **buffer)
    kind = ValueError if b"" in terminators else TypeError
    assert own.feed(chat, b"one\n") == [kind, "close"]


def test_several_an_empty_tuple_that_was_assigned_cuts_nothing(stage: Stage) -> None:
    # Something false, as ever.
    chat = stage.chat()
    chat.terminator = ()
    assert stage.feed(chat, b"one\n") == [b"one\n"]


def test_several_text_is_encoded_with_use_encoding(own: Stage) -> None:
    chat = own.chat(("\xa7", b"\n"), use_encoding=True)
    assert chat.get_terminator() == (b"\xa7", b"\n")
    assert own.feed(chat, b"one\xa7two\n") == [b"one", "found", b"two", "found"]


def test_several_a_subclass_of_tuple_will_do(own: Stage) -> None:
    class Ends(NamedTuple):
        line: bytes
        field: bytes

    chat = deliver(own, Ends(b"\n", b","), b"one,two\n", found_terminator=note_the_match)
    assert chat.events == [b"one", (b",",), b"two", (b"\n",)]


def test_several_they_may_be_changed_in_a_hook(own: Stage) -> None:
    then = iter([b".", 2, (b"?", b"!"), None])

    def found(chat: Any) -> None:
        chat.set_terminator(next(then))

    data = b"one;two;three.45six!seven?eight\n"
    chat = deliver(own, (b",", b";"), data, found_terminator=found)
    assert chat.events == [
        *(b"one", "found"),
        *(b"two;three", "found"),
        *(b"45", "found"),
        *(b"six", "found"),
        b"seven?eight\n",
    ]


def test_several_get_terminator_may_return_them(own: Stage) -> None:
    chat = deliver(
        own,
        None,
        b"one;two\n",
        get_terminator=lambda chat: (b";", b"\n"),
        found_terminator=note_the_match,
    )
    assert chat.events == [b"one", (b";",), b"two", (b"\n",)]


def test_several_what_may_begin_any_of_them_waits(own: Stage) -> None:
    chat = deliver(own, (b"abcd", b"bx"), b"--abc", b"", b"x")
    assert chat.events == [b"--", b"abcx"]
    chat = deliver(own, (b"abcd", b"cx"), b"--abc", b"x")
    assert chat.events == [b"--", b"ab", "found"]
