"""Hooks of an async_chat: what they see of the input, and what they may do meanwhile.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: bytes come through a real socket, one ``recv`` for each chunk that a test
names; what is compared is the whole list of events, so that a hook that was called once too often
is seen.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.channels import PATIENCE, FakeSocket, Stage, fail_with, survive

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
