"""Scenarios about a server's attention: clients that want it to wait for them, or to spin."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Sequence

from bench.hostile.clients import (
    Plan,
    Readiness,
    answer_time,
    close_all,
    connect,
    is_over,
    wait_until,
    warm_up,
)
from bench.hostile.figures import Figure, count, seconds, share
from bench.hostile.server import Launch, Server

NEVER = float("inf")
# How many descriptors the server has left, and how many clients then wait for one.
_ROOM = 16
_URGENT = 50
# How many slow clients connect before the server is waited for.
_AT_ONCE = 100


def slowloris(launch: Launch, plan: Plan) -> Iterator[Figure]:
    """Half of the clients send a byte now and then, the others nothing; none ever closes."""
    deadline = f"{plan.deadline:g}"
    with launch.server("--line-timeout", deadline, "--idle-timeout", deadline) as server:
        warm_up(server.port)
        server.settle()
        before = server.descriptors()
        begun: dict[socket.socket, float] = {}
        try:
            for number in range(1, plan.slow + 1):
                now, client = time.monotonic(), connect(server.port)
                begun[client] = now
                _send_a_byte([client] if number % 2 else [])
                if number % _AT_ONCE == 0:  # a full backlog would put some off by a second
                    wait_until(lambda: server.descriptors() >= before + len(begun), 1.0)
            told, gone = _outlast(server, begun, plan.deadline, before)
        finally:
            close_all(begun)
    limits = f"{plan.slow} connections, line_timeout and idle_timeout {deadline} s"
    yield Figure(f"{limits}: a client is told the end after", told, seconds, plan.deadline + 1)
    what = f"{limits}: the server has closed all, counted from the last one, after"
    yield Figure(what, gone, seconds, plan.deadline + 1)


def _outlast(
    server: Server, begun: dict[socket.socket, float], deadline: float, before: int
) -> tuple[float, float]:
    """How long it took until the last client was told, and until the server had closed all.

    *begun* has when each began, and *before* is how many descriptors the server had without them.
    """
    last = max(begun.values())
    end = last + deadline + 3
    chatty = list(begun)[::2]
    often = min(1.0, deadline / 4)
    due = last + often
    told, gone = {}, NEVER
    ready = Readiness(begun)
    try:
        while gone == NEVER and time.monotonic() < end:
            if time.monotonic() >= due:
                due = time.monotonic() + often
                _send_a_byte(chatty)
            for client in ready.wait(0.02):
                if is_over(client):
                    ready.forget(client)
                    told[client] = time.monotonic() - begun[client]
            if not len(ready) and server.descriptors() <= before:
                gone = time.monotonic() - last
    finally:
        ready.close()
    return NEVER if len(told) < len(begun) else max(told.values()), gone


def _send_a_byte(clients: Sequence[socket.socket]) -> None:
    for client in clients:
        try:
            client.send(b"x")
        except OSError:
            pass  # that one has been told


def descriptors(launch: Launch, plan: Plan) -> Iterator[Figure]:
    """No descriptor is left for clients that wait; then one is, and then all are."""
    with launch.server() as server:
        warm_up(server.port)
        held: list[socket.socket] = []
        waiting: list[socket.socket] = []
        try:
            server.settle()
            server.leave_descriptors(_ROOM)
            for clients in (held, waiting):
                for _ in range(_ROOM):
                    clients.append(connect(server.port))
                    clients[-1].sendall(b"hello\n")
            served = _wait_for_answers(held, len(held), 5)
            used = server.cpu_share(plan.watch)
            beside = max(answer_time(client) for client in held)
            held.pop().close()
            one = _wait_for_answers(waiting, 1, 5)
            server.leave_descriptors(4 * _ROOM)
            others = _wait_for_answers(waiting, _ROOM, 5)
        finally:
            close_all(held + waiting)
    what = f"no descriptor for {_ROOM} that wait, watched for {plan.watch:g} s: the server takes"
    yield Figure(what, used, share, 0.05)
    yield Figure("meanwhile, slowest answer to who is connected", max(served, beside), seconds, 1)
    yield Figure("a connection ends, and one that waits is served after", one, seconds, 1)
    yield Figure("the limit is raised, and all that wait are served after", others, seconds, 1)


def _wait_for_answers(clients: Sequence[socket.socket], wanted: int, limit: float) -> float:
    """The seconds until so many *clients* have an answer, which is left there to be read."""
    return wait_until(lambda: sum(map(_has_input, clients)) >= wanted, limit, 0.002)


def _has_input(client: socket.socket) -> bool:
    poll = select.poll()
    poll.register(client, select.POLLIN)
    return bool(poll.poll(0))


def urgent(launch: Launch, plan: Plan) -> Iterator[Figure]:
    """Clients that send an urgent byte (MSG_OOB), which nobody reads, and then lines as ever."""
    with launch.server() as server:
        warm_up(server.port)
        clients = [connect(server.port) for _ in range(_URGENT)]
        try:
            for client in clients:
                client.send(b"!", socket.MSG_OOB)
            used = server.cpu_share(plan.watch)
            silent = sum(answer_time(client) == NEVER for client in clients)
        finally:
            close_all(clients)
    what = f"{_URGENT} urgent bytes wait, watched for {plan.watch:g} s: the server takes"
    yield Figure(what, used, share, 0.01)
    yield Figure(f"of {_URGENT} clients that go on with a line, not answered", silent, count, 0)
