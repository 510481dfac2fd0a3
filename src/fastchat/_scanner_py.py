"""Finding and cutting, in Python: functions of bytes, which keep nothing.

The twin of ``_scanner.pyx``: the same names, the same results, the same errors.  It is what runs
where there is no compiled extension, and what the compiled scanner is tested against.  Work is
linear in the bytes.
"""

from __future__ import annotations

from array import array
from typing import Any

# The first stretch of input that is searched for every one of several terminators.
_WINDOW = 128

# Where a single line is looked for first, in bytes.
_SHORT_LINE = 64

# From how many bytes on a search for the end of a line costs less than its part of a split().
_LONG_LINE = 256

# How often the last byte of a terminator may be found where there is none, in one search.
_SOME = 16


def _search(data: bytes, terminator: bytes, start: int, end: int) -> int:
    """``data.find(terminator, start, end)``, and faster; -1 for a *terminator* that is empty.

    Looks for its last byte, which bytes.find() does with memchr, at many times the speed of its
    search for two bytes and more.  Where that byte is common without the rest, one ordinary search
    for all of it ends this.
    """
    before = len(terminator) - 1
    if before < 1:
        return -1 if before else data.find(terminator, start, end)
    last, first = terminator[before:], terminator[0]
    hit = data.find(last, start + before, end)
    for _ in range(_SOME):
        if hit < 0:
            return -1
        index = hit - before
        if data[index] == first and (before == 1 or data.startswith(terminator, index)):
            return index
        hit = data.find(last, hit + 1, end)
    return data.find(terminator, hit - before, end) if hit >= 0 else -1


def lines_of(data: bytes, start: int, terminator: bytes, window: int) -> list[bytes]:
    """The next lines of *data* from *start*: those that end in *window* bytes, or the first."""
    if window:
        # All at once, in a third of the time of a search for each.
        lines = data[start : start + window].split(terminator)
        lines.pop()  # what is behind the last terminator
        if lines:
            return lines
    else:
        # Short lines are most, and this takes less time than find(), which parses its arguments.
        line, found, _ = data[start : start + _SHORT_LINE].partition(terminator)
        if found:
            return [line]
    index = _search(data, terminator, start, len(data))
    return [data[start:index]] if index >= 0 else []


def only_line(data: bytes, terminator: bytes) -> bytes | None:
    """*data* without the *terminator* it ends with; None where that is not there, or elsewhere."""
    # One call, which makes the line too; find() alone would take longer to parse its arguments.
    line, found, behind = data.partition(terminator)
    return line if found and not behind else None


def find_terminator(data: object, terminator: object, start: int = 0) -> int:
    """The index of the first *terminator* in *data* at or after *start*, or -1.

    Raises TypeError unless both are bytes, ValueError where *terminator* is empty or *start* is
    negative.
    """
    if not (isinstance(data, bytes) and isinstance(terminator, bytes)):
        raise TypeError(
            "find_terminator() takes bytes and bytes, "
            f"not {type(data).__name__} and {type(terminator).__name__}"
        )
    if not len(terminator):
        raise ValueError("the terminator is empty; it must have at least one byte")
    if start < 0:
        raise ValueError(f"start must not be negative, but is {start}")
    return _search(data, terminator, start, len(data))


def find_terminators(data: object, terminator: object, start: int = 0) -> array[int]:
    """The indexes of all *terminator* in *data* at or after *start*, none overlapping another.

    Returns an ``array.array`` of type code "q".  Raises what ``find_terminator`` does.
    """
    if not (isinstance(data, bytes) and isinstance(terminator, bytes)):
        raise TypeError(
            "find_terminators() takes bytes and bytes, "
            f"not {type(data).__name__} and {type(terminator).__name__}"
        )
    found = array("q")
    at = find_terminator(data, terminator, start)
    while at >= 0:
        found.append(at)
        at = _search(data, terminator, at + len(terminator), len(data))
    return found


def find_first_terminator(
    data: object, terminators: tuple[bytes, ...], start: int = 0
) -> tuple[int, bytes] | None:
    """The match of one of *terminators* in *data*, at or after *start*, that ends first.

    Of several that end at the same byte the longest wins, so that CRLF beside LF takes the CR
    along.  The answer does not depend on how the bytes were split.  Returns
    ``(index, terminator)``, or None where there is none.

    Raises TypeError unless *data* is bytes and *terminators* a tuple of bytes, ValueError where
    there is none, where one is empty, or where *start* is negative.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"find_first_terminator() takes bytes, not {type(data).__name__}")
    terminators = check_terminators(terminators)
    if start < 0:
        raise ValueError(f"start must not be negative, but is {start}")
    return _find_first(data, terminators, start, len(data))


def _find_first(
    data: bytes, terminators: tuple[bytes, ...], start: int, size: int
) -> tuple[int, bytes] | None:
    """The match of one of *terminators* in ``data[start:size]`` that ends first."""
    # Searching everything for each terminator would make a rare one cost its whole distance on
    # every line.  Windows that grow keep the work in proportion to the distance of the match.
    low, high = start, start + _WINDOW
    while low < size:
        found, best = -1, b""
        end = min(high, size)
        for terminator in terminators:
            # A match that began in the last window may end in this one.
            begin = max(start, low - len(terminator) + 1)
            index = data.find(terminator, begin, end)
            if index >= 0:
                last = index + len(terminator)
                if found < 0 or last < end or len(terminator) > len(best):
                    found, best, end = index, terminator, last
        if found >= 0:
            return found, best
        low, high = high, high + 2 * (high - start)
    return None


def check_terminators(terminators: object, word: str = "terminator") -> tuple[bytes, ...]:
    """*terminators* as a plain tuple of plain bytes; *word* is what a message calls one.

    Raises TypeError or ValueError where it is no tuple of one or more bytes objects, none empty.
    """
    if not isinstance(terminators, tuple):
        raise TypeError(
            f"several {word}s must be a tuple of bytes, not {type(terminators).__name__}"
        )
    several = tuple(terminators)
    if not several:
        raise ValueError(f"the tuple of {word}s is empty; it must have at least one member")
    for terminator in several:
        if not issubclass(type(terminator), bytes):
            raise TypeError(
                f"a tuple of {word}s may only have bytes, "
                f"but {terminator!r} is {type(terminator).__name__}"
            )
    several = tuple(bytes(memoryview(terminator)) for terminator in several)
    if b"" in several:
        raise ValueError(f"one of the {word}s {several!r} is empty; each needs at least one byte")
    return several


def find_prefix_at_end(haystack: Any, needle: Any) -> int:
    """How many bytes at the end of *haystack* may be the beginning of *needle*.

    The length of the longest proper prefix of *needle* that *haystack* ends with; a *haystack*
    that ends with all of *needle* is not what this is for.  An empty *needle* gives -1, as it
    does in CPython 3.11.  Takes bytes-like objects or str, both of the same kind; raises TypeError
    where a comparison of the two does.
    """
    size = len(needle) - 1
    if type(haystack) is bytes and type(needle) is bytes:
        first = needle[:1]
        begin = haystack.find(first, max(0, len(haystack) - size)) if size > 0 else -1
        while begin >= 0 and not needle.startswith(haystack[begin:]):
            begin = haystack.find(first, begin + 1)
        return min(size, 0) if begin < 0 else len(haystack) - begin
    while size and not haystack.endswith(needle[:size]):
        size -= 1
    return size


# asynchat hands this function out under its own name, and there its signature has none.
find_prefix_at_end.__annotations__.clear()


def held_back(data: bytes, start: int, terminators: tuple[bytes, ...]) -> int:
    """How many bytes at the end of *data*, none before *start*, may begin a terminator."""
    if len(terminators) == 1:
        tail = data[max(start, len(data) - len(terminators[0]) + 1) :]
        return find_prefix_at_end(tail, terminators[0])
    tail = data[max(start, len(data) - max(map(len, terminators)) + 1) :]
    return max(find_prefix_at_end(tail, terminator) for terminator in terminators)


# Lines that are bounded, for LineBuffer.


def cut_lines(
    data: bytes,
    start: int,
    delimiter: bytes,
    longest: int,
    most: int,
    keepends: bool,
    lines: list[bytes],
) -> int:
    """Append to *lines* what *delimiter* ends in ``data[start:]``, at most *most* lines.

    Returns where the next line begins, or the ones' complement of that where the next line has
    more than *longest* bytes, whether its end is there or not.  Searches no farther for it.
    """
    length = len(delimiter)
    reach = max(longest, 0) + length
    while most > 0:
        index = _search(data, delimiter, start, start + reach)
        if index < 0:
            return start if start + reach >= len(data) else ~start
        lines.append(data[start : index + length if keepends else index])
        is_short = index - start < _LONG_LINE
        start = index + length
        most -= 1
        if is_short and most > 0:
            # The others are perhaps as short, and one split() costs less than a search for each.
            # None is too long, of those that end in so many bytes.  A few need no copy of all.
            stretch = data[start : start + min(longest + length, most * _LONG_LINE)]
            found = stretch.split(delimiter, most)
            start += len(stretch) - len(found.pop())
            most -= len(found)
            lines += [line + delimiter for line in found] if keepends else found
    return start


def cut_lines_of_several(
    data: bytes,
    start: int,
    delimiters: tuple[bytes, ...],
    longest: int,
    most: int,
    keepends: bool,
    lines: list[bytes],
) -> int:
    """As ``cut_lines``, where a line ends at the match of one of *delimiters* that ends first."""
    last = min(delimiters, key=len)
    if len(last) == 1 and all(delimiter.endswith(last) for delimiter in delimiters):
        return _cut_lines_at(last, data, start, delimiters, longest, most, keepends, lines)
    reach = max(longest, 0) + max(map(len, delimiters))
    while most > 0:
        found = _find_first(data, delimiters, start, min(start + reach, len(data)))
        if found is None:
            return start if start + reach >= len(data) else ~start
        index, delimiter = found
        if index - start > longest:
            return ~start
        end = index + len(delimiter)
        lines.append(data[start : end if keepends else index])
        start = end
        most -= 1
    return start


def _cut_lines_at(
    last: bytes,
    data: bytes,
    start: int,
    delimiters: tuple[bytes, ...],
    longest: int,
    most: int,
    keepends: bool,
    lines: list[bytes],
) -> int:
    """As ``cut_lines_of_several``, where the byte *last* is a delimiter and the end of all others.

    So each line ends at that byte, as those of CRLF and LF do, and loses what else stands before it
    of the longest delimiter.
    """
    longest = max(longest, 0)
    # The last of these is that of *last*, which has nothing before it.
    before = sorted([each[:-1] for each in delimiters], key=len, reverse=True)[:-1]
    reach = longest + max(map(len, delimiters))
    while most > 0:
        some: list[bytes] = []
        next_one = cut_lines(data, start, last, longest, most, keepends, some)
        lines += some if keepends else _without(some, before)
        most -= len(some)
        if next_one >= 0:
            return next_one
        start = ~next_one
        # It is too long, but for what it may lose.
        index = data.find(last, start + longest + 1, start + reach)
        if index < 0:
            return start if start + reach >= len(data) else ~start
        (line,) = _without([data[start:index]], before)
        if len(line) > longest:
            return ~start
        lines.append(data[start : index + 1] if keepends else line)
        start = index + 1
        most -= 1
    return start


def _without(lines: list[bytes], ends: list[bytes]) -> list[bytes]:
    """The *lines*, each without the first of *ends* that it ends with."""
    if len(ends) == 1:
        return [line.removesuffix(ends[0]) for line in lines]
    return [line.removesuffix(_end_of(line, ends)) for line in lines]


def _end_of(line: bytes, ends: list[bytes]) -> bytes:
    """The first of *ends* that *line* ends with; none is ``b""``."""
    for end in ends:
        if line.endswith(end):
            return end
    return b""


def find_line_end(
    data: bytes, start: int, end: int, delimiters: tuple[bytes, ...]
) -> tuple[int, int]:
    """Where a line ends in ``data[start:end]``, and where the next begins; -1 and -1 for nowhere.

    It ends at the match of one of *delimiters* that ends first, the longest of several.
    """
    if len(delimiters) == 1:
        index = _search(data, delimiters[0], start, end)
        return (index, index + len(delimiters[0])) if index >= 0 else (-1, -1)
    found = _find_first(data, delimiters, start, min(end, len(data)))
    return (found[0], found[0] + len(found[1])) if found else (-1, -1)


def join_begun(begun: bytes, data: bytes, start: int, end: int) -> bytes:
    """*begun* and ``data[start:end]`` in one piece."""
    return begun + data[start:end]


def join_checked(lines: list[Any], delimiter: bytes) -> bytes:
    """The *lines*, one or more, each with *delimiter* behind it.

    Raises ValueError where a line would end before, TypeError where one is not bytes-like.
    """
    if {*map(type, lines)} != {bytes}:  # so that what is checked is what is joined
        lines = [check_line(line) for line in lines]
    joined = delimiter.join([*lines, b""])
    if joined.count(delimiter) != len(lines) or _overlaps_itself(delimiter):
        for line in lines:
            check_line(line, delimiter)
    return joined


def _overlaps_itself(delimiter: bytes) -> bool:
    """Whether *delimiter* ends with what it begins with, as b"aba" does."""
    return any(delimiter.endswith(delimiter[:size]) for size in range(1, len(delimiter)))


def as_bytes(data: Any, words: str) -> bytes:
    """What *data* has; raises TypeError, *words* and its type, where it is not bytes-like."""
    try:
        view = memoryview(data)
    except TypeError:
        if hasattr(type(data), "__buffer__"):  # from Python 3.12 on this may be the program's own
            raise
        hint = ": use .encode()" if isinstance(data, str) else ""
        raise TypeError(f"{words}, not {type(data).__name__}{hint}") from None
    return bytes(view)


def check_line(line: Any, delimiter: bytes = b"") -> bytes:
    """*line* as bytes; raises what ``join_checked`` does, of this one."""
    plain = as_bytes(line, "a line must be bytes")
    if delimiter and (plain + delimiter).find(delimiter) < len(plain):
        raise ValueError(
            f"the line {plain[:80]!r} has the delimiter {delimiter!r} inside, so who receives it "
            "would see two: take it out, or send the bytes as they are"
        )
    return plain
