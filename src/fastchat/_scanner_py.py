"""The hot path in Python: finding terminators and cutting the input buffer.

The twin of ``_scanner.pyx``: the same names, the same results, the same errors.  It is what runs
where there is no compiled extension, and what the compiled scanner is tested against.

``drive`` is the loop over the input buffer of an ``async_chat`` channel.  The rules it keeps,
because programs can see each of them:

* ``get_terminator`` is called once for each piece, hooks are looked up on the channel each time.
* While ``collect_incoming_data`` runs, the buffer still begins with the piece; while
  ``found_terminator`` runs, it begins behind the terminator.  An exception leaves it like that.
* What a hook does to the buffer counts: the buffer is looked at again after every hook.
* A closed channel gets no more input.
* Work is linear in the bytes: the buffer is one object and an offset, in the channel's ``State``,
  never cut by copying the rest, and each byte is searched a bounded number of times.

A channel whose class replaces the ``ac_in_buffer`` property with a plain attribute, and a buffer
that is not bytes, take ``cut_plainly`` instead, which does one piece at a time the old way.
"""

from __future__ import annotations

from array import array
from typing import Any

from fastchat._hangups import closes_of
from fastchat._state_py import State

# The first stretch of input that is searched for every one of several terminators.
_WINDOW = 128

# How much input is cut into lines at once, at first and at most, in bytes.
_FEW_LINES = 256
_MANY_LINES = 16384

# Where a single line is looked for first, in bytes.
_SHORT_LINE = 64

# How often the last byte of a terminator may be found where there is none, in one search.
_SOME = 16


def _search(data: bytes, terminator: bytes, start: int) -> int:
    """``data.find(terminator, start)`` for a *terminator* that is not empty, and faster.

    Looks for its last byte, which bytes.find() does with memchr, at many times the speed of its
    search for two bytes and more.  Where that byte is common without the rest, one ordinary search
    for all of it ends this.
    """
    before = len(terminator) - 1
    if not before:
        return data.find(terminator, start)
    last, first = terminator[before:], terminator[0]
    hit = data.find(last, start + before)
    for _ in range(_SOME):
        if hit < 0:
            return -1
        index = hit - before
        if data[index] == first and (before == 1 or data.startswith(terminator, index)):
            return index
        hit = data.find(last, hit + 1)
    return data.find(terminator, hit - before) if hit >= 0 else -1


def _lines_of(buffer: bytes, start: int, terminator: bytes, window: int) -> tuple[list[bytes], int]:
    """The next lines of *buffer* from *start*, and the window for those behind them.

    Where the terminator stays the same, all lines in a window of input are cut at once, in a third
    of the time of a search for each.  The window grows while its lines are wanted, so that little
    is cut in vain; it is 0 where the terminator changed, and behind a long line.
    """
    if window:
        lines = buffer[start : start + window].split(terminator)
        lines.pop()  # what is behind the last terminator
        if lines:
            return lines, min(4 * window, _MANY_LINES)
    else:
        # Short lines are most, and this takes less time than find(), which parses its arguments.
        line, found, _ = buffer[start : start + _SHORT_LINE].partition(terminator)
        if found:
            return [line], _FEW_LINES
    index = _search(buffer, terminator, start)
    if index < 0:
        return [], 0
    return [buffer[start:index]], 0 if index - start > _FEW_LINES // 2 else _FEW_LINES


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
    return _search(data, terminator, start)


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
        at = _search(data, terminator, at + len(terminator))
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
    # Searching everything for each terminator would make a rare one cost its whole distance on
    # every line.  Windows that grow keep the work in proportion to the distance of the match.
    size = len(data)
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


def check_terminators(terminators: object) -> tuple[bytes, ...]:
    """*terminators* as a plain tuple of plain bytes.

    Raises TypeError or ValueError where it is no tuple of one or more bytes objects, none empty.
    """
    if not isinstance(terminators, tuple):
        raise TypeError(
            f"several terminators must be a tuple of bytes, not {type(terminators).__name__}"
        )
    several = tuple(terminators)
    if not several:
        raise ValueError("the tuple of terminators is empty; it must have at least one member")
    for terminator in several:
        if not issubclass(type(terminator), bytes):
            raise TypeError(
                "a tuple of terminators may only have bytes, "
                f"but {terminator!r} is {type(terminator).__name__}"
            )
    several = tuple(bytes(memoryview(terminator)) for terminator in several)
    if b"" in several:
        raise ValueError(
            f"one of the terminators {several!r} is empty; each needs at least one byte"
        )
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


def drive(channel: Any) -> None:
    """Deliver what the input buffer of *channel* holds.

    Calls ``collect_incoming_data`` and ``found_terminator`` until the buffer is empty, or ends
    with what may be the beginning of a terminator.  Where a hook closes the channel, the rest is
    dropped.  Exceptions of the hooks leave.  Raises TypeError where the terminator is of no type
    that can be one.
    """
    state = getattr(channel, "_fc_state", None)
    if type(state) is State and state.fits(channel):
        cut(channel, state)
    else:
        closes = closes_of(channel)
        while cut_plainly(channel, closes):
            pass


# What a buffer is where there is no input, the only bytes object of its kind.
EMPTY = b""

# In how much input ``cut_one`` looks for a line, in bytes: in vain, it is searched once more.
_SHORT = 512

# Stands for the terminator of a channel that was not asked for it yet.
NOT_ASKED = object()


def cut_one(channel: Any, state: State, data: bytes) -> Any:
    """Deliver *data*, all the input of *channel*, if it is a short line or part of a large piece.

    Most input is, and none of the output for it is to be held: nothing is behind it.  Returns None
    where there is no more to deliver, else what ``cut`` is to be told.
    """
    closes = state.closes
    terminator = channel.get_terminator()
    kind = type(terminator)
    size = len(data)
    if state.buffer is not data:
        return None if state.closes != closes else _told(terminator)
    if kind is int and terminator > size:
        channel.collect_incoming_data(data)
        if state.closes == closes:
            channel.ac_in_buffer = b""
            channel.terminator = channel.terminator - size
        return None
    if kind is not bytes or not terminator or size > _SHORT:
        return _told(terminator)
    # One call, which makes the piece too; find() alone would take longer to parse its arguments.
    piece, found, behind = data.partition(terminator)
    if behind or not found:
        return terminator
    if piece:
        channel.collect_incoming_data(piece)
        if state.closes != closes:
            return None
    if state.buffer is data and not state.start:
        state.buffer = b""
    else:
        channel.ac_in_buffer = channel.ac_in_buffer[size:]
    channel.found_terminator()
    return None if state.closes != closes or state.buffer is EMPTY else NOT_ASKED


def _told(terminator: Any) -> Any:
    """*terminator*, or what means the same to ``cut`` and is not None."""
    return b"" if terminator is None else terminator


def cut(channel: Any, state: State, asked: Any = NOT_ASKED) -> None:
    """``drive`` for a *channel* whose buffer is in its *state*.

    *asked* is what ``get_terminator`` said of the first piece, where it was called already.
    """
    closes = state.closes
    buffer = None
    while True:
        if state.buffer is not buffer:
            buffer = state.buffer
            window = 0
            if type(buffer) is not bytes:
                if not cut_plainly(channel, closes_of(channel), asked) or state.closes != closes:
                    return
                buffer, asked = None, NOT_ASKED
                continue
            size = len(buffer)
        start = state.start
        if start >= size:
            return

        if asked is NOT_ASKED:
            asked = channel.get_terminator()
            if state.buffer is not buffer:  # that has changed the input, or closed the channel
                if state.closes != closes:
                    return
                continue
        terminator, asked = asked, NOT_ASKED
        # Whole pieces, and how many bytes of terminator are behind each: nearly all there is.
        pieces: list[bytes] = []
        behind = 0
        if type(terminator) is bytes and terminator:
            pieces, window = _lines_of(buffer, start, terminator, window)
            behind = len(terminator)
        elif type(terminator) is int and 0 < terminator <= size - start:
            pieces, window = [buffer[start : start + terminator]], 0
        for piece in pieces:
            # As below, without what cannot be.
            end = start + len(piece) + behind
            state.more = end < size
            if piece:
                channel.collect_incoming_data(piece)
                if state.closes != closes:
                    return
            if state.buffer is not buffer or state.start != start:
                channel.ac_in_buffer = channel.ac_in_buffer[end - start :]
            elif end == size:
                state.buffer = b""
                state.start = 0
            else:
                state.start = end
            if not behind:
                channel.terminator = 0
            channel.found_terminator()
            if state.closes != closes:
                return
            if state.buffer is not buffer or state.start != end:
                asked = NOT_ASKED
                break
            start = end
            asked = channel.get_terminator()
            if asked is not terminator or state.buffer is not buffer:
                if state.closes != closes:
                    return
                window = 0
                break
        if pieces:
            continue

        # Where the piece ends, where the search goes on, and whether that is a terminator's end.
        found = counted = False
        piece_end = end = size
        if type(terminator) is bytes and terminator:
            piece_end = end = size - _held_back(buffer, start, (terminator,))
        elif not terminator:
            pass
        elif isinstance(terminator, int):
            counted = True
            if terminator <= size - start:
                found = True
                # A negative number, which only an assignment to the attribute makes, counts from
                # the end, as slices do.
                piece_end = end = max(start, (start if terminator > 0 else size) + terminator)
        elif isinstance(terminator, tuple):
            several = check_terminators(terminator)
            match = find_first_terminator(buffer, several, start)
            if match is not None:
                found = True
                piece_end, matched = match
                end = piece_end + len(matched)
            else:
                piece_end = end = size - _held_back(buffer, start, several)
        else:
            plain = as_bytes(terminator)
            index = _search(buffer, plain, start)
            if index >= 0:
                found = True
                piece_end = index
                end = index + len(plain)
            else:
                piece_end = end = size - _held_back(buffer, start, (plain,))

        state.more = end < size
        if piece_end > start or counted:
            channel.collect_incoming_data(buffer[start:piece_end])
            if state.closes != closes:
                return
        # The very object, because what is new has to be looked at anew.
        untouched = state.buffer is buffer and state.start == start
        if found:
            if untouched and end == size:
                state.buffer = b""  # nobody needs what was received any more
                state.start = 0
            elif untouched:
                state.start = end
            else:
                taken = terminator if counted else end - start
                channel.ac_in_buffer = channel.ac_in_buffer[taken:]
            if counted:
                channel.terminator = 0
            elif isinstance(terminator, tuple):
                channel.matched_terminator = matched
            channel.found_terminator()
            if state.closes != closes:
                return
        elif end < size:
            # A copy, so that a few bytes do not keep all of what was received alive.
            rest = buffer[end:] if untouched else channel.ac_in_buffer[end - size :]
            channel.ac_in_buffer = rest
            return
        else:
            channel.ac_in_buffer = b""
            if counted:
                channel.terminator = channel.terminator - (size - start)
            return


def cut_plainly(channel: Any, closes: int, asked: Any = NOT_ASKED) -> bool:
    """Deliver one piece using only the public attribute ``ac_in_buffer``, of whatever type.

    *closes* is how often the channel had been closed when the delivery began, *asked* as in
    ``cut``.  Returns whether there may be more to deliver.  Raises what ``drive`` does.
    """
    if not channel.ac_in_buffer:
        return False
    terminator = channel.get_terminator() if asked is NOT_ASKED else asked
    buffer = channel.ac_in_buffer  # which that may have changed
    if getattr(channel, "_fc_closes", 0) != closes or not buffer:
        return False
    size = len(buffer)
    found = counted = False
    taken = held = 0
    piece = buffer
    if not terminator:
        pass
    elif isinstance(terminator, int):
        counted = True
        if terminator <= size:
            found, taken, piece = True, terminator, buffer[:terminator]
    elif isinstance(terminator, tuple):
        several = check_terminators(terminator)
        match = find_first_terminator(bytes(buffer), several)
        if match is not None:
            index, matched = match
            found, taken, piece = True, index + len(matched), buffer[:index]
        else:
            held = _held_back(bytes(buffer), 0, several)
    else:
        if not isinstance(buffer, str):
            terminator = as_bytes(terminator)
        index = buffer.find(terminator)
        if index >= 0:
            found, taken, piece = True, index + len(terminator), buffer[:index]
        else:
            held = find_prefix_at_end(buffer, terminator)
    if held:
        piece = buffer[:-held]

    if piece or counted:
        channel.collect_incoming_data(piece)
        if getattr(channel, "_fc_closes", 0) != closes:
            return False
    if found:
        channel.ac_in_buffer = channel.ac_in_buffer[taken:]
        if counted:
            channel.terminator = 0
        elif isinstance(terminator, tuple):
            channel.matched_terminator = matched
        channel.found_terminator()
        return bool(getattr(channel, "_fc_closes", 0) == closes)
    if held:
        if piece:
            channel.ac_in_buffer = channel.ac_in_buffer[-held:]
        return False
    channel.ac_in_buffer = b""
    if counted:
        channel.terminator = channel.terminator - size
    return False


def as_bytes(terminator: Any) -> bytes:
    """*terminator*, any bytes-like object, as bytes.

    Raises TypeError where it is none, and ValueError where it is empty though it is true.
    """
    try:
        plain = bytes(memoryview(terminator))
    except TypeError:
        raise TypeError(
            "a terminator must be bytes, a tuple of bytes, a number of bytes, or None; "
            f"{terminator!r} is {type(terminator).__name__}"
        ) from None
    if not plain:
        raise ValueError(f"the terminator {terminator!r} is empty; it must have at least one byte")
    return plain


def _held_back(buffer: bytes, start: int, terminators: tuple[bytes, ...]) -> int:
    """How many bytes at the end of *buffer*, none before *start*, may begin a terminator."""
    tail = buffer[max(start, len(buffer) - max(map(len, terminators)) + 1) :]
    return max(find_prefix_at_end(tail, terminator) for terminator in terminators)
