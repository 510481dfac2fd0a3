"""Held output: what hooks push leaves in one send, how much of it, and what is not bytes.

Nobody can tell but by counting; tests/support/coalescing.py has the socket that does.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, has_nothing, received
from tests.support.coalescing import do_nothing, drained, echo, serve


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"one"], id="one line"),
        pytest.param([b"one", b"two", b"three"], id="three lines"),
        pytest.param([b"%d" % number for number in range(500)], id="many lines"),
    ],
)
@pytest.mark.parametrize("rest", [b"", b"unfinished"], ids=["whole", "unfinished"])
def test_what_hooks_push_leaves_in_one_send(own: Stage, lines: list[bytes], rest: bytes) -> None:
    replies = b";".join([*lines, b""])
    chat = serve(own, echo)
    own.feed(chat, b"\n".join([*lines, rest]))
    assert chat.sends == [replies]
    assert received(chat.peer, len(replies)) == replies
    assert has_nothing(chat.peer)


def test_what_hooks_push_leaves_in_one_send_from_collect_incoming_data_too(own: Stage) -> None:
    chat = serve(own, do_nothing)
    type(chat).collect_incoming_data = lambda chat, data: chat.push(data + b",")
    own.feed(chat, b"one\ntwo\nthr", b"ee\nfour\n")
    assert chat.sends == [b"one,two,thr,", b"ee,four,"]


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n", 4, (b"\n", b"\r\n")], ids=repr)
def test_what_hooks_push_leaves_in_one_send_whatever_the_terminator(
    own: Stage, terminator: Any
) -> None:
    def hook(chat: Any, line: bytes) -> None:
        echo(chat, line)
        chat.set_terminator(terminator)

    end = b"" if terminator == 4 else b"\r\n" if terminator == b"\r\n" else b"\n"
    chat = serve(own, hook)
    chat.set_terminator(terminator)
    own.feed(chat, end.join([b"1234", b"5678", b"9012", b""]))
    assert chat.sends == [b"1234;5678;9012;"]


@pytest.mark.parametrize("before", [b"", b"zero\nhalf\n"], ids=["alone", "pipelined"])
def test_nothing_is_held_for_the_last_of_the_input(own: Stage, before: bytes) -> None:
    arrived: list[bytes] = []

    def hook(chat: Any, line: bytes) -> None:
        if line != b"last":
            echo(chat, line)
            return
        held = before.replace(b"\n", b";")
        for reply in (b"a", b"b", b"c"):
            chat.push(reply)
            assert chat.sends[-1:] == [held + reply]  # or it would wait here for nothing
            arrived.append(received(chat.peer, len(held + reply)))
            held = b""

    chat = serve(own, hook)
    own.feed(chat, before + b"last\n")
    assert chat.sends == arrived
    assert len(arrived) == 3
    assert b"".join(arrived) == before.replace(b"\n", b";") + b"abc"


def test_nothing_is_held_for_the_last_of_what_a_hook_received(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.discard_buffers()
            chat.peer.sendall(b"two\n")
            chat.handle_read()
            assert chat.sends == [b"two;"]
        else:
            echo(chat, line)

    chat = serve(own, hook)
    own.feed(chat, b"one\nnever\n")
    assert chat.sends == [b"two;"]
    assert AssertionError not in chat.events


def test_nothing_is_held_for_the_last_of_the_input_without_an_end(own: Stage) -> None:
    chat = serve(own, do_nothing)

    def collect(chat: Any, data: bytes) -> None:
        chat.push(data)
        assert chat.sends == [data]
        chat.push(b"!")
        assert chat.sends == [data, b"!"]

    type(chat).collect_incoming_data = collect
    own.feed(chat, b"unfinished")
    assert chat.sends == [b"unfinished", b"!"]
    assert received(chat.peer, 11) == b"unfinished!"


# How much is held.


def test_as_much_is_held_as_one_send_may_take(own: Stage) -> None:
    chat = serve(own, lambda chat, line: chat.push(line))
    chat.ac_out_buffer_size = 10
    own.feed(chat, b"aaaa\nbbbb\ncccc\ndddd\neeee\n")
    assert chat.sends == [b"aaaabbbb", b"ccccdddd", b"eeee"]


def test_exactly_the_size_of_the_output_buffer_is_held(own: Stage) -> None:
    chat = serve(own, lambda chat, line: chat.push(line))
    chat.ac_out_buffer_size = 8
    own.feed(chat, b"aaaa\nbbbb\ncccc\ndddd\n")
    assert chat.sends == [b"aaaabbbb", b"ccccdddd"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_no_send_is_given_more_than_the_output_buffer(own: Stage, size: int) -> None:
    chat = serve(own, lambda chat, line: chat.push(line), ac_out_buffer_size=size)
    words = [b"a", b"bb", b"ccccc", b"dddd", b"eeeeeeeeeee", b"f"]
    chat.peer.sendall(b"\n".join([*words, b""]))
    own.loop(timeout=PATIENCE)
    assert drained(own, chat) == b"".join(words)
    assert max(map(len, chat.sends)) <= size


def test_what_is_larger_than_the_output_buffer_comes_behind_what_is_held(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"ab")
            chat.push(b"0123456789")
            assert chat.sends == [b"ab", b"0123"]
            chat.push(b"cd")

    chat = serve(own, hook, ac_out_buffer_size=4)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert drained(own, chat) == b"ab0123456789cd"
    assert max(map(len, chat.sends)) <= 4


def test_the_size_of_the_output_buffer_may_change_at_any_time(own: Stage) -> None:
    chat = serve(own, lambda chat, line: chat.push(line))
    lines = b"aaaa\nbbbb\ncccc\n"
    own.feed(chat, lines)
    chat.ac_out_buffer_size = 8
    own.feed(chat, lines)
    type(chat).ac_out_buffer_size = 4
    del chat.ac_out_buffer_size
    own.feed(chat, lines)
    assert chat.sends == [b"aaaabbbbcccc", b"aaaabbbb", b"cccc", b"aaaa", b"bbbb", b"cccc"]


@pytest.mark.parametrize("size", [1, 3, 6, 1000])
def test_the_size_of_the_output_buffer_may_change_in_a_hook(own: Stage, size: int) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        chat.ac_out_buffer_size = size
        chat.push(line)

    chat = serve(own, hook, ac_out_buffer_size=8)
    own.feed(chat, b"aaaa\nbbbb\ncccc\n")
    assert drained(own, chat) == b"aaaaaaaabbbbbbbbcccccccc"
    assert chat.events.count("found") == 3


def test_a_smaller_output_buffer_counts_when_what_is_held_was_sent(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push(b"aa")
            chat.ac_out_buffer_size = 3
            chat.push(b"bbbbbbbb")
            assert chat.sends == []
            assert list(chat.producer_fifo) == []
            assert chat.sends == [b"aabbbbbbbb"]
            chat.push(b"cccccccc")
            assert chat.sends == [b"aabbbbbbbb", b"ccc"]

    chat = serve(own, hook)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert drained(own, chat) == b"aabbbbbbbbcccccccc"


def test_no_more_than_a_mebibyte_is_held(own: Stage) -> None:
    sends: list[int] = []

    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            for _ in range(4):
                chat.push(bytes(1 << 18))
            sends.append(len(chat.sends))
            chat.push(b"x")
            sends.append(len(chat.sends))

    chat = serve(own, hook, ac_out_buffer_size=1 << 30)
    chat.takes[:] = [0] * 100
    own.feed(chat, b"one\ntwo\n")
    assert sends == [0, 1]
    assert len(chat.sends[0]) == 1 << 20


@pytest.mark.parametrize("size", [0, -1, None, 2.5, True], ids=repr)
def test_a_size_that_is_none_holds_nothing(own: Stage, size: Any) -> None:
    seen: list[list[Any]] = []
    for coalesce in (True, False):
        seen.append([])

        def hook(chat: Any, line: bytes) -> None:
            chat.ac_out_buffer_size = size
            try:
                chat.push(b"a")
            except Exception as problem:  # as without holding, for a size that is no size
                seen[-1].append(type(problem))
            seen[-1].append(list(chat.sends))
            del chat.ac_out_buffer_size

        chat = serve(own, hook, ac_out_coalesce=coalesce)
        own.feed(chat, b"one\ntwo\n")
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("coalesce", "lines", "sends"),
    [
        pytest.param(True, b"one\ntwo\n", [], id="held"),
        pytest.param(True, b"one\n", [b"waits"], id="the last"),
        pytest.param(False, b"one\ntwo\n", [b"waits"], id="off"),
    ],
)
def test_what_comes_behind_bytes_that_wait_is_held_as_well(
    own: Stage, coalesce: bool, lines: bytes, sends: list[bytes]
) -> None:
    seen: list[list[bytes]] = []

    def hook(chat: Any, line: bytes) -> None:
        echo(chat, line)
        seen.append(list(chat.sends))

    chat = serve(own, hook, ac_out_coalesce=coalesce)
    chat.takes.append(0)
    chat.push(b"waits")
    assert chat.sends.pop() == b"waits"
    chat.peer.sendall(lines)
    chat.handle_read()
    assert seen[0] == sends
    assert drained(own, chat) == b"waits" + lines.replace(b"\n", b";")


# What is not bytes.


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_is_not_bytes_comes_behind_what_is_held(
    own: Stage, kind: Callable[[bytes], Any]
) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        if line == b"one":
            chat.push(kind(b"<>"))
            assert chat.sends == [b"one", b"<>"]
            chat.push(b"behind")
            assert len(chat.sends) == 2

    chat = serve(own, hook)
    assert AssertionError not in own.feed(chat, b"one\ntwo\n")
    assert chat.sends == [b"one", b"<>", b"behindtwo"]
    assert received(chat.peer, 14) == b"one<>behindtwo"


def test_a_bytearray_that_waits_may_be_changed_still(stage: Stage) -> None:
    data = bytearray(b"before")

    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        if line == b"one":
            chat.push(data)
            chat.push(b";")

    chat = serve(stage, hook)
    chat.takes[:] = [0] * 10
    stage.feed(chat, b"one\ntwo\n")
    assert chat.producer_fifo[1] is data
    data[:] = b"after"
    del chat.takes[:]
    assert drained(stage, chat) == b"oneafter;two"


def test_a_subclass_of_bytes_is_queued_itself(stage: Stage) -> None:
    class Marked(bytes):
        pass

    data = Marked(b"marked")

    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        chat.push(data)

    chat = serve(stage, hook)
    chat.takes[:] = [0] * 10
    stage.feed(chat, b"one\ntwo\n")
    assert chat.producer_fifo[1] is data
    del chat.takes[:]
    assert drained(stage, chat) == b"onemarkedtwomarked"


def test_an_empty_push_is_an_empty_send_behind_what_is_held(own: Stage) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        chat.push(b"")

    chat = serve(own, hook)
    own.feed(chat, b"one\ntwo\nthree\n")
    assert chat.sends == [b"one", b"", b"two", b"", b"three", b""]
    assert received(chat.peer, 11) == b"onetwothree"


@pytest.mark.parametrize("wrong", ["text", 5, None, [b"x"]], ids=repr)
def test_a_wrong_type_is_refused_at_once_and_loses_nothing(stage: Stage, wrong: Any) -> None:
    def hook(chat: Any, line: bytes) -> None:
        chat.push(line)
        with pytest.raises(TypeError, match="data argument must be byte-ish"):
            chat.push(wrong)
        chat.push(b";")

    chat = serve(stage, hook)
    stage.feed(chat, b"one\ntwo\n")
    assert received(chat.peer, 8) == b"one;two;"


def test_a_producer_that_waits_is_asked_at_each_push_as_ever(stage: Stage) -> None:
    asked: list[str] = []

    class Counting:
        def more(self) -> bytes:
            asked.append("more")
            return b"p" if len(asked) < 5 else b""

    def hook(chat: Any, line: bytes) -> None:
        if line == b"one":
            chat.push_with_producer(Counting())
        chat.push(line)
        asked.append(line.decode())

    chat = serve(stage, hook)
    stage.feed(chat, b"one\ntwo\nthree\n")
    assert asked[:5] == ["more", "more", "one", "more", "two"]
    assert drained(stage, chat) == b"ppponetwothree"


def test_a_send_that_somebody_gives_all_sockets_is_called_for_each_push(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = own.chat(b"\n", found_terminator=lambda chat: chat.push(b"reply"))
    own.feed(chat, b"1\n2\n")
    sends: list[bytes] = []

    def send(sock: socket.socket, data: bytes) -> int:
        sends.append(data)
        return len(data)

    monkeypatch.setattr(socket.socket, "send", send)
    own.feed(chat, b"3\n4\n")
    assert sends == [b"reply", b"reply"]
