"""The scanner's functions, compiled and Python: against the oracle, exhaustively and at random.

Both implementations run every test, so that neither can drift from the other.
"""

from __future__ import annotations

import inspect
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import naive
from tests.support.channels import Stage
from tests.support.implementations import FASTCHAT, load


def test_the_oracle_itself() -> None:
    assert naive.find(b"abcab", b"ab", 1) == 3
    assert naive.find(b"abcab", b"b", 5) == -1
    assert naive.find(b"ab", b"abc") == -1
    assert naive.find_first(b"x\r\n", (b"\r\n", b"\n")) == (1, b"\r\n")
    assert naive.find_first(b"x\r\ny\n", (b"\r\n", b"y\n")) == (1, b"\r\n")
    assert naive.find_first(b"abc", (b"bcd",)) is None
    assert naive.prefix_at_end(b"ab\r", b"\r\n") == 1
    assert naive.prefix_at_end(b"xaa", b"aa") == 1
    assert naive.prefix_at_end(b"", b"\r\n") == 0
    assert naive.frames(b"a\nb\nc", (b"\n",)) == ([b"a", b"b"], b"c")
    assert sorted(naive.words(b"ab", 1)) == [b"", b"a", b"b"]
    assert list(naive.chunkings(b"abc")) == [
        [b"abc"],
        [b"ab", b"c"],
        [b"a", b"bc"],
        [b"a", b"b", b"c"],
    ]


@pytest.mark.parametrize(("alphabet", "haystack", "needle"), [(b"abc", 6, 4), (b"ab", 9, 5)])
def test_find_terminator_in_every_small_case(
    scanner: Any, alphabet: bytes, haystack: int, needle: int
) -> None:
    find = scanner.find_terminator
    needles = list(naive.words(alphabet, needle, 1))
    for data in naive.words(alphabet, haystack):
        for terminator in needles:
            wanted = [naive.find(data, terminator, start) for start in range(len(data) + 2)]
            found = [find(data, terminator, start) for start in range(len(data) + 2)]
            assert found == wanted, (data, terminator)


def test_find_terminator_where_its_last_byte_is_common(scanner: Any) -> None:
    # After a number of hits of the last byte that were none, the compiled search takes another way.
    for terminator in naive.words(b"ab", 4, 1):
        for rest in naive.words(b"ab", 5):
            for before in (terminator[-1:] * 40, (terminator[:1] + b"c" + terminator[-1:]) * 20):
                data = before + rest
                for start in (0, 1, len(before) - 1, len(before)):
                    wanted = naive.find(data, terminator, start)
                    assert scanner.find_terminator(data, terminator, start) == wanted, (data, start)


@pytest.mark.parametrize("length", [2, 31, 32, 33, 63, 64, 65])
def test_find_terminator_of_any_length_where_its_last_byte_is_common(
    scanner: Any, length: int
) -> None:
    terminator = b"b" + b"a" * (length - 1)
    for data in (b"a" * 300 + terminator + b"a" * 9, b"a" * 300 + terminator[:-1], b"ab" * 200):
        assert scanner.find_terminator(data, terminator) == naive.find(data, terminator)


def test_find_terminators_finds_all_of_them(scanner: Any) -> None:
    for terminator in naive.words(b"ab", 3, 1):
        for data in naive.words(b"ab", 7):
            for start in (0, 2, 9):
                wanted, at = [], naive.find(data, terminator, start)
                while at >= 0:
                    wanted.append(at)
                    at = naive.find(data, terminator, at + len(terminator))
                assert list(scanner.find_terminators(data, terminator, start)) == wanted, data
    many = scanner.find_terminators(b"ab\n" * 1000, b"\n")
    assert many.typecode == "q"
    assert list(many) == list(range(2, 3000, 3))


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("text", b"a"), TypeError),
        ((b"text", "a"), TypeError),
        ((b"text", b""), ValueError),
        ((b"text", b"a", -1), ValueError),
    ],
)
def test_find_terminators_refuses(scanner: Any, arguments: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        scanner.find_terminators(*arguments)


def test_find_first_terminator_in_every_small_case(scanner: Any) -> None:
    find = scanner.find_first_terminator
    needles = list(naive.words(b"ab", 3, 1))
    for data in naive.words(b"ab", 7):
        for pair in ((one, other) for one in needles for other in needles):
            for start in range(len(data) + 2):
                assert find(data, pair, start) == naive.find_first(data, pair, start), (data, pair)


@pytest.mark.parametrize(("alphabet", "haystack", "needle"), [(b"abc", 6, 4), (b"ab", 9, 6)])
def test_find_prefix_at_end_in_every_small_case(
    scanner: Any, alphabet: bytes, haystack: int, needle: int
) -> None:
    find = scanner.find_prefix_at_end
    needles = list(naive.words(alphabet, needle, 1))
    for data in naive.words(alphabet, haystack):
        wanted = [naive.prefix_at_end(data, terminator) for terminator in needles]
        assert [find(data, terminator) for terminator in needles] == wanted, data


# Long needles take another way through the compiled search; windows begin to matter for several
# terminators behind the first 128 bytes.
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 66, 200])
def test_long_terminators_at_every_place(scanner: Any, length: int) -> None:
    terminator = b"\r" * (length - 1) + b"\n"
    for before in (0, 1, 63, 64, 65, 127, 128, 129, 500):
        # What stands before it is all false candidates.
        data = b"\n" * before + terminator + b"tail"
        wanted = data.find(terminator)
        assert scanner.find_terminator(data, terminator) == wanted
        assert scanner.find_first_terminator(data, (terminator, b"never")) == (wanted, terminator)
        for cut in range(1, length):
            held = scanner.find_prefix_at_end(data[: before + cut], terminator)
            assert held == naive.prefix_at_end(data[: before + cut], terminator)


@pytest.mark.parametrize("name", FASTCHAT)
@settings(suppress_health_check=[HealthCheck.too_slow])  # PyPy starts slowly
@given(
    data=st.text("ab\r\n", max_size=700).map(str.encode),
    terminators=st.lists(
        st.text("ab\r\n", min_size=1, max_size=5).map(str.encode), min_size=1, max_size=4
    ),
    start=st.integers(0, 720),
)
def test_any_terminators_in_any_data(
    name: str, data: bytes, terminators: list[bytes], start: int
) -> None:
    scanner = load(name).scanner
    several = tuple(terminators)
    found = scanner.find_first_terminator(data, several, start)
    assert found == naive.find_first(data, several, start)
    assert scanner.find_terminator(data, several[0], start) == naive.find(data, several[0], start)


def test_rare_terminators_in_long_data(scanner: Any) -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    for _ in range(300):
        data = bytes(draw.choices(b"abcdefgh", k=draw.randrange(2000)))
        terminators = tuple(
            bytes(draw.choices(b"abcdefgh", k=draw.randrange(1, 6)))
            for _ in range(draw.randrange(1, 5))
        )
        start = draw.randrange(300)
        found = scanner.find_first_terminator(data, terminators, start)
        assert found == naive.find_first(data, terminators, start), f"seed {seed}"


class _Bytes(bytes):
    pass


class _Tuple(tuple[bytes, ...]):
    __slots__ = ()


def test_subclasses_of_bytes_and_tuple(scanner: Any) -> None:
    assert scanner.find_terminator(_Bytes(b"a\nb"), _Bytes(b"\n")) == 1
    assert scanner.find_first_terminator(_Bytes(b"a\nb"), _Tuple([_Bytes(b"\n")])) == (1, b"\n")
    assert scanner.find_prefix_at_end(_Bytes(b"a\r"), _Bytes(b"\r\n")) == 1


def test_find_prefix_at_end_of_other_kinds(implementation: Any) -> None:
    """What CPython's own tests and programs give it, and what it says to a mixture."""
    find = implementation.asynchat.find_prefix_at_end
    assert find("qwerty\r", "\r\n") == 1
    assert find(bytearray(b"qwerty\r"), b"\r\n") == 1
    assert find(b"qwerty\r", bytearray(b"\r\n")) == 1
    assert find(b"abc\r", memoryview(b"\r\n")) == 1
    assert find(b"xaa", b"aa") == 1
    assert find(b"x", b"y") == 0
    assert find("x", "\r\n") == 0
    assert find(b"", b"\r\n") == 0
    assert find(b"abc", b"") == -1
    assert find("abc", "") == -1
    for haystack, needle in ((b"abc", "\r\n"), ("abc", b"\r\n"), (b"abc", [13, 10])):
        with pytest.raises(TypeError):
            find(haystack, needle)


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        (("a", b"\n"), TypeError, "takes bytes and bytes, not str and bytes"),
        ((b"a", "\n"), TypeError, "takes bytes and bytes, not bytes and str"),
        ((b"a", bytearray(b"\n")), TypeError, "takes bytes and bytes, not bytes and bytearray"),
        ((b"a", b""), ValueError, "the terminator is empty"),
        ((b"a", b"\n", -1), ValueError, "start must not be negative, but is -1"),
    ],
)
def test_find_terminator_refuses(
    scanner: Any, arguments: tuple[Any, ...], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        scanner.find_terminator(*arguments)


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        (("a", (b"\n",)), TypeError, "takes bytes, not str"),
        ((b"a", [b"\n"]), TypeError, "must be a tuple of bytes, not list"),
        ((b"a", b"\n"), TypeError, "must be a tuple of bytes, not bytes"),
        ((b"a", ()), ValueError, "tuple of terminators is empty"),
        ((b"a", (b"\n", b"")), ValueError, r"one of the terminators \(b'\\n', b''\) is empty"),
        ((b"a", (b"\n", "x")), TypeError, "may only have bytes, but 'x' is str"),
        ((b"a", (b"\n",), -1), ValueError, "start must not be negative, but is -1"),
    ],
)
def test_find_first_terminator_refuses(
    scanner: Any, arguments: tuple[Any, ...], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        scanner.find_first_terminator(*arguments)


def test_a_start_behind_the_end_finds_nothing(scanner: Any) -> None:
    for start in (2, 3, 2**40, 2**80):
        assert scanner.find_terminator(b"a\n", b"\n", start) == -1
        assert scanner.find_first_terminator(b"a\n", (b"\n",), start) is None


def test_a_delivery_within_a_delivery_may_take_a_part_of_the_rest(own: Stage) -> None:
    drive = own.implementation.core["incoming"].drive

    def found(chat: Any) -> None:
        if chat.events[-2] == b"one":
            with pytest.raises(ValueError, match="two"):
                drive(chat)
            chat.events.append("returned")
        elif chat.events[-2] == b"two":
            raise ValueError("two")

    chat = own.chat(b"\n", found_terminator=found)
    chat.ac_in_buffer = b"one\ntwo\nthree\n"
    drive(chat)
    assert chat.events == [
        *(b"one", "found"),
        *(b"two", "found"),
        "returned",
        *(b"three", "found"),
    ]


@pytest.mark.compiled
def test_both_implementations_have_the_same_names() -> None:
    compiled, python = (load(name).scanner for name in FASTCHAT)
    public = {name for name, value in vars(python).items() if callable(value) and name[0] != "_"}
    public -= {"Any", "annotations", "array"}  # what it imports
    public -= {"as_bytes"}  # for both, and for the layers above
    for name in public:
        # Python 3.13 takes the indentation out of docstrings, and Cython does not.
        assert inspect.getdoc(getattr(compiled, name)) == inspect.getdoc(getattr(python, name)), (
            name
        )
