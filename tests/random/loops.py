"""Random scripts for the loop, played with and without kept registrations.

A script is made from a seed: which channels there are, what their peers and the program do before
each pass, and what the hooks do.  It is played twice, on real sockets or
on a simulated network (``simulated.py``): over a map of which the
registrations are kept, and over one of which nothing is kept, by the one-off passes.  Both must
give every channel the same hooks with the same arguments in each pass, and every peer the same
bytes.

In which order the channels of one pass are served is the kernel's affair, and where hooks reach
for other channels, it matters.  So the second play puts its map into an order that would have
given what the first play saw; where there is none, that is a disagreement.

``python -m tests.random.loops --count 20000`` is the long run, ``--simulated`` a
faster one; the suite does short ones of both.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import graphlib
import itertools
import random
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.implementations import FASTCHAT, load
from tests.support.simulated import Network, SimulatedSystem

KINDS = ("chat", "asked chat", "with send", "reader", "dispatcher", "stubborn", "listener")
WEIGHTS = (6, 3, 3, 3, 1, 2, 1)

Action = tuple[Any, ...]

# Made once: to make them anew took a quarter of the time in which a script is drawn.
_PUSHED = [b"x", b"hello\n", b"", b"y" * 30_000, b"z" * 400_000]
_QUEUED = [b"q", None, b"r" * 30_000]


@dataclass(frozen=True)
class Script:
    """What is played: everything that is random is decided here."""

    seed: int
    use_poll: bool
    map_kind: str  # "channel_map", or a "dict" over which a loop runs
    few: int  # up to how many channels are checked in each pass
    kinds: list[str]
    steps: list[list[Action]]  # what is done before each pass
    reactions: dict[tuple[int, int], Action]  # what a channel's first hook in a pass does


def make(seed: int) -> Script:
    """The script of *seed*."""
    draw = random.Random(seed)
    count = draw.randint(2, 7)
    few = draw.choice([0, 32])
    steps = []
    reactions = {}
    for number in range(draw.randint(3, 14)):
        steps.append([_action(draw, count, few) for _ in range(draw.choice([0, 1, 2, 3, 5]))])
        for slot in range(count):
            if draw.random() < 0.3:
                reactions[number, slot] = _reaction(draw, count, slot, few)
    return Script(
        seed,
        draw.random() < 0.5,
        draw.choice(["channel_map", "dict"]),
        few,
        draw.choices(KINDS, WEIGHTS, k=count),
        steps,
        reactions,
    )


def _action(draw: random.Random, count: int, few: int) -> Action:
    slot = draw.randrange(count)
    kind = draw.random()
    if kind < 0.35:
        data = bytes(draw.choices(b"ab\n", k=draw.choice([1, 3, 30])))
        return ("peer sends", slot, data)
    if kind < 0.42:
        return ("peer closes", slot)
    if kind < 0.46:
        return ("peer resets", slot)
    if kind < 0.52:
        return ("peer reads", slot)
    if kind < 0.68:
        return _change(draw, count, few)
    return _output_or_flip(draw, slot, few)


def _output_or_flip(draw: random.Random, slot: int, few: int) -> Action:
    kind = draw.random()
    if kind < 0.4:
        return ("push", slot, draw.choice(_PUSHED))
    if kind < 0.55:
        return ("queue", slot, draw.choice(_QUEUED))
    if kind < 0.65:
        return ("close when done", slot)
    if kind < 0.85 or few == 0:
        return ("answer", slot, draw.choice(["readable", "writable"]), draw.random() < 0.5)
    if kind < 0.92:
        return ("shadow", slot, draw.choice(["readable", "writable"]), draw.random() < 0.5)
    if kind < 0.97:
        return ("unshadow", slot)
    return ("assign connected", slot, draw.random() < 0.5)


def _change(draw: random.Random, count: int, few: int) -> Action:
    slot, other = draw.randrange(count), draw.randrange(count)
    return draw.choice(
        [
            ("close", slot),
            ("close", slot),
            ("reopen", slot),
            ("reopen", slot),
            ("renew", slot),
            ("close and reopen", slot, other),
            ("take out", slot),
            ("put in", slot),
            ("take out and put in", slot),
            ("replace", slot),
            ("clear",),
            ("put all in",),
        ]
    )


def _reaction(draw: random.Random, count: int, slot: int, few: int) -> Action:
    kind = draw.random()
    if kind < 0.45:
        return _change(draw, count, few)
    if kind < 0.75:
        # A hook shadows no predicate: whether that counts in the same pass depends on the order.
        few = 0
        return _output_or_flip(draw, draw.choice([slot, draw.randrange(count)]), few)
    if kind < 0.87:
        return ("nested",)
    if kind < 0.92:
        return ("raise",)
    if kind < 0.95:
        return ("exit",)
    return ("peer sends", draw.randrange(count), b"!\n")


class _Ordered(dict[int, Any]):
    """A map that is asked in the order that ``place`` gives to its channels.

    Being no plain dict, it is one of which nothing is kept.
    """

    place: dict[Any, int]
    _fc_system: Any = None  # on the class, for no map of a program is asked for it otherwise

    def items(self) -> Any:
        found = list(dict.items(self))
        return sorted(found, key=lambda item: self.place.get(item[1].slot, len(found) + 99))


class Sockets:
    """Real sockets, as a play uses them."""

    # What the loop asks of descriptors and time; None for the real one.
    system: Any = None

    def __init__(self, core: Any) -> None:
        pass

    def pair(self) -> tuple[Any, Any]:
        """The sockets of a channel and of its peer."""
        mine, peer = socket.socketpair()
        mine.setblocking(False)
        peer.setblocking(False)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        return mine, peer

    def listen(self, channel: Any) -> Any:
        """Let *channel* listen; returns its socket."""
        channel.create_socket(socket.AF_UNIX)
        channel.bind("")  # a name that the system chooses
        channel.listen(5)
        return channel.socket

    def connect(self, listener: Any) -> Any:
        """A client of *listener*."""
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        return client


class Simulated:
    """A network of its own for each play, with the methods of ``Sockets``."""

    def __init__(self, core: Any) -> None:
        self._network = Network()
        self.system: Any = SimulatedSystem(self._network, core)

    def pair(self) -> tuple[Any, Any]:
        return self._network.pair()

    def listen(self, channel: Any) -> Any:
        channel.set_socket(self._network.listener())
        channel.listen(5)
        return channel.socket

    def connect(self, listener: Any) -> Any:
        with contextlib.suppress(BlockingIOError):
            return self._network.connect(listener)
        return self._network.pair()[0]  # too many wait


class World:
    """One play of one script."""

    def __init__(
        self, script: Script, name: str, orders: list[Any] | None, network: Any = Sockets
    ) -> None:
        self.script = script
        self.implementation = load(name)
        self.asyncore = self.implementation.asyncore
        self.orders = orders  # what the other play saw, None in the first one
        self.map: Any
        if orders is not None:
            self.map = _Ordered()
            self.map.place = {}
            self.map._fc_system = self.implementation.core["system"].REAL
        elif script.map_kind == "dict":
            self.map = {}
        else:
            self.map = self.asyncore.channel_map()
        self.network = network(self.implementation.core)
        if self.network.system is not None and type(self.map) is not dict:
            self.map._fc_system = self.network.system
        # By pass: what every slot was told, in order, and who was told to read or write.
        self.told: list[dict[int, list[Any]]] = []
        self.events: list[list[tuple[int, str]]] = []
        self.number = -1  # of the step
        self.reacted: set[tuple[int, int]] = set()
        self.stack: list[int] = []  # of passes
        self.channels: list[Any] = []
        self.peers: list[Any] = []
        self.opened: list[Any] = []

    def play(self) -> None:
        watching = vars(self.implementation.core["passes"])
        few, watching["CHECK_ALL_UP_TO"] = watching["CHECK_ALL_UP_TO"], self.script.few
        try:
            for slot in range(len(self.script.kinds)):
                self.channels.append(None)
                self.peers.append(None)
                self._renew(slot)
            if type(self.map) is dict:
                self._watch()
            for number, step in enumerate(self.script.steps):
                self.number = number
                for action in step:
                    self.act(action)
                self.make_pass()
            for _ in range(3):
                self.number += 1
                for slot in range(len(self.peers)):
                    self._read_peer(slot)
                self.make_pass()
        finally:
            watching["CHECK_ALL_UP_TO"] = few
            for thing in (*self.channels, *self.opened):
                with contextlib.suppress(OSError):
                    thing.close()
            self.implementation.core["maps"].release(self.map)

    def _watch(self) -> None:
        """Keep registrations, as if the passes that follow were those of a loop over the dict."""
        if self.network.system is None:
            self.asyncore._watch_over(self.map, self.asyncore._family, True).loops[0] = None
            return
        core, system = self.implementation.core, self.network.system
        if id(self.map) in core["touch"].watches:
            return
        kind = system.kinds()[0]
        watch = core["watch"].Watch(self.map, self.asyncore._family, kind, False, system)
        core["touch"].watches[id(self.map)] = watch

    def make_pass(self) -> None:
        this = len(self.told)
        self.told.append({})
        self.events.append([])
        self.stack.append(this)
        place = getattr(self.map, "place", None)
        if place is not None:
            assert self.orders is not None
            order = self.orders[this] if this < len(self.orders) else []
            self.map.place = {slot: at for at, slot in enumerate(order)}
        if self.network.system is not None and type(self.map) is dict:
            self._watch()  # a pass that leaves the map empty has given it back
        try:
            self.asyncore.loop(0, self.script.use_poll, self.map, 1)
        except Exception as failure:
            self.note(-1, type(failure).__name__)
        finally:
            self.stack.pop()
            if place is not None:
                self.map.place = place

    def note(self, slot: int, what: Any) -> None:
        """A channel was told something; where that is the first time, it reacts."""
        if not self.stack:
            return
        self.told[self.stack[-1]].setdefault(slot, []).append(what)
        key = (self.number, slot)
        if key in self.script.reactions and key not in self.reacted:
            self.reacted.add(key)
            self.act(self.script.reactions[key])

    def event(self, slot: int, what: str) -> None:
        if self.stack:
            self.events[self.stack[-1]].append((slot, what))

    # Channels.

    def _renew(self, slot: int) -> None:
        if self.channels[slot] is not None:
            self.channels[slot].close()
        self._make(slot)
        self._reopen(slot)

    def _replace(self, slot: int) -> None:
        old = self.channels[slot]
        if old._fileno in self.map:
            self._make(slot)
            new = self.channels[slot]
            new.socket, new._fileno = old.socket, old._fileno
            new.connected, new.accepting = old.connected, old.accepting
            self.map[new._fileno] = new

    def _make(self, slot: int) -> None:
        kind = self.script.kinds[slot]
        base = {
            "chat": self.implementation.asynchat.async_chat,
            "asked chat": self.implementation.asynchat.async_chat,
            "with send": self.asyncore.dispatcher_with_send,
        }.get(kind, self.asyncore.dispatcher)
        made = self.channels[slot] = _class(base, kind)(None, self.map)
        made.world, made.slot, made.answers = self, slot, {}
        if base is self.implementation.asynchat.async_chat:
            made.set_terminator(b"\n")

    def _reopen(self, slot: int) -> None:
        channel = self.channels[slot]
        if channel._fileno is not None:
            return
        if self.script.kinds[slot] == "listener":
            self.opened.append(self.network.listen(channel))
            return
        mine, peer = self.network.pair()
        self.opened += [mine, peer]
        if self.peers[slot] is not None:
            self.peers[slot].close()
        self.peers[slot] = peer
        channel.set_socket(mine)
        channel.connected = True

    def _read_peer(self, slot: int) -> None:
        peer = self.peers[slot]
        received = []
        try:
            while peer is not None and (part := peer.recv(1 << 20)):
                received.append(part)
        except OSError as failure:
            received.append(type(failure).__name__.encode())
        if self.told:
            self.told[-1].setdefault(slot, []).append(("peer", b"".join(received)))

    def act(self, action: Action) -> None:
        match action:
            case ("nested",):
                self.make_pass()
                return
            case ("raise",):
                raise ZeroDivisionError
            case ("exit",):
                raise self.asyncore.ExitNow
            case ("clear",):
                self.map.clear()
                return
            case ("put all in",):
                for slot in range(len(self.channels)):
                    self.act(("put in", slot))
                return
        slot = action[1]
        channel, peer = self.channels[slot], self.peers[slot]
        match action:
            case ("peer sends", _, data):
                if self.script.kinds[slot] == "listener":
                    if channel._fileno is not None:
                        self.opened.append(self.network.connect(channel.socket))
                    return
                with contextlib.suppress(OSError):
                    peer.send(data)
            case ("peer closes" | "peer resets", _):
                if peer is not None:
                    if action[0] == "peer resets" and channel._fileno is not None:
                        # A peer that closes with unread input resets.
                        with contextlib.suppress(OSError):
                            channel.socket.send(b"unread")
                    peer.close()
            case ("peer reads", _):
                self._read_peer(slot)
            case ("close", _):
                channel.close()
            case ("reopen", _):
                channel.close()
                self._reopen(slot)
            case ("close and reopen", _, other):
                channel.close()
                self.channels[other].close()
                self._reopen(slot)  # on either number
                self._reopen(other)
            case ("renew", _):
                self._renew(slot)
            case ("replace", _):
                self._replace(slot)
            case ("take out", _):
                if channel._fileno is not None:
                    self.map.pop(channel._fileno, None)
            case ("put in", _):
                if channel._fileno is not None and channel._fileno not in self.map:
                    self._put_in(channel)
            case ("take out and put in", _):
                if channel._fileno is not None and channel._fileno in self.map:
                    del self.map[channel._fileno]
                    self._put_in(channel)
            case ("push", _, data):
                self._push(channel, data)
            case ("queue", _, data):
                if hasattr(channel, "producer_fifo"):
                    channel.producer_fifo.append(data)
            case ("close when done", _):
                if hasattr(channel, "close_when_done"):
                    channel.close_when_done()
            case ("answer", _, name, answer):
                channel.answers[name] = answer
            case ("shadow", _, name, answer):
                setattr(channel, name, lambda: answer)
            case ("unshadow", _):
                vars(channel).pop("readable", None)
                vars(channel).pop("writable", None)
            case ("assign connected", _, answer):
                channel.connected = answer
            case _:
                raise AssertionError(f"no such action: {action}")

    def _put_in(self, channel: Any) -> None:
        if self.stack:
            channel.add_channel()  # so that it counts as one that left and joined again
        else:
            self.map[channel._fileno] = channel

    def _push(self, channel: Any, data: bytes) -> None:
        if channel._fileno is None:
            return
        if hasattr(channel, "push"):
            channel.push(data)
        elif hasattr(channel, "out_buffer"):
            channel.send(data)


@functools.cache
def _class(base: Any, kind: str) -> Any:
    """A class of channels that tell their world what happens to them."""

    def handle_read_event(self: Any) -> None:
        self.world.event(self.slot, "r")
        base.handle_read_event(self)

    def handle_write_event(self: Any) -> None:
        self.world.event(self.slot, "w")
        base.handle_write_event(self)

    def handle_read(self: Any) -> None:
        self.world.note(self.slot, ("read", self.recv(65536)))

    def handle_write(self: Any) -> None:
        self.world.note(self.slot, "write")

    def handle_connect(self: Any) -> None:
        self.world.note(self.slot, "connect")

    def handle_accepted(self: Any, sock: Any, address: Any) -> None:
        sock.close()
        self.world.note(self.slot, "accepted")

    def handle_close(self: Any) -> None:
        self.closes = getattr(self, "closes", 0) + 1
        if kind != "stubborn" or self.closes > 2:
            self.close()
        self.world.note(self.slot, "close")

    def handle_error(self: Any) -> None:
        self.world.note(self.slot, sys.exc_info()[0].__name__)  # type: ignore[union-attr]
        base.handle_error(self)

    def collect_incoming_data(self: Any, data: bytes) -> None:
        self.world.note(self.slot, data)

    def found_terminator(self: Any) -> None:
        self.world.note(self.slot, "found")

    def readable(self: Any) -> Any:
        return self.answers.get("readable", True)

    def writable(self: Any) -> Any:
        return self.answers.get("writable", base.writable(self) and kind == "asked chat")

    members: dict[str, Any] = {
        function.__name__: function
        for function in (
            handle_read_event,
            handle_write_event,
            handle_connect,
            handle_accepted,
            handle_close,
            handle_error,
        )
    }
    members["log_info"] = lambda self, *args: None
    if hasattr(base, "found_terminator"):
        members["collect_incoming_data"] = collect_incoming_data
        members["found_terminator"] = found_terminator
    else:
        members["handle_read"] = handle_read
        if kind != "with send":
            members["handle_write"] = handle_write
    if kind in ("asked chat", "reader", "stubborn"):
        members |= {"readable": readable, "writable": writable}
    return type("Channel", (base,), members)


def _orders(script: Script, events: list[tuple[int, str]]) -> list[list[int]]:
    """Orders of the map in which a one-off pass may serve the channels as *events* say.

    What was not handed out, because a hook closed the channel first, is in no event; so there may
    be more than one.
    """
    told = {kind: [slot for slot, what in events if what == kind] for kind in "rw"}
    if script.use_poll:
        return [list(dict.fromkeys(slot for slot, _ in events))]
    sorter: graphlib.TopologicalSorter[int] = graphlib.TopologicalSorter()
    for sequence in told.values():
        unique = list(dict.fromkeys(sequence))
        for slot in unique:
            sorter.add(slot)
        for before, after in itertools.pairwise(unique):
            sorter.add(after, before)
    orders = [list(dict.fromkeys(told["w"] + told["r"])), list(dict.fromkeys(told["r"]))]
    try:
        orders.insert(0, list(sorter.static_order()))
    except graphlib.CycleError:
        pass
    return orders


def disagreement(seed: int, names: Iterable[str] = FASTCHAT, network: Any = Sockets) -> str | None:
    """What differs between the two plays of the script of *seed*; None where nothing.

    *network* is what they are played on: ``Sockets`` or ``Simulated``.
    """
    script = make(seed)
    for name in names:
        difference = difference_of(script, name, network)
        if difference is not None:
            return difference
    return None


def difference_of(script: Script, name: str, network: Any = Sockets) -> str | None:
    """What differs between the two plays of *script* on the implementation *name*."""
    kept = World(script, name, None, network)
    kept.play()
    for number, events in enumerate(kept.events):
        if not script.use_poll and "wr" in "".join(what for _, what in events):
            return f"{_head(script, name)}: output before input in pass {number}: {events}"
    orders = [_orders(script, events) for events in kept.events]
    while True:
        once = World(script, name, [some[0] for some in orders], network)
        once.play()
        pairs = enumerate(zip(kept.told, once.told, strict=False))
        at = next((number for number, (one, two) in pairs if one != two), None)
        # It may show late that an earlier pass had another order.
        choices = [] if at is None else [some for some in orders[: at + 1] if len(some) > 1]
        if not choices:
            break
        del choices[-1][0]
    if at is not None:
        one, two = kept.told[at], once.told[at]
        return "\n".join(
            [
                f"{_head(script, name)}: differ in pass {at}",
                *_lines("kept", one, two, kept.events[at]),
                *_lines("once", two, one, once.events[at]),
            ]
        )
    if len(kept.told) != len(once.told):
        return f"{_head(script, name)}: {len(kept.told)} and {len(once.told)} passes"
    return None


def _head(script: Script, name: str) -> str:
    way = "poll" if script.use_poll else "select"
    return f"seed {script.seed}, {name}, {script.map_kind}, few={script.few}, {way}"


def _lines(name: str, one: Any, two: Any, events: Any) -> Iterator[str]:
    for slot in one | two:
        if one.get(slot) != two.get(slot):
            yield f"  {name}: channel {slot} was told {str(one.get(slot))[:300]}"
    yield f"  {name}: events {events}"


def explain(script: Script) -> str:
    """*script*, step by step."""
    lines = [f"channels: {dict(enumerate(script.kinds))}"]
    for number, step in enumerate(script.steps):
        lines += [f"before pass {number}: {str(action)[:70]}" for action in step]
        for (at, slot), reaction in script.reactions.items():
            if at == number:
                lines.append(f"  in pass {number}, channel {slot} reacts: {str(reaction)[:70]}")
    return "\n".join(lines)


def main(show: Callable[[str], None] = print) -> int:
    """Play many scripts; the exit status is 1 where there is a disagreement."""
    parser = argparse.ArgumentParser(description="compare kept registrations with one-off passes")
    parser.add_argument("--count", type=int, default=20_000, help="scripts (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="the first seed")
    parser.add_argument("--simulated", action="store_true", help="on a network in memory")
    arguments = parser.parse_args()
    network = Simulated if arguments.simulated else Sockets
    where = "a simulated network" if arguments.simulated else "sockets"
    names = ", ".join(FASTCHAT)
    show(f"{arguments.count} scripts from seed {arguments.seed}, on {where}, with {names}")
    begin = time.monotonic()
    for number in range(arguments.count):
        difference = disagreement(arguments.seed + number, network=network)
        if difference is not None:
            show(difference)
            show(explain(make(arguments.seed + number)))
            return 1
        if number % 1000 == 999:
            show(f"  {number + 1} agree ({time.monotonic() - begin:.0f} s)")
    rate = arguments.count / max(time.monotonic() - begin, 1e-9)
    show(f"{arguments.count} scripts agree ({rate:.0f} a second)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
