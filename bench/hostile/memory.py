"""Scenarios about memory: what a server holds for clients that want it to hold all it can.

What a process grows by is compared with what it has after an ordinary client, so that nobody pays
for what is loaded when it is first needed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from bench.hostile.channels import PIECE
from bench.hostile.clients import (
    PATIENCE,
    Plan,
    answer_time,
    close_all,
    connect,
    wait_until,
    warm_up,
)
from bench.hostile.figures import Figure, count, kib, seconds
from bench.hostile.server import Launch, Server
from fastchat import LineChannel

# What may be held beside what a limit names: a read, and what is made of it.
BESIDE = 128 * 1024
_MAX_LINE = LineChannel.max_line or 0
_MAX_OUTPUT = LineChannel.max_output or 0

# How long a client that sends sees no progress before it believes that the server reads no more.
_STALLED = 1.0
# Of greedy connections every tenth is modest: how many pieces these want, and the others.
_MODEST, _GREEDY = 4, 32
# What a connection may have beyond what max_memory counts: a piece whose beginning has been sent.
_BY_CONNECTION = PIECE


def flood(launch: Launch, plan: Plan) -> Iterator[Figure]:
    """A line without an end, to a server that closes for it, and to one that drops it."""
    for does, channel in (("closes", ""), ("drops it", "bench.hostile.channels:Patient")):
        if launch.rival and channel:
            return
        to = "" if launch.rival else f" to a server that {does}"
        for gives_back in (True, False):
            with launch.server(channel=channel, gives_back=gives_back) as server:
                warm_up(server.port)
                server.begin()
                connections = _pour(server, plan.bytes)
            what = f"{plan.bytes / 1e6:,.0f} MB without a line end{to}, connections {connections}"
            yield _growth(what, server, _MAX_LINE + BESIDE, gives_back)


def _growth(what: str, server: Server, most: int, gives_back: bool) -> Figure:
    """What the memory of *server* has grown by: judged where the C library *gives_back* all."""
    looks = f"(most of {server.looks:,} looks)"
    if gives_back:
        return Figure(f"{what}: memory grows by {looks}", server.grown, kib, most)
    return Figure(f"{what}: and with what the C library keeps {looks}", server.grown, kib)


def _pour(server: Server, total: int) -> int:
    """Send so many bytes, by as many connections as that takes; returns how many."""
    block, sent, connections = b"x" * PIECE, 0, 0
    while sent < total:
        connections += 1
        with connect(server.port) as client:
            try:
                while sent < total:
                    sent += client.send(block)
                    server.look()
                server.settle()  # so that it has received what the kernel held
                server.look()
            except ConnectionError:
                pass  # the server has had enough
    return connections


def unread(launch: Launch, plan: Plan) -> Iterator[Figure]:
    """Clients that never read: one pipelines lines, the other has asked for a feed."""
    most = _MAX_OUTPUT + BESIDE
    for gives_back in (True, False):
        echo = launch.server(gives_back=gives_back)
        with echo as server, connect(server.port, is_narrow=True) as client:
            warm_up(server.port)
            server.begin()
            sent = _pipeline(server, client, plan.bytes)
        what = f"{sent / 1e6:,.1f} MB of lines are taken, and no reply is read"
        yield _growth(what, server, most, gives_back)
    if launch.rival:
        return
    for gives_back in (True, False):
        feed = launch.server(channel="bench.hostile.channels:Feed", gives_back=gives_back)
        with feed as server, connect(server.port, is_narrow=True) as client:
            warm_up(server.port)
            _feed(server, client, most)
        yield _growth("a feed is never read", server, most, gives_back)


def _feed(server: Server, client: socket.socket, most: int) -> None:
    """Ask for four times max_output, bit by bit, until memory has grown too much, or that ends."""
    answer_time(client)
    server.begin()
    connected = server.descriptors()
    client.sendall(b"%d slowly\n" % (4 * _MAX_OUTPUT // PIECE))

    def is_over() -> bool:
        return server.look() > most + PIECE or server.descriptors() < connected

    wait_until(is_over, PATIENCE, 0.001)


def _pipeline(server: Server, client: socket.socket, total: int) -> int:
    """Send lines until the server takes no more, or *total* bytes; returns how many it took."""
    client.settimeout(_STALLED)
    lines, sent = b"%s\n" % (b"x" * 31) * 2048, 0
    try:
        while sent < total:
            server.look()
            sent += client.send(lines)  # in the midst of a line it goes on with the next
    except OSError:
        pass  # it takes no more, or has ended the connection
    server.settle()
    server.look()
    return sent


def greedy(launch: Launch, plan: Plan) -> Iterator[Figure]:
    """Many connections that let output wait, against max_memory; who holds little is spared."""
    feed = launch.server(f"--max-memory={plan.max_memory}", channel="bench.hostile.channels:Feed")
    with feed as server:
        warm_up(server.port)
        with connect(server.port) as steady:
            slowest = answer_time(steady)
            server.begin()
            clients = [connect(server.port, is_narrow=True) for _ in range(plan.greedy)]
            try:
                modest, others = clients[::10], [each for at, each in enumerate(clients) if at % 10]
                _ask(modest, _MODEST)
                slowest = max(slowest, answer_time(steady))  # so they have got what they want
                connected = server.descriptors()
                for at in range(0, len(others), 10):
                    _ask(others[at : at + 10], _GREEDY)
                    server.look()
                    slowest = max(slowest, answer_time(steady))
                    server.look()
                gone = connected - server.descriptors()
                ended = sum(not _has_all(client, _MODEST * PIECE) for client in modest)
            finally:
                close_all(clients)
    wanted = (len(modest) * _MODEST + len(others) * _GREEDY) * PIECE
    yield Figure(
        f"{plan.greedy} connections that want {kib(wanted)} to wait, max_memory"
        f" {kib(plan.max_memory)}: memory grows by",
        *(server.grown, kib, plan.max_memory + BESIDE + plan.greedy * _BY_CONNECTION),
    )
    yield Figure(f"of {len(others)} that hold most, ended", gone - ended, count, least=1)
    yield Figure(f"of {len(modest)} that hold a few KiB, ended", ended, count, most=0)
    yield Figure("slowest answer to a client beside them", slowest, seconds, most=1)


def _ask(clients: list[socket.socket], pieces: int) -> None:
    for client in clients:
        client.sendall(b"%d\n" % pieces)


def _has_all(client: socket.socket, size: int) -> bool:
    """Whether *client* gets so many bytes, now that it reads."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    try:
        while size > 0:
            data = client.recv(min(size, 1 << 20))
            if not data:
                return False
            size -= len(data)
    except OSError:
        return False
    return True
