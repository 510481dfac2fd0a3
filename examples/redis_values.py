"""The values of `redis_server.py`, strings and lists in memory, and answers in RESP2.

Rules kept here:
- a function that cannot do what it is for raises Refused, and changes nothing;
- lists are never empty: the last value taken takes the key with it.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

OK = b"+OK\r\n"
STORE: dict[bytes, Any] = {}

Kind = TypeVar("Kind")


class Refused(Exception):
    """A command answered with an error."""


def integer(value: int) -> bytes:
    return b":%d\r\n" % value


def bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(values: Sequence[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(values), b"".join(map(bulk, values)))


def stored(key: bytes, kind: type[Kind]) -> Kind | None:
    """The value of a key, None if it has none; it must be of the kind the command is for."""
    value = STORE.get(key)
    if value is not None and not isinstance(value, kind):
        raise Refused("WRONGTYPE Operation against a key holding the wrong kind of value")
    return value


def number(word: bytes) -> int:
    if not re.fullmatch(rb"-?[0-9]{1,18}", word):
        raise Refused("ERR value is not an integer or out of range")
    return int(word)


def push_left(key: bytes, *values: bytes) -> bytes:
    STORE[key] = [*values[::-1], *(stored(key, list) or [])]
    return integer(len(STORE[key]))


def push_right(key: bytes, *values: bytes) -> bytes:
    stored(key, list)
    STORE.setdefault(key, []).extend(values)
    return integer(len(STORE[key]))


def pop_left(key: bytes) -> bytes:
    values = stored(key, list)
    if values is None:
        return bulk(None)
    first = values.pop(0)
    if not values:
        del STORE[key]
    return bulk(first)


def list_range(key: bytes, first: bytes, last: bytes) -> bytes:
    values = stored(key, list) or []
    start, stop = (n + len(values) if n < 0 else n for n in (number(first), number(last)))
    return array(values[max(0, start) : max(0, stop + 1)])
