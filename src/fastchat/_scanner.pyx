# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Finding and cutting, compiled: functions of bytes, which keep nothing.

The twin of ``_scanner_py.py``: the same names, the same results, the same errors.  A change here is
a change there, and a test that shows it.

What is compiled is the common case: bytes, and terminators that are bytes or a tuple of bytes.
Everything else is the twin's.

Rules this file keeps:

* No pointer into a buffer lives across a call into Python: each one is taken from a bytes object
  that a local variable keeps alive.
* The C functions read ``data[start:end]`` and nothing else.
* Work is linear: O(bytes) whatever the terminator.  Beyond ``LONGEST`` bytes of terminator
  ``bytes.find`` searches, which is linear in itself.  What may begin a terminator at the end is
  looked for once a receive, in O(length squared) at worst.
"""

from array import array as _array

from cpython.array cimport array, clone, extend_buffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from fastchat._scanner_py import check_line, check_terminators
from fastchat._scanner_py import find_prefix_at_end as _find_prefix_at_end
from fastchat._scanner_py import join_checked as _join_checked

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

# A process has this module once, however often a program throws fastchat out of sys.modules and
# imports it again.  These are the modules it works with, which must then be the same; _backend.py
# fills it in.
COMPANIONS = {}

cdef array _indexes = _array("q")

cdef enum:
    LONGEST = 64  # the bits of the state of _search_steadily
    # memchr gives up after so many hits that were none, if there was one in so many bytes.
    SOME = 16
    SPARSE = 16
    WINDOW = 128  # the first stretch of input that is searched for every one of several


cdef Py_ssize_t _search(
    const char *data, Py_ssize_t start, Py_ssize_t end, const char *wanted, Py_ssize_t length
) noexcept nogil:
    """The index of the first *wanted* in ``data[start:end]``, or -1.

    Looks for the last byte of *wanted*, which memchr does many bytes at a time, and compares what
    stands before it: in b"\\r\\n" the last byte is the rarer one.  Where that byte is common, each
    of its hits costs a call and a comparison; then what is left is searched byte by byte.
    """
    cdef const char *hit
    cdef Py_ssize_t before = length - 1, first = start, misses = 0
    # Also for a *start* to which nothing can be added; an empty *wanted* is nowhere.
    if end - start < length or length < 1:
        return -1
    start += before
    while start < end:
        hit = <const char *> memchr(data + start, wanted[before], end - start)
        if hit == NULL:
            return -1
        if before == 0 or ((hit - before)[0] == wanted[0] and (
            before == 1 or memcmp(hit - before, wanted, before) == 0
        )):  # the call costs more than to look at one byte
            return hit - before - data
        start = hit - data + 1
        misses += 1
        if misses > SOME and misses * SPARSE > start - first:
            return _search_steadily(data, start - before, end, wanted, length)
    return -1


cdef Py_ssize_t _search_steadily(
    const char *data, Py_ssize_t start, Py_ssize_t end, const char *wanted, Py_ssize_t length
) noexcept nogil:
    """As ``_search``, in a time that no input makes longer: two table look-ups a byte.

    Bit i of *state* says that the last i + 1 bytes are the first ones of *wanted* (the algorithm
    is known as bitap, or shift-and); hence a *wanted* of at most 64 bytes.
    """
    cdef uint64_t where[256]
    cdef uint64_t state = 0, last = <uint64_t> 1 << (length - 1)
    cdef Py_ssize_t i
    memset(where, 0, sizeof(where))
    for i in range(length):
        where[<unsigned char> wanted[i]] |= <uint64_t> 1 << i
    for i in range(start, end):
        state = (state << 1 | 1) & where[<unsigned char> data[i]]
        if state & last:
            return i - length + 1
    return -1


cdef Py_ssize_t _find(bytes data, bytes wanted, Py_ssize_t start, Py_ssize_t end) except -2:
    """``data.find(wanted, start, end)`` for a *wanted* that is not empty."""
    cdef Py_ssize_t length = PyBytes_GET_SIZE(wanted)
    if length > LONGEST:
        return data.find(wanted, start, end)
    return _search(PyBytes_AS_STRING(data), start, end, PyBytes_AS_STRING(wanted), length)


cdef Py_ssize_t _prefix_at_end(
    const char *data, Py_ssize_t start, Py_ssize_t end, const char *wanted, Py_ssize_t length
) noexcept nogil:
    """The length of the longest proper prefix of *wanted* that ``data[start:end]`` ends with."""
    cdef Py_ssize_t size = length - 1
    if size > end - start:
        size = end - start
    while size > 0 and memcmp(data + end - size, wanted, size) != 0:
        size -= 1
    return size


cdef inline int _refuse_none(data, terminator, Py_ssize_t *start) except -1:
    """Of what Python may call: None passes for bytes, and a *start* before the beginning does."""
    if data is None or terminator is None:
        raise TypeError("bytes are wanted, not None")
    if start[0] < 0:
        start[0] = 0
    return 0


cpdef Py_ssize_t held_back(bytes data, Py_ssize_t start, tuple terminators) except -1:
    """How many bytes at the end of *data*, none before *start*, may begin a terminator."""
    cdef Py_ssize_t held, longest = 0
    cdef bytes terminator
    _refuse_none(data, terminators, &start)
    for terminator in terminators:
        held = _prefix_at_end(
            PyBytes_AS_STRING(data), start, PyBytes_GET_SIZE(data),
            PyBytes_AS_STRING(terminator), PyBytes_GET_SIZE(terminator),
        )
        if held > longest:
            longest = held
    return longest


cdef Py_ssize_t _find_first(
    bytes data, tuple terminators, Py_ssize_t start, Py_ssize_t size, Py_ssize_t *which
) except -2:
    """The index of the match in ``data[start:size]`` that ends first, its number in *which*, or -1.

    Searching everything for each terminator would make a rare one cost its whole distance on
    every line.  Windows that grow keep the work in proportion to the distance of the match.
    """
    cdef Py_ssize_t low = start, high = start + WINDOW
    cdef Py_ssize_t begin, end, index, found, length, best_length = 0, number
    cdef bytes terminator
    while low < size:
        found = -1
        end = high if high < size else size
        for number in range(len(terminators)):
            terminator = terminators[number]
            length = PyBytes_GET_SIZE(terminator)
            # A match that began in the last window may end in this one.
            begin = low - length + 1
            index = _find(data, terminator, start if begin < start else begin, end)
            if index >= 0 and (found < 0 or index + length < end or length > best_length):
                found, end, best_length = index, index + length, length
                which[0] = number
        if found >= 0:
            return found
        low, high = high, high + 2 * (high - start)
    return -1


cpdef find_terminator(data, terminator, start=0):
    """The index of the first *terminator* in *data* at or after *start*, or -1.

    Raises TypeError unless both are bytes, ValueError where *terminator* is empty or *start* is
    negative.
    """
    if not (isinstance(data, bytes) and isinstance(terminator, bytes)):
        raise TypeError(
            "find_terminator() takes bytes and bytes, "
            f"not {type(data).__name__} and {type(terminator).__name__}"
        )
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t begin = _start(start, size)
    if PyBytes_GET_SIZE(terminator) == 0:
        raise ValueError("the terminator is empty; it must have at least one byte")
    return _find(<bytes> data, <bytes> terminator, begin, size)


def find_terminators(data, terminator, start=0):
    """The indexes of all *terminator* in *data* at or after *start*, none overlapping another.

    Returns an ``array.array`` of type code "q".  Raises what ``find_terminator`` does.
    """
    if not (isinstance(data, bytes) and isinstance(terminator, bytes)):
        raise TypeError(
            "find_terminators() takes bytes and bytes, "
            f"not {type(data).__name__} and {type(terminator).__name__}"
        )
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t begin = _start(start, size)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(terminator)
    if length == 0:
        raise ValueError("the terminator is empty; it must have at least one byte")
    cdef int64_t some[256]
    cdef Py_ssize_t count
    cdef array found = None
    while begin >= 0:
        count = 0
        while count < 256:
            begin = _find(<bytes> data, <bytes> terminator, begin, size)
            if begin < 0:
                break
            some[count] = begin
            count += 1
            begin += length
        if found is None:
            # A copy of an empty one: the call of the class would take 100 ns.
            found = clone(_indexes, count, False)
            if count:  # an empty one has no place, and memcpy() takes no NULL
                memcpy(found.data.as_voidptr, some, count * sizeof(int64_t))
        else:
            extend_buffer(found, <char *> some, count)
    return found


cpdef find_first_terminator(data, terminators, start=0):
    """The match of one of *terminators* in *data*, at or after *start*, that ends first.

    Of several that end at the same byte the longest wins, so that CRLF beside LF takes the CR
    along.  The answer does not depend on how the bytes were split.  Returns
    ``(index, terminator)``, or None where there is none.

    Raises TypeError unless *data* is bytes and *terminators* a tuple of bytes, ValueError where
    there is none, where one is empty, or where *start* is negative.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"find_first_terminator() takes bytes, not {type(data).__name__}")
    cdef tuple several = check_terminators(terminators)
    cdef Py_ssize_t which = 0
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t begin = _start(start, size)
    cdef Py_ssize_t index = _find_first(<bytes> data, several, begin, size, &which)
    return None if index < 0 else (index, several[which])


cdef Py_ssize_t _start(start, Py_ssize_t size) except -1:
    """*start* as a C number that is at most *size*."""
    cdef int overflow = 0
    cdef long long begin = PyLong_AsLongLongAndOverflow(start, &overflow)
    if overflow > 0 or begin > size:
        return size
    if overflow < 0 or begin < 0:
        raise ValueError(f"start must not be negative, but is {start}")
    return begin


def find_prefix_at_end(haystack, needle):
    """How many bytes at the end of *haystack* may be the beginning of *needle*.

    The length of the longest proper prefix of *needle* that *haystack* ends with; a *haystack*
    that ends with all of *needle* is not what this is for.  An empty *needle* gives -1, as it
    does in CPython 3.11.  Takes bytes-like objects or str, both of the same kind; raises TypeError
    where a comparison of the two does.
    """
    if type(haystack) is not bytes or type(needle) is not bytes or not needle:
        return _find_prefix_at_end(haystack, needle)
    return _prefix_at_end(
        PyBytes_AS_STRING(haystack), 0, PyBytes_GET_SIZE(haystack),
        PyBytes_AS_STRING(needle), PyBytes_GET_SIZE(needle),
    )


cpdef list lines_of(
    bytes data, Py_ssize_t start, bytes terminator, Py_ssize_t window
):
    """The next lines of *data* from *start*: those that end in *window* bytes, or the first."""
    _refuse_none(data, terminator, &start)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), length = PyBytes_GET_SIZE(terminator)
    cdef Py_ssize_t index, end = start + window if window < size - start else size
    cdef list lines = []
    while True:
        index = _find(data, terminator, start, end if lines else size)
        if index < 0:
            return lines
        lines.append(_slice(data, start, index))
        start = index + length
        if start >= end:
            return lines


cpdef bytes only_line(bytes data, bytes terminator):
    """*data* without the *terminator* it ends with; None where that is not there, or elsewhere."""
    cdef Py_ssize_t start = 0
    _refuse_none(data, terminator, &start)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t index = _find(data, terminator, start, size)
    if index < 0 or index + PyBytes_GET_SIZE(terminator) < size:
        return None
    return _slice(data, 0, index)


cdef bytes _slice(bytes data, Py_ssize_t start, Py_ssize_t end):
    """``data[start:end]``, which is *data* itself where that is all of it."""
    if start == 0 and end == PyBytes_GET_SIZE(data):
        return data
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)


cdef inline Py_ssize_t _limited(
    Py_ssize_t size, Py_ssize_t start, Py_ssize_t longest, Py_ssize_t length
) noexcept nogil:
    """Where the search for the end of a line from *start* may end: a later one is too late."""
    if start >= size or longest >= size - start or length >= size - start - longest:
        return size
    return start + longest + length


cpdef Py_ssize_t cut_lines(
    bytes data, Py_ssize_t start, bytes delimiter, Py_ssize_t longest, Py_ssize_t most,
    bint keepends, list lines
) except? -1:
    """Append to *lines* what *delimiter* ends in ``data[start:]``, at most *most* lines.

    Returns where the next line begins, or the ones' complement of that where the next line has
    more than *longest* bytes, whether its end is there or not.  Searches no farther for it.
    """
    _refuse_none(data, delimiter, &start)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), length = PyBytes_GET_SIZE(delimiter)
    cdef Py_ssize_t index, end
    longest = max(longest, 0)
    while most > 0:
        end = _limited(size, start, longest, length)
        index = _find(data, delimiter, start, end)
        if index < 0:
            return start if end == size else ~start
        lines.append(_slice(data, start, index + length if keepends else index))
        start = index + length
        most -= 1
    return start


cpdef Py_ssize_t cut_lines_of_several(
    bytes data, Py_ssize_t start, tuple delimiters, Py_ssize_t longest, Py_ssize_t most,
    bint keepends, list lines
) except? -1:
    """As ``cut_lines``, where a line ends at the match of one of *delimiters* that ends first."""
    _refuse_none(data, delimiters, &start)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), length = 0
    cdef Py_ssize_t index, end, which = 0
    cdef bytes delimiter
    for delimiter in delimiters:
        length = max(length, PyBytes_GET_SIZE(delimiter))
    longest = max(longest, 0)
    while most > 0:
        end = _limited(size, start, longest, length)
        index = _find_first(data, delimiters, start, end, &which)
        if index < 0:
            return start if end == size else ~start
        if index - start > longest:
            return ~start
        end = index + PyBytes_GET_SIZE(<bytes> delimiters[which])
        lines.append(_slice(data, start, end if keepends else index))
        start = end
        most -= 1
    return start


cpdef tuple find_line_end(bytes data, Py_ssize_t start, Py_ssize_t end, tuple delimiters):
    """Where a line ends in ``data[start:end]``, and where the next begins; -1 and -1 for nowhere.

    It ends at the match of one of *delimiters* that ends first, the longest of several.
    """
    _refuse_none(data, delimiters, &start)
    cdef Py_ssize_t index, which = 0
    end = min(end, PyBytes_GET_SIZE(data))
    index = _find_first(data, delimiters, start, end, &which)
    if index < 0:
        return -1, -1
    return index, index + PyBytes_GET_SIZE(<bytes> delimiters[which])


cpdef bytes join_begun(bytes begun, bytes data, Py_ssize_t start, Py_ssize_t end):
    """*begun* and ``data[start:end]`` in one piece."""
    _refuse_none(begun, data, &start)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(begun)
    start = min(start, PyBytes_GET_SIZE(data))
    end = max(start, min(end, PyBytes_GET_SIZE(data)))
    cdef bytes joined = PyBytes_FromStringAndSize(NULL, size + end - start)
    cdef char *out = PyBytes_AS_STRING(joined)
    memcpy(out, PyBytes_AS_STRING(begun), size)
    memcpy(out + size, PyBytes_AS_STRING(data) + start, end - start)
    return joined


cpdef bytes join_checked(list lines, bytes delimiter):
    """The *lines*, one or more, each with *delimiter* behind it.

    Raises ValueError where a line would end before, TypeError where one is not bytes-like.
    """
    cdef Py_ssize_t start = 0
    _refuse_none(lines, delimiter, &start)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(delimiter), size = 0, end
    for line in lines:
        if type(line) is not bytes:
            return _join_checked(lines, delimiter)
        end = PyBytes_GET_SIZE(<bytes> line)
        if length > PY_SSIZE_T_MAX - size or end > PY_SSIZE_T_MAX - size - length:
            return _join_checked(lines, delimiter)  # which has the error of bytes.join()
        size += end + length
    cdef bytes joined = PyBytes_FromStringAndSize(NULL, size)
    cdef char *out = PyBytes_AS_STRING(joined)
    for line in lines:
        end = start + PyBytes_GET_SIZE(<bytes> line)
        memcpy(out + start, PyBytes_AS_STRING(<bytes> line), end - start)
        memcpy(out + end, PyBytes_AS_STRING(delimiter), length)
        if _find(joined, delimiter, start, end + length) != end:
            check_line(line, delimiter)
        start = end + length
    return joined
