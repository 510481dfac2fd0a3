"""What a program sees of the core: three properties over a state, and eleven methods.

This file is not compiled: programs find ``StateProperty`` on the classes.
"""

from __future__ import annotations

from typing import Any

# The properties over a state, which a class may hide behind attributes of its own.
NAMES = ("ac_in_buffer", "producer_fifo", "socket")


class StateProperty(property):
    """A property over the state of a channel."""


def has_properties(kind: type) -> bool:
    """Whether the class *kind* leaves the properties over its state as they are."""
    return all(type(getattr(kind, name, None)) is StateProperty for name in NAMES)


class Absent:
    """Stands where the library has nothing to work on; ``there`` says what the program sees."""


# Never assigned, or deleted; and None, which no program means for a queue.
ABSENT, NO_QUEUE = Absent(), Absent()


def there(channel: Any, name: str, value: Any) -> Any:
    """*value* as a program sees it; an AttributeError that names it where it is absent."""
    if value is ABSENT:
        raise AttributeError(f"{type(channel).__name__!r} object has no attribute {name!r}")
    return None if value is NO_QUEUE else value


# The methods of dispatcher, and those that async_chat adds.
DISPATCHERS = ("handle_read_event", "handle_write_event", "recv", "send")
CHATS = (
    "handle_read",
    "handle_write",
    "get_terminator",
    "readable",
    "writable",
    "push",
    "initiate_send",
)


def dress(method: Any) -> None:
    """Let *method* look like one that was written into its class."""
    is_chats = method.__name__ not in DISPATCHERS
    method.__module__ = "fastchat.asynchat" if is_chats else "fastchat.asyncore"
    kind = "async_chat" if is_chats else "dispatcher"
    method.__qualname__ = f"{kind}.{method.__name__}"
    # Programs compare the signatures of methods with the standard library's, which have none.
    method.__annotations__.clear()
