"""What the commands of `redis_server.py` do, and their answers in the Redis protocol (RESP2).

Strings, counters and lists, in memory only. Rules kept here:
- `answer` knows nothing of connections: words in, bytes out;
- a command that cannot be done is answered with an error, and changes nothing;
- an error line never holds bytes of the client's that could break it.
"""

import re

MANY = 1 << 20  # arguments
OK = b"+OK\r\n"
STORE = {}


class Refused(Exception):
    """A command answered with an error."""


def integer(value):
    return b":%d\r\n" % value


def bulk(value):
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(values):
    return b"*%d\r\n%b" % (len(values), b"".join(map(bulk, values)))


def stored(key, kind):
    """The value of a key, None if it has none; it must be of the kind the command is for."""
    value = STORE.get(key)
    if value is not None and not isinstance(value, kind):
        raise Refused("WRONGTYPE Operation against a key holding the wrong kind of value")
    return value


def number(word):
    if not re.fullmatch(rb"-?[0-9]{1,18}", word):
        raise Refused("ERR value is not an integer or out of range")
    return int(word)


def ping(message=None):
    return b"+PONG\r\n" if message is None else bulk(message)


def store(*pairs):
    if len(pairs) % 2:
        raise Refused("ERR wrong number of arguments for 'mset' command")
    STORE.update(zip(pairs[::2], pairs[1::2], strict=True))
    return OK


def increment(key):
    old = stored(key, bytes)
    new = number(b"0" if old is None else old) + 1
    STORE[key] = b"%d" % new
    return integer(new)


def delete(*keys):
    return integer(sum(STORE.pop(key, None) is not None for key in keys))


def flush(*mode):
    STORE.clear()
    return OK


def settings(verb, *names):
    """CONFIG GET: redis-benchmark asks for two settings, and every one is empty here."""
    return array([word for name in names for word in (name, b"")])


def push_left(key, *values):
    values = [*values[::-1], *(stored(key, list) or [])]
    STORE[key] = values
    return integer(len(values))


def push_right(key, *values):
    stored(key, list)
    STORE.setdefault(key, []).extend(values)
    return integer(len(STORE[key]))


def pop_left(key):
    values = stored(key, list)
    if values is None:
        return bulk(None)
    first = values.pop(0)
    if not values:
        del STORE[key]
    return bulk(first)


def list_range(key, first, last):
    values = stored(key, list) or []
    start, stop = (n + len(values) if n < 0 else n for n in (number(first), number(last)))
    return array(values[max(0, start) : max(0, stop + 1)])


COMMANDS = {  # name: fewest and most arguments, and the function that answers them
    b"COMMAND": (0, MANY, lambda *arguments: array([])),
    b"CONFIG": (2, MANY, settings),
    b"DBSIZE": (0, 0, lambda: integer(len(STORE))),
    b"DEL": (1, MANY, delete),
    b"ECHO": (1, 1, bulk),
    b"EXISTS": (1, MANY, lambda *keys: integer(sum(key in STORE for key in keys))),
    b"FLUSHALL": (0, 1, flush),
    b"GET": (1, 1, lambda key: bulk(stored(key, bytes))),
    b"INCR": (1, 1, increment),
    b"LPOP": (1, 1, pop_left),
    b"LPUSH": (2, MANY, push_left),
    b"LRANGE": (3, 3, list_range),
    b"MSET": (2, MANY, store),
    b"PING": (0, 1, ping),
    b"QUIT": (0, 0, lambda: OK),
    b"RPUSH": (2, MANY, push_right),
    b"SET": (2, 2, store),
}


def printable(name):
    return ascii(name[:64].decode("latin-1"))


def answer(name, *arguments):
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
