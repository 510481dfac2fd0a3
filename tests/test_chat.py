"""Input of an async_chat: where it is cut, what the hooks see, and what they may do meanwhile.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py, and the scanner alone in test_scanner.py.

Rules this file keeps: bytes come through a real socket, one ``recv`` for each chunk that a test
names, unless ``recv`` is what the test is about; what is compared is the whole list of events, so
that a hook that was called once too often is seen.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
import itertools
import socket
import threading
from collections import deque
from typing import Any
from unittest import mock

import pytest

from tests.support.channels import PATIENCE, FakeSocket, Stage, fail_with, failure, recording


@pytest.fixture
def async_chat(stage: Stage) -> Any:
    return stage.asynchat.async_chat


def survive(chat: Any) -> None:
    """A handle_error that lets the channel live."""


# What ends a piece of input.


@pytest.mark.parametrize(
    "terminator",
    [b"\r\n", bytearray(b"\r\n"), memoryview(b"\r\n")],
    ids=["bytes", "bytearray", "memoryview"],
)
def test_any_bytes_can_end_a_line(stage: Stage, terminator: Any) -> None:
    chat = stage.chat(terminator)
    assert stage.feed(chat, b"one\r\ntwo\r\n") == [b"one", "found", b"two", "found"]


@pytest.mark.parametrize("terminator", [None, 0, False, b"", "", 0.0, bytearray(), []])
def test_something_false_means_that_nothing_ends_the_input(stage: Stage, terminator: Any) -> None:
    chat = stage.chat(terminator)
    assert stage.feed(chat, b"one\r\n", b"two\r\n") == [b"one\r\n", b"two\r\n"]


def test_a_number_is_a_number_of_bytes(stage: Stage) -> None:
    chat = stage.chat(3)
    assert stage.feed(chat, b"abc") == [b"abc", "found"]


def test_true_is_the_number_one(stage: Stage) -> None:
    chat = stage.chat(True)
    assert stage.feed(chat, b"abc") == [b"a", "found", b"bc"]


def test_a_number_counts_down_as_its_bytes_arrive(stage: Stage) -> None:
    chat = stage.chat(5)
    stage.feed(chat, b"abc")
    assert (chat.terminator, chat.get_terminator()) == (2, 2)
    assert stage.feed(chat, b"de") == [b"abc", b"de", "found"]


def test_a_number_is_used_up_before_found_terminator(stage: Stage) -> None:
    seen: list[Any] = []
    chat = stage.chat(3, found_terminator=lambda chat: seen.append(chat.terminator))
    stage.feed(chat, b"abc")
    assert seen == [0]


def test_what_follows_a_number_that_is_not_set_again_is_not_cut(stage: Stage) -> None:
    chat = stage.chat(3)
    assert stage.feed(chat, b"abcde", b"fgh") == [b"abc", "found", b"de", b"fgh"]


def test_a_number_that_is_set_again_cuts_all_the_input(stage: Stage) -> None:
    chat = stage.chat(2, found_terminator=lambda chat: chat.set_terminator(2))
    assert stage.feed(chat, b"abcde") == [b"ab", "found", b"cd", "found", b"e"]
    assert chat.terminator == 1


@pytest.mark.parametrize("terminator", [-1, -(2**70)])
def test_a_negative_number_is_refused_and_changes_nothing(stage: Stage, terminator: int) -> None:
    chat = stage.chat(b"\n")
    with pytest.raises(ValueError, match="the number of received bytes must be positive"):
        chat.set_terminator(terminator)
    assert chat.get_terminator() == b"\n"


def test_a_negative_number_that_was_assigned_counts_from_the_end(stage: Stage) -> None:
    chat = stage.chat(handle_error=survive)
    chat.terminator = -1
    assert stage.feed(chat, b"abc") == [b"ab", "found", b"c"]


def test_a_number_larger_than_any_input(stage: Stage) -> None:
    chat = stage.chat(2**70)
    assert stage.feed(chat, b"abc") == [b"abc"]
    assert chat.terminator == 2**70 - 3


@pytest.mark.parametrize("terminator", ["\n", [b"\n"], 1.5, object()])
def test_any_other_type_fails_when_input_arrives(stage: Stage, terminator: Any) -> None:
    chat = stage.chat(b"\n")
    chat.set_terminator(terminator)
    assert chat.get_terminator() is terminator
    assert stage.feed(chat, b"one\n") == [TypeError, "close"]


def test_without_any_terminator_the_input_waits_for_one(stage: Stage, async_chat: Any) -> None:
    chat = stage.channel(async_chat, handle_error=survive)
    assert stage.feed(chat, b"one\n") == [AttributeError]
    assert chat.ac_in_buffer == b"one\n"
    chat.set_terminator(b"\n")
    assert stage.feed(chat, b"two\n") == [AttributeError, b"one", "found", b"two", "found"]


def test_there_is_no_terminator_before_one_is_set(stage: Stage, async_chat: Any) -> None:
    chat = async_chat(None, stage.map)
    assert not hasattr(chat, "terminator")


# Where it is cut.


def test_an_empty_line_has_no_data(stage: Stage) -> None:
    chat = stage.chat(b"\n")
    assert stage.feed(chat, b"\n\n") == ["found", "found"]


def test_data_is_delivered_as_it_arrives(stage: Stage) -> None:
    chat = stage.chat(b"\n")
    assert stage.feed(chat, b"on", b"e", b"\n") == [b"on", b"e", "found"]


def test_what_may_be_the_beginning_of_a_terminator_waits(stage: Stage) -> None:
    chat = stage.chat(b"\r\n.\r\n")
    assert stage.feed(chat, b"text\r\n.") == [b"text"]
    assert chat.ac_in_buffer == b"\r\n."


def test_it_was_a_terminator(stage: Stage) -> None:
    chat = stage.chat(b"\r\n.\r\n")
    assert stage.feed(chat, b"text\r\n.", b"\r\n") == [b"text", "found"]


def test_it_was_none_and_comes_in_one_piece_with_what_follows(stage: Stage) -> None:
    chat = stage.chat(b"\r\n.\r\n")
    assert stage.feed(chat, b"text\r\n.\r", b"X") == [b"text", b"\r\n.\rX"]


def test_the_longest_beginning_waits(stage: Stage) -> None:
    chat = stage.chat(b"aab")
    assert stage.feed(chat, b"xaaa") == [b"xa"]
    assert stage.feed(chat, b"b") == [b"xa", "found"]


def test_what_waits_alone_is_left_alone(stage: Stage) -> None:
    chat = stage.chat(b"abc")
    assert stage.feed(chat, b"a", b"b", b"c") == ["found"]


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n", b"aab", b"abab", 3, None])
def test_however_it_is_split_the_pieces_are_the_same(stage: Stage, terminator: Any) -> None:
    stream = b"aabab\r\n\n\raaabababab\r\n"

    def rearm(chat: Any) -> None:
        chat.set_terminator(terminator)

    def pieces(*chunks: bytes) -> list[bytes]:
        chat = stage.chat(terminator, found_terminator=rearm)
        events = stage.feed(chat, *chunks)
        chat.close()
        text = b"".join(b"|" if event == "found" else event for event in events)
        return [*text.split(b"|"), chat.ac_in_buffer]

    whole = pieces(stream)
    assert whole[-1] == b""
    for cut in range(1, len(stream)):
        assert pieces(stream[:cut], stream[cut:]) == whole
    assert pieces(*(bytes([byte]) for byte in stream)) == whole


def test_pieces_are_bytes(stage: Stage) -> None:
    chat = stage.chat(b"\n", recv=lambda chat, size: bytearray(b"one\ntwo"))
    chat.handle_read()
    assert [type(event) for event in chat.events] == [bytes, str, bytes]


# What the hooks see.


def test_the_terminator_is_asked_for_once_for_each_piece(stage: Stage) -> None:
    asked: list[None] = []

    def get_terminator(chat: Any) -> bytes:
        asked.append(None)
        return b"\n"

    chat = stage.chat(get_terminator=get_terminator)
    stage.feed(chat, b"one\n\nthree\nfo")
    assert len(asked) == 4


def test_it_is_asked_for_again_where_found_injects_input(stage: Stage) -> None:
    answers = iter([b"\n", b",", b"\n"])

    def found(chat: Any) -> None:
        if chat.events == [b"one", "found"]:
            chat.ac_in_buffer = b"injected,"

    chat = stage.chat(get_terminator=lambda chat: next(answers), found_terminator=found)
    assert stage.feed(chat, b"one\n", b"two\n") == [
        *(b"one", "found"),
        *(b"injected", "found"),
        *(b"two", "found"),
    ]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"\0\0one\n", [b"one", "found"]),
        (b"\0\0one\n\0two\nx", [b"one", "found", b"two", "found", b"x"]),
        (b"\0\0part", [b"part"]),
        (b"one\ntwo\n\0three\n", [b"one", "found", b"two", "found", b"three", "found"]),
        (b"\0" + b"x" * 1000 + b"\n", [b"x" * 1000, "found"]),
    ],
)
def test_get_terminator_may_change_the_input(stage: Stage, data: bytes, events: list[Any]) -> None:
    def get_terminator(chat: Any) -> bytes:
        if chat.ac_in_buffer.startswith(b"\0"):
            chat.ac_in_buffer = chat.ac_in_buffer.lstrip(b"\0")
        return b"\n"

    chat = stage.chat(get_terminator=get_terminator)
    assert stage.feed(chat, data) == events


def test_get_terminator_may_change_the_input_that_waited(stage: Stage) -> None:
    def get_terminator(chat: Any) -> bytes:
        chat.ac_in_buffer = chat.ac_in_buffer.replace(b"\0", b"")
        return b"\r\n"

    chat = stage.chat(get_terminator=get_terminator)
    assert stage.feed(chat, b"one\r", b"\0\ntwo\r\0\n") == [b"one", "found", b"two", "found"]


def test_get_terminator_may_exchange_the_buffer_for_another_kind(stage: Stage) -> None:
    answers = iter([b",", b";"])

    def get_terminator(chat: Any) -> bytes:
        answer = next(answers)
        if answer == b",":
            chat.ac_in_buffer = bytearray(b"two,three;")
        return answer

    chat = stage.chat(get_terminator=get_terminator)
    assert stage.feed(chat, b"one,") == [b"two", "found", b"three", "found"]


def test_it_is_not_asked_for_where_nothing_came(stage: Stage) -> None:
    def get_terminator(chat: Any) -> bytes:
        raise AssertionError

    chat = stage.chat(recv=lambda chat, size: b"", get_terminator=get_terminator)
    chat.handle_read()
    assert chat.events == []


def test_get_terminator_may_be_overridden(stage: Stage) -> None:
    answers = itertools.cycle([b",", b";"])
    chat = stage.chat(get_terminator=lambda chat: next(answers))
    assert stage.feed(chat, b"a;,b,;") == [b"a;", "found", b"b,", "found"]


def test_a_number_of_get_terminator_counts_down_in_the_attribute(stage: Stage) -> None:
    chat = stage.chat(get_terminator=lambda chat: 5)
    chat.terminator = 100
    stage.feed(chat, b"abc")
    assert chat.terminator == 97


def test_collect_sees_the_buffer_with_the_piece(stage: Stage) -> None:
    seen: list[bytes] = []
    chat = stage.chat(collect_incoming_data=lambda chat, data: seen.append(chat.ac_in_buffer))
    stage.feed(chat, b"one\ntwo\nthree")
    assert seen == [b"one\ntwo\nthree", b"two\nthree", b"three"]


def test_found_sees_the_buffer_behind_the_terminator(stage: Stage) -> None:
    seen: list[bytes] = []
    chat = stage.chat(found_terminator=lambda chat: seen.append(chat.ac_in_buffer))
    stage.feed(chat, b"one\ntwo\nthree")
    assert seen == [b"two\nthree", b"three"]


def test_when_all_is_delivered_the_buffer_is_empty(stage: Stage) -> None:
    chat = stage.chat()
    stage.feed(chat, b"one\ntwo\n")
    assert chat.ac_in_buffer == b""


# What the hooks may do.


def test_found_may_change_the_terminator_for_the_rest(stage: Stage) -> None:
    def found(chat: Any) -> None:
        chat.set_terminator({b"\n": 2, 0: b"."}.get(chat.terminator, b"\n"))

    chat = stage.chat(b"\n", found_terminator=found)
    assert stage.feed(chat, b"line\n\n\nsentence.line\n") == [
        *(b"line", "found"),
        *(b"\n\n", "found"),
        *(b"sentence", "found"),
        *(b"line", "found"),
    ]


def test_collect_may_change_the_terminator_but_not_of_the_piece(stage: Stage) -> None:
    chat = stage.chat(b"\n", collect_incoming_data=lambda chat, data: chat.set_terminator(b";"))
    assert stage.feed(chat, b"a;b\nc;") == [b"a;b", "found", b"c", "found"]


def test_collect_may_not_exchange_a_number_that_still_counts(stage: Stage) -> None:
    chat = stage.chat(5, collect_incoming_data=lambda chat, data: chat.set_terminator(b"\n"))
    assert stage.feed(chat, b"abc") == [b"abc", TypeError, "close"]


def test_clearing_the_buffer_in_found_ends_the_delivery(stage: Stage) -> None:
    def found(chat: Any) -> None:
        chat.ac_in_buffer = b""

    chat = stage.chat(found_terminator=found)
    assert stage.feed(chat, b"one\ntwo\n", b"three\n") == [b"one", "found", b"three", "found"]


def test_clearing_the_buffer_in_collect_ends_the_delivery_with_this_line(stage: Stage) -> None:
    def collect(chat: Any, data: bytes) -> None:
        chat.ac_in_buffer = b""

    chat = stage.chat(collect_incoming_data=collect)
    assert stage.feed(chat, b"one\ntwo\n", b"three\n") == [b"one", "found", b"three", "found"]


def test_clearing_the_buffer_in_collect_clears_what_would_wait(stage: Stage) -> None:
    def collect(chat: Any, data: bytes) -> None:
        chat.ac_in_buffer = b""

    chat = stage.chat(b"\r\n", collect_incoming_data=collect)
    assert stage.feed(chat, b"one\r", b"\n") == [b"one", b"\n"]


def test_prepending_to_the_buffer_in_found_injects_input(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"one", "found"]:
            chat.ac_in_buffer = b"injected\n" + chat.ac_in_buffer

    chat = stage.chat(found_terminator=found)
    assert stage.feed(chat, b"one\ntwo\n") == [
        *(b"one", "found"),
        *(b"injected", "found"),
        *(b"two", "found"),
    ]


def test_appending_to_the_buffer_in_collect_adds_input(stage: Stage) -> None:
    def collect(chat: Any, data: bytes) -> None:
        if data == b"one":
            chat.ac_in_buffer = chat.ac_in_buffer + b"added\n"

    chat = stage.chat(collect_incoming_data=collect)
    assert stage.feed(chat, b"one\ntwo\n") == [
        *(b"one", "found"),
        *(b"two", "found"),
        *(b"added", "found"),
    ]


def test_appending_to_the_buffer_in_the_last_collect_is_in_vain(stage: Stage) -> None:
    def collect(chat: Any, data: bytes) -> None:
        chat.ac_in_buffer = chat.ac_in_buffer + b"added\n"

    chat = stage.chat(collect_incoming_data=collect)
    assert stage.feed(chat, b"one") == [b"one"]
    assert chat.ac_in_buffer == b""


def test_reading_the_buffer_changes_nothing(stage: Stage) -> None:
    chat = stage.chat(
        collect_incoming_data=lambda chat, data: chat.ac_in_buffer,
        found_terminator=lambda chat: chat.ac_in_buffer,
    )
    assert stage.feed(chat, b"one\ntwo\nth", b"ree\n") == [
        *(b"one", "found"),
        *(b"two", "found"),
        *(b"th", b"ree", "found"),
    ]


def test_discard_buffers_in_found_ends_the_delivery(stage: Stage) -> None:
    chat = stage.chat(found_terminator=lambda chat: chat.discard_buffers())
    assert stage.feed(chat, b"one\ntwo\n", b"three\n") == [b"one", "found", b"three", "found"]


def test_discard_buffers_forgets_input_and_output_and_keeps_the_socket(stage: Stage) -> None:
    chat = stage.chat(b"\r\n", send=lambda chat, data: 0)
    stage.feed(chat, b"one\r")
    chat.incoming.append(b"one")
    chat.push(b"answer")
    chat.discard_buffers()
    assert (chat.ac_in_buffer, chat.incoming, list(chat.producer_fifo)) == (b"", [], [])
    assert list(stage.map.values()) == [chat]


def test_handle_read_may_be_called_from_a_hook(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"one", "found"]:
            chat.peer.sendall(b"o\nthree\n")
            chat.handle_read()
            chat.events.append("returned")

    chat = stage.chat(found_terminator=found)
    assert stage.feed(chat, b"one\ntw") == [
        *(b"one", "found"),
        *(b"two", "found"),
        *(b"three", "found"),
        "returned",
    ]


def test_what_is_put_into_the_buffer_is_compared_with_nothing(stage: Stage) -> None:
    class Odd(bytearray):
        __hash__ = None

        def __eq__(self, other: object) -> bool:
            raise AssertionError

    def found(chat: Any) -> None:
        if chat.events == [b"one", "found"]:
            chat.ac_in_buffer = Odd(b"two\n")

    chat = stage.chat(found_terminator=found)
    assert stage.feed(chat, b"one\n")[2:] == [b"two", "found"]


def test_a_hook_may_put_the_same_buffer_back(stage: Stage) -> None:
    buffer = bytearray(b"one\ntwo\nthree\n")

    def found(chat: Any) -> None:
        del buffer[: len(chat.events[-2]) + 1]
        chat.ac_in_buffer = buffer

    chat = stage.chat(found_terminator=found, recv=lambda chat, size: b"")
    chat.ac_in_buffer = buffer
    chat.handle_read()
    assert chat.events == [b"one", "found", b"two", "found", b"three", "found"]


def test_handle_read_from_collect_sees_the_piece_again(stage: Stage) -> None:
    def collect(chat: Any, data: bytes) -> None:
        if len(chat.events) == 1:
            chat.peer.sendall(b"two\n")
            chat.handle_read()
            chat.events.append("returned")

    chat = stage.chat(collect_incoming_data=collect)
    assert stage.feed(chat, b"one\n") == [
        *(b"one", b"one", "found"),
        *(b"two", "found"),
        *("returned", "found"),
    ]


def test_an_exception_in_found_leaves_the_rest_for_the_next_input(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events[-2] == b"one":
            raise ValueError

    chat = stage.chat(found_terminator=found, handle_error=survive)
    assert stage.feed(chat, b"one\ntwo\n") == [b"one", "found", ValueError]
    assert chat.ac_in_buffer == b"two\n"
    assert stage.feed(chat, b"three\n")[3:] == [b"two", "found", b"three", "found"]


def test_an_exception_in_collect_leaves_the_piece_for_the_next_input(stage: Stage) -> None:
    def collect(chat: Any, data: bytes) -> None:
        if len(chat.events) == 1:
            raise ValueError

    chat = stage.chat(collect_incoming_data=collect, handle_error=survive)
    assert stage.feed(chat, b"one\ntwo\n") == [b"one", ValueError]
    assert chat.ac_in_buffer == b"one\ntwo\n"
    assert stage.feed(chat, b"3\n")[2:] == [b"one", "found", b"two", "found", b"3", "found"]


def test_an_exception_after_a_number_leaves_it_used_up(stage: Stage) -> None:
    chat = stage.chat(3, found_terminator=fail_with(ValueError()), handle_error=survive)
    assert stage.feed(chat, b"abcde") == [b"abc", "found", ValueError]
    assert (chat.terminator, chat.ac_in_buffer) == (0, b"de")


def test_an_exception_closes_the_channel_by_default(stage: Stage) -> None:
    chat = stage.chat(found_terminator=fail_with(ValueError()))
    assert stage.feed(chat, b"one\ntwo\n") == [b"one", "found", ValueError, "close"]
    assert stage.map == {}


@pytest.mark.parametrize("hook", ["collect_incoming_data", "found_terminator"])
@pytest.mark.parametrize("kind", ["ExitNow", KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_leaves_the_loop_from_a_hook(
    stage: Stage, hook: str, kind: Any
) -> None:
    wanted = stage.asyncore.ExitNow if kind == "ExitNow" else kind

    def leave(chat: Any, *args: Any) -> None:
        raise wanted

    chat = stage.chat(**{hook: leave})
    chat.peer.sendall(b"one\n")
    with pytest.raises(wanted):
        stage.loop(timeout=PATIENCE)
    assert wanted not in chat.events


def test_found_may_answer(stage: Stage) -> None:
    chat = stage.chat(found_terminator=lambda chat: chat.push(b"answer\n"))
    stage.feed(chat, b"one\ntwo\n")
    stage.until(lambda: not chat.producer_fifo)
    assert chat.peer.recv(100) == b"answer\nanswer\n"


def test_an_answer_has_left_when_handle_read_returns(stage: Stage) -> None:
    sock = FakeSocket(7, recv=[b"one\ntwo\n"])
    chat = stage.chat(sock=sock, found_terminator=lambda chat: chat.push(b"answer\n"))
    chat.handle_read()
    assert b"".join(sock.sent) == b"answer\nanswer\n"


# Receiving.


def test_there_is_one_recv_for_an_event(stage: Stage) -> None:
    chat = stage.chat(None)
    chat.ac_in_buffer_size = 4
    chat.peer.sendall(b"12345678")
    stage.loop(timeout=PATIENCE)
    assert chat.events == [b"1234"]
    chat.ac_in_buffer_size = 3
    stage.loop(timeout=PATIENCE)
    assert chat.events == [b"1234", b"567"]


def test_the_size_of_the_buffers_is_on_the_class(async_chat: Any) -> None:
    assert (async_chat.ac_in_buffer_size, async_chat.ac_out_buffer_size) == (65536, 65536)


def test_recv_may_be_overridden(stage: Stage) -> None:
    asked: list[int] = []

    def recv(chat: Any, size: int) -> bytes:
        asked.append(size)
        return b"one\n"

    chat = stage.chat(recv=recv)
    chat.handle_read()
    assert (asked, chat.events) == ([65536], [b"one", "found"])


def test_recv_may_be_set_on_the_object(stage: Stage) -> None:
    chat = stage.chat()
    chat.recv = lambda size: b"one\n"
    chat.handle_read()
    assert chat.events == [b"one", "found"]


def test_recv_with_nothing_to_say_is_no_event(stage: Stage) -> None:
    def recv(chat: Any, size: int) -> bytes:
        raise BlockingIOError

    chat = stage.chat(recv=recv)
    chat.handle_read()
    assert chat.events == []


@pytest.mark.parametrize("problem", [failure(errno.EIO), OSError("no number"), TimeoutError()])
def test_an_error_of_recv_is_for_handle_error(stage: Stage, problem: OSError) -> None:
    def recv(chat: Any, size: int) -> bytes:
        raise problem

    chat = stage.chat(recv=recv)
    chat.handle_read()
    assert chat.events == [type(problem), "close"]


def test_a_channel_may_survive_an_error_of_recv(stage: Stage) -> None:
    answers: list[Any] = [failure(errno.EIO), b"one\n"]

    def recv(chat: Any, size: int) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    chat = stage.chat(recv=recv, handle_error=survive)
    chat.handle_read()
    chat.handle_read()
    assert chat.events == [OSError, b"one", "found"]


def test_another_exception_of_recv_leaves_handle_read(stage: Stage) -> None:
    chat = stage.chat(recv=fail_with(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        chat.handle_read()
    assert chat.events == []


@pytest.mark.parametrize("nonsense", [None, "text", 5])
def test_recv_has_to_return_bytes(stage: Stage, nonsense: Any) -> None:
    chat = stage.chat(recv=lambda chat, size: nonsense)
    with pytest.raises(TypeError):
        chat.handle_read()
    assert (chat.events, chat.ac_in_buffer) == ([], b"")


def test_recv_may_return_nothing(stage: Stage) -> None:
    chat = stage.chat(recv=lambda chat, size: b"")
    chat.ac_in_buffer = b"left over\n"
    chat.handle_read()
    assert chat.events == [b"left over", "found"]


def test_the_end_is_a_close_and_a_line_without_its_end_stays_one(stage: Stage) -> None:
    chat = stage.chat()
    chat.peer.sendall(b"one\ntwo")
    chat.peer.close()
    stage.until(lambda: not stage.map)
    assert chat.events == [b"one", "found", b"two", "close"]


def test_a_socket_needs_no_more_than_a_number_and_recv(stage: Stage) -> None:
    class Least:
        def fileno(self) -> int:
            return 7

        def recv(self, size: int) -> bytes:
            return b"one\n"

    chat = stage.bare(stage.asynchat.async_chat)
    chat.set_terminator(b"\n")
    chat.set_socket(Least())
    chat.handle_read_event()
    chat.socket = None
    assert chat.events == [b"one", "found"]


# Text.


def test_with_use_encoding_a_terminator_may_be_text(stage: Stage) -> None:
    chat = stage.chat("\xa7", use_encoding=True)
    assert chat.get_terminator() == b"\xa7"
    assert stage.feed(chat, b"one\xa7") == [b"one", "found"]


def test_the_encoding_can_be_chosen(stage: Stage) -> None:
    chat = stage.chat("\xa7", use_encoding=True, encoding="utf-8")
    assert chat.get_terminator() == b"\xc2\xa7"


def test_text_is_not_encoded_by_default(async_chat: Any) -> None:
    assert (async_chat.use_encoding, async_chat.encoding) == (0, "latin-1")


def test_what_recv_returns_has_to_be_bytes_with_use_encoding_too(stage: Stage) -> None:
    chat = stage.chat(use_encoding=True, recv=lambda chat, size: "one\n")
    with pytest.raises(TypeError):
        chat.handle_read()


def test_a_class_may_work_with_text_all_the_way(stage: Stage) -> None:
    chat = stage.chat("\r\n", recv=lambda chat, size: "one\r\ntwo\r")
    chat.ac_in_buffer = ""
    chat.handle_read()
    assert chat.events == ["one", "found", "two"]
    assert chat.ac_in_buffer == "\r"


@pytest.mark.parametrize(
    ("terminator", "events"),
    [
        (b"\r\n", [b"one", "found", b"two"]),
        (None, [b"one\r\ntwo\r"]),
        (4, [b"one\r", "found", b"\ntwo\r"]),
        (100, [b"one\r\ntwo\r"]),
    ],
)
def test_the_buffer_may_be_a_bytearray(stage: Stage, terminator: Any, events: list[Any]) -> None:
    chat = stage.chat(terminator)
    chat.ac_in_buffer = bytearray(b"one\r\n")
    assert stage.feed(chat, b"two\r") == events
    assert chat.ac_in_buffer == (b"\r" if terminator == b"\r\n" else b"")


# Hooks that nobody wrote, and the two helpers for those who do not want to.


def test_the_hooks_have_to_be_written(stage: Stage, async_chat: Any) -> None:
    chat = async_chat(None, stage.map)
    with pytest.raises(NotImplementedError, match="must be implemented in subclass"):
        chat.collect_incoming_data(b"x")
    with pytest.raises(NotImplementedError, match="must be implemented in subclass"):
        chat.found_terminator()


def test_the_helpers_collect_and_join(stage: Stage, async_chat: Any) -> None:
    chat = async_chat(None, stage.map)
    chat._collect_incoming_data(b"one")
    chat._collect_incoming_data(b"two")
    assert chat.incoming == [b"one", b"two"]
    assert (chat._get_data(), chat._get_data()) == (b"onetwo", b"")


def test_get_data_keeps_the_list(stage: Stage, async_chat: Any) -> None:
    chat = async_chat(None, stage.map)
    incoming = chat.incoming
    chat._get_data()
    assert chat.incoming is incoming


def test_it_always_wants_input(stage: Stage, async_chat: Any) -> None:
    assert async_chat(None, stage.map).readable() == 1


def test_its_handle_close_closes_and_says_nothing(
    stage: Stage, async_chat: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, _ = stage.pair()
    chat = async_chat(mine, stage.map)
    chat.ignore_log_types = ()
    chat.handle_close()
    assert (stage.map, capsys.readouterr().out) == ({}, "")


# Shapes that programs give it.


def test_init_sets_the_buffers_before_the_channel_can_be_seen(
    stage: Stage, async_chat: Any
) -> None:
    seen: list[Any] = []

    class Early(async_chat):
        def add_channel(self, map: Any = None) -> None:
            seen.extend([self.ac_in_buffer, self.incoming, list(self.producer_fifo)])

    mine, _ = stage.pair()
    Early(mine, stage.map)
    assert seen == [b"", [], []]


def test_init_may_be_called_twice(stage: Stage, async_chat: Any) -> None:
    chat = stage.chat(b"\r\n")
    stage.feed(chat, b"one\r")
    async_chat.__init__(chat, chat.socket, stage.map)
    assert (chat.ac_in_buffer, chat.terminator) == (b"", b"\r\n")
    assert stage.feed(chat, b"two\r\n") == [b"one", b"two", "found"]


def test_init_may_be_skipped(stage: Stage, async_chat: Any) -> None:
    class Bare(recording(async_chat)):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ac_in_buffer = b""
            self.incoming: list[bytes] = []
            self.producer_fifo: Any = deque()
            self.terminator = b"\n"

    chat = Bare()
    chat.recv = lambda size: b"one\ntwo"
    chat.handle_read()
    assert chat.events == [b"one", "found", b"two"]


def test_the_buffer_may_be_an_attribute_of_the_class(stage: Stage) -> None:
    # Which hides whatever async_chat itself makes of that name.
    chat = stage.chat(b"\r\n", ac_in_buffer=b"")
    assert stage.feed(chat, b"one\r\ntwo\r", b"\nthree") == [
        *(b"one", "found"),
        *(b"two", "found"),
        b"three",
    ]
    assert "ac_in_buffer" in chat.__dict__


@pytest.mark.parametrize(
    ("terminator", "events"),
    [
        (None, [b"one\ntwo"]),
        (3, [b"one", "found", b"\ntwo"]),
        (100, [b"one\ntwo"]),
        (bytearray(b"\n"), [b"one", "found", b"two"]),
        (b"\r\n", [b"one\ntwo"]),
        (b"two", [b"one\n", "found"]),
        (b"two\n", [b"one\n"]),
        (b"one\ntwo\n", []),
    ],
)
def test_the_buffer_of_the_class_is_cut_like_any_other(
    stage: Stage, terminator: Any, events: list[Any]
) -> None:
    chat = stage.chat(terminator, ac_in_buffer=b"")
    assert stage.feed(chat, b"one\ntwo") == events


def test_an_exception_keeps_its_place_in_the_buffer_of_the_class(stage: Stage) -> None:
    chat = stage.chat(
        found_terminator=fail_with(ValueError()), handle_error=survive, ac_in_buffer=b""
    )
    assert stage.feed(chat, b"one\ntwo\n") == [b"one", "found", ValueError]
    assert chat.ac_in_buffer == b"two\n"


def test_a_chat_may_be_a_thread(stage: Stage) -> None:
    chat_class: Any = recording(stage.asynchat.async_chat)

    class Worker(chat_class, threading.Thread):
        def __init__(self, sock: Any, map: Any) -> None:
            threading.Thread.__init__(self)
            chat_class.__init__(self, sock, map)
            self.set_terminator(b"\n")

        def run(self) -> None:
            stage.asyncore.loop(PATIENCE, False, self._map)

    mine, peer = stage.pair()
    worker = Worker(mine, stage.map)
    worker.start()
    peer.sendall(b"work\n")
    peer.close()
    worker.join(PATIENCE)
    assert (worker.is_alive(), worker.events) == (False, [b"work", "found", "close"])


def test_a_mixin_in_front_overrides(stage: Stage, async_chat: Any) -> None:
    class Lines:
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.lines: list[bytes] = []
            channel: Any = self
            channel.set_terminator(b"\n")

        def collect_incoming_data(self: Any, data: bytes) -> None:
            self._collect_incoming_data(data)

        def found_terminator(self: Any) -> None:
            self.lines.append(self._get_data())

    class Chat(Lines, async_chat):
        pass

    mine, peer = stage.pair()
    chat = Chat(mine, stage.map)
    peer.sendall(b"one\ntwo\n")
    stage.asyncore.read(chat)
    assert chat.lines == [b"one", b"two"]


@pytest.mark.parametrize(
    ("hook", "calls"),
    [
        ("collect_incoming_data", [mock.call(b"one")]),
        ("found_terminator", [mock.call()]),
        ("get_terminator", [mock.call()]),
        ("handle_read", [mock.call()]),
        ("recv", [mock.call(65536)]),
    ],
)
def test_a_hook_may_be_patched_on_the_object(stage: Stage, hook: str, calls: list[Any]) -> None:
    chat = stage.chat()
    chat.peer.sendall(b"one\n")
    answer = {"recv": b"one\n", "get_terminator": b"\n"}.get(hook)
    with mock.patch.object(chat, hook, return_value=answer) as patched:
        stage.loop(timeout=PATIENCE)
    assert patched.mock_calls == calls


@pytest.mark.parametrize(
    "hook", ["collect_incoming_data", "found_terminator", "get_terminator", "handle_read", "recv"]
)
def test_a_hook_may_be_patched_on_the_class(stage: Stage, async_chat: Any, hook: str) -> None:
    class Plain(async_chat):
        collect_incoming_data = async_chat._collect_incoming_data
        found_terminator = async_chat._get_data

    mine, peer = stage.pair()
    chat = Plain(mine, stage.map)
    chat.set_terminator(b"\n")
    peer.sendall(b"one\n")
    answer = {"recv": b"one\n", "get_terminator": b"\n"}.get(hook)
    with mock.patch.object(Plain, hook, autospec=True, return_value=answer) as patched:
        stage.loop(timeout=PATIENCE)
    patched.assert_called_once()
    assert patched.call_args.args[0] is chat


def test_the_buffer_may_be_patched_on_the_object(stage: Stage) -> None:
    chat = stage.chat(b"\r\n", recv=lambda chat, size: b"one\r\n")
    with mock.patch.object(chat, "ac_in_buffer", b"patched"):
        assert chat.ac_in_buffer == b"patched"
    assert chat.ac_in_buffer == b""
    chat.handle_read()
    assert chat.events == [b"one", "found"]


def test_a_mock_may_be_read_as_a_chat(stage: Stage, async_chat: Any) -> None:
    chat = mock.Mock(ac_in_buffer=b"", ac_in_buffer_size=10)
    chat.recv.return_value = b"one\ntwo"
    chat.get_terminator.return_value = b"\n"
    async_chat.handle_read(chat)
    chat.recv.assert_called_once_with(10)
    assert chat.collect_incoming_data.mock_calls == [mock.call(b"one"), mock.call(b"two")]
    chat.found_terminator.assert_called_once_with()


def test_another_class_may_borrow_the_methods_of_input(stage: Stage, async_chat: Any) -> None:
    class Borrower:
        ac_in_buffer_size = 10
        use_encoding = 0

        def __init__(self) -> None:
            self.ac_in_buffer = b""
            self.events: list[Any] = []

        handle_read = async_chat.handle_read
        set_terminator = async_chat.set_terminator
        get_terminator = async_chat.get_terminator

        def recv(self, size: int) -> bytes:
            return b"one\ntwo"

        def collect_incoming_data(self, data: bytes) -> None:
            self.events.append(data)

        def found_terminator(self) -> None:
            self.events.append("found")

    borrower = Borrower()
    borrower.set_terminator(b"\n")
    borrower.handle_read()
    assert borrower.events == [b"one", "found", b"two"]


def test_a_chat_may_have_a_mock_for_a_socket(async_chat: Any) -> None:
    sock = mock.Mock(spec=socket.socket)
    assert async_chat(sock, {}).socket is sock


@pytest.mark.parametrize("buffer", [None, 0, "", bytearray(b"x"), "deleted"], ids=repr)
@pytest.mark.parametrize("is_hidden", [False, True], ids=["stock", "hidden"])
def test_close_takes_any_input_buffer(stage: Stage, buffer: Any, is_hidden: bool) -> None:
    chat = stage.chat(**({"ac_in_buffer": b""} if is_hidden else {}))
    if buffer != "deleted":
        chat.ac_in_buffer = buffer
    elif vars(chat).get("ac_in_buffer") is not None or not is_hidden:
        del chat.ac_in_buffer
    chat.close()
    assert (stage.map, chat.socket.fileno()) == ({}, -1)


def test_a_chat_that_was_begun_as_a_dispatcher_closes(stage: Stage) -> None:
    kind: Any = type(stage.chat())
    chat = kind.__new__(kind)
    mine, _ = stage.pair()
    stage.asyncore.dispatcher.__init__(chat, mine, stage.map)
    chat.close()
    assert mine.fileno() == -1
