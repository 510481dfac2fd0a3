"""Show that connections leave nothing behind: ``make leaks``, or ``python tools/leaks.py``.

Serves 100,000 connections over the loopback with each implementation, in kinds that end and fail in
different ways, each kind in a process of its own.  After a fifth of them, when all caches are as
large as they get, it counts what the process has, and again at the end:

descriptors  none may have come; there is nothing that would keep one for later.
objects      of each type that the garbage collector knows; references, to each class, function and
             module of fastchat and some objects that everybody uses.  One for each connection is a
             leak, and so is one for each hundred.  Ten objects may have come whatever the number,
             and 50 references to one: Cython keeps a piece of code for each of its lines that an
             exception has passed, and which those are is left to chance where signal handlers
             raise.  A debug build counts those to all objects together as well, nine for each
             such piece, and of them 300 may have come.
blocks       of Python's allocator, which has all objects, known to the collector or not, up to 512
             bytes.  The interpreter itself takes and gives some back, so 100 are not looked at, nor
             one for each twenty connections: what is left behind is seldom less than one for each.
resident     bytes, for what is larger.  The smallest leak that no count above would show is thus of
             513 bytes a connection, and half of that is the bound; and 16 MiB, since a peak that
             was higher than those before costs some once.  So of some tens of thousands of
             connections on it sees what the others do not, and of fewer than 2,000 it is shown and
             not looked at.

A leak made on purpose must show in each of the columns first.

Exit status 0: nothing leaks; 1: something does, or a leak made on purpose was not noticed; 2: this
interpreter cannot count.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import pickle
import platform
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

# How many connections are open at a time, how many one listening socket takes (the client's ports
# stay in use for a minute), and how long a child may take.
BATCH = 50
PER_PORT = 10_000
PATIENCE = 600

# How often a batch may pass over the map before it is said to hang.
PASSES = 20_000

LINE = b"a line\n"

IMPLEMENTATIONS = {"cython": "compiled", "python": "Python"}


# What is counted.

# What the references to all objects together, which a debug build counts, are called.
ALL_OBJECTS = "all objects"


@dataclass
class Count:
    """What the process has at one moment."""

    descriptors: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    references: Counter[str] = field(default_factory=Counter)
    blocks: int = 0
    resident: int = 0


def count() -> Count:
    """Count everything, after all that nobody holds is gone."""
    for _ in range(3):  # what a finalizer leaves goes with the next one
        gc.collect()
    found = Count(len(os.listdir("/dev/fd")), blocks=sys.getallocatedblocks())
    found.references = count_references()
    if total := getattr(sys, "gettotalrefcount", None):  # in a debug build
        found.references[ALL_OBJECTS] = total()
    if os.path.exists("/proc/self/statm"):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        found.resident = pages * os.sysconf("SC_PAGE_SIZE")
    found.objects.update(
        f"{kind.__module__}.{kind.__qualname__}" for kind in map(type, gc.get_objects())
    )
    return found


def count_references() -> Counter[str]:
    """How many references there are to what connections have to do with."""
    counts = Counter({repr(each): sys.getrefcount(each) for each in (None, True, False, b"", ())})
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").partition(".")[0] not in ("fastchat", "socket"):
            continue
        for name, value in list(vars(module).items()):
            counts[f"{module.__name__}.{name}"] = _references_of(value)
            if isinstance(value, type):
                for inner, member in list(vars(value).items()):
                    counts[f"{module.__name__}.{name}.{inner}"] = _references_of(member)
    return counts


def _references_of(value: Any) -> int:
    """How many there are, without those that the interpreter's caches of names and numbers have."""
    return 0 if isinstance(value, (int, str)) else sys.getrefcount(value)


def growth(before: Count, after: Count, connections: int) -> dict[str, Any]:
    """What has come between two counts, and under "leaks" what of it is too much."""
    objects = after.objects - before.objects
    references = after.references - before.references
    few = connections // 100
    # To all objects together, and to the one that has got most.
    total = references.pop(ALL_OBJECTS, 0)
    grown = {
        "descriptors": after.descriptors - before.descriptors,
        "objects": max(objects.values(), default=0),
        "references": max(references.values(), default=0),
        "blocks": after.blocks - before.blocks,
        "resident": after.resident - before.resident,
    }
    bounds = {
        "descriptors": 0,
        "objects": 10 + few,
        "references": 50 + few,
        "blocks": 100 + connections // 20,
        "resident": (16 << 20) + 257 * connections if connections >= MANY else sys.maxsize,
    }
    leaks = {name: str(grown[name]) for name, bound in bounds.items() if grown[name] > bound}
    if total > 300 + few:
        leaks["references"] = str(total)
        references[ALL_OBJECTS] = total
    for name, found in (("objects", objects), ("references", references)):
        if name in leaks:
            leaks[name] = ", ".join(f"{each} {more:+}" for each, more in found.most_common(5))
    return grown | {"leaks": leaks}


# What is served.


class Scene:
    """One kind of connection: a server, its clients, and how they part."""

    request = LINE
    answer = LINE
    # Who closes: the "client" when it has the answer, the "server", or a "reset" of the client.
    ending = "client"

    def __init__(self) -> None:
        # Here, and not above: what a child measures is the implementation it was told to.
        from fastchat import asynchat, asyncore  # noqa: PLC0415

        self.asyncore: Any = asyncore
        self.asynchat: Any = asynchat
        self.map: Any = asyncore.socket_map
        self.served = 0
        self.kind: Any = self.new_class(asynchat.async_chat)
        self.listener: Any = None
        self.address: Any = None

    def new_class(self, base: Any, **members: Any) -> Any:
        """A class of channels that echo lines, and say nothing."""

        def collect_incoming_data(channel: Any, data: bytes) -> None:
            channel.parts.append(data)

        def found_terminator(channel: Any) -> None:
            line = b"".join(channel.parts) + b"\n"
            channel.parts.clear()
            self.act(channel, line)

        namespace = {
            "collect_incoming_data": collect_incoming_data,
            "found_terminator": found_terminator,
            "log_info": lambda channel, *args: None,
        }
        return type("Channel", (base,), namespace | members)

    def act(self, channel: Any, line: bytes) -> None:
        """What the server does with a line."""
        channel.push(line)

    def open(self, sock: socket.socket) -> Any:
        """The channel for a new connection."""
        channel = self.kind(sock, self.map)
        channel.set_terminator(b"\n")
        channel.parts = []
        return channel

    def listen(self) -> None:
        """Begin to listen, on another port than before."""
        if self.listener is not None:
            self.listener.close()
        scene = self

        class Listener(self.asyncore.dispatcher):  # type: ignore[misc, name-defined]
            def handle_accepted(self, sock: socket.socket, address: Any) -> None:
                scene.open(sock)

        self.listener = Listener(map=self.map)
        self.listener.create_socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(2 * BATCH)
        self.address = self.listener.socket.getsockname()

    def serve(self, connections: int) -> None:
        """Serve so many."""
        for _ in range(0, connections, BATCH):
            if self.served % PER_PORT < BATCH:
                self.listen()
            self.batch()
            self.served += BATCH

    def batch(self) -> None:
        clients = [self.client() for _ in range(BATCH)]
        self.passes_until(lambda: all(map(self.is_answered, clients)))
        for client in clients:
            if self.ending == "reset":
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
        self.passes_until(lambda: len(self.map) == 1)

    def client(self) -> Client:
        sock = socket.create_connection(self.address, PATIENCE)
        sock.setblocking(False)
        if self.request:
            sock.sendall(self.request)
        return Client(sock)

    def is_answered(self, client: Client) -> bool:
        """Whether *client* has everything that it waits for."""
        client.look()
        if self.ending == "server":
            if client.is_at_end and client.received != len(self.answer):
                raise AssertionError(f"{client.received} bytes of {len(self.answer)}")
            return client.is_at_end
        return client.received >= len(self.answer)

    def passes_until(self, done: Callable[[], bool]) -> None:
        for _ in range(PASSES):
            if done():
                return
            self.make_a_pass()
        raise AssertionError(f"hangs: {self.map}")

    def make_a_pass(self) -> None:
        self.asyncore.loop(0.01, False, self.map, 1)


class Client:
    """The other end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = 0
        self.is_at_end = False

    def look(self) -> None:
        """Take what has arrived."""
        while not self.is_at_end:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            self.received += len(data)
            self.is_at_end = not data


class Echo(Scene):
    """a line each way, the client closes"""


class Reset(Scene):
    """a line each way, the client resets"""

    ending = "reset"


class ServerCloses(Scene):
    """a line each way, the server closes"""

    ending = "server"

    def act(self, channel: Any, line: bytes) -> None:
        channel.push(line)
        channel.close_when_done()


class Held(Scene):
    """twenty lines at once, the replies held"""

    request = LINE * 20
    answer = LINE * 20


class Producers(Scene):
    """100,000 bytes of producers"""

    ending = "server"
    answer = bytes(100_000)

    def act(self, channel: Any, line: bytes) -> None:
        class Producer:
            left = 5

            def more(self) -> bytes:
                self.left -= 1
                return bytes(10_000) if self.left >= 0 else b""

        channel.push_with_producer(self.asynchat.simple_producer(bytes(50_000), 4000))
        channel.push_with_producer(Producer())
        channel.close_when_done()


class Unsent(Scene):
    """closed by the client with output queued"""

    answer = b"x"
    ending = "reset"
    # One for all: the resident size would go with how many were there at a time.
    output = bytes(3_000_000)

    def act(self, channel: Any, line: bytes) -> None:
        channel.push(self.output)
        channel.push_with_producer(self.asynchat.simple_producer(b"never asked"))


class Failing(Scene):
    """hooks that raise"""

    ending = "server"
    answer = b""

    def open(self, sock: socket.socket) -> Any:
        channel = super().open(sock)
        self.turn = turn = getattr(self, "turn", 0) + 1
        hooks = ("collect_incoming_data", "found_terminator", "handle_read", "readable", "recv")
        if turn % 6 < 5:
            setattr(channel, hooks[turn % 6], self.fail)
        return channel

    def act(self, channel: Any, line: bytes) -> None:
        channel.ac_out_coalesce = False
        channel.handle_write = channel.send = self.fail
        channel.push(line)

    def fail(self, *args: Any) -> NoReturn:
        raise LookupError("on purpose")


class Dropped(Scene):
    """channels that are dropped without a close()"""

    ending = "server"

    def act(self, channel: Any, line: bytes) -> None:
        channel.push(line)
        channel.del_channel()


class Replaced(Scene):
    """methods and attributes replaced, of classes and channels"""

    def batch(self) -> None:
        def get_terminator(channel: Any) -> bytes:
            return b"\n"

        self.kind.get_terminator = get_terminator
        if self.served % 3 == 0:
            self.kind = self.new_class(self.asynchat.async_chat)  # for each third, a class anew
        super().batch()
        del get_terminator

    def open(self, sock: socket.socket) -> Any:
        channel = super().open(sock)
        self.turn = turn = getattr(self, "turn", 0) + 1
        if turn % 4 == 0:
            channel.found_terminator = lambda: channel.push(LINE)  # a cycle
        elif turn % 4 == 1:
            channel.ac_in_buffer_size = 3
        elif turn % 4 == 2:
            vars(channel)["mine"] = channel
        return channel


class Hiding(Scene):
    """attributes of the library hidden, and methods overridden"""

    def new_class(self, base: Any, **members: Any) -> Any:
        def overridden(name: str) -> Callable[..., Any]:
            return lambda channel, *args: getattr(base, name)(channel, *args)

        names = ("recv", "send", "push", "readable", "writable", "initiate_send", "handle_read")
        members |= {name: overridden(name) for name in names}
        return super().new_class(base, ac_in_buffer=b"", **members)

    def batch(self) -> None:
        self.kind = self.new_class(self.asynchat.async_chat)
        super().batch()


class Threads(Scene):
    """pushed by a thread, while the loop waits"""

    def batch(self) -> None:
        self.asked: list[Any] = []
        thread = threading.Thread(target=self.answer_them)
        thread.start()
        try:
            super().batch()
        finally:
            self.asked.append(None)
            thread.join(PATIENCE)
            self.asked.clear()

    def act(self, channel: Any, line: bytes) -> None:
        self.asked.append(channel)

    def answer_them(self) -> None:
        answered = 0
        while True:
            if len(self.asked) > answered:
                channel = self.asked[answered]
                answered += 1
                if channel is None:
                    return
                channel.push(LINE)
            else:
                time.sleep(0.0005)  # the loop waits meanwhile


class Signals(Scene):
    """a signal handler that raises, in and between hooks"""

    # What calls os.fstat().  A debug build aborts where a handler raises inside that: of the times
    # of a file it makes numbers of nanoseconds, by multiplications that may run handlers, and
    # begins the next one with the exception set.
    not_within = (
        ("_file_of", "_is_open", "_owns_its_number") if hasattr(sys, "gettotalrefcount") else ()
    )

    def __init__(self) -> None:
        super().__init__()
        self.may_raise = False
        signal.signal(signal.SIGALRM, self.interrupt)

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name in self.not_within:
            return
        while frame is not None:
            if frame.f_code.co_name == "accept":
                return  # the descriptor that has no socket yet is lost in CPython's own, too
            frame = frame.f_back
        if self.may_raise:
            self.may_raise = False
            raise KeyboardInterrupt

    def make_a_pass(self) -> None:
        self.turn = turn = getattr(self, "turn", 0) + 1
        try:
            self.may_raise = True
            signal.setitimer(signal.ITIMER_REAL, 0.00001 + turn % 97 * 0.00002)
            super().make_a_pass()
            self.may_raise = False
        except KeyboardInterrupt:
            pass

    def is_answered(self, client: Client) -> bool:
        # The connection may have been lost with the hook that was interrupted, and the line too.
        client.look()
        client.looks = getattr(client, "looks", 0) + 1  # type: ignore[attr-defined]
        return client.is_at_end or client.received > 0 or client.looks > 20  # type: ignore[attr-defined]


class Refused(Scene):
    """connections that are refused"""

    def listen(self) -> None:
        super().listen()
        self.nobody = socket.socket()
        self.nobody.bind(("127.0.0.1", 0))

    def batch(self) -> None:
        for number in range(BATCH):
            channel = self.kind(map=self.map)
            channel.create_socket()
            channel.connect(self.nobody.getsockname())
            if number % 2:
                channel.push(LINE)
        self.passes_until(lambda: len(self.map) == 1)


class WithSend(Scene):
    """dispatcher_with_send, which queues its output"""

    answer = LINE * 30_000

    def __init__(self) -> None:
        super().__init__()
        scene = self

        class Channel(self.asyncore.dispatcher_with_send):  # type: ignore[misc, name-defined]
            def handle_read(self) -> None:
                if self.recv(100):
                    for _ in range(30):
                        self.send(scene.answer[: len(scene.answer) // 30])

        self.kind = Channel

    def open(self, sock: socket.socket) -> Any:
        return self.kind(sock, self.map)


class WholeLoops(Scene):
    """a plain dict, in loops without a count"""

    ending = "server"

    def __init__(self) -> None:
        super().__init__()
        self.map = {}

    def batch(self) -> None:
        self.to_come = BATCH
        self.listen()
        clients = [self.client() for _ in range(BATCH)]
        self.asyncore.loop(1, True, self.map)  # until the map is empty
        for client in clients:
            while not self.is_answered(client):
                pass
            client.sock.close()

    def act(self, channel: Any, line: bytes) -> None:
        channel.push(line)
        channel.close_when_done()
        self.to_come -= 1
        if self.to_come == 0:
            self.listener.close()


SCENES: dict[str, type[Scene]] = {
    scene.__name__: scene
    for scene in (
        Echo,
        Reset,
        ServerCloses,
        Held,
        Producers,
        Unsent,
        Failing,
        Dropped,
        Replaced,
        Hiding,
        Threads,
        Signals,
        Refused,
        WithSend,
        WholeLoops,
    )
}


# Leaks made on purpose, by the column that must show them.


class LeakingDescriptors(Scene):
    def act(self, channel: Any, line: bytes) -> None:
        channel.push(line)
        os.dup(channel.socket.fileno())


class LeakingObjects(Scene):
    def act(self, channel: Any, line: bytes) -> None:
        channel.push(line)
        vars(self).setdefault("kept", []).append([line])


class LeakingReferences(Scene):
    def act(self, channel: Any, line: bytes) -> None:
        channel.push(line)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.asyncore.dispatcher))


class LeakingBlocks(Scene):
    def act(self, channel: Any, line: bytes) -> None:
        channel.push(line)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(line))


class LeakingMemory(Scene):
    def act(self, channel: Any, line: bytes) -> None:
        channel.push(line)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(b"x" * 20_000 + line))


ON_PURPOSE: dict[str, type[Scene]] = {
    "descriptors": LeakingDescriptors,
    "objects": LeakingObjects,
    "references": LeakingReferences,
    "blocks": LeakingBlocks,
    "resident": LeakingMemory,
}


# Who runs it.


def measure(name: str, connections: int) -> dict[str, Any]:
    """Serve the connections of one kind in this process; what has come."""
    warnings.simplefilter("ignore", ResourceWarning)  # of sockets that are dropped
    scene = {**SCENES, **{each.__name__: each for each in ON_PURPOSE.values()}}[name]()
    warm_up = -(-connections // 5 // BATCH) * BATCH
    scene.serve(warm_up)
    # A count is kept in one piece, lest it counts itself; the first one fills caches of its own.
    before = pickle.dumps(count())
    before = pickle.dumps(count())
    measured = -(-(connections - warm_up) // BATCH) * BATCH
    scene.serve(measured)
    after = count()
    return growth(pickle.loads(before), after, measured) | {"connections": warm_up + measured}


def in_child(implementation: str, scene: type[Scene], connections: int) -> dict[str, Any]:
    """``measure`` in a process of its own."""
    command = [sys.executable, __file__, "--connections", str(connections)]
    answer = subprocess.run(
        [*command, "--child", scene.__name__],
        env=os.environ | {"FASTCHAT_IMPLEMENTATION": implementation},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    if answer.returncode:
        last = answer.stderr.strip().splitlines()[-1:]
        why = f"ended with status {answer.returncode}: {' '.join(last)}"
        return {"connections": 0, "leaks": {"nothing was counted": why}}
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


# Of how many connections of a kind the resident size says something.
MANY = 2000

COLUMNS = ("connections", "descriptors", "objects", "references", "blocks", "resident")


def show(implementation: str, scene: type[Scene], result: dict[str, Any]) -> None:
    figures = "".join(f"{result.get(column, '-'):>13}" for column in COLUMNS)
    print(f"{IMPLEMENTATIONS[implementation]:9}{figures}  {scene.__doc__}", flush=True)
    for column, what in result["leaks"].items():
        print(f"{'':9}  LEAKS {column}: {what}", flush=True)


def unnoticed(connections: int, implementation: str) -> list[str]:
    """The columns in which a leak that was made on purpose does not show."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = threads.map(
            lambda scene: in_child(
                implementation, scene, connections * (5 if scene is LeakingMemory else 1)
            ),
            ON_PURPOSE.values(),
        )
        return [
            column
            for column, each in zip(ON_PURPOSE, found, strict=True)
            if column not in each["leaks"]
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description="look for what connections leave behind")
    parser.add_argument(
        "--connections", type=int, default=100_000, help="of each implementation; default 100000"
    )
    parser.add_argument("--implementation", choices=IMPLEMENTATIONS, help="default: both")
    parser.add_argument("--kind", choices=SCENES, help="all connections of one kind")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child, arguments.connections)))
        return 0
    if platform.python_implementation() != "CPython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        print("leaks: only a CPython with a GIL counts references at once", file=sys.stderr)
        return 2
    started = time.monotonic()
    names = [arguments.implementation] if arguments.implementation else list(IMPLEMENTATIONS)
    scenes = [SCENES[arguments.kind]] if arguments.kind else list(SCENES.values())
    for column in unnoticed(500, names[0]):
        print(f"leaks: a leak made on purpose does NOT show in {column}")
        return 1
    each = -(-arguments.connections // len(scenes) // BATCH) * BATCH
    print(f"{'':9}{''.join(f'{column:>13}' for column in COLUMNS)}")
    leaking = 0
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        jobs = [(name, scene) for name in names for scene in scenes]
        results = threads.map(lambda job: in_child(job[0], job[1], each), jobs)
        for (name, scene), result in zip(jobs, results, strict=True):
            show(name, scene, result)
            leaking += bool(result["leaks"])
    seconds = time.monotonic() - started
    print(f"leaks: {leaking} of {len(jobs)} kinds leak" if leaking else "leaks: none", end="")
    print(f", {each * len(jobs):,} connections, {seconds:.0f} s")
    return 1 if leaking else 0


if __name__ == "__main__":
    sys.exit(main())
