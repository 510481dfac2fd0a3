"""A bytes object that claims more bytes than it has, as one of gigabytes would have them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def claiming(size: int) -> Iterator[bytes]:
    """A bytes object of which CPython says that it has *size* bytes; nothing may look at them."""
    data = bytes(bytearray(64))  # an object of its own
    field = ctypes.c_ssize_t.from_address(id(data) + object.__basicsize__)
    assert field.value == len(data)
    field.value = size
    try:
        yield data
    finally:
        field.value = 64
