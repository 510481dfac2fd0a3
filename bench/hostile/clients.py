"""What the clients of several scenarios do.

All wait in one thread, for one selector, and for no longer than ``PATIENCE`` seconds.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.serve.process import Failure

LOCAL = "127.0.0.1"
PATIENCE = 60.0


@dataclass(frozen=True)
class Plan:
    """How large the scenarios are: see the options of the command."""

    bytes: int = 200_000_000
    slow: int = 2_000
    deadline: float = 5.0
    greedy: int = 500
    max_memory: int = 256 * 2**20
    watch: float = 2.0
    rate: int = 10_000
    seconds: float = 1.0
    rounds: int = 20


def connect(port: int, *, is_narrow: bool = False) -> socket.socket:
    """A connection; where it *is_narrow*, the kernels take some 100 KiB that nobody reads.

    On the loopback, whose segments are large, they take megabytes else, and not the server.

    Raises Failure where there is none in time.
    """
    client = socket.socket()
    client.settimeout(PATIENCE)
    if is_narrow:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1024)
    try:
        client.connect((LOCAL, port))
    except OSError as failure:
        client.close()
        raise Failure(f"cannot connect to port {port}: {failure}") from failure
    return client


def close_all(clients: Iterable[socket.socket]) -> None:
    for client in clients:
        client.close()


def answer_time(client: socket.socket, line: bytes = b"hello\n") -> float:
    """The seconds in which *line* comes back; infinite where it does not."""
    begun = time.monotonic()
    got = b""
    try:
        client.sendall(line)
        while len(got) < len(line):
            data = client.recv(len(line) - len(got))
            if not data:
                break
            got += data
    except OSError:
        pass
    return time.monotonic() - begun if got == line else float("inf")


def warm_up(port: int) -> None:
    """Let the server do what it does for every client.  Raises Failure where it does not."""
    with connect(port) as client:
        if answer_time(client) == float("inf"):
            raise Failure("the server does not answer a line")


def is_over(client: socket.socket) -> bool:
    """Whether the server has ended the connection; what it has sent is dropped."""
    client.setblocking(False)
    try:
        while client.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def wait_until(condition: Callable[[], bool], limit: float, every: float = 0.01) -> float:
    """The seconds until *condition* holds; infinite where it does not within *limit*."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > limit:
            return float("inf")
        time.sleep(every)
    return time.monotonic() - begun


class Readiness:
    """Which of many clients have something to be read."""

    def __init__(self, clients: Iterable[socket.socket]) -> None:
        self._by_fd = {client.fileno(): client for client in clients}
        self._poll = select.epoll()
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)

    def wait(self, timeout: float) -> list[socket.socket]:
        """Those that have something, or have ended, after at most *timeout* seconds."""
        return [self._by_fd[fd] for fd, _ in self._poll.poll(max(0.0, timeout))]

    def forget(self, client: socket.socket) -> None:
        self._poll.unregister(client)
        del self._by_fd[client.fileno()]

    def __len__(self) -> int:
        return len(self._by_fd)

    def close(self) -> None:
        self._poll.close()
