"""What a LineBuffer and ``join_lines()`` can be called with, and what is raised of a line.

Besides, what several modules of lines, those of ``aio`` among them, have to agree on.

Rules this file keeps:

* Each check returns the value as a plain one, or raises what says which it was and what is wanted.
* None changes anything: the caller has not begun.
"""

from __future__ import annotations

import sys
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias

from fastchat._scanner_py import as_bytes, check_terminators

if TYPE_CHECKING:
    from typing import Literal

# What is bytes-like, as far as its type says so.
Data: TypeAlias = bytes | bytearray | memoryview
# What hooks return: a line each, one line, or nothing.
Reply: TypeAlias = list[bytes] | bytes | None

# How many bytes of an over-long line its exception shows.
PREFIX = 1024
# How much more may wait behind over-long lines than the first of them has left, in bytes.
BACKLOG = 1 << 20
# The bit of ``Gate.stops`` that says that a hook runs.
BUSY = 1
# More than any line has, and so little that a sum of two is an index.
UNLIMITED = sys.maxsize // 2
# The members of a LineBuffer, which the .pxd has beside their types.
MEMBERS = (
    "__weakref__",
    "_ahead",
    "_ahead_alive",
    "_ahead_at",
    "_ahead_first",
    "_ahead_size",
    "_begun",
    "_dropped",
    "_has_ended",
    "_held",
    "_is_skipping",
    "_keepends",
    "_longest",
    "_longest_delimiter",
    "_mode",
    "_most_ahead",
    "_prefix",
    "_reserved",
    "_room",
    "_several",
    "_single",
    "_size",
    "_too_long_size",
)


class LineTooLong(ValueError):
    """A line is longer than ``max_line`` allows.

    ``lines`` are the lines that stand before it in what was fed, ``prefix`` its first bytes (1,024
    at most), ``size`` the bytes of it that were seen so far, ``limit`` what ``max_line`` was, and
    ``waiting`` how many bytes behind it were not cut yet.  There may be more such lines in them.  A
    program that goes on has these cut, too, or it falls behind what it reads::

        while True:
            try:
                handle(buffer.feed(data))
                break
            except LineTooLong as failure:
                handle(failure.lines)
                data = b""
    """

    def __init__(
        self, lines: list[bytes], prefix: bytes, size: int, limit: int, waiting: int = 0
    ) -> None:
        super().__init__(lines, prefix, size, limit, waiting)
        self.lines = lines
        self.prefix = prefix
        self.size = size
        self.limit = limit
        self.waiting = waiting

    def __str__(self) -> str:
        behind = f"; feed(b'') cuts the {self.waiting} bytes behind it" if self.waiting else ""
        return (
            f"a line has {self.size} bytes or more, and max_line is {self.limit}: raise max_line, "
            f"or let overflow be 'discard' or 'split'; the line begins {self.prefix[:40]!r}{behind}"
        )


def uncut_error(size: int) -> ValueError:
    """The error where the input ends, and *size* bytes of it are not looked at."""
    return ValueError(
        f"{size} bytes were not cut yet: call feed(b'') before, or rest() if they are no lines"
    )


def backlog_error(size: int) -> ValueError:
    """The error where *size* bytes wait behind over-long lines, and more is fed."""
    return ValueError(
        f"{size} bytes wait behind lines that were too long: after LineTooLong call feed(b'') "
        "until it raises none, and then feed more"
    )


def cannot_fill(have: int, size: int) -> ValueError:
    """The error where *size* bytes are said to be in a place that has *have*."""
    return ValueError(f"get_buffer() gave {have} bytes, of which {size} cannot be filled")


class Signature:
    """What ``inspect.signature()`` finds: a compiled class has none of its own."""

    def __get__(self, buffer: object, kind: type) -> Any:
        import inspect  # noqa: PLC0415 (few programs need it, and it takes its time)

        bases = iter(kind.__mro__)
        while "__signature__" not in (members := vars(next(bases))):
            if "__init__" in members or "__new__" in members:
                raise AttributeError("__signature__")  # a subclass is called in its own way
        return inspect.signature(_signature)


def _signature(
    delimiter: bytes | tuple[bytes, ...] = b"\n",
    *,
    max_line: int = 16 * 2**20,
    keepends: bool = False,
    overflow: Literal["raise", "discard", "split"] = "raise",
) -> None:
    """How a LineBuffer is called."""


def number_of(value: Any, words: str) -> int:
    """*value* as an int; raises TypeError, with *words* before its type, where it is none."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{words} {type(value).__name__}")
    return index(value)


def limit_of(max_line: Any) -> int:
    """*max_line* as an int that is at most ``UNLIMITED``."""
    limit = number_of(max_line, "max_line must be an int, not")
    if limit < 1:
        raise ValueError(f"max_line must be at least 1, but is {limit}")
    return min(limit, UNLIMITED)


def bytes_of(data: Any) -> bytes:
    """What *data* has, which is not bytes itself."""
    return as_bytes(data, "feed() takes bytes")


def count_of(most: Any) -> int:
    """*most* as an int that is at most ``UNLIMITED``."""
    count = number_of(most, "most must be an int, not")
    if count < 0:
        raise ValueError(f"most must not be negative, but is {count}")
    return min(count, UNLIMITED)


def check_delimiter(delimiter: Any) -> tuple[bytes | None, tuple[bytes, ...]]:
    """*delimiter* if it is one, else None, and as a tuple."""
    if isinstance(delimiter, bytes):
        single = _plain(delimiter)
        return single, (single,)
    if not isinstance(delimiter, tuple):
        hint = ": use .encode()" if isinstance(delimiter, str) else ""
        raise TypeError(
            f"a delimiter must be bytes or a tuple of bytes, not {type(delimiter).__name__}{hint}"
        )
    several = check_terminators(delimiter, "delimiter")
    if len(set(several)) < len(several):
        raise ValueError(f"one of the delimiters {several!r} is there twice")
    return (several[0], several) if len(several) == 1 else (None, several)


def _plain(delimiter: bytes) -> bytes:
    """*delimiter*, which may be of a subclass that is not what it says, as its bytes."""
    plain = delimiter if type(delimiter) is bytes else bytes(memoryview(delimiter))
    if not plain:
        raise ValueError("the delimiter is empty; it must have at least one byte")
    return plain


def check_one(line: Any, taker: str, other: str) -> None:
    """Raise TypeError where *line*, which *taker* was called with, is several, as *other* takes."""
    if isinstance(line, (list, tuple)):
        kind = type(line).__name__
        raise TypeError(f"{taker} takes one line, not {kind}: {other} takes several")


def check_several(lines: Any, taker: str) -> None:
    """Raise TypeError where *lines*, which *taker* was called with, is one line, or None."""
    if lines is None or isinstance(lines, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"{taker} takes a list of lines, not {type(lines).__name__}")


def check_joining(lines: Any, delimiter: Any) -> tuple[list[Any], bytes]:
    """The *lines* and the *delimiter* of ``join_lines()``, if they are such."""
    if not isinstance(delimiter, bytes):
        raise TypeError(f"the delimiter must be bytes, not {type(delimiter).__name__}")
    plain = _plain(delimiter)
    check_several(lines, "join_lines()")
    return list(lines), plain  # its own, so that no other thread changes it meanwhile
