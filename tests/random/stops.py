"""SIGTERM for a server under load: every request that it had received in full is answered.

Clients keep requests in flight, each in its own thread.  The witness is theirs: what the server's
kernel had acknowledged before the signal was sent, as the client's own kernel says, is received in
full, and must be answered, in order and before an orderly end; the exit status must be 0, and come
within the grace period.

``python -m tests.random.stops --times 20`` is the long run; the suite does a short one.  Wants
Linux, which says how much was acknowledged.
"""

from __future__ import annotations

import argparse
import array
import random
import sys
import threading
import time

from tests.support.channels import PATIENCE
from tests.support.implementations import FASTCHAT
from tests.support.servers import ECHO, connected, program

if sys.platform != "win32":
    import fcntl
    import termios

GRACE = 8.0  # seconds
CLIENTS = 8
# What all clients have sent before the signal comes.
REQUESTS = 2000

SERVER = (
    ECHO
    + """
    class Upper(fastchat.LineChannel):
        def line_received(self, line):
            return line.upper()

    sys.exit(fastchat.serve(Upper if len(sys.argv) > 1 else Echo, "127.0.0.1:0", on_start=ready))
"""
)


class Client:
    """Sends numbered requests, *window* of them in flight, until the server ends."""

    def __init__(self, address: str, window: int, size: int, is_upper: bool) -> None:
        self.sock = connected(address)
        self.fault: str | None = None
        self.sent = 0  # bytes that were given to the kernel
        self.answered = 0
        self._window = window
        self._size = size
        self._is_upper = is_upper
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def acknowledged(self) -> int:
        """How many requests the server's kernel has, whole, at least."""
        assert sys.platform != "win32"
        with self._lock:
            unsent = array.array("i", [0])
            fcntl.ioctl(self.sock, termios.TIOCOUTQ, unsent)
            return (self.sent - unsent[0]) // self._size

    def _request(self, number: int) -> bytes:
        return b"x%0*d\r\n" % (self._size - 3, number)

    def _run(self) -> None:
        with self.sock:  # closed when the server has ended it, which that waits for
            self._talk()

    def _talk(self) -> None:
        received = b""
        number = 0
        while True:
            if number - self.answered < self._window:
                request = self._request(number)
                number += 1
                try:
                    with self._lock:
                        self.sent += self.sock.send(request)
                except OSError:
                    pass  # it has ended, and what it has said is still to be read
                if number - self.answered < self._window:
                    continue
            try:
                data = self.sock.recv(65536)
            except OSError as failure:
                self.fault = f"it was not ended in order: {failure}"
                return
            if not data:
                if received:
                    self.fault = f"a part of a reply is the last: {received!r}"
                return
            *replies, received = (received + data).split(b"\r\n")
            for reply in replies:
                expected = self._request(self.answered)[:-2]
                if reply != (expected.upper() if self._is_upper else expected):
                    self.fault = f"{reply!r} is the answer to {expected!r}"
                    return
                self.answered += 1


def fault_of(name: str, seed: int) -> str | None:
    """What is wrong with one stop of the implementation *name*, or None."""
    chosen = random.Random(seed)
    is_upper = chosen.random() < 0.5
    argv = ["upper"] if is_upper else []
    with program(SERVER, name, argv=argv) as server:
        address = server.line()
        clients = [
            Client(address, chosen.choice([1, 4, 64]), chosen.randrange(8, 200), is_upper)
            for _ in range(CLIENTS)
        ]
        try:
            end = time.monotonic() + PATIENCE
            while sum(client.answered for client in clients) < REQUESTS:
                if time.monotonic() > end:
                    return "the clients are not answered"
            # Not all at one moment, but each before the signal is sent.
            acknowledged = [client.acknowledged() for client in clients]
            server.signal()
            begin = time.monotonic()
            status = server.status()
            took = time.monotonic() - begin
            for client in clients:
                client.thread.join(PATIENCE)
        finally:
            server.process.kill()  # which lets them end, if anything has failed
            for client in clients:
                client.thread.join()
    for client, count in zip(clients, acknowledged, strict=True):
        if client.fault is not None:
            return client.fault
        if client.answered < count:
            return f"{count} requests were received in full, and {client.answered} answered"
    if status or took > GRACE:
        return f"the exit status is {status}, after {took:.2f} s"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--implementation", choices=FASTCHAT, action="append")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    for name in options.implementation or FASTCHAT:
        for number in range(options.times):
            fault = fault_of(name, options.seed + number)
            if fault is not None:
                again = f"--implementation {name} --seed {options.seed + number} --times 1"
                sys.exit(f"{again}: {fault}")
        print(f"{name}: {options.times} stops, and no reply was dropped")


if __name__ == "__main__":
    main()
