"""What the commands of `redis_server.py` do; `redis_values.py` has what they work on.

Rules kept here:
- `answer` knows nothing of connections: words in, bytes out;
- a command that cannot be done is answered with an error, and changes nothing;
- an error line never holds bytes of the client's that could break it.
"""

from collections.abc import Callable

import redis_values as values
from redis_values import OK, STORE, Refused, array, bulk, integer, number, stored

MANY = 1 << 20  # arguments


def ping(message: bytes | None = None) -> bytes:
    return b"+PONG\r\n" if message is None else bulk(message)


def store(*pairs: bytes) -> bytes:
    if len(pairs) % 2:
        raise Refused("ERR wrong number of arguments for 'mset' command")
    STORE.update(zip(pairs[::2], pairs[1::2], strict=True))
    return OK


def increment(key: bytes) -> bytes:
    old = stored(key, bytes)
    new = number(b"0" if old is None else old) + 1
    STORE[key] = b"%d" % new
    return integer(new)


def delete(*keys: bytes) -> bytes:
    return integer(sum(STORE.pop(key, None) is not None for key in keys))


def flush(*mode: bytes) -> bytes:
    STORE.clear()
    return OK


def settings(verb: bytes, *names: bytes) -> bytes:
    """CONFIG GET: redis-benchmark asks for two settings, and every one is empty here."""
    return array([word for name in names for word in (name, b"")])


# Each name with the fewest and most arguments, and the function that answers them.
COMMANDS: dict[bytes, tuple[int, int, Callable[..., bytes]]] = {
    b"COMMAND": (0, MANY, lambda *arguments: array([])),
    b"CONFIG": (2, MANY, settings),
    b"DBSIZE": (0, 0, lambda: integer(len(STORE))),
    b"DEL": (1, MANY, delete),
    b"ECHO": (1, 1, bulk),
    b"EXISTS": (1, MANY, lambda *keys: integer(sum(key in STORE for key in keys))),
    b"FLUSHALL": (0, 1, flush),
    b"GET": (1, 1, lambda key: bulk(stored(key, bytes))),
    b"INCR": (1, 1, increment),
    b"LPOP": (1, 1, values.pop_left),
    b"LPUSH": (2, MANY, values.push_left),
    b"LRANGE": (3, 3, values.list_range),
    b"MSET": (2, MANY, store),
    b"PING": (0, 1, ping),
    b"QUIT": (0, 0, lambda: OK),
    b"RPUSH": (2, MANY, values.push_right),
    b"SET": (2, 2, store),
}


def printable(name: bytes) -> str:
    return ascii(name[:64].decode("latin-1"))


def answer(name: bytes, *arguments: bytes) -> bytes:
    """The answer to one command."""
    fewest, most, command = COMMANDS.get(name.upper(), (0, 0, None))
    try:
        if command is None:
            raise Refused(f"ERR unknown command {printable(name)}")
        if not fewest <= len(arguments) <= most:
            raise Refused(f"ERR wrong number of arguments for {printable(name)} command")
        return command(*arguments)
    except Refused as refused:
        return b"-%b\r\n" % str(refused).encode("ascii")
