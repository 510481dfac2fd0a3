"""LineBuffer against the oracle: every split of every short stream, and random feeds."""

from __future__ import annotations

import copy
import inspect
import pickle
import random
import sys
import typing
from contextlib import suppress
from typing import Any

import pytest

from tests.random import all_lines
from tests.random import lines as random_lines
from tests.support.channels import fail_with
from tests.support.implementations import Implementation, load
from tests.support.memory import memory_of


@pytest.fixture
def lines(ours: Implementation) -> Any:
    """The module, compiled and Python."""
    return ours.core["lines"]


@pytest.mark.parametrize("overflow", random_lines.OVERFLOW)
@pytest.mark.parametrize("delimiters", random_lines.DELIMITERS, ids=repr)
def test_every_split_of_every_short_stream(
    lines: Any, delimiters: tuple[bytes, ...], overflow: str
) -> None:
    part = random_lines.DELIMITERS.index(delimiters) + 9 * random_lines.OVERFLOW.index(overflow)
    count, fault = all_lines.play(
        lines, delimiters, overflow, length=7, between=5, part=part, of=101
    )
    assert fault is None
    assert count > 200


def test_random_feeds(lines: Any) -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    for number in range(1000):
        fault = random_lines.fault_of(lines, draw)
        assert fault is None, f"seed {seed}, play {number}: {fault}"


# What a buffer does besides.


def test_a_line_that_is_too_long_is_raised_once_and_costs_no_other(lines: Any) -> None:
    buffer = lines.LineBuffer(b"\r\n", max_line=4)
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"one\r\ntwo\r\nthree\r\nfour\r\nfi")
    assert issubclass(lines.LineTooLong, ValueError)
    failure = caught.value
    assert (failure.lines, failure.prefix, failure.size, failure.limit) == (
        [b"one", b"two"],
        b"three",
        5,
        4,
    )
    assert "max_line is 4" in str(failure)
    assert "5 bytes" in str(failure)
    assert buffer.dropped == 5
    assert buffer.feed(b"") == [b"four"]
    assert buffer.feed(b"ve\r\n") == [b"five"]


def test_an_exception_can_be_made_again_of_its_arguments(lines: Any) -> None:
    failure = lines.LineTooLong([b"one"], b"two", 3, 2)
    again = lines.LineTooLong(*failure.args)
    assert (again.lines, again.prefix, again.size, again.limit) == ([b"one"], b"two", 3, 2)
    assert str(again) == str(failure)


def test_one_error_for_a_line_of_many_feeds(lines: Any) -> None:
    buffer = lines.LineBuffer(b"\n", max_line=10)
    raised = []
    for _ in range(100):
        try:
            assert buffer.feed(b"xxxxx") == []
        except lines.LineTooLong as failure:
            raised.append((failure.lines, failure.prefix, failure.size))
    assert raised == [([], b"x" * 15, 15)]
    assert buffer.feed(b"\nnext\n") == [b"next"]
    assert buffer.dropped == 500


def test_the_prefix_is_bounded(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=5000)
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"x" * 10000)
    assert caught.value.prefix == b"x" * 1024
    buffer.feed(b"\n" + b"y" * 4000)
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"y" * 4000)
    assert caught.value.prefix == b"y" * 1024
    buffer.feed(b"\n" + b"z" * 4000)
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"z" * 4000 + b"\n")
    assert caught.value.prefix == b"z" * 1024
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"a" * 6000 + b"\n")
    assert caught.value.prefix == b"a" * 1024


def test_the_prefix_goes_on_in_the_input_that_waits(lines: Any) -> None:
    for pieces in ([b"abcdef", b"gh\r", b"i\r\nnext\r\n"], [b"abcdefgh\r", b"i\r", b"\nnext\r\n"]):
        buffer = lines.LineBuffer(b"\r\n", max_line=4)
        for piece in pieces:
            assert buffer.feed(piece, 0) == []
        with pytest.raises(lines.LineTooLong) as caught:
            buffer.feed(b"")
        assert (caught.value.prefix, caught.value.size) == (b"abcdefgh\ri", 10)
        assert buffer.feed(b"") == [b"next"]
    buffer = lines.LineBuffer(max_line=1000)
    for _ in range(4):
        buffer.feed(b"x" * 400, 0)
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"")
    assert (caught.value.prefix, caught.value.size) == (b"x" * 1024, 1600)


def test_a_read_may_hold_more_than_max_line(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=4)
    assert buffer.feed(b"abcd\n" * 1000) == [b"abcd"] * 1000


def test_a_line_may_have_max_line_bytes_before_the_longest_of_its_ends(lines: Any) -> None:
    buffer = lines.LineBuffer((b"\r\n", b"\n"), max_line=3)
    data = b"abc\r\nab\nabc\nabcd\n"
    assert buffer.feed(data, 1) == [b"abc"]
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"")
    assert (caught.value.lines, caught.value.size) == ([b"ab", b"abc"], 4)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_can_be_fed(lines: Any, kind: Any) -> None:
    buffer = lines.LineBuffer()
    (line,) = buffer.feed(kind(b"one\ntwo"))
    assert line == b"one"
    assert type(line) is bytes
    assert type(buffer.feed(kind(b"\n"))[0]) is bytes


def test_a_subclass_of_bytes_is_fed_as_its_bytes(lines: Any) -> None:
    class Odd(bytes):
        def __len__(self) -> int:
            return 1000

    assert lines.LineBuffer().feed(Odd(b"one\n")) == [b"one"]


def test_a_counted_body(lines: Any) -> None:
    buffer = lines.LineBuffer(b"\r\n")
    assert buffer.feed(b"body 5\r\nab\r\nc", 1) == [b"body 5"]
    assert buffer.take(9) is None
    assert buffer.feed(b"de\r\ndo", 0) == []
    assert buffer.take(9) == b"ab\r\ncde\r\n"
    assert buffer.feed(b"ne\r\n") == [b"done"]
    assert buffer.take(0) == b""


def test_a_body_where_a_subclass_has_a_length_of_its_own(lines: Any) -> None:
    class Odd(lines.LineBuffer):  # type: ignore[misc]  # what is loaded twice has no type
        def __len__(self) -> int:
            return 100

    buffer = Odd()
    buffer.feed(b"abc", 0)
    assert buffer.take(50) is None
    assert buffer.rest() == b"abc"


def test_a_change_of_delimiter_with_input_waiting(lines: Any) -> None:
    buffer = lines.LineBuffer(b"\n")
    assert buffer.feed(b"one;two;th") == []
    buffer.delimiter = b";"
    assert buffer.delimiter == b";"
    assert buffer.feed(b"") == [b"one", b"two"]
    buffer.delimiter = (b";", b"\r\n")
    assert buffer.delimiter == (b";", b"\r\n")
    assert buffer.feed(b"ree\r\n") == [b"three"]


def test_a_new_delimiter_while_a_line_is_dropped(lines: Any) -> None:
    buffer = lines.LineBuffer(b"a\r\n", max_line=4, overflow="discard")
    assert buffer.feed(b"first a\r") == []
    buffer.delimiter = b"\r\n"  # of what may begin a delimiter only the CR may still
    assert (len(buffer), buffer.dropped) == (1, 7)
    buffer.delimiter = b"\r"
    assert (len(buffer), buffer.dropped) == (0, 7)
    assert buffer.feed(b"two\r") == [b"two"]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_some_lines_cost_no_copy_of_what_waits(lines: Any, most: int) -> None:
    buffer = lines.LineBuffer(b"\r\n")
    data = b"x" * 30 + b"\r\n"
    buffer.feed(data * 50_000, 0)

    def feed() -> None:
        for _ in range(10):
            assert buffer.feed(b"", most) == [b"x" * 30] * most

    assert memory_of(feed)[1] < 100_000


def test_the_buffer_of_asyncio(lines: Any) -> None:
    buffer = lines.LineBuffer()
    room = buffer.get_buffer(-1)
    assert len(room) == 65536
    room[:8] = b"one\ntwo\n"
    assert buffer.buffer_updated(8) == [b"one", b"two"]
    room[:2] = b"3\n"
    room.release()
    with buffer.get_buffer(-1) as again:
        assert again[:2] == b"3\n"
    assert buffer.buffer_updated(2) == [b"3"]
    assert len(buffer.get_buffer(100_000)) == 100_000
    assert len(buffer.get_buffer(1 << 30)) == 1 << 20
    buffer.clear()
    with pytest.raises(ValueError, match=r"gave 0 bytes, of which 1 cannot be filled"):
        buffer.buffer_updated(1)


def test_the_end(lines: Any) -> None:
    buffer = lines.LineBuffer()
    buffer.feed(b"one\ntwo")
    assert buffer.feed_eof() == b"two"
    assert buffer.feed_eof() is None
    with pytest.raises(ValueError, match=r"feed\(\) after feed_eof\(\): clear\(\)"):
        buffer.feed(b"three\n")
    buffer.clear()
    assert buffer.feed(b"three\n") == [b"three"]


def test_the_end_of_a_line_that_is_dropped(lines: Any) -> None:
    for overflow in ("raise", "discard"):
        buffer = lines.LineBuffer(b"\r\n", max_line=3, overflow=overflow)
        with suppress(lines.LineTooLong):
            buffer.feed(b"four\r")
        assert buffer.feed_eof() is None
        assert (buffer.dropped, len(buffer)) == (5, 0)
        assert buffer.take(0) == b""


def test_the_prefix_is_bounded_at_the_end(lines: Any) -> None:
    buffer = lines.LineBuffer(b"\r\n", max_line=2000)
    buffer.feed(b"x" * 2000 + b"\r")
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed_eof()
    assert (caught.value.prefix, caught.value.size) == (b"x" * 1024, 2001)


def test_nothing_that_waits_is_lost_at_the_end(lines: Any) -> None:
    buffer = lines.LineBuffer()
    assert buffer.feed(b"one\ntwo\nthree", 1) == [b"one"]
    with pytest.raises(ValueError, match=r"9 bytes were not cut yet: call feed\(b''\) before"):
        buffer.feed_eof()
    assert buffer.feed(b"") == [b"two"]
    assert buffer.feed_eof() == b"three"


def test_an_empty_buffer_is_true(lines: Any) -> None:
    assert lines.LineBuffer()


def test_no_copies(lines: Any) -> None:
    for function in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a LineBuffer cannot be copied or pickled"):
            function(lines.LineBuffer())


def test_small_pieces_that_wait_cost_little_more_than_their_bytes(lines: Any) -> None:
    buffer = lines.LineBuffer()

    def feed() -> None:
        for number in range(50_000):
            buffer.feed(b"%02d" % (number % 100), 0)

    assert memory_of(feed)[0] < 200_000
    assert buffer.take(100_000) == b"".join(b"%02d" % number for number in range(100)) * 500


def test_what_waits_keeps_no_larger_piece_alive(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=100)

    def feed() -> None:
        assert len(buffer.feed(b"one\n" * 100_000 + b"two", 100_000)) == 100_000

    assert memory_of(feed)[0] < 100_000
    assert len(buffer) == 3
    assert buffer.feed(b"\n") == [b"two"]


def test_nothing_waits_behind_clear(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=3)
    buffer.feed(b"one\ntwo\nth", 1)
    assert len(buffer) == 6
    buffer.clear()
    assert len(buffer) == 0
    with pytest.raises(lines.LineTooLong):
        buffer.feed(b"four")
    buffer.clear()
    assert buffer.feed(b"one\n") == [b"one"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"delimiter": b""}, ValueError, "the delimiter is empty"),
        ({"delimiter": "\n"}, TypeError, r"bytes or a tuple of bytes, not str: use .encode\(\)"),
        ({"delimiter": 10}, TypeError, "bytes or a tuple of bytes, not int"),
        ({"delimiter": None}, TypeError, "bytes or a tuple of bytes, not NoneType"),
        ({"delimiter": ()}, ValueError, "the tuple of delimiters is empty"),
        (
            {"delimiter": (b"\n", b"")},
            ValueError,
            "one of the delimiters .* is empty; each needs at least one byte",
        ),
        ({"delimiter": (b"\n", b"\n")}, ValueError, "is there twice"),
        ({"delimiter": (b"\n", "\r")}, TypeError, "a tuple of delimiters may only have bytes"),
        ({"max_line": 0}, ValueError, "max_line must be at least 1, but is 0"),
        ({"max_line": -1}, ValueError, "max_line must be at least 1, but is -1"),
        ({"max_line": 1.5}, TypeError, "max_line must be an int, not float"),
        ({"max_line": True}, TypeError, "max_line must be an int, not bool"),
        ({"overflow": "drop"}, ValueError, "overflow is 'drop'; it can be 'raise', 'discard' or"),
        ({"overflow": []}, ValueError, r"overflow is \[\]; it can be 'raise', 'discard' or"),
        ({"overflow": None}, ValueError, "overflow is None; it can be 'raise', 'discard' or"),
    ],
)
def test_settings_that_are_refused(
    lines: Any, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        lines.LineBuffer(**arguments)
    buffer = lines.LineBuffer(b"\n", max_line=5)
    buffer.feed(b"on")
    with pytest.raises(error, match=words):
        buffer.__init__(**arguments)
    for name, value in arguments.items():
        if name != "overflow":
            with pytest.raises(error, match=words):
                setattr(buffer, name, value)
    assert buffer.feed(b"e\n") == [b"one"]


@pytest.mark.parametrize("said", [{"__len__": lambda _: 5}, {"__bool__": lambda _: True}])
def test_an_empty_delimiter_is_refused_whatever_it_says_of_itself(
    lines: Any, said: dict[str, Any]
) -> None:
    empty = type("Odd", (bytes,), said)()
    buffer = lines.LineBuffer()
    for call in (
        lambda: lines.LineBuffer(empty),
        lambda: setattr(buffer, "delimiter", empty),
        lambda: lines.join_lines([b"one"], empty),
    ):
        with pytest.raises(ValueError, match="the delimiter is empty"):
            call()
    with pytest.raises(ValueError, match="is empty; each needs at least one byte"):
        lines.LineBuffer((b"\n", empty))
    full = type("Odd", (bytes,), {"__len__": lambda _: 0, "__bool__": lambda _: False})(b"\n")
    assert lines.LineBuffer(full).delimiter == b"\n"
    assert lines.join_lines([b"one"], full) == b"one\n"


def test_the_functions_below_find_nothing_that_is_empty(ours: Implementation) -> None:
    scanner = ours.scanner
    assert scanner.cut_lines(b"abc", 0, b"", 9, 9, False, []) == 0
    assert scanner.find_line_end(b"abc", 1, 3, (b"",)) == (-1, -1)


def test_the_functions_below_take_any_number(ours: Implementation) -> None:
    scanner = ours.scanner
    for delimiter in (b"\n", b"\r\n"):
        assert scanner.cut_lines(b"a\r\n", sys.maxsize, delimiter, 9, 9, False, []) == sys.maxsize
        assert scanner.lines_of(b"a\r\n", sys.maxsize, delimiter, 5) == []
    assert scanner.join_begun(b"abc", b"def", 5, 7) == b"abc"
    assert scanner.join_begun(b"abc", b"def", sys.maxsize, -sys.maxsize) == b"abc"


def test_settings_can_be_read(lines: Any) -> None:
    buffer = lines.LineBuffer((b"\n", b"\r"), max_line=5)
    assert (buffer.delimiter, buffer.max_line) == ((b"\n", b"\r"), 5)


@pytest.mark.parametrize("overflow", ["raise", "discard"])
def test_a_line_in_many_pieces_that_waited(lines: Any, overflow: str) -> None:
    # So large that they are kept apart.
    piece = b"x" * 5000
    buffer = lines.LineBuffer(max_line=len(piece) // 2, overflow=overflow)
    for data in (b"one\n" + piece, piece, piece + b"\n" + piece[:1], b"\ntwo\n"):
        assert buffer.feed(data, 0) == []
    if overflow == "raise":
        with pytest.raises(lines.LineTooLong) as caught:
            buffer.feed(b"")
        failure = caught.value
        assert (failure.lines, failure.size) == ([b"one"], 3 * len(piece))
        assert failure.prefix == piece[:1024]
        assert buffer.feed(b"") == [b"x", b"two"]
    else:
        assert buffer.feed(b"") == [b"one", b"x", b"two"]
    assert (buffer.dropped, len(buffer)) == (3 * len(piece), 0)


class Index:
    """An integer that is no int, as those of other libraries are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_every_kind_of_integer_will_do(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=Index(5))
    assert buffer.max_line == 5
    assert type(buffer.max_line) is int
    buffer.max_line = Index(6)
    assert buffer.feed(b"one\ntwo\nthree\n", Index(1)) == [b"one"]
    assert buffer.take(Index(4)) == b"two\n"
    assert len(buffer.get_buffer(Index(100_000))) == 100_000
    assert buffer.buffer_updated(Index(0), Index(1)) == [b"three"]


def test_some_lines_of_the_buffer_of_asyncio(lines: Any) -> None:
    buffer = lines.LineBuffer()
    buffer.get_buffer()[:8] = b"one\ntwo\n"
    assert buffer.buffer_updated(8, 1) == [b"one"]
    assert buffer.take(4) == b"two\n"


def test_what_was_dropped_is_counted_exactly_and_cannot_be_set(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=1, overflow="discard")
    with pytest.raises(AttributeError):
        buffer.dropped = 7
    for _ in range(3):
        buffer.feed(b"xxx\n")
    assert buffer.dropped == 9
    buffer.clear()
    assert buffer.dropped == 9


def test_a_line_that_is_raised_is_told_of_alone(lines: Any) -> None:
    # Another was being dropped before it, in the same input.
    buffer = lines.LineBuffer(max_line=3)
    with suppress(lines.LineTooLong):
        buffer.feed(b"first")
    with pytest.raises(lines.LineTooLong) as caught:
        buffer.feed(b"first\none\nsecond\n")
    failure = caught.value
    assert (failure.lines, failure.prefix, failure.size) == ([b"one"], b"second", 6)
    assert buffer.dropped == 16


def test_a_lower_limit_counts_for_what_is_begun(lines: Any) -> None:
    buffer = lines.LineBuffer(max_line=1000)
    buffer.feed(b"x" * 900)
    buffer.feed(b"x")
    buffer.max_line = 901
    assert buffer.feed(b"\n" + b"y" * 600) == [b"x" * 901]
    buffer.max_line = 600
    assert buffer.feed(b"") == []
    buffer.max_line = 4
    with pytest.raises(ValueError, match=r"600 bytes were not cut yet"):
        buffer.feed_eof()
    with pytest.raises(lines.LineTooLong, match="a line has 600 bytes or more"):
        buffer.feed(b"")


def test_the_class_says_how_it_is_called(lines: Any) -> None:
    class Same(lines.LineBuffer):  # type: ignore[misc]  # what is loaded twice has no type
        pass

    class Other(lines.LineBuffer):  # type: ignore[misc]
        def __init__(self, port: int) -> None:
            super().__init__(b"\r\n")

    for kind in (lines.LineBuffer, Same):
        parameters = inspect.signature(kind).parameters
        assert list(parameters) == ["delimiter", "max_line", "keepends", "overflow"]
        defaults = [each.default for each in parameters.values()]
        assert defaults == [b"\n", 16 * 2**20, False, "raise"]
        assert parameters["max_line"].kind is inspect.Parameter.KEYWORD_ONLY
    assert list(inspect.signature(Other).parameters) == ["port"]
    assert Other(7).delimiter == b"\r\n"
    assert list(inspect.signature(lines.LineBuffer.feed).parameters) == ["self", "data", "most"]


def test_types_can_be_looked_up(lines: Any) -> None:
    hints = typing.get_type_hints(lines.LineBuffer.feed)
    assert hints["data"] == bytes | bytearray | memoryview
    assert hints["return"] == list[bytes]
    assert typing.get_type_hints(lines.join_lines)["return"] is bytes


def test_no_limit_is_too_large(lines: Any) -> None:
    assert lines.LineBuffer(max_line=2**80).feed(b"one\n") == [b"one"]


@pytest.mark.parametrize(
    ("method", "arguments", "error", "words"),
    [
        ("feed", ["one\n"], TypeError, r"feed\(\) takes bytes, not str: use .encode\(\)"),
        ("feed", [7], TypeError, r"feed\(\) takes bytes, not int"),
        ("feed", [None], TypeError, r"feed\(\) takes bytes, not NoneType"),
        ("feed", [b"", -1], ValueError, "most must not be negative, but is -1"),
        ("feed", [b"", 1.5], TypeError, "most must be an int, not float"),
        ("take", [-1], ValueError, r"take\(\) wants a number of bytes, which cannot be -1"),
        ("take", ["1"], TypeError, r"take\(\) wants an int, not str"),
        ("take", [True], TypeError, r"take\(\) wants an int, not bool"),
        ("buffer_updated", [-1], ValueError, "-1 cannot be filled"),
        ("buffer_updated", [1.5], TypeError, "nbytes must be an int, not float"),
        ("buffer_updated", [0, -1], ValueError, "most must not be negative, but is -1"),
        ("get_buffer", ["8"], TypeError, "sizehint must be an int, not str"),
    ],
)
def test_calls_that_are_refused_change_nothing(
    lines: Any, method: str, arguments: list[Any], error: type[Exception], words: str
) -> None:
    buffer = lines.LineBuffer()
    buffer.feed(b"on")
    if method == "buffer_updated":
        buffer.get_buffer()
    with pytest.raises(error, match=words):
        getattr(buffer, method)(*arguments)
    assert buffer.feed(b"e\n") == [b"one"]


def test_a_call_that_fails_in_the_middle_has_taken_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: Any = load("python").core["lines"]
    buffer = lines.LineBuffer()
    buffer.feed(b"on")
    with monkeypatch.context() as patch:
        patch.setattr(lines, "cut_lines", fail_with(MemoryError()))
        with pytest.raises(MemoryError):
            buffer.feed(b"e\ntwo\n")
    assert buffer.feed(b"e\ntwo\n") == [b"one", b"two"]
