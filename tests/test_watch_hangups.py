"""Registrations that are kept, and a hang-up that nobody waits for: it must not make the loop spin.

What the standard library does as well runs on it too.

Rules this file keeps: hang-ups are real; what must not spin is counted by its passes.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import pytest

from tests.support.channels import (
    PATIENCE,
    Stage,
    as_the_system,
    fail_with,
    failure,
    needs_poll,
    posix_only,
    watch_a_dict,
    watch_of,
)
from tests.support.watched import deaf, reader

if sys.platform != "win32":
    import resource


@pytest.fixture(params=["epoll", "poll"])
def with_unasked(
    request: pytest.FixtureRequest, own: Stage, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A stage whose poller tells of hang-ups unasked."""
    pollers = own.implementation.core["pollers"]
    kinds = tuple([kind for kind in pollers.available() if kind.name == request.param])
    if not kinds:
        pytest.skip(f"the system has no {request.param}")
    monkeypatch.setattr(pollers, "available", lambda: kinds)
    return own


@posix_only
@pytest.mark.parametrize("map_kind", ["channel_map", "dict"])
def test_a_hang_up_that_nobody_waits_for_does_not_make_the_loop_spin(
    with_unasked: Stage, map_kind: str
) -> None:
    own = with_unasked
    if map_kind == "dict":
        watch_a_dict(own)
    channel = deaf(own)
    own.loop(2)
    poller = watch_of(own).poller
    assert (poller.wait(0), channel.events) == ([], [])
    other = reader(own)
    other.peer.sendall(b"x")
    own.loop(3)
    assert (other.got, poller.wait(0), channel.events) == ([b"x"], [], [])
    channel.wants = True
    own.loop(2)
    assert channel.events == ["read", "close"]
    assert not poller.muted


@posix_only
def test_poll2_tells_of_a_hang_up_that_was_quiet(with_unasked: Stage) -> None:
    channel = deaf(with_unasked)
    with_unasked.loop(2)
    with_unasked.loop(use_poll=True, timeout=PATIENCE)
    assert channel.events == ["close"]


@posix_only
@pytest.mark.parametrize("is_there", [False, True])
def test_a_quiet_channel_may_be_closed_behind_the_loops_back(
    with_unasked: Stage, is_there: bool
) -> None:
    own = with_unasked
    channel = deaf(own)
    own.loop(2)
    assert watch_of(own).poller.muted
    if not is_there:
        os.close(channel.socket.fd)
        channel.socket.fd = -1
    own.loop(3)
    assert channel.events == ([] if is_there else ["close"])


@posix_only
def test_who_cannot_be_made_quiet_gets_a_new_set(
    with_unasked: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = with_unasked
    reader(own)
    own.loop()
    poller = type(watch_of(own).poller)
    mute = poller.mute
    channel = deaf(own)
    monkeypatch.setattr(poller, "mute", fail_with(failure(errno.ENOENT)))
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        own.loop()  # for a handler's it is, to is_ours(): the stand-in is in a module of the tests
    monkeypatch.setattr(poller, "mute", as_the_system(mute_not))
    own.loop()
    assert watch_of(own).needs_new_set
    monkeypatch.setattr(poller, "mute", mute)
    own.loop(3)
    assert (watch_of(own).poller.wait(0), channel.events) == ([], [])


def mute_not(poller: Any, fd: int, flags: int) -> None:
    raise OSError(2, "gone")


@posix_only
def test_the_number_of_a_quiet_channel_may_become_another_file(with_unasked: Stage) -> None:
    own = with_unasked
    channel = deaf(own)
    own.loop(2)
    mine, _ = own.pair()
    os.dup2(mine.fileno(), channel._fileno)
    own.until(lambda: "write" in channel.events, passes=5)
    assert not watch_of(own).poller.muted


@posix_only
def test_a_pass_of_a_hook_with_poll2_makes_nobody_quiet(with_unasked: Stage) -> None:
    def handle_read(channel: Any) -> None:
        channel.recv(9)
        own.asyncore.poll2(0, own.map)

    own = with_unasked
    channel = deaf(own)
    type(channel).handle_close = lambda channel: channel.events.append("told")
    other = own.dispatcher(handle_read=handle_read)
    other.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    told = channel.events.count("told")
    for _ in range(3):
        own.asyncore.poll2(0, own.map)
    assert channel.events.count("told") == told + 3


@posix_only
def test_who_wants_input_or_has_left_is_not_made_quiet(with_unasked: Stage) -> None:
    channel = reader(with_unasked)
    with_unasked.loop()
    watch = watch_of(with_unasked)
    mute = with_unasked.implementation.core["passes"]._mute
    mute(watch, {channel._fileno: (), channel.peer.fileno(): ()})
    assert not watch.poller.muted
    channel.peer.sendall(b"x")
    with_unasked.loop()
    assert channel.got == [b"x"]


@needs_poll
@posix_only
def test_one_pass_with_a_large_descriptor_waits_as_select_does(own: Stage) -> None:
    number = 1100
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft <= number + 1:
        pytest.skip(f"the limit of descriptors does not allow {number}")
    own.map = {}
    channel = deaf(own, number)
    passes, family = own.implementation.core["full_passes"], own.asyncore._family
    asked, _ = passes._ask(family, own.map, 0)
    assert passes.select_by_poll(family, asked, 0) == ([], [], [])
    other = reader(own)
    other.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    assert (other.got, channel.events) == ([b"x"], [])
