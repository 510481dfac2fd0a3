"""Deliberate differences: a listener for which accept() has no descriptor, or no memory (d1, d2).

It lives (d1), and it rests (d2).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.

Rules this file keeps: descriptors run out in a process of its own; other tests move a clock, and
what they would wait for is never waited for.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from tests.support.building import ROOT
from tests.support.channels import (
    PATIENCE,
    Clock,
    FakeSocket,
    Stage,
    arrived,
    both_pollers,
    failure,
    name_of,
    posix_only,
)
from tests.support.implementations import load

if sys.platform != "win32":
    import resource


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
        f"import json; from {__name__} import exhaust;"
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
@both_pollers
def test_d1_a_listener_survives_whatever_ran_out(
    own: Stage, clock: Clock, number: int, use_poll: bool
) -> None:
    listener = starved(own, failure(number), ("sock", "addr"))
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert listener.events == []
    clock.now += 0.51
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert listener.events == ["accepted"]


@both_pollers
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


@both_pollers
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
