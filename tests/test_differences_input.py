"""Deliberate differences of input: none after close() (d11), and several terminators (several).

A test says what it expects of fastchat and what of the standard library (``stage.either``), so that
a row of docs/compat.md that is no difference any more is noticed as well.

Rules this file keeps: random input has seeds, and what failed is in the message.
"""

from __future__ import annotations

import itertools
import random
from typing import Any, NamedTuple

import pytest

from tests.support.channels import Stage, fail_with, recording

# d11: no input after close().


def close(chat: Any, *args: Any) -> Any:
    """A hook that closes."""
    chat.close()


KINDS = [
    pytest.param(b"\n", id="bytes"),
    pytest.param(bytearray(b"\n"), id="bytearray"),
    pytest.param(4, id="number"),
]
BUFFERS = [
    pytest.param({}, id="usual buffer"),
    pytest.param({"ac_in_buffer": b""}, id="buffer of the class"),
]


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("terminator", KINDS)
def test_d11_close_in_found_terminator_ends_the_input(
    stage: Stage, terminator: Any, buffer: dict[str, Any]
) -> None:
    def found(chat: Any) -> None:
        chat.set_terminator(terminator)
        chat.close()

    chat = stage.chat(terminator, found_terminator=found, **buffer)
    stage.feed(chat, b"QUIT\nMORE\n" if terminator != 4 else b"QUITMORE")
    expected = stage.either(fastchat=[], stdlib=[b"MORE", "found"])
    assert chat.events == [b"QUIT", "found", *expected]


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("terminator", KINDS)
def test_d11_close_in_collect_incoming_data_ends_the_input(
    stage: Stage, terminator: Any, buffer: dict[str, Any]
) -> None:
    chat = stage.chat(terminator, collect_incoming_data=close, **buffer)
    stage.feed(chat, b"QUIT\nMORE\n" if terminator != 4 else b"QUITMORE")
    more = [] if terminator == 4 else ["found"]
    after = ["found", b"MORE", *more]
    assert chat.events == [b"QUIT", *stage.either(fastchat=[], stdlib=after)]


@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_close_in_collect_incoming_data_ends_the_counting(
    stage: Stage, buffer: dict[str, Any]
) -> None:
    chat = stage.chat(10, collect_incoming_data=close, **buffer)
    stage.feed(chat, b"QUIT")
    assert chat.events == [b"QUIT"]
    assert chat.terminator == stage.either(fastchat=10, stdlib=6)


@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_input_put_back_after_close_is_not_delivered(
    stage: Stage, buffer: dict[str, Any]
) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"QUIT", "found"]:
            chat.close()
            chat.ac_in_buffer = b"MORE\n"

    chat = stage.chat(found_terminator=found, **buffer)
    stage.feed(chat, b"QUIT\n")
    assert chat.events[2:] == stage.either(fastchat=[], stdlib=[b"MORE", "found"])


@pytest.mark.parametrize("hook", ["found_terminator", "collect_incoming_data"])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_close_ends_the_input_with_several_terminators(
    own: Stage, hook: str, buffer: dict[str, Any]
) -> None:
    chat = own.chat((b"\n", b";"), **{hook: close}, **buffer)
    own.feed(chat, b"QUIT;MORE\n")
    found = ["found"] if hook == "found_terminator" else []
    assert (chat.events, chat.ac_in_buffer) == ([b"QUIT", *found], b"")


@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_close_in_recv_ends_the_input(stage: Stage, buffer: dict[str, Any]) -> None:
    def recv(chat: Any, size: int) -> bytes:
        chat.close()
        return b"MORE\n"

    chat = stage.chat(recv=recv, **buffer)
    chat.handle_read()
    assert chat.events == stage.either(fastchat=[], stdlib=[b"MORE", "found"])


@pytest.mark.parametrize("asked", [1, 2], ids=["first", "second"])
@pytest.mark.parametrize("line", [b"QUIT\n", b"QUIT\nMORE\n", b"QUIT"])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_close_in_get_terminator_ends_the_input(
    stage: Stage, buffer: dict[str, Any], line: bytes, asked: int
) -> None:
    def get_terminator(chat: Any) -> bytes:
        chat.count += 1
        if chat.count == asked:
            chat.close()
        return b"\n"

    chat = stage.chat(get_terminator=get_terminator, count=0, **buffer)
    stage.feed(chat, line)
    delivered = [b"QUIT"] + ["found"] * line.endswith(b"\n")
    if b"MORE" in line:
        delivered += [b"MORE", "found"]
    before = delivered[: 2 * (asked - 1)]
    assert chat.events == stage.either(fastchat=before, stdlib=delivered)


@pytest.mark.parametrize("asked", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_input_put_back_after_close_in_get_terminator_is_not_delivered(
    own: Stage, buffer: dict[str, Any], size: int, asked: int
) -> None:
    def get_terminator(chat: Any) -> bytes:
        chat.count += 1
        if chat.count == asked:
            chat.close()
            chat.ac_in_buffer = b"MORE\n"
        return b"\n"

    chat = own.chat(get_terminator=get_terminator, count=0, **buffer)
    line = b"x" * size
    own.feed(chat, (line + b"\n") * 4)
    assert chat.events == [line, "found"] * (asked - 1)


@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_close_in_get_terminator_ends_the_input_that_waited(
    own: Stage, buffer: dict[str, Any]
) -> None:
    def get_terminator(chat: Any) -> bytes:
        chat.count += 1
        if chat.count == 2:
            chat.close()
            chat.ac_in_buffer = b"MORE\r\n"
        return b"\r\n"

    chat = own.chat(get_terminator=get_terminator, count=0, **buffer)
    own.feed(chat, b"QUIT\r", b"\n")
    assert chat.events == [b"QUIT"]


@pytest.mark.parametrize("hook", ["found_terminator", "collect_incoming_data", "recv"])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_d11_what_was_not_delivered_is_dropped(
    own: Stage, hook: str, buffer: dict[str, Any]
) -> None:
    def closing(chat: Any, *args: Any) -> bytes:
        chat.close()
        return b"QUIT\nMORE\n"

    chat = own.chat(**{hook: closing}, **buffer)
    own.feed(chat, b"QUIT\nMORE\n")
    assert chat.ac_in_buffer == b""


def test_d11_what_was_left_over_is_not_delivered_at_the_end(stage: Stage) -> None:
    chat = stage.chat(found_terminator=fail_with(ValueError()), handle_error=lambda chat: None)
    stage.feed(chat, b"one\ntwo\n")
    chat.peer.close()
    stage.until(lambda: not stage.map)
    after = [b"two", "found", ValueError]
    assert chat.events[3:] == ["close", *stage.either(fastchat=[], stdlib=after)]


def reconnect(stage: Stage, chat: Any) -> None:
    """Close *chat*, and give it a new connection."""
    chat.close()
    mine, chat.peer = stage.pair()
    mine.setblocking(False)
    chat.set_socket(mine)
    chat.connected = True


def test_d11_a_new_connection_does_not_see_the_rest_of_the_old_one(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"old", "found"]:
            reconnect(stage, chat)

    chat = stage.chat(found_terminator=found)
    stage.feed(chat, b"old\nrest\n")
    stage.feed(chat, b"new\n")
    rest = stage.either(fastchat=[], stdlib=[b"rest", "found"])
    assert chat.events == [b"old", "found", *rest, b"new", "found"]


def test_d11_a_new_connection_does_not_see_what_the_old_one_held_back(stage: Stage) -> None:
    chat = stage.chat(b"\r\n")
    stage.feed(chat, b"old\r")
    reconnect(stage, chat)
    stage.feed(chat, b"\nnew")
    assert chat.events == [b"old", *stage.either(fastchat=[b"\nnew"], stdlib=["found", b"new"])]


def test_d11_a_new_connection_of_a_class_that_works_with_text_has_text(stage: Stage) -> None:
    chat = stage.chat("\r\n", recv=lambda chat, size: "one\r\n\r")
    chat.ac_in_buffer = ""
    chat.handle_read()
    reconnect(stage, chat)
    chat.handle_read()
    assert chat.events == ["one", "found", stage.either(fastchat="one", stdlib="\rone"), "found"]


def test_d11_a_new_connection_does_not_see_what_an_exception_left(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"old", "found"]:
            raise ValueError

    chat = stage.chat(found_terminator=found)
    stage.feed(chat, b"old\nrest\n")
    reconnect(stage, chat)
    stage.feed(chat, b"new\n")
    rest = stage.either(fastchat=[], stdlib=[b"rest", "found"])
    assert chat.events[4:] == [*rest, b"new", "found"]


def test_d11_a_nested_handle_read_that_closes_ends_the_outer_one(stage: Stage) -> None:
    def found(chat: Any) -> None:
        if chat.events == [b"one", "found"]:
            chat.peer.sendall(b"QUIT\nMORE\n")
            chat.handle_read()
        elif chat.events[-2] == b"QUIT":
            chat.close()

    chat = stage.chat(found_terminator=found)
    stage.feed(chat, b"one\n")
    after = stage.either(fastchat=[], stdlib=[b"MORE", "found"])
    assert chat.events == [b"one", "found", b"QUIT", "found", *after]


# several: a tuple of terminators.


def deliver(stage: Stage, terminator: Any, *chunks: bytes, **members: Any) -> Any:
    """A chat, without a socket, that has received *chunks*."""
    script = list(chunks)
    chat = recording(stage.asynchat.async_chat, recv=lambda chat, size: script.pop(0), **members)(
        None, stage.map
    )
    chat.set_terminator(terminator)
    while script:
        stage.asyncore.read(chat)
    return chat


def note_the_match(chat: Any) -> None:
    """A found_terminator that writes down what was found."""
    chat.events[-1] = (chat.matched_terminator,)


def test_several_terminators_are_an_addition(stage: Stage) -> None:
    chat = deliver(stage, (b"\r\n", b";"), b"one\r\ntwo;")
    fastchat = [b"one", "found", b"two", "found"]
    assert chat.events == stage.either(fastchat=fastchat, stdlib=[TypeError, "close"])


def test_several_the_one_that_matched_can_be_told(own: Stage) -> None:
    chat = deliver(own, (b"\r\n", b";"), b"one;two\r\n", found_terminator=note_the_match)
    assert chat.events == [b"one", (b";",), b"two", (b"\r\n",)]


def test_several_before_any_match_there_is_none(own: Stage) -> None:
    assert deliver(own, (b"\r\n", b";"), b"one").matched_terminator is None


@pytest.mark.parametrize(
    ("terminators", "data", "events"),
    [
        pytest.param((b"ab", b"b"), b"xab", [b"x", (b"ab",)], id="the longest of one end"),
        pytest.param(
            (b"\n", b"\r\n"), b"a\r\nb\n", [b"a", (b"\r\n",), b"b", (b"\n",)], id="CRLF beside LF"
        ),
        pytest.param((b"b", b"ab"), b"xab", [b"x", (b"ab",)], id="in any order"),
        pytest.param((b"abc", b"b"), b"xabc", [b"xa", (b"b",), b"c"], id="the earliest end"),
        pytest.param((b"abcd", b"bc"), b"xabcd", [b"xa", (b"bc",), b"d"], id="not the first begun"),
        pytest.param((b"a", b"ab"), b"xab", [b"x", (b"a",), b"b"], id="a prefix of another"),
        pytest.param((b"\n", b"\n"), b"x\n", [b"x", (b"\n",)], id="the same twice"),
        pytest.param((b"\n",), b"x\ny", [b"x", (b"\n",), b"y"], id="only one"),
        pytest.param((b"\n", b"\r\n"), b"\n\r\n", [(b"\n",), (b"\r\n",)], id="empty lines"),
    ],
)
def test_several_the_earliest_end_wins_and_then_the_longest(
    own: Stage, terminators: Any, data: bytes, events: list[Any]
) -> None:
    assert deliver(own, terminators, data, found_terminator=note_the_match).events == events


def cut(data: bytes, terminators: tuple[bytes, ...]) -> list[Any]:
    """The pieces of *data*, each with the terminator that ended it, found the slowest way."""
    pieces: list[Any] = []
    begin = 0
    for end in range(1, len(data) + 1):
        ended = [term for term in terminators if data[begin:end].endswith(term)]
        if ended:
            match = max(ended, key=len)
            pieces.append((data[begin : end - len(match)], match))
            begin = end
    return [*pieces, (data[begin:], None)]


def pieces_of(chat: Any) -> list[Any]:
    """The events of *chat* in the form of ``cut``."""
    pieces: list[Any] = []
    piece = b""
    for event in chat.events:
        if isinstance(event, tuple):
            pieces.append((piece, *event))
            piece = b""
        else:
            piece += event
    return [*pieces, (piece + chat.ac_in_buffer, None)]


@pytest.mark.parametrize("buffer", BUFFERS)
def test_several_every_way_to_split_gives_the_same(own: Stage, buffer: dict[str, Any]) -> None:
    words = [b"a", b"b", b"ab", b"ba", b"aab", b"abab"]
    choices = [*itertools.permutations(words, 2), *itertools.combinations(words, 3)]
    for seed, terminators in enumerate(choices):
        rng = random.Random(seed)
        data = bytes(rng.choices(b"aab.", k=40))
        expected = cut(data, terminators)
        splits = [[data], [data[n : n + 1] for n in range(len(data))]]
        for _ in range(10):
            ends = sorted(rng.choices(range(len(data)), k=4))
            splits.append([data[a:b] for a, b in itertools.pairwise([0, *ends, len(data)])])
        for chunks in splits:
            chat = deliver(own, terminators, *chunks, found_terminator=note_the_match, **buffer)
            assert pieces_of(chat) == expected, (terminators, chunks)


def test_several_a_match_is_found_however_far_away(own: Stage) -> None:
    # The input is searched in stretches, and a match may lie across the end of one.
    terminators = (b"\r\n.\r\n", b"12", b"--")
    for distance in range(600):
        data = b"x" * distance + b"\r\n.\r\n" + b"y" * distance + b"12z"
        chat = deliver(own, terminators, data, found_terminator=note_the_match)
        assert pieces_of(chat) == [
            (b"x" * distance, terminators[0]),
            (b"y" * distance, terminators[1]),
            (b"z", None),
        ], distance


@pytest.mark.parametrize(
    ("terminators", "kind", "text"),
    [
        ((), ValueError, "is empty"),
        ((b"\n", b""), ValueError, "is empty"),
        ((b"\n", "\n"), TypeError, "may only have bytes"),
        ((b"\n", bytearray(b"\n")), TypeError, "may only have bytes"),
        ((b"\n", 5), TypeError, "may only have bytes"),
        ((b"\n", None), TypeError, "may only have bytes"),
    ],
)
def test_several_a_wrong_tuple_is_refused_and_changes_nothing(
    own: Stage, terminators: Any, kind: type[Exception], text: str
) -> None:
    chat = own.chat(b"\n")
    with pytest.raises(kind, match=text):
        chat.set_terminator(terminators)
    assert chat.get_terminator() == b"\n"


@pytest.mark.parametrize("terminators", [(b"\n", b""), (b"\n", "x"), (b"\n", 5)])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_several_a_wrong_tuple_of_get_terminator_fails_when_input_arrives(
    own: Stage, terminators: Any, buffer: dict[str, Any]
) -> None:
    chat = own.chat(get_terminator=lambda chat: terminators, **buffer)
    kind = ValueError if b"" in terminators else TypeError
    assert own.feed(chat, b"one\n") == [kind, "close"]


def test_several_an_empty_tuple_that_was_assigned_cuts_nothing(stage: Stage) -> None:
    # Something false, as ever.
    chat = stage.chat()
    chat.terminator = ()
    assert stage.feed(chat, b"one\n") == [b"one\n"]


def test_several_text_is_encoded_with_use_encoding(own: Stage) -> None:
    chat = own.chat(("\xa7", b"\n"), use_encoding=True)
    assert chat.get_terminator() == (b"\xa7", b"\n")
    assert own.feed(chat, b"one\xa7two\n") == [b"one", "found", b"two", "found"]


def test_several_a_subclass_of_tuple_will_do(own: Stage) -> None:
    class Ends(NamedTuple):
        line: bytes
        field: bytes

    chat = deliver(own, Ends(b"\n", b","), b"one,two\n", found_terminator=note_the_match)
    assert chat.events == [b"one", (b",",), b"two", (b"\n",)]


def test_several_they_may_be_changed_in_a_hook(own: Stage) -> None:
    then = iter([b".", 2, (b"?", b"!"), None])

    def found(chat: Any) -> None:
        chat.set_terminator(next(then))

    data = b"one;two;three.45six!seven?eight\n"
    chat = deliver(own, (b",", b";"), data, found_terminator=found)
    assert chat.events == [
        *(b"one", "found"),
        *(b"two;three", "found"),
        *(b"45", "found"),
        *(b"six", "found"),
        b"seven?eight\n",
    ]


def test_several_get_terminator_may_return_them(own: Stage) -> None:
    chat = deliver(
        own,
        None,
        b"one;two\n",
        get_terminator=lambda chat: (b";", b"\n"),
        found_terminator=note_the_match,
    )
    assert chat.events == [b"one", (b";",), b"two", (b"\n",)]


def test_several_what_may_begin_any_of_them_waits(own: Stage) -> None:
    chat = deliver(own, (b"abcd", b"bx"), b"--abc", b"", b"x")
    assert chat.events == [b"--", b"abcx"]
    chat = deliver(own, (b"abcd", b"cx"), b"--abc", b"x")
    assert chat.events == [b"--", b"ab", "found"]
