"""What a signal handler does in the scene of interrupted.py: what it raises, or what it changes."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.random.scene import Play


class OwnError(Exception):
    """One that nobody knows."""


class OwnEnd(BaseException):
    """One that no ``except Exception`` sees."""


_KINDS = (
    TimeoutError,
    InterruptedError,
    BlockingIOError,
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    NameError,
    OverflowError,
    ReferenceError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    StopIteration,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
    OwnError,
    OwnEnd,
)

_NUMBERS = (
    errno.EWOULDBLOCK,
    errno.EBADF,
    errno.ECONNRESET,
    errno.EINVAL,
    errno.EMFILE,
    errno.ENOENT,
    errno.EPERM,
    errno.ENOTCONN,
)


def _maker(kind: type[BaseException], *args: Any) -> Callable[[Any], BaseException]:
    return lambda asyncore: kind(*args, "interrupted")


# Exceptions of a handler, by name; what makes one is given the ``asyncore`` of the scene.
RAISED: dict[str, Callable[[Any], BaseException]] = {
    **{kind.__name__: _maker(kind) for kind in _KINDS},
    **{errno.errorcode[number]: _maker(OSError, number) for number in _NUMBERS},
    "ExitNow": lambda asyncore: asyncore.ExitNow("interrupted"),
}

# Where CPython 3.11 takes an exception of these kinds for something else, by the names of methods
# that are at work: the socket is asked, or a representation is wanted, in any class; and where
# Python itself does, for getattr() with a default of a property.
LOSSES: dict[str, Any] = {
    "recv": OSError,
    "send": OSError,
    "accept": (OSError, TypeError),
    "close": OSError,
    "handle_read": BlockingIOError,
    "handle_close": BlockingIOError,  # which recv() calls
    "__init__": OSError,
    "__len__": TypeError,  # of a view, which list() takes for a length that nobody knows
    "_tell_the_end": OSError,
    "_get_socket": AttributeError,
    "__repr__": BaseException,
    "safe_repr": BaseException,
}


# What a handler may do.


def close_another(scene: Play) -> None:
    scene.exempt.add("o")
    scene.channels["o"].close()


def close_who_is_at_work(scene: Play) -> None:
    for label in sorted(scene.exempt):
        if scene.is_there(label):
            scene.channels[label].close()


def close_all(scene: Play) -> None:
    scene.exempt.update(scene.channels, "vwxy")
    scene.stage.asyncore.close_all(scene.stage.map)


def push_to_another(scene: Play) -> None:
    scene.channels["o"].push(b"<o:extra>")
    scene.extra = True


def make_a_channel(scene: Play) -> None:
    scene.exempt.add("k")  # whose number this may take
    scene.make("n", scene.chat_class())


def take_the_place(scene: Play) -> None:
    """Close a channel and let others have its number and the addresses of its objects."""
    close_another(scene)
    scene.exempt.add("k")
    scene.channels["o"] = None
    scene.make("n", scene.chat_class())


def change_classes(scene: Play) -> None:
    for channel in scene.channels.values():
        if channel is not None:
            type(channel).total += 1


def change_terminators(scene: Play) -> None:
    for channel in scene.channels.values():
        if hasattr(channel, "set_terminator"):
            channel.set_terminator((b"\n", b"\r\n"))


def make_a_pass(scene: Play) -> None:
    scene.stage.loop(1, scene.variant.use_poll)


def collect(scene: Play) -> None:
    gc.collect(0)


CHANGES = (
    close_another,
    close_who_is_at_work,
    close_all,
    push_to_another,
    make_a_channel,
    take_the_place,
    change_classes,
    change_terminators,
    make_a_pass,
    collect,
)

ACTIONS: tuple[str | Callable[[Play], None], ...] = (*RAISED, *CHANGES)
