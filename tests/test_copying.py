"""Copies of channels, by ``copy`` and ``pickle``, against the standard library or its model.

A program that changes the class of a connection, as for STARTTLS, or that keeps one for a test,
copies it.  What one of the two is given then is not the other's.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.channels import Stage, received
from tests.support.implementations import load

WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda channel: pickle.loads(pickle.dumps(channel)),
}

BASES = ("async_chat", "dispatcher", "dispatcher_with_send")

# Classes that pickle can find, by the name of the base.
globals().update(dict.fromkeys(BASES))


@pytest.fixture(params=BASES)
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a base; a class of that name is in this module while the test runs."""
    yield request.param
    globals()[request.param] = None


def class_of(stage: Stage, base: str, **members: Any) -> Any:
    """A class of this module that adds *members* to *base*."""
    module = stage.asynchat if base == "async_chat" else stage.asyncore
    members["__module__"] = __name__
    kind = type(base, (getattr(module, base),), members)
    globals()[base] = kind
    return kind


VALUES: dict[str, Any] = {
    "ac_in_buffer": b"input",
    "producer_fifo": deque([b"output", None]),
    "out_buffer": b"sent later",
    "terminator": b"\n",
    "incoming": [b"piece"],
    "_fileno": 77,
    "own": "the program's",
}


def seen(channel: Any) -> dict[str, Any]:
    """What *channel* has, of what a program may look at."""
    names = ("socket", "connected", "addr", "_map", *VALUES)
    return {name: getattr(channel, name) for name in names if hasattr(channel, name)}


def played(stage: Stage, base: str, way: str, members: dict[str, Any]) -> list[Any]:
    """What a copy and what it was made from have, before and after something was given to one."""
    kind = class_of(stage, base, **members)
    first = kind(map={})
    for name, value in VALUES.items():
        if hasattr(first, name) or name == "own":
            setattr(first, name, copy.copy(value))
    second = WAYS[way](first)
    before = [seen(first), seen(second), type(second) is kind]
    second.out_buffer = b"other output"
    second.producer_fifo = deque([b"other"])
    second.ac_in_buffer = b"other input"
    second.socket = None
    first.incoming = [b"other piece"]
    return [*before, seen(first), seen(second)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"__slots__": ("own",)},
        {"socket": None, "producer_fifo": None},
        {"__getstate__": lambda channel: {"own": "of getstate"}, "out_buffer": b""},
    ],
    ids=["plain", "slots", "hiding", "getstate"],
)
def test_a_copy_is_a_channel_of_its_own(
    stage: Stage, base: str, way: str, members: dict[str, Any]
) -> None:
    with Stage(load("model")) as model:
        expected = played(model, base, way, members)
    assert played(stage, base, way, members) == expected


def test_what_a_base_of_the_program_s_gives_copy_is_left_alone(stage: Stage) -> None:
    class Base:
        def __getstate__(self) -> Any:
            return "what it likes"

        def __setstate__(self, state: Any) -> None:
            self.state = state

    class Chat(stage.asynchat.async_chat, Base):  # type: ignore[name-defined]
        pass

    class First(Base, stage.asynchat.async_chat):  # type: ignore[name-defined]
        pass

    for kind in (Chat, First):
        assert copy.copy(kind(map={})).state == "what it likes"


def test_what_a_copy_sends_is_not_taken_off_the_queue_of_the_other(stage: Stage) -> None:
    chat = stage.chat(ac_out_buffer_size=4)
    chat.connected = False
    chat.push(b"first")
    chat.connected = True
    other = copy.copy(chat)
    other.producer_fifo = deque(other.producer_fifo)
    chat.handle_write_event()
    other.handle_write_event()
    assert received(chat.peer, 8) == b"firsfirs"
    assert [list(one.producer_fifo) for one in (chat, other)] == [[b"t"], [b"t"]]


@pytest.mark.parametrize("name", ["ac_in_buffer", "producer_fifo", "socket"])
def test_a_copy_lacks_what_the_other_lacks(stage: Stage, name: str) -> None:
    chat = stage.chat()
    delattr(chat, name)
    assert not hasattr(copy.copy(chat), name)
