"""The scenario of a stop under load, with the clients' own count as the witness.

What the server's kernel has acknowledged before the signal, as the client's own kernel says, is
received in full, and must be answered, also on connections that wait in the backlog.  The clients
go on with sending, so that the server never finds silence; what they send later is answered in
order, or not at all.  ``tests/random/stops.py`` is the same for requests of many shapes in flight;
here they come at a steady rate.
"""

from __future__ import annotations

import array
import fcntl
import socket
import termios
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.hostile.clients import PATIENCE, Plan, Readiness, close_all, connect, warm_up
from bench.hostile.figures import Figure, count, rate, seconds
from bench.hostile.server import Launch
from bench.serve.process import Failure

_GRACE = 8.0
_CONNECTIONS = 50
# The bytes of a request.
_SIZE = 9
# Which connect just before the signal; the second half of them sends no whole line.
_LATE = 10
_TICK = 0.005


@dataclass
class Client:
    """One connection: how many requests it has sent, and what it has got."""

    sock: socket.socket
    sent: int = 0
    # How many the server's kernel had before the signal.
    due: int = 0
    answered: int = 0
    got: bytearray = field(default_factory=bytearray)
    is_wrong: bool = False
    # It has sent half of a line, and sends no more.
    is_silent: bool = False

    def ask(self) -> None:
        """Send one request more, if the kernel takes it; the end is seen by ``read``."""
        if self.is_silent:
            return
        try:
            self.sock.send(_request(self.sent))
        except OSError:
            return
        self.sent += 1

    def acknowledged(self) -> int:
        """How many requests the server's kernel has, whole, at least: see tcp(7), SIOCOUTQ."""
        unsent = array.array("i", [0])
        fcntl.ioctl(self.sock, termios.TIOCOUTQ, unsent)
        return self.sent - -(-unsent[0] // _SIZE)

    def read(self) -> bool:
        """Take what there is; True at the end of the connection.  Raises ConnectionError."""
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return False
        self.got += data
        *lines, rest = bytes(self.got).split(b"\n")
        for line in lines:
            self.is_wrong |= line + b"\n" != _request(self.answered)
            self.answered += 1
        self.got[:] = rest
        return not data


def _request(number: int) -> bytes:
    return b"%0*d\n" % (_SIZE - 1, number)


def stop(launch: Launch, plan: Plan) -> Iterator[Figure]:
    """SIGTERM while requests come at a steady rate, several times."""
    found: Counter[str] = Counter()
    slowest, least = 0.0, float("inf")
    for _ in range(plan.rounds):
        with launch.server() as server:
            warm_up(server.port)
            clients = [Client(connect(server.port)) for _ in range(_CONNECTIONS)]
            try:
                least = min(least, _load(clients, plan))
                clients += _come_late(server.port)
                for client in clients:
                    client.due = 0 if client.is_silent else client.acknowledged()
                begun = time.monotonic()
                server.terminate()
                found += _go_on(clients, plan)
                found["statuses"] += server.status() != 0
                slowest = max(slowest, time.monotonic() - begun)
            finally:
                close_all(client.sock for client in clients)
    yield Figure(
        "requests before a signal, in the slowest round", least, rate, least=0.9 * plan.rate
    )
    what = f"of {found['due']:,} received in full before {plan.rounds} signals, not answered"
    yield Figure(what, found["lost"], count, 0)
    yield Figure("replies that are wrong or not whole", found["wrong"], count, 0)
    yield Figure("connections that are reset, or do not end", found["reset"], count, 0)
    yield Figure(f"of {plan.rounds} exit statuses, not 0", found["statuses"], count, 0)
    yield Figure("slowest end, after the signal", slowest, seconds, _GRACE)


def _come_late(port: int) -> list[Client]:
    """Clients that connect and send a request, or half of one, and do not wait for the server."""
    clients = [Client(connect(port)) for _ in range(_LATE)]
    for at, client in enumerate(clients):
        client.sock.setblocking(False)
        if at % 2:
            client.sock.send(b"half of a line")
            client.is_silent = True
        else:
            client.ask()
    return clients


def _load(clients: list[Client], plan: Plan) -> float:
    """Send requests at the rate of *plan* for its time; the rate that there was, by the second."""
    ready = Readiness(client.sock for client in clients)
    by_socket = {client.sock: client for client in clients}
    try:
        for client in clients:
            client.sock.setblocking(False)
        begun, sent = time.monotonic(), 0
        while (now := time.monotonic()) < begun + plan.seconds:
            wanted = int((now - begun) * plan.rate)
            for number in range(sent, wanted):
                clients[number % len(clients)].ask()
            sent = wanted
            for sock in ready.wait(0):
                if by_socket[sock].read():
                    raise Failure("the server has ended a connection before the signal")
            time.sleep(max(0.0, now + _TICK - time.monotonic()))
    finally:
        ready.close()
    return sum(client.sent for client in clients) / (time.monotonic() - begun)


def _go_on(clients: list[Client], plan: Plan) -> Counter[str]:
    """Go on until the server has ended all connections; what is to be counted of them."""
    ready = Readiness(client.sock for client in clients)
    left = {client.sock: client for client in clients}
    broken = 0
    end = time.monotonic() + PATIENCE
    try:
        begun, sent = time.monotonic(), 0
        while left and (now := time.monotonic()) < end:
            for client in list(left.values())[: int((now - begun) * plan.rate) - sent]:
                client.ask()
                sent += 1
            for sock in ready.wait(_TICK):
                try:
                    is_over = left[sock].read()
                except ConnectionError:
                    is_over = True
                    broken += 1
                if is_over:
                    ready.forget(sock)
                    del left[sock]
                    sock.close()
    finally:
        ready.close()
    return Counter(
        due=sum(client.due for client in clients),
        lost=sum(max(0, client.due - client.answered) for client in clients),
        wrong=sum(client.is_wrong or bool(client.got) for client in clients),
        reset=broken + len(left),
    )
