"""Input of an async_chat: how it is received, what ends a piece of it, and where it is cut.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py, and the scanner alone in test_scanner.py.

Rules this file keeps: bytes come through a real socket, one ``recv`` for each chunk that a test
names, unless ``recv`` is what the test is about; what is compared is the whole list of events, so
that a hook that was called once too often is seen.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from tests.support.channels import PATIENCE, Stage, fail_with, failure, survive

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
