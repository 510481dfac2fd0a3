"""The oracle: what the scanner must find, written so simply that it is not likely to be wrong.

Nothing here is fast, and nothing is shared with the code that it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise, product


def find(data: bytes, terminator: bytes, start: int = 0) -> int:
    """The first index at or after *start* where *terminator* stands in *data*, or -1."""
    for index in range(start, len(data) - len(terminator) + 1):
        if all(data[index + offset] == byte for offset, byte in enumerate(terminator)):
            return index
    return -1


def find_first(
    data: bytes, terminators: tuple[bytes, ...], start: int = 0
) -> tuple[int, bytes] | None:
    """The match that ends first, and of those that end there the longest, or None."""
    for end in range(start, len(data) + 1):
        for terminator in sorted(terminators, key=len, reverse=True):
            begin = end - len(terminator)
            if begin >= start and find(data[begin:end], terminator) == 0:
                return begin, terminator
    return None


def prefix_at_end(haystack: bytes, needle: bytes) -> int:
    """The length of the longest proper prefix of *needle* that *haystack* ends with."""
    return max(
        size
        for size in range(min(len(needle) - 1, len(haystack)) + 1)
        if haystack[len(haystack) - size :] == needle[:size]
    )


def frames(data: bytes, terminators: tuple[bytes, ...]) -> tuple[list[bytes], bytes]:
    """*data* cut at every terminator: the complete pieces, and what is left."""
    complete = []
    while (match := find_first(data, terminators)) is not None:
        index, terminator = match
        complete.append(data[:index])
        data = data[index + len(terminator) :]
    return complete, data


def words(alphabet: bytes, longest: int, shortest: int = 0) -> Iterator[bytes]:
    """Every string over *alphabet* of *shortest* to *longest* bytes."""
    for size in range(shortest, longest + 1):
        for letters in product(alphabet, repeat=size):
            yield bytes(letters)


def chunkings(data: bytes) -> Iterable[list[bytes]]:
    """Every way to cut *data* into pieces that are not empty."""
    for cuts in product((False, True), repeat=max(len(data) - 1, 0)):
        edges = [0, *(index for index, cut in enumerate(cuts, 1) if cut), len(data)]
        yield [data[a:b] for a, b in pairwise(edges)]
