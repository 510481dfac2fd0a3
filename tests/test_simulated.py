"""The simulated network itself: that it does what Linux does with pairs of Unix sockets.

What is asked of both is what the loop and its channels ask: see ``simulated.py``.
"""

from __future__ import annotations

import errno
import random
import socket
import sys
from typing import Any

import pytest

from tests.support.channels import Stage
from tests.support.simulated import READ, WRITE, Network, Poller, SimulatedSystem

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="what is simulated is Linux")

ACTIONS = ("send", "send", "recv", "recv", "recv little", "half", "deaf", "close", "error")


def _outcome(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except OSError as failure:
        return errno.errorcode[failure.errno or 0]


def _act(pair: list[Any], which: int, action: str) -> Any:
    sock = pair[which]
    match action:
        case "send":
            return _outcome(sock.send, b"12345")
        case "recv":
            return _outcome(sock.recv, 100)
        case "recv little":
            return _outcome(sock.recv, 2)
        case "half":
            return _outcome(sock.shutdown, socket.SHUT_WR)
        case "deaf":
            return _outcome(sock.shutdown, socket.SHUT_RD)
        case "error":
            return _outcome(sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
    return _outcome(sock.close)


@needs_linux
@pytest.mark.parametrize("seed", range(200))
def test_what_happens_to_a_pair_is_what_linux_does(own: Stage, seed: int) -> None:
    draw = random.Random(seed)
    real = list(socket.socketpair())
    network = Network()
    simulated: list[Any] = list(network.pair())
    pollers = [own.implementation.core["pollers"].Epoll(), Poller(network)]
    try:
        for pair, poller in zip((real, simulated), pollers, strict=True):
            for sock in pair:
                sock.setblocking(False)
                poller.register(sock.fileno(), READ | WRITE)
        history = []
        for _ in range(12):
            which, action = draw.randrange(2), draw.choice(ACTIONS)
            history.append((which, action))
            outcomes, events = [], []
            for pair, poller in zip((real, simulated), pollers, strict=True):
                outcomes.append(_act(pair, which, action))
                ends = {sock.fileno(): at for at, sock in enumerate(pair)}
                events.append({ends[fd]: flags for fd, flags in poller.wait(0)})
            assert outcomes[0] == outcomes[1], f"seed {seed}: {history}"
            assert events[0] == events[1], f"seed {seed}: {history}"
    finally:
        pollers[0].close()
        for sock in real:
            sock.close()


def test_a_stream_is_bounded_and_has_room_again_when_it_is_read() -> None:
    network = Network()
    one, two = network.pair(room=100)
    assert one.send(bytes(150)) == 100
    with pytest.raises(BlockingIOError):
        one.send(b"x")
    poller = Poller(network)
    poller.register(one.fileno(), WRITE)
    assert poller.wait(0) == []
    assert two.recv(1000) == bytes(100)
    assert poller.wait(0) == [(one.fileno(), WRITE)]


def test_the_lowest_free_number_is_next() -> None:
    network = Network()
    one, two = network.pair()
    three = one.dup()
    assert (one.fileno(), two.fileno(), three.fileno()) == (3, 4, 5)
    two.close()
    one.close()
    assert [network.listener().fileno() for _ in range(3)] == [3, 4, 6]


def test_a_duplicate_keeps_a_registration_of_a_number_that_was_closed() -> None:
    network = Network()
    one, two = network.pair()
    poller = Poller(network)
    poller.register(3, READ)
    copy = one.dup()
    one.close()
    two.send(b"x")
    assert poller.wait(0) == [(3, READ)]
    assert not poller.unregister(3)
    copy.close()
    assert poller.wait(0) == []


def test_clients_of_a_listener() -> None:
    network = Network()
    listener = network.listener(backlog=1)
    poller = Poller(network)
    poller.register(listener.fileno(), READ)
    assert poller.wait(0) == []
    clients = [network.connect(listener) for _ in range(2)]
    with pytest.raises(BlockingIOError):
        network.connect(listener)
    assert poller.wait(0) == [(listener.fileno(), READ)]
    taken, _ = listener.accept()
    taken.send(b"hello")
    assert clients[0].recv(10) == b"hello"
    listener.close()
    with pytest.raises(ConnectionResetError):
        clients[1].recv(10)
    with pytest.raises(ConnectionRefusedError):
        network.connect(listener)


def test_the_clock_moves_when_nothing_happens_and_only_then() -> None:
    network = Network()
    one, two = network.pair()
    poller = Poller(network)
    poller.register(one.fileno(), READ)
    poller.wait(1500)
    assert network.now == 1.5
    two.send(b"x")
    poller.wait(1500)
    assert network.now == 1.5
    one.recv(1)
    with pytest.raises(AssertionError, match="without end"):
        poller.wait(-1)


@pytest.mark.parametrize("use_poll", [False, True])
def test_a_listener_without_descriptors_rests_by_the_clock_of_its_loop(
    own: Stage, use_poll: bool
) -> None:
    network = Network()
    asyncore = own.asyncore
    map = asyncore.channel_map()
    map._fc_system = SimulatedSystem(network, own.implementation.core)
    times = []

    class Exhausted:
        """A listener for which there is no descriptor left."""

        def __init__(self) -> None:
            self._listener = network.listener()
            network.connect(self._listener)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._listener, name)

        def accept(self) -> Any:
            times.append(network.now)
            raise OSError(errno.EMFILE, "none left")

    channel = asyncore.dispatcher(None, map)
    channel.log_info = lambda *args: None
    channel.set_socket(Exhausted())
    channel.listen(5)
    try:
        asyncore.loop(30, use_poll, map, 6)
    finally:
        asyncore._family.resting.clear()
        channel.close()
    assert len(times) >= 2
    assert times[1] - times[0] == pytest.approx(0.5, abs=0.01)
