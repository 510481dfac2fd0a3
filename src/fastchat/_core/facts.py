# cython: annotation_typing=False, auto_pickle=False, nonecheck=True
"""What is known of a class of channels, so that it need not be looked up for every line.

A program may replace a method at any time, on a class or on one channel, and from then on its own
is to be called.  What is called is looked up at each call.  This file is for what is not called:
``push`` does the work of ``initiate_send`` and ``send`` itself, or holds what it gets, if all three
are stock methods.

Rules this file keeps, compiled; as it is, it looks everything up:

* A class has a version, and gets another one when anybody assigns to it, or to a class that it
  inherits from.  No two classes share one.  So what was found out about a class is true while it
  has the version it had.  The version is the one thing that is the interpreter's own, it is read
  in ``facts.pxd`` only, and nothing is known of a class that has none.
* Facts do not change: of another version there are others.  So threads may share them.
* What a channel has of its own is looked up on it, but nothing is made for that (see ``finds`` in
  ``_method.pxd``).  Within a delivery that is done once, when it begins: ``send``,
  ``initiate_send`` and ``get_terminator`` are guards (``_method.pyx``), of which it is known when
  a program assigns to them.
"""

from __future__ import annotations

from _socket import socket as _raw_socket
from types import MethodType
from typing import TYPE_CHECKING, Any
from weakref import ref

from fastchat._core import sockets
from fastchat._core.shown import has_properties
from fastchat._core.sockets import standard_class

if TYPE_CHECKING:
    import cython
else:
    from fastchat._core import _cy as cython

if not cython.compiled and TYPE_CHECKING:
    from fastchat._core._cy import get_item
    from fastchat._core._externs import HAS_GIL, finds, guards, has_version, is_ordinary, version_of
    from fastchat._core._externs import binds as _binds
    from fastchat._sysio import makes_calls

# How many times a class may change before it is left alone.
MAX_LOOKS = 1000

# What a program finds on the classes under the names of the stock methods, where it has replaced
# nothing.
stock: dict[str, Any] = {}


def set_stock(methods: dict[str, Any]) -> None:
    """From now on *methods*, by name, are the stock ones."""
    stock.update(methods)


# To look at a class without any code of its metaclass.
_mro_of: Any = type.__dict__["__mro__"].__get__
_members_of: Any = type.__dict__["__dict__"].__get__


class Facts:
    """What is known of one class, which was looked at *looks* times."""

    __slots__ = (
        "fits",
        "get_terminator",
        "initiate_send",
        "looks",
        "push",
        "send",
        "version",
    )

    def __init__(self, looks: int = 0) -> None:
        self.version = 0  # of the class; 0 where nothing is known
        self.looks = looks
        # The stock methods that it has; None where there is another, or a look-up of its own.
        self.initiate_send: Any = None
        self.send: Any = None
        self.push: Any = None
        self.get_terminator: Any = None
        self.fits = False  # whether the state of a channel is used


def _look_at(channel: Any, looks: int) -> Facts:  # compiled only
    """What holds for the class of *channel* now, which was looked at *looks* times before."""
    if looks >= MAX_LOOKS:
        return LEFT_ALONE
    kind = type(channel)
    version = version_of(kind)
    facts = Facts(looks + 1)
    if is_ordinary(channel):
        facts.get_terminator = _stock_of(kind, "get_terminator")
        facts.initiate_send = _stock_of(kind, "initiate_send")
        facts.send = _stock_of(kind, "send")
        facts.push = _stock_of(kind, "push")
    facts.fits = has_properties(kind)
    # Code of Python may have run, and changed the class: then its version is another one.
    if version_of(kind) == version:
        facts.version = version
    return facts


def _stock_of(kind: Any, name: str) -> Any:  # compiled only
    """The stock method *name* where *kind* has it, else None."""
    for base in _mro_of(kind):
        members = _members_of(base)
        if name in members:
            method = stock[name]
            return method if members[name] is method else None
    return None


# Those of a channel of which nothing is known yet, and of a class that is left alone; those found
# last, where there is a GIL; and those of all classes, by id, with a weak reference to the class:
# its metaclass may have made it something without a hash.
UNKNOWN = Facts()
LEFT_ALONE = Facts(MAX_LOOKS)
_latest: Facts = UNKNOWN
_all: dict[int, tuple[Any, Facts]] = {}


def facts_of(channel: Any) -> Facts:  # compiled only
    """The facts of the class of *channel*, which hold if they have its version."""
    global _latest
    facts: Facts = _latest if HAS_GIL else UNKNOWN
    if has_version(channel, facts.version):
        return facts
    kind = type(channel)
    key = id(kind)
    entry = get_item(_all, key)
    if entry is None or entry[0]() is not kind:
        entry = ref(kind, lambda gone: _all.pop(key, None)), UNKNOWN
    facts = entry[1]
    if not has_version(channel, facts.version):
        facts = _look_at(channel, facts.looks)
        _all[key] = entry[0], facts
    if HAS_GIL:
        _latest = facts
    return facts


def binds(method: Any, function: Any, channel: Any) -> bool:
    """Whether *method* is *function*, bound to *channel*."""
    if cython.compiled:
        return _binds(method, function, channel)
    else:
        is_method = type(method) is MethodType
        return is_method and method.__func__ is function and method.__self__ is channel


def has_stock_output(channel: Any, facts: Facts) -> bool:  # compiled only
    """Whether ``initiate_send`` and ``send`` of *channel*, whose class has *facts*, are stock."""
    # Taken first, for a look-up may run code of Python.
    send, initiate_send = facts.send, facts.initiate_send
    if send is not None and initiate_send is not None and has_version(channel, facts.version):
        return finds(channel, "send", send) and finds(channel, "initiate_send", initiate_send)
    return has_stock_send(channel) and binds(
        getattr(channel, "initiate_send", None), stock["initiate_send"], channel
    )


def has_stock_push(channel: Any, facts: Facts, looked: int) -> bool:
    """Whether ``push``, ``initiate_send`` and ``send`` of *channel* are all stock.

    *looked* is the version of its class for which this was true when the delivery at work began, 0
    for none.
    """
    if cython.compiled:
        if (
            looked
            and looked == facts.version
            and has_version(channel, looked)
            and guards(facts.send)
            and guards(facts.initiate_send)
        ):
            return True
        if facts.push is None or not has_version(channel, facts.version):
            is_stock = binds(getattr(channel, "push", None), stock["push"], channel)
        else:
            is_stock = finds(channel, "push", facts.push)
        return is_stock and has_stock_output(channel, facts)
    else:
        # In one, because each call would cost as much as all of this.
        try:
            push, initiate_send, send = channel.push, channel.initiate_send, channel.send
        except AttributeError:  # who calls it will say so
            return False
        return (
            type(push) is type(initiate_send) is type(send) is MethodType  # no proxy of one
            and push.__func__ is stock["push"]
            and initiate_send.__func__ is stock["initiate_send"]
            and send.__func__ is stock["send"]
            and push.__self__ is initiate_send.__self__ is send.__self__ is channel
        )


def has_stock_terminator(channel: Any, facts: Facts) -> bool:  # compiled only
    """Whether ``get_terminator`` of *channel*, whose class has *facts*, is stock."""
    return (
        facts.get_terminator is not None
        and has_version(channel, facts.version)
        and finds(channel, "get_terminator", facts.get_terminator)
    )


def still_has_stock_terminator(channel: Any, facts: Facts, looked: int) -> bool:  # compiled only
    """``has_stock_terminator``, which was true of the version *looked* as the delivery began."""
    return (
        looked != 0
        and looked == facts.version
        and has_version(channel, looked)
        and guards(facts.get_terminator)
    )


def has_stock_send(channel: Any) -> bool:
    """Whether ``send`` of *channel* is stock."""
    return binds(getattr(channel, "send", None), stock["send"], channel)


# The class of sockets, None where something else has its place; and the version with which its
# methods were last looked at, negative if they are not its own: one number, for all threads.
_Socket: Any = standard_class()
_socket_version = 0


def is_plain_socket(sock: Any) -> bool:
    """Whether *sock* is a socket of the system, with the methods that it was born with.

    What is compiled makes system calls for it; as it is, its ``send`` is called all the same.
    """
    if type(sock) is not _Socket:
        return False
    if not cython.compiled:
        return _Socket.send is sockets.raw_send
    return _socket_is_as_born()  # compiled only


def _socket_is_as_born() -> bool:  # compiled only
    """Whether nobody has replaced the methods of the class of sockets that are gone around."""
    global _socket_version
    looked = _socket_version
    if looked == 0 or version_of(_Socket) != abs(looked):
        names = ("recv", "send", "fileno", "gettimeout", "__getattribute__")
        own = [getattr(_Socket, name) is getattr(_raw_socket, name) for name in names]
        version = version_of(_Socket)
        looked = version if makes_calls() and all(own) else -version
        _socket_version = looked
    return looked > 0
