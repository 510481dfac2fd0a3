"""One scene of many channels, interrupted at each point where a signal handler may run.

CPython runs handlers where a function begins, where a loop goes back, and behind each call.  While
the scene is played, a trace function counts the points of fastchat's own Python code from which the
interpreter comes to such a place; the scene is then played again for each of them, and there a
signal arrives.  Compiled code runs handlers only where it calls Python, so for that, and for both
implementations, the scene is interrupted in each call of a hook, too.

What the handler does is one of ``ACTIONS``: it raises an exception, of any class, or it changes the
world.  What must hold then is what ``Scene.faults`` looks at:

* The exception leaves the loop, or is given to the error handling of one channel, once.
* Channels that were not at work get and send the bytes that they do without an interruption, and
  no peer ever gets a byte of another connection.
* The loop can be entered again, serves all that are in the map, and new channels with them.
* Nothing is left of a closed channel: neither its descriptor nor the object.

What a channel at work loses is as in CPython 3.11, where ``recv``, ``send``, ``accept`` and
``close`` take an ``OSError`` of some numbers for their socket's, whoever raised it: ``LOSSES``.

``python -m tests.random.interrupted --all`` takes all points and all actions.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import re
import signal
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.random.actions import ACTIONS
from tests.random.points import Points
from tests.random.scene import VARIANTS, Play, Variant
from tests.support.channels import PATIENCE, alarms, watch_of


@dataclass(frozen=True)
class Golden:
    """What happens where nothing interrupts."""

    got: dict[str, list[bytes]]
    heard: dict[str, bytes]
    there: dict[str, bool]


class Scene(Play):
    """A play that is judged: what does not hold of what must."""

    def faults(self, golden: Golden) -> Iterator[str]:
        """What does not hold, compared with a play without an interruption."""
        is_lost = not self.told and self.may_be_lost
        if self.problem is not None and len(self.told) != 1 and not is_lost:
            yield f"the exception came to {self.told}"
        # The frames of compiled code are not seen, but who was told was at work.
        for label in self.told:
            self.exempt_with(label)
        suspects = [label for label in golden.got if self.differs(golden, label)]
        if self.variant.implementation == "cython" and self.may_be_lost and not self.told:
            for label in suspects[:1]:
                self.exempt_with(label)
        yield from self.wrong
        for label, got in golden.got.items():
            if label in self.exempt:
                continue
            if self.got.get(label) != got:
                yield f"{label} got {self.got.get(label)}, not {got}"
            heard = self.heard.get(label, b"")
            if label == "o" and self.extra:
                if heard.count(b"<o:extra>") != 1:
                    yield f"what was pushed was not sent once: {heard!r}"
                heard = heard.replace(b"<o:extra>", b"", 1)
            if heard != golden.heard[label]:
                yield f"the peer of {label} got {heard!r}, not {golden.heard[label]!r}"
            if self.is_there(label) != golden.there[label]:
                yield f"{label} is {'' if self.is_there(label) else 'not '}there"
        yield from self.faults_of_the_heard()
        yield from self.faults_of_probes()
        yield from self.faults_of_new_channels()

    def differs(self, golden: Golden, label: str) -> bool:
        """Whether the channel *label* is not as without an interruption, roughly."""
        return (
            label not in self.exempt
            and not (label == "o" and self.extra)
            and (self.got.get(label), self.heard.get(label, b""), self.is_there(label))
            != (golden.got[label], golden.heard[label], golden.there[label])
        )

    def faults_of_the_heard(self) -> Iterator[str]:
        for label, heard in self.heard.items():
            if set(re.findall(rb"<(.*?):", heard)) - {label.encode()}:
                yield f"the peer of {label} got {heard!r}"

    def faults_of_probes(self) -> Iterator[str]:
        """Serve all that are there once more."""
        probed = [label for label in self.peers if self.is_there(label) and label not in "ek"]
        # One whose close() was interrupted is in the map, and sends nothing, as in CPython 3.11.
        probed = [label for label in probed if self.channels[label].connected]
        for label in probed:
            channel = self.channels[label]
            if hasattr(channel, "discard_buffers"):
                channel.discard_buffers()
                channel.set_terminator(b"\n")
            channel.line = b""
            self.heard[label] = b""
            is_line = hasattr(channel, "set_terminator")
            self.peers[label].sendall(b"probe\n" if is_line else b"probe")
        self.questions = -1000
        for _ in range(4):
            self.loop(4)
        self.hear()
        yield from self.wrong
        for label in probed:
            if not self.heard[label].endswith(b"<" + label.encode() + b":probe>"):
                yield f"{label} is not served any more: {self.heard[label]!r}"
        yield from self.faults_of_the_heard()
        if self.is_there("l") and not self.is_accepting:  # else it may rest
            self.connect("z")
            self.loop(3)
            if not self.is_there("z"):
                yield "no client is accepted any more"

    def faults_of_new_channels(self) -> Iterator[str]:
        """Let new channels have the addresses that others had, and see who gets their output."""
        peers, channels = {}, []
        labels = sorted(self.exempt - {"l"})
        for label in labels:
            if self.channels.get(label) is not None:
                _close(self.channels[label])
        if self.problem is not None:
            _forget_the_frames(self.problem)
        for label in labels:
            self.channels.pop(label, None)
        heir_class = self.chat_class()
        heirs = [heir_class.__new__(heir_class) for _ in range(3)]
        for number, channel in enumerate(self.waiting + heirs):
            label = f"h{number}"
            channel.label, channel.scene = label, self
            self.got[label] = []
            mine, peers[label] = self.stage.pair()
            channel.__init__(mine, self.stage.map)
            channel.set_terminator(b"\n")
            channels.append(channel)
        for channel in channels:
            channel.push(b"<" + channel.label.encode() + b":1>")
            peers[channel.label].sendall(b"2\n")
        self.loop(4)
        for label, peer in peers.items():
            peer.setblocking(False)
            try:
                heard = peer.recv(100)
            except BlockingIOError:
                heard = b""
            if heard != b"<%b:1><%b:2>" % (label.encode(), label.encode()):
                yield f"the peer of the new channel {label} got {heard!r}"
        for channel in channels:
            channel.close()
            if channel._fileno is not None or channel.socket.fileno() >= 0:
                yield f"{channel.label} is not closed"
        self.waiting.clear()

    def end(self) -> Iterator[str]:
        """Close all."""
        for label, channel in self.channels.items():
            if channel is not None:
                _channels.setdefault(weakref.ref(channel), f"{self}, {label}")
                _close(channel)
        if self.stage.map:
            yield f"left in the map: {self.stage.map}"
            self.stage.map.clear()
        if type(self.stage.map) is dict and watch_of(self.stage) is not None:
            yield "registrations are left of a dict"
        self.stage.implementation.core["maps"].release(self.stage.map)
        self.stage.__exit__(None, None, None)
        if self.problem is not None:
            _forget_the_frames(self.problem)
        self.channels.clear()

    def __str__(self) -> str:
        action = getattr(self.action, "__name__", self.action)
        return f"{self.variant}: {action} at {_name_of(self.at)}{self.where}"


def _name_of(point: Any) -> str:
    if not isinstance(point, tuple):
        return f"call {point}"
    code, offset, count = point
    return f"{code.co_qualname}+{offset}, time {count}"


# All channels that were closed, with what was played; see ``leaks``.
_channels: dict[Any, str] = {}


def leaks() -> list[str]:
    """What was played where a channel is still there, though nobody has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of what accept() gave, as in _handling()
        gc.collect()
    left = [words for reference, words in _channels.items() if reference() is not None]
    _channels.clear()
    return left


def _close(channel: Any) -> None:
    try:
        channel.close()
    except AttributeError:  # it was interrupted before it got its socket, as in CPython 3.11
        if getattr(channel, "_fileno", None) is not None:
            raise


def _forget_the_frames(failure: BaseException) -> None:
    failure.__traceback__ = None
    failure.__context__ = None


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@contextlib.contextmanager
def _handling(scene: Scene) -> Iterator[None]:
    """Let signals come to *scene*, and what is printed of an exception count as told."""
    before = signal.signal(signal.SIGINT, scene.handle)
    hook = sys.unraisablehook

    def unraisable(what: Any) -> None:
        if what.exc_value is scene.problem and scene.problem is not None:
            scene.told.append(f"nobody, in {what.object}")
        elif not isinstance(what.exc_value, ResourceWarning):
            scene.wrong.append(f"unraisable: {what.exc_value!r} in {what.object}")

    sys.unraisablehook = unraisable
    is_enabled = gc.isenabled()
    gc.disable()  # its calls would be points, too, and come at any time
    try:
        with warnings.catch_warnings(), alarms(_give_up, PATIENCE):
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        if is_enabled:
            gc.enable()
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)


def _give_up(*args: Any) -> None:
    raise AssertionError("the scene has no end")


def points_of(variant: Variant) -> tuple[Golden, list[Any]]:
    """What happens in *variant* without an interruption, and its points."""
    for _ in range(2):  # only after the first are all caches full
        scene = Scene(variant)
        with _handling(scene):
            points = Points(os.path.dirname(scene.stage.asyncore.__file__))
            scene.play(None if variant.in_hooks else points)
            there = {label: scene.is_there(label) for label in scene.got}
            golden = Golden(
                {label: list(got) for label, got in scene.got.items()},
                {label: scene.heard.get(label, b"") for label in scene.got},
                there,
            )
            wrong = [*scene.faults(golden), *scene.end()]
        assert not wrong, f"{scene}: {wrong}"
    return golden, list(range(scene.calls)) if variant.in_hooks else points.passed


def fault_of(variant: Variant, golden: Golden, at: Any, action: Any) -> str | None:
    """What does not hold where the handler does *action* at the point *at*; None for nothing."""
    before = _descriptors()
    scene = Scene(variant, at, action)
    with _handling(scene):
        points = Points(os.path.dirname(scene.stage.asyncore.__file__), at)
        scene.play(None if variant.in_hooks else points)
        wrong = [*scene.faults(golden), *scene.end()]
        if _descriptors() > before:
            gc.collect()  # here, where it is no fault that a socket which nobody got was not closed
    # The descriptor that accept() has and no socket yet is lost in CPython 3.11, too.
    lost = 1 if scene.is_accepting else 0
    if _descriptors() - before > lost:  # fewer, where what an earlier test left is collected now
        wrong.append(f"{_descriptors()} descriptors are open, not {before}")
    return "\n  ".join([str(scene), *wrong]) if wrong else None


def _places(points: list[Any]) -> dict[Any, list[Any]]:
    """*points*, by where they are in the code."""
    places: dict[Any, list[Any]] = {}
    for point in points:
        places.setdefault(point[:2] if isinstance(point, tuple) else point, []).append(point)
    return places


def sample(points: list[Any], count: int, draw: random.Random) -> list[Any]:
    """*count* of the *points*, at as many different places of the code as there are."""
    order = list(_places(points).values())
    draw.shuffle(order)
    chosen = [draw.choice(some) for some in order[:count]]
    return chosen + draw.sample(points, min(count - len(chosen), len(points)))


def main(show: Callable[[str], None] = print) -> int:
    """Interrupt the scene often; the exit status is 1 where something does not hold."""
    parser = argparse.ArgumentParser(description="interrupt a scene at each point of a pass")
    parser.add_argument("--all", action="store_true", help="all points and all actions")
    parser.add_argument("--count", type=int, default=300, help="points (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", default="", help="variants whose description has this")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    show(f"seed {arguments.seed}")
    failed = 0
    for variant in VARIANTS:
        if arguments.only not in str(variant):
            continue
        begin = time.monotonic()
        golden, points = points_of(variant)
        if arguments.all:
            plays = [(at, action) for at in points for action in ACTIONS]
        else:
            chosen = sample(points, arguments.count, draw)
            plays = [(at, draw.choice(ACTIONS)) for at in chosen]
        for at, action in plays:
            fault = fault_of(variant, golden, at, action)
            if fault is not None:
                failed += 1
                show(fault)
        for words in leaks():
            failed += 1
            show(f"{words}: is left")
        show(
            f"{variant}: {len(points)} points, {len(_places(points))} places, {len(plays)} plays"
            f" ({time.monotonic() - begin:.0f} s)"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
