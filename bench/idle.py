"""What idle connections of a ``LineChannel`` cost, with all deadlines armed: memory, and CPU time.

``python -m bench.idle`` serves 10,000 connections of another process, over TCP, in one loop.  The
memory is that which the process has more of, by connection, sockets of the kernel not counted; the
CPU time is that of a loop in which nothing comes but deadlines, over the time that went by.  Linux
only, for the memory is read from ``/proc``.
"""

from __future__ import annotations

import argparse
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fastchat
from fastchat import LineChannel, asyncore

# Descriptors that are needed beside those of connections.
OTHERS = 64


class Echo(LineChannel):
    """A server's side, with the limits that a channel has by default."""

    def lines_received(self, lines: list[bytes]) -> list[bytes]:
        return lines


class Listener(asyncore.dispatcher):
    """Takes connections."""

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        Echo(sock)


def memory() -> int:
    """The bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def measure(connections: int, seconds: float) -> tuple[float, float]:
    """The bytes of a connection, and the share of a CPU that all take for so many *seconds*."""
    listener = Listener()
    listener.create_socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    port = listener.socket.getsockname()[1]
    before = memory()
    command = [sys.executable, "-m", "bench.idle", "--connect", str(port), str(connections)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as clients:
        while len(asyncore.socket_map) <= connections and clients.poll() is None:
            asyncore.loop(0.1, True, count=1)
        if clients.poll() is not None:
            raise SystemExit("idle: the connections could not be made")
        asyncore.loop(0, True, count=4)
        each = (memory() - before) / connections
        worked, begun = time.process_time(), time.monotonic()
        while time.monotonic() < begun + seconds:
            asyncore.loop(begun + seconds - time.monotonic(), True, count=1)
        share = (time.process_time() - worked) / (time.monotonic() - begun)
        asyncore.close_all()
        clients.communicate()
    return each, share


def connect(port: int, connections: int) -> None:
    """Have so many *connections* until the standard input ends."""
    made = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    sys.stdin.read()
    for sock in made:
        sock.close()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000, help="how many; 10,000")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long they idle; 10")
    parser.add_argument("--connect", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    connections = options.connect[1] if options.connect else options.connections
    wanted = connections + OTHERS
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= most < wanted:
        parser.error(f"{connections} connections are too many: {most} descriptors may be open")
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    if options.connect:
        connect(*options.connect)
        return
    each, share = measure(connections, options.seconds)
    print(
        f"{connections} idle connections, {fastchat.implementation}: "
        f"{each:,.0f} bytes each, {share:.2%} of a CPU"
    )


if __name__ == "__main__":
    main()
