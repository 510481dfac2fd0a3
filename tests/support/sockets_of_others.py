"""Line echoes over sockets that are not the standard class, and what a program sees of them.

    python -m tests.support.sockets_of_others KIND WHEN IMPLEMENTATION...

prints it as JSON, by implementation and by entry, the model's first.  A process of its own for
each KIND of socket, because what WHEN says is when ``socket.socket`` becomes that kind: before
fastchat is imported, after it, or between the making of channels and the loop.

The peers are sockets of the standard class throughout, blocking, and are read from only what has
been sent to them.
"""

from __future__ import annotations

import _socket
import functools
import importlib
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any
from unittest import mock

from tests.support import patched

REAL: Any = socket.socket  # unless a patch came first, which only the command line of pytest does
WHEN = ("before", "after", "between")
PATIENCE = 10
PASSES = 50

# Methods that were called on sockets since the last look, in order.
calls: list[Any] = []


def _note(name: str, args: tuple[Any, ...]) -> None:
    calls.append([name, *(repr(bytes(a) if isinstance(a, memoryview) else a) for a in args)])


def take(listening: Any) -> tuple[Any, Any]:
    """A connection of *listening*, of the standard class, whatever its ``accept`` would make."""
    fd, address = listening._accept()
    return REAL(fileno=fd), address


# What the asynchronous modules call on a socket, and what else programs do.
METHODS = (
    "accept",
    "bind",
    "close",
    "connect",
    "connect_ex",
    "fileno",
    "getpeername",
    "getsockname",
    "getsockopt",
    "gettimeout",
    "listen",
    "recv",
    "recv_into",
    "send",
    "sendall",
    "setblocking",
    "setsockopt",
    "settimeout",
    "shutdown",
)
NOTED = frozenset(METHODS) - {"fileno"}


class Subclass(REAL):  # type: ignore[misc]
    """Nothing of its own, but room for attributes."""


class Overriding(REAL):  # type: ignore[misc]
    """Notes what goes through it."""

    def recv(self, *args: Any) -> Any:
        _note("recv", args)
        return super().recv(*args)

    def send(self, *args: Any) -> Any:
        _note("send", args)
        return super().send(*args)

    def accept(self) -> Any:
        _note("accept", ())
        sock, address = take(self)
        return Overriding(fileno=sock.detach()), address


class Watched(REAL):  # type: ignore[misc]
    """Notes each method that is asked for, though it has none of its own."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("accept", "recv", "send"):
            _note(name, ())
        return super().__getattribute__(name)


class Instance(REAL):  # type: ignore[misc]
    """Has a ``send`` and a ``recv`` that are the object's alone."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in ("recv", "send"):
            setattr(self, name, self._noting(name))

    def _noting(self, name: str) -> Any:
        def method(self: Any, *args: Any) -> Any:
            _note(name, args)
            return getattr(REAL, name)(self, *args)

        return MethodType(method, self)


class Proxy:
    """Has nothing but what the socket in it has."""

    def __init__(self, *args: Any, sock: Any = None, **options: Any) -> None:
        self._sock = REAL(*args, **options) if sock is None else sock

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._sock, name)
        if name not in NOTED:
            return method

        def noting(*args: Any) -> Any:
            _note(name, args)
            if name == "accept":
                sock, address = take(self._sock)
                return Proxy(sock=sock), address
            return method(*args)

        return noting


class Stranger:
    """No relation of a socket; its methods are the object's, not the class's."""

    def __init__(self, *args: Any, sock: Any = None, **options: Any) -> None:
        inner = Proxy(*args, sock=sock, **options)
        for name in METHODS:
            if name != "accept":
                setattr(self, name, getattr(inner, name))
        self.accept = lambda: self._accept(inner)

    def _accept(self, inner: Any) -> Any:
        sock, address = inner.accept()
        return Stranger(sock=sock._sock), address


def mocked(*args: Any, sock: Any = None, **options: Any) -> Any:
    """A mock that passes all calls on."""
    sock = REAL(*args, **options) if sock is None else sock
    double = mock.MagicMock(spec=REAL)
    for name in METHODS:
        getattr(double, name).side_effect = functools.partial(_pass_on, sock, name)
    return double


def _pass_on(sock: Any, name: str, *args: Any) -> Any:
    if name in NOTED:
        _note(name, args)
    if name == "accept":
        made, address = take(sock)
        return mocked(sock=made), address
    return getattr(sock, name)(*args)


def _encrypted(is_server: bool) -> ssl.SSLContext:
    # Ciphers that want no certificate.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


def encrypt(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    """Both ends of *pair*, after a handshake."""
    made: list[Any] = []
    thread = threading.Thread(
        target=lambda: made.append(_encrypted(False).wrap_socket(pair[1])), daemon=True
    )
    thread.start()
    mine = _encrypted(True).wrap_socket(pair[0], server_side=True)
    thread.join(PATIENCE)
    return mine, made[0]


class Kind:
    """A kind of sockets: how one is made of a socket of the standard class, and of arguments.

    *patch* replaces more than ``socket.socket``, and is not undone.
    """

    def __init__(
        self,
        wrap: Callable[[Any], Any],
        factory: Any = None,
        patch: Callable[[], None] | None = None,
    ) -> None:
        self.wrap = wrap
        self.factory = factory
        self.patch = patch

    def replace(self) -> None:
        """Let ``socket.socket`` be of this kind from now on."""
        if self.patch is not None:
            self.patch()
        elif self.factory is not None:
            mock.patch.object(socket, "socket", self.factory).start()


def _again(kind: Any) -> Kind:
    return Kind(lambda sock: kind(fileno=sock.detach()), kind)


def _around(kind: Any) -> Kind:
    return Kind(lambda sock: kind(sock=sock), kind)


def _a_function(*args: Any, **options: Any) -> Any:
    return REAL(*args, **options)


def _gevents(sock: Any) -> Any:
    return importlib.import_module("gevent.socket").socket(fileno=sock.detach())


def _eventlets(sock: Any) -> Any:
    patched.import_eventlet()
    return importlib.import_module("eventlet.green.socket").socket(fileno=sock.detach())


KINDS: dict[str, Kind] = {
    "plain": Kind(lambda sock: sock),
    "subclass": _again(Subclass),
    "overriding": _again(Overriding),
    "watched": _again(Watched),
    "instance": _again(Instance),
    "tls": Kind(lambda sock: sock),  # both ends are wrapped
    "gevent": Kind(_gevents, patch=patched.patch_with_gevent),
    "eventlet": Kind(_eventlets, patch=patched.patch_with_eventlet),
    "mock": _around(mocked),
    "proxy": _around(Proxy),
    "function": Kind(lambda sock: sock, _a_function),
    "partial": Kind(lambda sock: sock, functools.partial(REAL)),
    "mocked class": Kind(lambda sock: sock, mock.MagicMock(side_effect=_a_function)),
    "stranger": _around(Stranger),
}


class Scene:
    """One entry with one implementation: what it has open, and ``log``, what its program sees."""

    def __init__(self, implementation: Any, name: str, kind: Kind) -> None:
        self.asyncore = implementation.asyncore
        self.asynchat = implementation.asynchat
        self.kind = kind
        self.is_encrypted = name == "tls"
        self.map: dict[int, Any] = {}
        self.log: list[Any] = []
        self.to_close: list[Any] = []

    def pair(self) -> tuple[Any, Any]:
        """A socket of the kind, and its peer."""
        # Of the standard class, whatever socket.socketpair() makes by now.
        pair = tuple(REAL(fileno=end.detach()) for end in _socket.socketpair())
        for end in pair:
            end.settimeout(PATIENCE)
        mine, peer = encrypt(pair) if self.is_encrypted else (self.kind.wrap(pair[0]), pair[1])
        self.to_close += [mine, peer]
        return mine, peer

    def client(self, address: Any) -> Any:
        """A connected socket of the standard class."""
        made = REAL(socket.AF_INET, socket.SOCK_STREAM)
        self.to_close.append(made)
        made.settimeout(PATIENCE)
        made.connect(address)
        return made

    def see(self, what: str, *details: Any) -> None:
        """Write down what a hook sees, after what was called on sockets before it."""
        self.log += calls
        calls.clear()
        self.log.append([what, *details])

    def until(self, done: Callable[[], object]) -> bool:
        """Make passes until *done*; returns whether it is."""
        for _ in range(PASSES):
            if done() or not self.map:
                break
            self.asyncore.loop(0.2, False, self.map, 1)
        is_done = bool(done())
        self.see("done" if is_done else "not done")
        return is_done

    def has_seen(self, *what: Any) -> bool:
        return list(what) in self.log

    def exchange(self, peer: Any) -> None:
        """Send two lines at once, which are answered one by one, and then the end."""
        peer.sendall(b"one\ntwo\n")
        if not self.until(lambda: self.has_seen("line", "two")):
            return
        answer = b""
        while len(answer) < 8 and (part := peer.recv(8 - len(answer))):
            answer += part
        self.see("answer", answer.decode())
        peer.close()
        self.until(lambda: self.has_seen("close"))

    def hooks(self, base: Any, **more: Any) -> Any:
        """A subclass of *base* that writes down how it ends."""
        scene = self

        def handle_close(channel: Any) -> None:
            scene.see("close")
            channel.close()

        def handle_error(channel: Any) -> None:
            kind, problem = sys.exc_info()[:2]
            assert kind is not None
            scene.see("error", kind.__name__, str(problem))
            channel.close()

        own = {"handle_close": handle_close, "handle_error": handle_error}
        return type("Seen", (base,), own | more)

    def dispatcher(self, base: Any) -> Any:
        """A subclass of *base* that echoes what it receives, line by line."""
        scene = self

        def handle_read(channel: Any) -> None:
            for line in channel.recv(8192).splitlines(keepends=True):
                channel.send(line)
                scene.see("line", line.decode().strip())

        return self.hooks(base, handle_read=handle_read, writable=lambda channel: False)

    def chat(self) -> Any:
        """A subclass of ``async_chat`` that echoes lines."""
        scene = self

        def __init__(channel: Any, sock: Any = None, map: Any = None) -> None:
            scene.asynchat.async_chat.__init__(channel, sock, map)
            channel.set_terminator(b"\n")

        def found_terminator(channel: Any) -> None:
            line = channel._get_data()
            channel.push(line + b"\n")
            scene.see("line", line.decode())

        return self.hooks(
            self.asynchat.async_chat,
            __init__=__init__,
            found_terminator=found_terminator,
            collect_incoming_data=lambda channel, data: channel._collect_incoming_data(data),
        )

    def close(self) -> None:
        self.asyncore.close_all(self.map, ignore_all=True)
        for thing in self.to_close:
            thing.close()
        calls.clear()


def _name_of(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


# The entries.  Each is a generator that yields once, when its channels are made.


def a_dispatcher(scene: Scene) -> Iterator[None]:
    """``dispatcher(sock)``."""
    sock, peer = scene.pair()
    scene.dispatcher(scene.asyncore.dispatcher)(sock, scene.map)
    scene.see("made")
    yield
    scene.exchange(peer)


def a_dispatcher_with_send(scene: Scene) -> Iterator[None]:
    """``dispatcher_with_send(sock)``."""
    sock, peer = scene.pair()
    scene.dispatcher(scene.asyncore.dispatcher_with_send)(sock, scene.map)
    scene.see("made")
    yield
    scene.exchange(peer)


def a_chat(scene: Scene) -> Iterator[None]:
    """``async_chat(sock)``."""
    sock, peer = scene.pair()
    chat = scene.chat()(sock, scene.map)
    scene.see("made", chat.connected, chat.socket is sock)
    yield
    scene.exchange(peer)


def set_socket(scene: Scene) -> Iterator[None]:
    """``set_socket(sock)``."""
    sock, peer = scene.pair()
    chat = scene.chat()(None, scene.map)
    sock.setblocking(False)
    chat.set_socket(sock)
    chat.connected = True
    scene.see("made", chat.socket is sock)
    yield
    scene.exchange(peer)


def another_socket(scene: Scene) -> Iterator[None]:
    """Assigned to ``socket`` in place of a plain one, as programs do that begin TLS."""
    sock, peer = scene.pair()
    chat = scene.chat()(sock, scene.map)
    other = sock if scene.is_encrypted else scene.kind.wrap(REAL(fileno=os.dup(sock.fileno())))
    scene.to_close.append(other)
    other.setblocking(False)
    yield
    chat.del_channel()
    chat.set_socket(other)
    scene.see("made", chat.socket is other)
    if other is not sock:
        sock.close()
    scene.exchange(peer)


def a_file_dispatcher(scene: Scene) -> Iterator[None]:
    """``file_dispatcher(sock)``, which takes its descriptor only."""
    sock, peer = scene.pair()
    scene.dispatcher(scene.asyncore.file_dispatcher)(sock, scene.map)
    scene.see("made")
    yield
    if scene.is_encrypted:
        return  # what it reads is not what was sent
    scene.exchange(peer)


def _listener(scene: Scene, **hooks: Any) -> Any:
    listener = scene.hooks(scene.asyncore.dispatcher, **hooks)(None, scene.map)
    listener.create_socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.set_reuse_addr()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    scene.see("listens", _name_of(listener.socket))
    return listener


def accepted(scene: Scene) -> Iterator[None]:
    """``create_socket``, ``listen``, and what ``handle_accepted`` is given."""

    def handle_accepted(channel: Any, sock: Any, addr: Any) -> None:
        scene.to_close.append(sock)
        is_a_socket = issubclass(type(sock), _socket.socket)  # mocks say that they are instances
        scene.see("accepted", _name_of(sock), repr(sock.type) if is_a_socket else "")
        scene.see("from", _name_of(addr), addr[0], sock.gettimeout())
        chats.append(scene.chat()(sock, scene.map))

    chats: list[Any] = []
    listener = _listener(scene, handle_accepted=handle_accepted)
    # Asked of the descriptor, so that nothing is called on what may be noting it.
    address = _address_of(listener.socket)
    yield
    peer = scene.client(address)
    scene.until(lambda: chats)
    scene.exchange(peer)
    listener.close()


def connecting(scene: Scene) -> Iterator[None]:
    """``create_socket`` and ``connect``."""
    server = REAL(socket.AF_INET, socket.SOCK_STREAM)
    scene.to_close.append(server)
    server.settimeout(PATIENCE)
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    yield
    chat = scene.chat()(None, scene.map)
    chat.create_socket(socket.AF_INET, socket.SOCK_STREAM)
    chat.handle_connect = lambda: scene.see("connected")
    scene.see("made", _name_of(chat.socket))
    chat.connect(server.getsockname())
    # Not accept(), which makes a socket of whatever class is there now.
    peer, _ = take(server)
    scene.to_close.append(peer)
    peer.settimeout(PATIENCE)
    scene.exchange(peer)


def _address_of(sock: Any) -> Any:
    other = REAL(fileno=os.dup(sock.fileno()))
    try:
        return other.getsockname()
    finally:
        other.close()


ENTRIES: dict[str, Callable[[Scene], Iterator[None]]] = {
    entry.__name__: entry
    for entry in (
        a_dispatcher,
        a_dispatcher_with_send,
        a_chat,
        set_socket,
        another_socket,
        a_file_dispatcher,
        accepted,
        connecting,
    )
}


def _hide_numbers(log: list[Any]) -> list[Any]:
    """*log* without the ports, which differ each time."""
    return [[entry[0]] if entry[0] in ("bind", "connect", "connect_ex") else entry for entry in log]


def run(name: str, when: str, *names: str) -> dict[str, dict[str, list[Any]]]:
    """What the model and *names* show at every entry, with sockets of kind *name*."""
    kind = KINDS[name]
    if when == "before":
        kind.replace()
    from tests.support.implementations import load  # noqa: PLC0415 (not before)

    loaded = {each: load(each) for each in ("model", *names)}
    if when == "after":
        kind.replace()
    scenes = {
        (each, entry): Scene(loaded[each], name, kind) for each in loaded for entry in ENTRIES
    }
    begun = []
    for (_, entry), scene in scenes.items():
        steps = ENTRIES[entry](scene)
        next(steps)
        begun.append((scene, steps))
        if when != "between":
            list(steps)
            scene.close()
    if when == "between":
        kind.replace()
        for scene, steps in begun:
            list(steps)
            scene.close()
    shown: dict[str, dict[str, list[Any]]] = {each: {} for each in loaded}
    for (each, entry), scene in scenes.items():
        shown[each][entry] = _hide_numbers(scene.log)
    return shown


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
