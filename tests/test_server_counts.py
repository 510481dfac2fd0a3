"""``Server.stats().channels``: what the channels of each class have done, to the byte and line."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Stage
from tests.support.servers import LOCAL, channels, client_of, received, server_of


def counts(server: Any) -> Any:
    """Those of the only class."""
    (found,) = server.stats().channels
    return found


def asked(stage: Stage, server: Any, *chunks: bytes) -> bytes:
    """What a client gets that sends *chunks*, each by itself, and then ends its input."""
    client = client_of(stage, server)
    for chunk in chunks:
        client.sendall(chunk)
        stage.loop(3, use_poll=True)
    client.shutdown(socket.SHUT_WR)
    answer = received(stage, client)
    stage.loop(3, use_poll=True)
    return answer


def batch(channel: Any, lines: list[bytes]) -> list[bytes]:
    return lines


@pytest.mark.parametrize("members", [{}, {"lines_received": batch}], ids=["each", "batch"])
def test_lines_and_bytes_are_counted(own: Stage, members: Any) -> None:
    kind = channels(own, **members)
    server = server_of(own, kind)
    assert asked(own, server, b"one\r\ntwo\r\nth", b"ree\r\nrest") == b"one\r\ntwo\r\nthree\r\n"
    found = counts(server)
    assert (found.lines, found.received, found.sent) == (3, 21, 17)
    assert (found.open, found.accepted) == (0, 1)
    assert found.name == f"{kind.__module__}.{kind.__qualname__}"


def test_a_class_is_there_from_the_start(own: Stage) -> None:
    server = own.implementation.server.Server(channels(own), LOCAL, map=own.map)
    assert counts(server).accepted == 0
    assert server.stats().max_connections is None
    assert server.stats().max_memory == 256 * 2**20
    unlimited = own.implementation.server.Server(channels(own), LOCAL, max_memory=None)
    assert unlimited.stats().max_memory is None
    server.start()
    own.at_the_end(server.abort)
    assert server.stats().max_connections > 0


def test_each_class_that_a_function_makes(own: Stage) -> None:
    kinds = [channels(own), channels(own)]
    kinds[1].__qualname__ = "Other"
    made = iter(kinds)
    server = server_of(own, lambda sock, map: next(made)(sock, map))
    assert server.stats().channels == ()
    asked(own, server, b"one\r\n")
    asked(own, server, b"a\r\nb\r\n")
    assert [(each.name.rpartition(".")[2], each.lines) for each in server.stats().channels] == [
        ("Recorded", 1),
        ("Other", 2),
    ]
    assert server.stats().accepted == 2


def test_a_line_that_a_stop_holds_back_counts_when_it_is_given(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.pause_reading()

    kind = channels(own, line_received=line_received)
    server = server_of(own, kind)
    client = client_of(own, server)
    client.sendall(b"one\r\ntwo\r\nthree\r\n")
    for number in range(1, 4):
        own.until(lambda: kind.made and counts(server).lines, use_poll=True)
        own.loop(3, use_poll=True)
        assert counts(server).lines == number
        kind.made[0].resume_reading()
        own.loop(3, use_poll=True)


def pause(channel: Any) -> None:
    channel.pause_reading()
    channel.call_later(0, channel.resume_reading)


def unread(channel: Any) -> None:
    channel.unread(b"")


def limit(channel: Any) -> None:
    channel.max_line += 1


def close(channel: Any) -> None:
    channel.close()


def fail(channel: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("stop", "given"), [(pause, 5), (unread, 5), (limit, 5), (fail, 2), (close, 2)]
)
def test_each_line_before_a_stop_is_counted(
    own: Stage, stop: Callable[[Any], object], given: int
) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        if line == b"stop":
            stop(channel)

    server = server_of(own, channels(own, line_received=line_received))
    client = client_of(own, server)
    client.sendall(b"one\r\nstop\r\nthree\r\nstop\r\nfive\r\n")
    own.loop(20, use_poll=True)
    assert counts(server).lines == given


def test_bodies_and_raw_input_are_no_lines(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        channel.receive_exactly(5)

    server = server_of(own, channels(own, line_received=line_received))
    asked(own, server, b"one\r\n12345two\r\n1", b"2345")
    assert (counts(server).lines, counts(server).received) == (2, 20)


def test_lines_that_are_too_long(own: Stage) -> None:
    kind = channels(own, max_line=5)
    server = server_of(own, kind)
    assert asked(own, server, b"123456\r\nshort\r\n1234567", b"89\r\n") == b"short\r\n"
    assert counts(server).lines_too_long == 2
    assert counts(server).lines == 1


def test_output_that_the_kernel_takes_bit_by_bit(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        return b"x" * 4_000_000

    server = server_of(own, channels(own, line_received=line_received))
    assert len(asked(own, server, b"go\r\n")) == 4_000_002
    assert counts(server).sent == 4_000_002


def test_output_above_the_limit(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        return b"x" * 20_000_000

    server = server_of(own, channels(own, line_received=line_received))
    asked(own, server, b"go\r\n")
    assert counts(server).over_max_output == 1


def test_exceptions_that_leave_hooks(own: Stage) -> None:
    def fail(channel: Any, *arguments: Any) -> None:
        raise ZeroDivisionError

    kind = channels(own, line_received=fail, connection_lost=fail)
    server = server_of(own, kind)
    asked(own, server, b"one\r\ntwo\r\n")
    own.loop(3, use_poll=True)
    assert counts(server).hook_errors == 2
    alone = channels(own, line_received=fail, connection_lost=fail, max_line=5, max_output=10)
    for sent in (b"one\r\n", b"123456"):  # a channel that nobody counts does the same
        mine, peer = own.pair()
        channel = alone(mine, own.map)
        own.at_the_end(channel.abort)
        peer.sendall(sent)
        own.loop(3, use_poll=True)
        channel.send(b"x" * 20_000_000)
        own.loop(3, use_poll=True)


def test_every_byte_of_random_clients_is_counted(own: Stage) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    server = server_of(own, channels(own, lines_per_pass=3))
    lines = received_bytes = 0
    for _ in range(30):
        data = b"".join(
            [b"x" * chance.randrange(50) + b"\r\n" for _ in range(chance.randrange(20))]
        )
        cut = sorted([chance.randrange(len(data) + 1) for _ in range(chance.randrange(4))])
        pieces = [data[i:j] for i, j in zip([0, *cut], [*cut, len(data)], strict=True)]
        assert asked(own, server, *pieces) == data
        lines += data.count(b"\r\n")
        received_bytes += len(data)
        found = counts(server)
        assert (found.lines, found.received, found.sent) == (lines, received_bytes, received_bytes)


def test_another_thread_sees_counters_that_only_grow(own: Stage) -> None:
    def line_received(channel: Any, line: bytes) -> bytes:
        channel.pause_reading()
        channel.call_later(0, channel.resume_reading)
        return line

    server = server_of(own, channels(own, line_received=line_received))
    is_over = threading.Event()
    seen: list[Any] = []

    def look() -> None:
        while not is_over.is_set():
            found = counts(server)
            seen.append((found.lines, found.received, found.sent, found.accepted))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(20):
            asked(own, server, b"a\r\nb\r\nc\r\n" * 3)
    finally:
        is_over.set()
        thread.join()
    for column in zip(*seen, strict=True):
        assert list(column) == sorted(column)
