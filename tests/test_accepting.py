"""A loop without end lets a listener take several connections between two waits.

To nobody who watches does that look different from passes that found nothing else: whoever is
asked on every pass is asked between two connections, and a loop that counts its passes takes one
in each.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Stage, both_pollers, failure

CLIENTS = 40


class Crowd:
    """A listener for which ``CLIENTS`` wait, and ``log``, where everybody writes what happened."""

    def __init__(self, stage: Stage, **members: Any) -> None:
        self.stage = stage
        self.log: list[Any] = []
        self.accepted: list[Any] = []
        members = {"handle_accepted": lambda channel, sock, addr: self.accept(sock)} | members
        self.listener = stage.bare(**members)
        self.listener.create_socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(CLIENTS)
        self.address = self.listener.socket.getsockname()
        self.clients = [stage.client(self.address) for _ in range(CLIENTS)]

    def accept(self, sock: Any) -> None:
        self.log.append("accept")
        self.accepted.append(self.stage.keep(sock))
        if len(self.accepted) == CLIENTS:
            raise self.stage.asyncore.ExitNow

    def run(self, use_poll: bool) -> None:
        """Serve without end, until all are there."""
        with pytest.raises(self.stage.asyncore.ExitNow):
            self.stage.asyncore.loop(1, use_poll, self.stage.map)

    def between(self) -> list[int]:
        """How many connections were taken, one after the other, each time."""
        runs = "".join("." if each == "accept" else " " for each in self.log).split()
        return [len(run) for run in runs]


@both_pollers
def test_all_that_wait_are_taken(stage: Stage, use_poll: bool) -> None:
    crowd = Crowd(stage)
    crowd.run(use_poll)
    assert len(crowd.accepted) == CLIENTS


@both_pollers
def test_a_loop_that_counts_takes_one_a_pass(stage: Stage, use_poll: bool) -> None:
    crowd = Crowd(stage)
    for count in range(1, 4):
        stage.loop(use_poll=use_poll)
        assert len(crowd.accepted) == count
    stage.loop(4, use_poll=use_poll)
    assert len(crowd.accepted) == 7


@both_pollers
def test_a_crowd_keeps_nobody_from_being_served(own: Stage, use_poll: bool) -> None:
    crowd = Crowd(own)
    chat = own.chat(found_terminator=lambda chat: crowd.log.append("line"))
    chat.peer.sendall(b"x\n")
    crowd.run(use_poll)
    assert crowd.log.index("line") <= 16
    assert max(crowd.between()) > 1


@both_pollers
def test_who_is_asked_on_every_pass_is_asked_between_two_connections(
    stage: Stage, use_poll: bool
) -> None:
    def readable(channel: Any) -> bool:
        crowd.log.append("asked")
        return False

    crowd = Crowd(stage)
    stage.dispatcher(readable=readable)
    crowd.run(use_poll)
    assert set(crowd.between()) == {1}


@both_pollers
def test_who_was_taken_is_asked_before_the_next_one_is(stage: Stage, use_poll: bool) -> None:
    crowd = Crowd(stage)

    base: Any = stage.asyncore.dispatcher

    class Asked(base):  # type: ignore[misc]
        def readable(self) -> bool:
            crowd.log.append("asked")
            return False

    def handle_accepted(channel: Any, sock: Any, addr: Any) -> None:
        Asked(sock, stage.map)
        crowd.accept(sock)

    type(crowd.listener).handle_accepted = handle_accepted
    crowd.run(use_poll)
    assert set(crowd.between()) == {1}


@both_pollers
def test_a_listener_that_closes_itself_takes_no_more(stage: Stage, use_poll: bool) -> None:
    def handle_accepted(channel: Any, sock: Any, addr: Any) -> None:
        sock.close()
        channel.close()

    crowd = Crowd(stage, handle_accepted=handle_accepted)
    stage.asyncore.loop(1, use_poll, stage.map)
    assert crowd.listener.events == ["accepted"]


@both_pollers
def test_a_listener_that_fails_takes_the_next_one(stage: Stage, use_poll: bool) -> None:
    def handle_accepted(channel: Any, sock: Any, addr: Any) -> None:
        crowd.accept(sock)
        raise ZeroDivisionError

    crowd = Crowd(stage, handle_accepted=handle_accepted, handle_error=lambda channel: None)
    crowd.run(use_poll)
    assert crowd.listener.events.count(ZeroDivisionError) == CLIENTS - 1


@both_pollers
@pytest.mark.parametrize(
    "change",
    [
        lambda channel: setattr(channel, "accepting", False),
        lambda channel: setattr(channel, "readable", lambda: False),
        lambda channel: channel.del_channel(),
    ],
    ids=["no listener any more", "wants no more", "left"],
)
def test_a_listener_that_stops_takes_no_more(
    own: Stage, use_poll: bool, change: Callable[[Any], Any]
) -> None:
    def handle_accepted(channel: Any, sock: Any, addr: Any) -> None:
        sock.close()
        change(channel)
        waker.peer.sendall(b"x\n")

    crowd = Crowd(own, handle_accepted=handle_accepted)
    waker = own.chat(found_terminator=leave(own))
    with pytest.raises(own.asyncore.ExitNow):
        own.asyncore.loop(1, use_poll, own.map)
    assert crowd.listener.events.count("accepted") == 1


def leave(stage: Stage) -> Callable[[Any], None]:
    """A hook that ends the loop; nobody with it is asked on every pass."""

    def found_terminator(channel: Any) -> None:
        raise stage.asyncore.ExitNow

    return found_terminator


@both_pollers
def test_a_listener_that_finds_no_descriptor_rests(
    own: Stage, use_poll: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd = Crowd(own)
    accept, calls = crowd.listener.socket.accept, []

    class Exhausted:
        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

        def accept(self) -> Any:
            calls.append("accept")
            if len(calls) == 3:
                waker.peer.sendall(b"x\n")
                raise failure(errno.EMFILE)
            return accept()

    sock, crowd.listener.socket = crowd.listener.socket, Exhausted()
    waker = own.chat(found_terminator=leave(own))
    with pytest.raises(own.asyncore.ExitNow):
        own.asyncore.loop(1, use_poll, own.map)
    assert (len(calls), len(crowd.accepted)) == (3, 2)
    assert "Too many open files" in capsys.readouterr().out


@both_pollers
def test_a_new_channel_does_not_get_the_event_of_who_had_its_number(
    own: Stage, use_poll: bool
) -> None:
    fresh: list[Any] = []

    def handle_accepted(channel: Any, sock: Any, addr: Any) -> None:
        own.keep(sock)
        if not fresh:
            for number in [chat._fileno for chat in old]:
                old.pop(0).close()
                mine = own.at_number(sock, number)
                fresh.append(own.chat(sock=mine, handle_read=lambda channel: None))
            waker.peer.sendall(b"x\n")

    # First in the set, and so the first to hear of what happens.
    crowd = Crowd(own, handle_accepted=handle_accepted)
    old = [own.chat() for _ in range(3)]
    for chat in old:
        chat.peer.sendall(b"x\n")
    waker = own.chat(found_terminator=leave(own))
    with pytest.raises(own.asyncore.ExitNow):
        own.asyncore.loop(1, use_poll, own.map)
    assert crowd.listener.events
    assert [channel.events for channel in fresh] == [[], [], []]
