"""Registrations that are kept: what a pass costs, what it notices, and what it gives back.

What the standard library does as well runs on it too.  The random test is in loops.py.

Rules this file keeps: readiness is real; what must not spin is counted by its passes; where many
channels matter, the bound is lowered (``unchecked``) rather than many channels made.
"""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.random import loops
from tests.support.channels import (
    PATIENCE,
    Stage,
    alarms,
    as_the_system,
    both_pollers,
    fail_with,
    failure,
    forking,
    inside,
    needs_epoll,
    needs_poll,
    posix_only,
    watch_a_dict,
    watch_of,
)
from tests.support.implementations import Implementation

if sys.platform != "win32":
    import resource

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc")


def descriptors() -> list[str]:
    gc.collect()  # so that no set of an earlier test goes in between
    return sorted(os.listdir("/proc/self/fd"))


def reader(stage: Stage, sock: Any = None, base: Any = None, **members: Any) -> Any:
    """A recording channel with stock predicates that reads what there is.

    Its *base* is a dispatcher_with_send by default.
    """
    members.setdefault("handle_read", lambda channel: channel.got.append(channel.recv(65536)))
    made = stage.channel(base or stage.asyncore.dispatcher_with_send, sock, **members)
    made.got = []
    return made


def asked(stage: Stage, **members: Any) -> Any:
    """A recording channel that counts how often it is asked, and reads nothing."""

    def readable(channel: Any) -> bool:
        channel.count = getattr(channel, "count", 0) + 1
        return True

    members.setdefault("handle_read", lambda channel: None)
    return stage.dispatcher(readable=readable, **members)


# What a pass costs.


@posix_only
@both_pollers
@pytest.mark.parametrize("map_kind", ["channel_map", "dict", "one pass over a dict"])
def test_d4_descriptors_beyond_what_select_takes(own: Stage, use_poll: bool, map_kind: str) -> None:
    number = 1500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft <= number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, hard))
    try:
        if map_kind != "channel_map":
            own.map = {}
        mine, peer = own.pair()
        high = own.at_number(mine, number)
        channel = reader(own, high, handle_close=lambda channel: channel.close())
        low = reader(own)
        for sock in (peer, low.peer):
            sock.sendall(b"x")
        if map_kind == "one pass over a dict":
            own.loop(use_poll=use_poll)
            assert (channel.got, low.got) == ([b"x"], [b"x"])
        mine.close()
        for sock in (peer, low.peer):
            sock.close()
        own.asyncore.loop(PATIENCE, use_poll, own.map)
        assert b"".join(channel.got) == b"".join(low.got) == b"x"
        assert channel.events[-1] == low.events[-1] == "close"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@both_pollers
def test_a_stock_channel_is_not_asked_while_nothing_happens(
    unchecked: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool
) -> None:
    own = unchecked
    events = inside(own)["events"]
    who: list[Any] = []

    def counting(function: Any) -> Any:
        def ask(channel: Any, *args: Any) -> Any:
            who.append(channel)
            return function(channel, *args)

        return ask

    enter = events.enter
    counting_enter = counting(lambda channel, watch, fd: enter(watch, channel, fd))
    monkeypatch.setattr(
        events, "enter", lambda watch, channel, fd: counting_enter(channel, watch, fd)
    )
    monkeypatch.setattr(events, "ask_chat", counting(events.ask_chat))
    monkeypatch.setattr(own.asyncore, "_ask_one", counting(own.asyncore._ask_one))
    chats = [own.chat() for _ in range(20)]
    readers = [reader(own) for _ in range(5)]
    listener = own.listener()
    always = asked(own)
    own.loop(use_poll=use_poll)
    assert set(who) == {*chats, *readers, listener, always}
    who.clear()
    before = always.count
    own.loop(10, use_poll)
    assert who == []
    assert always.count - before == 10
    for channel in (chats[3], readers[3]):
        who.clear()
        channel.peer.sendall(b"x\n")
        own.loop(3, use_poll)
        assert set(who) <= {channel}
        assert len(who) <= 2
    assert (chats[3].events, readers[3].got) == ([b"x", "found"], [b"x\n"])


TRACKED = """
import socket
from fastchat import asynchat, asyncore
from fastchat._backend import events
from fastchat._pollers import READ

for base in (asyncore.dispatcher, asyncore.dispatcher_with_send, asynchat.async_chat):
    mine, peer = socket.socketpair()
    with mine, peer:
        channel = base(mine, {})
        is_chat = base is asynchat.async_chat
        fits = not is_chat or events.ask_chat(channel, asyncore._STOCK_CHAT) == READ
        print(base.__name__, asyncore._is_tracked(channel), fits)
"""


def test_a_stock_channel_is_tracked_in_the_development_mode(ours: Implementation) -> None:
    """There, what was released is overwritten; whoever looks at it still finds something else."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", TRACKED],
        env=os.environ | {"FASTCHAT_IMPLEMENTATION": ours.name},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        ["dispatcher True True", "dispatcher_with_send True True", "async_chat True True"],
    )


# What is changed behind its back.


def _assign_connected(chat: Any) -> None:
    chat.connected = False


def _put_a_predicate_on_it(chat: Any) -> None:
    chat.writable = lambda: True


def _fill_a_queue_got_earlier(chat: Any) -> None:
    chat.queue_of_the_test.append(b"late")


def _close_the_descriptor(chat: Any) -> None:
    os.close(chat.socket.fileno())


def _close_the_socket(chat: Any) -> None:
    chat.socket.close()


CHANGES = [
    (_assign_connected, "write"),
    (_put_a_predicate_on_it, "write"),
    (_fill_a_queue_got_earlier, "write"),
    (_close_the_descriptor, "close"),
    (_close_the_socket, "close"),
]


@posix_only
@both_pollers
@pytest.mark.parametrize("way", ["few", "quiet", "busy"])
@pytest.mark.parametrize(("change", "event"), CHANGES)
def test_a_change_behind_our_back_is_noticed_in_the_end(
    own: Stage,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], None],
    event: str,
    way: str,
    use_poll: bool,
) -> None:
    def noticed(channel: Any) -> None:
        if way == "quiet":
            raise own.asyncore.ExitNow

    def handle_close(channel: Any) -> None:
        channel.close()
        noticed(channel)

    victim = own.chat(handle_write=noticed, handle_close=handle_close)
    victim.queue_of_the_test = victim.producer_fifo
    others = [own.chat() for _ in range(5)]
    own.loop(2, use_poll)
    assert victim.events == []
    if way == "few":
        change(victim)
        own.loop(use_poll=use_poll)
    elif way == "quiet":
        monkeypatch.setitem(inside(own), "FEW", 0)
        monkeypatch.setitem(inside(own), "QUIET", 1)

        def found(channel: Any) -> None:
            change(victim)
            watch_of(own).events = 0  # no check is due for what happened before

        trigger = own.chat(found_terminator=found)
        trigger.peer.sendall(b"\n")
        # Two waits as long as they like: what is noticed at their end only is not noticed.
        with pytest.raises(own.asyncore.ExitNow):
            own.asyncore.loop(PATIENCE, use_poll, own.map, 2)
    else:
        monkeypatch.setitem(inside(own), "FEW", 0)
        busy = own.dispatcher(handle_read=lambda channel: None)
        busy.peer.sendall(b"never read")
        own.loop(use_poll=use_poll)
        change(victim)
        # One loop: the passes that a program makes itself have checks of their own.
        passes = inside(own)["EVENTS_PER_CHECK"] * (len(own.map) + 1)
        own.asyncore.loop(0, use_poll, own.map, passes)
    assert victim.events[:1] == [event]
    assert all(other.events == [] for other in others)


# The map.

MUTATORS: list[Any] = [
    ("del", lambda map, a, b, new: map.__delitem__(a)),
    ("pop", lambda map, a, b, new: map.pop(a)),
    ("pop with a default", lambda map, a, b, new: map.pop(a, None)),
    ("pop of nothing", lambda map, a, b, new: map.pop(99_999, 7)),
    ("pop of no number", lambda map, a, b, new: map.pop(None, 7)),
    ("popitem", lambda map, a, b, new: map.popitem()),
    ("clear", lambda map, a, b, new: map.clear()),
    ("setitem", lambda map, a, b, new: map.__setitem__(*new)),
    ("update", lambda map, a, b, new: map.update({new[0]: new[1]})),
    ("update of pairs", lambda map, a, b, new: map.update([new])),
    ("update of nothing", lambda map, a, b, new: map.update()),
    ("ior", lambda map, a, b, new: map.__ior__({new[0]: new[1]}) is map),
    ("setdefault", lambda map, a, b, new: map.setdefault(*new)),
    ("setdefault of what is there", lambda map, a, b, new: map.setdefault(a, 7)),
    ("out and in", lambda map, a, b, new: map.__setitem__(a, map.pop(a))),
    ("the same again", lambda map, a, b, new: map.__setitem__(a, map[a])),
    ("clear and update", lambda map, a, b, new: (map.clear(), map.update([new]))),
]


@both_pollers
@pytest.mark.parametrize("mutate", [m for _, m in MUTATORS], ids=[name for name, _ in MUTATORS])
def test_a_channel_map_is_a_dict_that_tells(
    unchecked: Stage, mutate: Callable[..., Any], use_poll: bool
) -> None:
    own = unchecked
    assert isinstance(own.map, dict)
    assert type(own.asyncore.socket_map) is type(own.map) is own.asyncore.channel_map
    channels = [reader(own) for _ in range(4)]
    a, b, _, spare = (channel._fileno for channel in channels)
    del own.map[spare]
    own.loop(use_poll=use_poll)
    plain = dict(own.map)
    assert mutate(own.map, a, b, (spare, channels[3])) == mutate(plain, a, b, (spare, channels[3]))
    assert own.map == plain
    assert list(own.map.items()) == list(plain.items())
    for channel in channels:
        channel.peer.sendall(b"x")
    # What left is not waited for any more, from that moment on.
    assert {fd for fd, _ in watch_of(own).poller.wait(0)} <= set(plain)
    own.loop(2, use_poll)
    assert [channel.got for channel in channels] == [
        [b"x"] if channel._fileno in plain else [] for channel in channels
    ]


def test_a_channel_map_refuses_what_a_dict_refuses(own: Stage) -> None:
    channel = reader(own)
    own.loop()
    for mistake in (
        lambda: own.map.pop(99_999),
        lambda: own.map.__delitem__(99_999),
        lambda: own.asyncore.channel_map().popitem(),
    ):
        with pytest.raises(KeyError):
            mistake()
    with pytest.raises(TypeError):
        own.map.update(7)  # type: ignore[call-overload]
    assert own.map == {channel._fileno: channel}


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda map: pickle.loads(pickle.dumps(map))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_of_a_channel_map_is_one_of_its_own(
    own: Stage, monkeypatch: pytest.MonkeyPatch, duplicate: Callable[[Any], Any]
) -> None:
    # Where pickle looks for the class.
    watching = inside(own)
    for name in ("fastchat", "fastchat._watch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    kind = own.asyncore.channel_map
    monkeypatch.setitem(sys.modules, kind.__module__, _Namespace(watching))
    original = kind({7: "x"}, named=1)
    made = duplicate(original)
    assert type(made) is kind
    assert made == original == {7: "x", "named": 1}
    made[8] = "y"
    assert 8 not in original
    assert type(original.copy()) is type(original | {}) is dict


class _Namespace:
    """Looks like a module whose globals are *members*."""

    def __init__(self, members: dict[str, Any]) -> None:
        vars(self).update(members)


def test_a_copy_does_not_disturb_the_registrations(unchecked: Stage) -> None:
    channel = reader(unchecked)
    unchecked.loop()
    copied = copy.copy(unchecked.map)
    copied.clear()
    channel.peer.sendall(b"x")
    unchecked.loop()
    assert channel.got == [b"x"]


# The random scripts.

COUNT = 500


def test_any_sequence_is_one_that_the_old_loop_could_have_given(ours: Implementation) -> None:
    # The same ones each time; `python -m tests.random.loops` plays others.
    for seed in range(COUNT):
        difference = loops.disagreement(seed, [ours.name])
        assert difference is None, f"{difference}\n{loops.explain(loops.make(seed))}"


def test_a_disagreement_is_found_and_explained(
    ours: Implementation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison itself can fail: a play that loses one event is caught, with its seed."""
    note = loops.World.note

    def lossy(world: Any, slot: int, what: Any) -> None:
        if world.orders is not None or what != "found":
            note(world, slot, what)

    monkeypatch.setattr(loops.World, "note", lossy)
    found = [loops.disagreement(seed, [ours.name]) for seed in range(30)]
    assert any(difference and "differ in pass" in difference for difference in found)
    assert "before pass 0" in loops.explain(loops.make(3)) + loops.explain(loops.make(4))


# Order.


def test_select_serves_the_input_of_all_kinds_before_any_output(stage: Stage) -> None:
    order: list[str] = []
    writer = stage.channel(
        stage.asyncore.dispatcher, handle_write=lambda channel: order.append("output")
    )
    late = stage.dispatcher(handle_read=lambda channel: order.append("input"))
    stage.loop()
    order.clear()
    late.peer.sendall(b"x")
    stage.loop()
    assert order == ["input", "output"]
    assert writer.events[-1] == "write"


@both_pollers
def test_a_channel_that_an_input_hook_takes_off_a_plain_map_does_not_write(
    own: Stage, use_poll: bool
) -> None:
    """Such a map tells nobody, so it is looked at again before output."""
    watch_a_dict(own)
    gone: list[Any] = []

    def handle_read(channel: Any) -> None:
        gone.append(channel.recv(10))
        del own.map[writer._fileno]

    first = reader(own, handle_read=handle_read)
    writer = own.channel(own.asyncore.dispatcher, handle_write=lambda channel: None)
    own.loop(use_poll=use_poll)
    assert writer.events == ["write"]
    first.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert gone == [b"x"]
    assert writer.events == ["write"]


@both_pollers
@pytest.mark.parametrize("is_told", [False, True], ids=["dict", "channel_map"])
def test_a_channel_that_an_input_hook_takes_off_a_map_does_not_read(
    own: Stage, use_poll: bool, is_told: bool
) -> None:
    """Nobody is told of it: also with a map that tells, programs can call the methods of dict."""
    if is_told:
        own.map = own.asyncore.channel_map()
        own.at_the_end(own.map.clear)
    else:
        watch_a_dict(own)
    read: list[Any] = []

    def handle_read(channel: Any) -> None:
        read.append(channel)
        for other in {*both} - {channel}:
            dict.__delitem__(own.map, other._fileno)

    both = [own.dispatcher(handle_read=handle_read) for _ in range(2)]
    for channel in both:
        channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert len(read) == 1


@needs_poll
def test_who_is_asked_and_outlives_a_hang_up_is_told_of_the_next(stage: Stage) -> None:
    channel = stage.dispatcher(
        handle_read_event=fail_with(failure(errno.ECONNRESET)), handle_close=lambda channel: None
    )
    channel.peer.sendall(b"x")
    stage.loop(3, use_poll=True)
    assert channel.events == ["close"] * 3


@both_pollers
def test_what_left_a_plain_map_is_not_waited_for(unchecked: Stage, use_poll: bool) -> None:
    own = unchecked
    watch_a_dict(own)
    left, stays = reader(own), reader(own)
    own.loop(use_poll=use_poll)
    poller = watch_of(own).poller
    del own.map[left._fileno]
    for channel in (left, stays):
        channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert poller.wait(0) == []
    assert watch_of(own).poller is poller
    assert (left.got, stays.got) == ([], [b"x"])


def test_the_same_entry_assigned_again_keeps_its_event(stage: Stage) -> None:
    """Nothing left the map, so nothing has to wait for the next pass."""

    def handle_read(channel: Any) -> None:
        channel.recv(10)
        for fd, other in list(stage.map.items()):
            stage.map[fd] = other

    pair = [
        stage.channel(
            stage.asyncore.dispatcher, handle_read=handle_read, handle_write=lambda channel: None
        )
        for _ in range(2)
    ]
    for channel in pair:
        channel.peer.sendall(b"x")
    stage.loop()
    assert all("read" in channel.events for channel in pair)


@both_pollers
def test_who_joins_another_map_as_well_keeps_its_events(stage: Stage, use_poll: bool) -> None:
    """That counts as a new registration, but not in this map."""
    channel = stage.dispatcher(readable=lambda channel: True, handle_read=lambda channel: None)
    channel.peer.sendall(b"never read")
    stage.asyncore.loop(0, use_poll, stage.map, 2)
    channel.add_channel({})
    stage.loop(use_poll=use_poll)
    assert channel.events == ["read"] * 3


def test_an_error_tells_only_of_what_was_waited_for(stage: Stage) -> None:
    """To select() an error is input and room for output, for those who wait for it."""

    def found_terminator(chat: Any) -> None:
        late.producer_fifo.append(b"queued")

    first = stage.chat(found_terminator=found_terminator)
    late = stage.chat()
    stage.loop()
    late.push(b"never read")
    late.peer.sendall(b"x\n")
    late.peer.close()
    first.peer.sendall(b"\n")
    stage.loop()
    assert late.events == [b"x", "found"]
    stage.loop()
    assert late.events == [b"x", "found", "close"]


@needs_poll
@pytest.mark.parametrize("first", [True, False])
def test_who_is_asked_waits_for_what_each_way_to_wait_looks_for(stage: Stage, first: bool) -> None:
    """That of poll() looks for urgent data also where no input is wanted."""
    mine, peer = stage.tcp_pair()
    channel = stage.dispatcher(
        mine,
        readable=lambda channel: False,
        writable=lambda channel: True,
        handle_write=lambda channel: None,
        handle_expt=lambda channel: None,
    )
    stage.asyncore.loop(0, first, stage.map, 2)
    channel.events.clear()
    peer.send(b"!", socket.MSG_OOB)
    assert select.select([], [], [mine], PATIENCE)[2]
    stage.asyncore.loop(0, not first, stage.map, 1)
    assert channel.events == ["write", *(["expt"] if first else [])]


# What is kept while a loop runs, and given back.


@needs_epoll
@needs_proc
@both_pollers
def test_a_loop_keeps_the_registrations_of_a_plain_dict_and_gives_them_back(
    own: Stage, use_poll: bool
) -> None:
    own.map = {}
    watches: list[Any] = []

    def found(chat: Any) -> None:
        watches.append(watch_of(own))
        if len(watches) == 1:
            chat.peer.sendall(b"\n")
        else:
            chat.close()

    chat = own.chat(found_terminator=found)
    chat.peer.sendall(b"\n")
    before = len(descriptors())
    own.asyncore.loop(PATIENCE, use_poll, own.map)
    assert watches[0] is not None
    assert watches[0] is watches[1]
    assert len(descriptors()) == before - 1  # the chat
    assert watch_of(own) is None
    assert not inside(own)["watches"]


@needs_proc
@pytest.mark.parametrize("nested_count", [1, 2, None])
@pytest.mark.parametrize("leaves", [False, True])
def test_a_nested_loop_over_the_same_dict_shares_its_registrations(
    own: Stage, nested_count: int | None, leaves: bool
) -> None:
    own.map = {}
    watches: list[Any] = []

    def outer(chat: Any) -> None:
        watches.append(watch_of(own))
        inner.peer.sendall(b"\n")
        try:
            own.asyncore.loop(PATIENCE if nested_count is None else 0, False, own.map, nested_count)
        except own.asyncore.ExitNow:
            pass
        watches.append(watch_of(own))
        chat.close()

    def within(chat: Any) -> None:
        watches.append(watch_of(own))
        chat.close()
        if leaves or nested_count is None:
            raise own.asyncore.ExitNow

    inner = own.chat(found_terminator=within)
    chat = own.chat(found_terminator=outer)
    chat.peer.sendall(b"\n")
    before = len(descriptors())
    own.asyncore.loop(PATIENCE, False, own.map)
    assert len(watches) == 3
    assert watches[0] is not None
    assert all(watch is watches[0] for watch in watches)
    assert len(descriptors()) == before - 2  # the two chats
    assert watch_of(own) is None


@needs_proc
@pytest.mark.parametrize(("count", "passes"), [(2.5, 3), (1.5, 2), (0.5, 1), (2, 2)])
def test_a_count_over_a_plain_dict_may_be_a_float(own: Stage, count: float, passes: int) -> None:
    own.map = {}
    channel = asked(own)
    before = descriptors()
    own.asyncore.loop(0, False, own.map, count)
    assert channel.count == passes
    assert descriptors() == before


@needs_proc
@both_pollers
@pytest.mark.parametrize("count", [None, 1])
def test_an_emptied_channel_map_gives_its_descriptor_back(
    own: Stage, count: int | None, use_poll: bool
) -> None:
    chat = own.chat(found_terminator=lambda chat: chat.close())
    own.loop(use_poll=use_poll)
    assert watch_of(own) is not None
    chat.peer.sendall(b"\n")
    before = len(descriptors())
    own.asyncore.loop(PATIENCE, use_poll, own.map, count)
    assert own.map == {}
    assert watch_of(own) is None
    assert len(descriptors()) == before - 1 - hasattr(select, "epoll")
    # And it can be used again.
    again = reader(own)
    again.peer.sendall(b"x")
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert again.got == [b"x"]


@needs_proc
def test_a_loop_that_is_left_by_an_exception_gives_the_registrations_back(own: Stage) -> None:
    own.map = {}
    chat = own.chat(found_terminator=fail_with(own.asyncore.ExitNow()))
    chat.peer.sendall(b"\n")
    before = descriptors()
    with pytest.raises(own.asyncore.ExitNow):
        own.asyncore.loop(PATIENCE, False, own.map)
    assert descriptors() == before
    assert watch_of(own) is None


# Where nothing is kept.


class Subclass(dict[int, Any]):
    pass


@both_pollers
@pytest.mark.parametrize("kind", [weakref.WeakValueDictionary, Subclass])
def test_of_other_mappings_nothing_is_kept(
    own: Stage, monkeypatch: pytest.MonkeyPatch, kind: Any, use_poll: bool
) -> None:
    monkeypatch.setitem(inside(own), "Watch", lambda *args: pytest.fail("a watch was made"))
    own.map = kind()
    channel = asked(own, handle_read=lambda channel: channel.close())
    stock = reader(own)
    for one in (channel, stock):
        one.peer.sendall(b"x")
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert (channel.events, stock.got) == (["read"], [b"x"])


@both_pollers
def test_of_one_pass_over_a_plain_dict_nothing_is_kept(
    own: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool
) -> None:
    monkeypatch.setitem(inside(own), "Watch", lambda *args: pytest.fail("a watch was made"))
    own.map = {}
    channel = reader(own)
    channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.got == [b"x"]


@pytest.mark.parametrize(
    ("name", "use_poll"),
    [
        ("read", False),
        ("write", False),
        ("_exception", False),
        pytest.param("readwrite", True, marks=needs_poll),
    ],
)
@pytest.mark.parametrize("is_asked", [False, True], ids=["tracked", "asked"])
def test_a_replaced_function_of_the_loop_is_called(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, use_poll: bool, is_asked: bool
) -> None:
    """Each of the four counts, also where the others are stock."""
    mine, peer = stage.tcp_pair()
    # Of the first kind one waits for input only, and of the second always for both.
    channel = stage.channel(
        stage.asyncore.dispatcher_with_send if name == "read" else stage.asyncore.dispatcher,
        mine,
        handle_read=lambda channel: channel.recv(10),
        handle_write=lambda channel: None,
        **({"readable": lambda channel: True} if is_asked else {}),
        **({"handle_expt": lambda channel: channel.recv(1)} if name == "_exception" else {}),
    )
    stage.loop(2, use_poll)
    calls: list[Any] = []
    function = getattr(stage.asyncore, name)

    def replacement(*args: Any) -> None:
        calls.append(args[0])
        function(*args)

    monkeypatch.setattr(stage.asyncore, name, replacement)
    if name == "_exception":
        peer.send(b"!", socket.MSG_OOB)
    elif name == "read":
        peer.sendall(b"x")
    stage.until(lambda: calls, use_poll)
    assert set(calls) == {channel}


@pytest.mark.parametrize(
    ("name", "use_poll"),
    [("read", False), pytest.param("readwrite", True, marks=needs_poll)],
)
def test_a_function_of_the_loop_that_a_hook_replaces_is_called_for_who_is_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, use_poll: bool
) -> None:
    calls: list[Any] = []
    function = getattr(stage.asyncore, name)

    def replacement(channel: Any, *args: Any) -> None:
        calls.append(channel)
        function(channel, *args)

    def handle_read(channel: Any) -> None:
        channel.recv(10)
        monkeypatch.setattr(stage.asyncore, name, replacement)

    both = [stage.dispatcher(handle_read=handle_read) for _ in range(2)]
    for channel in both:
        channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll)
    assert [channel.events for channel in both] == [["read"], ["read"]]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("name", "use_poll"), [("select", False), pytest.param("poll", True, marks=needs_poll)]
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_replaced_way_to_wait_sees_every_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, use_poll: bool, when: str
) -> None:
    channel = reader(stage)
    if when == "after":
        stage.loop(use_poll=use_poll)
    calls: list[Any] = []
    function = getattr(select, name)

    def replacement(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(select, name, replacement)
    channel.peer.sendall(b"x")
    stage.loop(3, use_poll)
    assert channel.got == [b"x"]
    assert len(calls) == 3


@both_pollers
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("is_told", [True, False])
def test_without_a_descriptor_for_the_set_passes_are_made_all_the_same(
    own: Stage, monkeypatch: pytest.MonkeyPatch, number: int, is_told: bool, use_poll: bool
) -> None:
    tried: list[int] = []

    class Exhausted:
        @as_the_system
        def __init__(self) -> None:
            tried.append(number)
            raise failure(number)

    monkeypatch.setattr(inside(own)["_pollers"], "available", lambda: (Exhausted,))
    if not is_told:
        own.map = {}
    channel = reader(own)
    channel.peer.sendall(b"x")
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert channel.got == [b"x"]
    assert tried
    monkeypatch.undo()
    channel.peer.sendall(b"y")
    own.asyncore.loop(0, use_poll, own.map, 2)
    assert channel.got == [b"x", b"y"]


@needs_epoll
@both_pollers
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
@pytest.mark.parametrize("after", [0, 2])
def test_what_the_kernels_set_does_not_take_poll_does(
    own: Stage, monkeypatch: pytest.MonkeyPatch, number: int, after: int, use_poll: bool
) -> None:
    pollers = inside(own)["_pollers"]

    class Full(pollers.Epoll):  # type: ignore[misc, name-defined]
        @as_the_system
        def register(self, fd: int, flags: int) -> None:
            if self.left == 0:
                raise failure(number)
            self.left -= 1
            super().register(fd, flags)

        left = after

    monkeypatch.setattr(pollers, "available", lambda: (Full,))
    channels = [reader(own) for _ in range(4)]
    for _ in range(2):
        for channel in channels:
            channel.peer.sendall(b"x")
        own.loop(use_poll=use_poll, timeout=PATIENCE)
    assert [channel.got for channel in channels] == [[b"x", b"x"]] * 4
    assert type(watch_of(own).poller) is pollers.Poll


# Descriptors.


class Gone:
    """What a proxy is left of."""


@posix_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
@both_pollers
@pytest.mark.parametrize("map_kind", ["channel_map", "dict"])
@pytest.mark.parametrize("stranger", [None, "a dead proxy", "no channel"])
def test_a_forked_child_and_its_parent_do_not_disturb_each_other(
    unchecked: Stage, use_poll: bool, map_kind: str, stranger: str | None
) -> None:
    own = unchecked
    if map_kind == "dict":
        watch_a_dict(own)
    for_parent, for_child = reader(own), reader(own)
    own.loop(use_poll=use_poll)
    ours, theirs = os.pipe()
    strangers = {"a dead proxy": weakref.proxy(Gone()), "no channel": object()}
    if stranger is not None:
        own.map[-1] = strangers[stranger]
    with forking():
        pid = os.fork()
    own.map.pop(-1, None)
    if pid == 0:
        try:
            for_parent.close()
            for_child.peer.sendall(b"to the child")
            own.loop(use_poll=use_poll, timeout=PATIENCE)
            os.write(theirs, repr(for_child.got).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        assert answer.read() == "[b'to the child']"
    assert os.waitpid(pid, 0)[1] == 0
    # The close in the child, before its first pass, did not reach the parent's set.
    for_parent.peer.sendall(b"to the parent")
    own.loop(use_poll=use_poll)
    assert (for_parent.got, for_child.got) == ([b"to the parent"], [])


@needs_epoll
@pytest.mark.parametrize("gone", [["epoll"], ["epoll", "poll"]], ids=" and ".join)
def test_a_child_may_be_forked_after_a_patch_took_pollers_away(
    own: Stage, gone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = reader(own)
    own.loop()
    for name in gone:
        monkeypatch.delattr(select, name)
    watch_of(own).leave_the_set()  # as the child does, before anything else
    assert type(watch_of(own).poller).__name__ == ("Select" if "poll" in gone else "Poll")
    channel.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    assert channel.got == [b"x"]


@needs_poll
def test_a_patch_may_take_away_the_poller_that_is_in_use(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pollers = inside(own)["_pollers"]
    monkeypatch.setattr(pollers, "available", lambda: (pollers.Poll,))
    channel = reader(own)
    own.loop()
    assert type(watch_of(own).poller) is pollers.Poll
    monkeypatch.delattr(select, "poll")
    channel.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    assert channel.got == [b"x"]
    assert watch_of(own) is None


@posix_only
@both_pollers
@pytest.mark.parametrize("how", ["socket", "channel"])
def test_a_duplicate_of_a_closed_socket_does_not_make_the_loop_spin(
    unchecked: Stage, use_poll: bool, how: str
) -> None:
    own = unchecked
    closed, other = reader(own), reader(own)
    own.loop(use_poll=use_poll)
    poller = watch_of(own).poller
    duplicate = os.dup(closed._fileno)
    try:
        (closed.socket if how == "socket" else closed).close()
        closed.peer.sendall(b"x")
        own.loop(5, use_poll)
        assert list(own.map.values()) == [other]
        assert watch_of(own).poller.wait(0) == []
        # Closed as it should be, it was taken out in time.
        assert how == "socket" or watch_of(own).poller is poller
        other.peer.sendall(b"y")
        own.loop(use_poll=use_poll)
        assert other.got == [b"y"]
    finally:
        os.close(duplicate)


@posix_only
@both_pollers
@pytest.mark.parametrize("is_chat", [False, True], ids=["dispatcher", "chat"])
def test_the_next_user_of_a_number_gets_no_event_of_a_file_that_lives_on(
    unchecked: Stage, use_poll: bool, is_chat: bool
) -> None:
    own = unchecked
    successors: list[Any] = []

    def handle_read(channel: Any) -> None:
        # The descriptor is closed before it leaves the map, and a duplicate keeps its file alive.
        number = channel._fileno
        mine, peer = own.pair()
        channel.socket.close()
        channel.del_channel()
        mine = own.at_number(mine, number)
        base = own.asynchat.async_chat if is_chat else own.asyncore.dispatcher_with_send
        successors.append(reader(own, mine, base))
        successors[0].peer = peer

    first = own.channel(own.asyncore.dispatcher_with_send, handle_read=handle_read)
    duplicate = os.dup(first._fileno)
    try:
        first.peer.sendall(b"x")
        own.loop(3, use_poll)
        (second,) = successors
        assert (second.events, second.got) == ([], [])
        second.peer.sendall(b"y")
        own.loop(use_poll=use_poll)
        assert second.got == [b"y"]
    finally:
        os.close(duplicate)


def test_the_same_channel_put_in_its_place_again_keeps_its_event(own: Stage) -> None:
    def found_terminator(chat: Any) -> None:
        for number, channel in list(own.map.items()):
            own.map[number] = channel

    chats = [own.chat(found_terminator=found_terminator) for _ in range(2)]
    for chat in chats:
        chat.peer.sendall(b"x\n")
    own.loop()
    assert [chat.events for chat in chats] == 2 * [[b"x", "found"]]


@posix_only
@both_pollers
@pytest.mark.parametrize("map_kind", ["channel_map", "dict"])
@pytest.mark.parametrize("few", [0, 32])
def test_a_number_that_another_file_took_over_is_registered_anew(
    own: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool, map_kind: str, few: int
) -> None:
    """The flags are the same, and the kernel has to be told all the same."""
    monkeypatch.setitem(inside(own), "FEW", few)
    if map_kind == "dict":
        watch_a_dict(own)
    first = reader(own)
    own.loop(use_poll=use_poll)
    mine, peer = own.pair()
    number = first._fileno
    second_socket = own.at_number(mine, number)  # closes the first one's
    first.socket.detach()
    second = reader(own, second_socket)
    assert own.map == {number: second}
    peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert (first.events, second.got) == ([], [b"x"])


@posix_only
@both_pollers
@pytest.mark.parametrize("few", [0, 32])
def test_a_number_taken_off_a_plain_dict_and_used_again_is_registered_anew(
    own: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool, few: int
) -> None:
    """A plain dict tells nobody that it was cleared."""
    monkeypatch.setitem(inside(own), "FEW", few)
    watch_a_dict(own)
    first = reader(own)
    own.loop(use_poll=use_poll)
    number = first._fileno
    mine, peer = own.pair()
    own.map.clear()
    first.close()
    second = reader(own, own.at_number(mine, number))
    peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert second.got == [b"x"]


@posix_only
@both_pollers
def test_a_regular_file_is_always_ready(stage: Stage, tmp_path: Path, use_poll: bool) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as file:
        channel = stage.channel(
            stage.asyncore.file_dispatcher,
            file,
            writable=lambda channel: False,
            handle_read=lambda channel: channel.got.append(channel.recv(4)),
        )
    channel.got = []
    other = reader(stage)
    other.peer.sendall(b"x")
    stage.loop(3, use_poll, PATIENCE)
    assert (channel.got[:2], other.got) == ([b"cont", b"ent"], [b"x"])
    channel.close()
    other.peer.sendall(b"y")
    stage.loop(1, use_poll, PATIENCE)
    assert other.got == [b"x", b"y"]


# What ends a wait, and what leaves a pass.


@posix_only
@both_pollers
def test_signals_do_not_prolong_a_wait(stage: Stage, use_poll: bool) -> None:
    channel = reader(stage)
    count = 0

    def handler(number: int, frame: Any) -> None:
        nonlocal count
        count += 1
        # A wait that begins anew after each of them would never end.
        assert count < 1000

    with alarms(handler, 0.005, 0.005):
        stage.loop(use_poll=use_poll, timeout=0.1)
    assert count > 0
    assert channel.events == []


@posix_only
@both_pollers
def test_an_exception_of_a_signal_handler_leaves_the_wait(stage: Stage, use_poll: bool) -> None:
    channel = reader(stage)
    with pytest.raises(KeyboardInterrupt), alarms(fail_with(KeyboardInterrupt()), 0.01):
        stage.loop(use_poll=use_poll, timeout=PATIENCE)
    channel.peer.sendall(b"x")
    stage.loop(use_poll=use_poll, timeout=PATIENCE)
    assert channel.got == [b"x"]


@both_pollers
@pytest.mark.parametrize("kind", ["chat", "reader", "asked", "writer"])
def test_an_exception_that_leaves_the_loop_loses_no_event(
    stage: Stage, use_poll: bool, kind: str
) -> None:
    told: list[Any] = []

    def leave(channel: Any) -> None:
        told.append(channel)
        if kind == "writer":
            channel.close()
        elif kind != "chat":
            channel.recv(100)
        raise stage.asyncore.ExitNow

    make: Callable[[], Any] = {
        "chat": lambda: stage.chat(found_terminator=leave),
        "reader": lambda: reader(stage, handle_read=leave),
        "asked": lambda: asked(stage, handle_read=leave),
        "writer": lambda: stage.channel(stage.asyncore.dispatcher, handle_write=leave),
    }[kind]
    channels = [make() for _ in range(5)]
    if kind != "writer":
        stage.loop(use_poll=use_poll)
        for channel in channels:
            channel.peer.sendall(b"\n")
    for _ in channels:
        with pytest.raises(stage.asyncore.ExitNow):
            stage.loop(use_poll=use_poll)
    assert len(told) == 5
    assert set(told) == set(channels)
    stage.loop(use_poll=use_poll)
    assert len(told) == 5


@posix_only
@both_pollers
@pytest.mark.parametrize("map_kind", ["channel_map", "dict"])
@pytest.mark.parametrize("is_stock", [True, False])
def test_a_channel_registered_in_a_nested_pass_gets_no_event_of_the_outer_one(
    unchecked: Stage, use_poll: bool, map_kind: str, is_stock: bool
) -> None:
    own = unchecked
    if map_kind == "dict":
        watch_a_dict(own)
    late: list[Any] = []
    make = reader if is_stock else asked

    def handle_read(channel: Any) -> None:
        channel.recv(10)
        if late:
            return
        number = pair[channel is pair[0]]._fileno
        mine, _ = own.pair()
        pair[channel is pair[0]].close()
        mine = own.at_number(mine, number)
        late.append(make(own, sock=mine) if is_stock else own.dispatcher(mine))
        own.loop(use_poll=use_poll)
        assert late[0]._fileno == number

    pair = [make(own, handle_read=handle_read) for _ in range(2)]
    own.loop(use_poll=use_poll)
    for channel in pair:
        channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert sorted(channel.events for channel in pair) == [[], ["read"]]
    assert late[0].events == []


@both_pollers
@pytest.mark.parametrize("kind", ["the best", "Poll"])
def test_what_a_nested_pass_is_answered_does_not_change_the_outer_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, use_poll: bool, kind: str
) -> None:
    if kind == "Poll" and not stage.implementation.is_stdlib:
        pollers = inside(stage)["_pollers"]
        monkeypatch.setattr(pollers, "available", lambda: (pollers.Poll,))
    wants = True

    def found_terminator(chat: Any) -> None:
        nonlocal wants
        wants = False
        stage.loop(use_poll=use_poll)

    chat = stage.chat(found_terminator=found_terminator)
    other = stage.dispatcher(
        readable=lambda channel: wants,
        writable=lambda channel: wants,
        handle_read=lambda channel: None,
        handle_write=lambda channel: None,
    )
    stage.loop(use_poll=use_poll)
    other.events.clear()
    for channel in (chat, other):
        channel.peer.sendall(b"\n")
    stage.loop(use_poll=use_poll)
    assert (chat.events, other.events) == (["found"], ["read", "write"])


@both_pollers
def test_another_thread_adds_and_closes_channels_while_a_pass_waits(
    own: Stage, use_poll: bool
) -> None:
    waker = reader(own)
    leaving = [reader(own) for _ in range(20)]
    added: list[Any] = []
    own.loop(use_poll=use_poll)

    def disturb() -> None:
        for channel in leaving:
            channel.close()
            new = reader(own)
            new.peer.sendall(b"x")
            added.append(new)
            waker.peer.sendall(b".")

    thread = threading.Thread(target=disturb)
    thread.start()
    own.until(
        lambda: len(added) == 20 and all(channel.got for channel in added), use_poll, passes=1000
    )
    thread.join()
    assert [channel.got for channel in added] == [[b"x"]] * 20
    # One that was being asked when the thread closed it may have been found closed.
    assert all(channel.events in ([], ["close"]) for channel in leaving)
    assert set(own.map.values()) == {waker, *added}


@both_pollers
def test_a_predicate_that_leaves_the_loop_lets_the_others_be_asked_later(
    unchecked: Stage, use_poll: bool
) -> None:
    own = unchecked

    def readable(channel: Any) -> bool:
        if not left:
            left.append(channel)
            raise own.asyncore.ExitNow
        return True

    left: list[Any] = []
    own.dispatcher(readable=readable)
    late = reader(own)
    late.peer.sendall(b"x")
    with pytest.raises(own.asyncore.ExitNow):
        own.loop(use_poll=use_poll)
    own.loop(use_poll=use_poll)
    assert late.got == [b"x"]


@both_pollers
def test_passes_hand_out_all_that_has_happened_to_many(own: Stage, use_poll: bool) -> None:
    channels = [reader(own) for _ in range(400)]
    for channel in channels:
        channel.peer.sendall(b"x")
    own.loop(use_poll=use_poll)
    assert sum(len(channel.got) for channel in channels) >= 256
    own.loop(use_poll=use_poll)
    assert [channel.got for channel in channels] == [[b"x"]] * 400


def test_a_poller_may_be_given_back_by_a_pass_of_a_signal_handler(own: Stage) -> None:
    channel = reader(own)
    own.loop()
    watch = watch_of(own)
    poller = watch.poller
    watch._make_new_set(watch.kind)  # while this one interrupts another that does the same
    watch._give_back(poller)
    channel.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    assert channel.got == [b"x"]


# A hang-up that nobody waits for.


def deaf(stage: Stage, number: int = 0) -> Any:
    """A channel that wants to write where nobody can: the reading end of a pipe without a writer.

    It wants to read, too, as soon as its ``wants`` is true.
    """
    reading, writing = os.pipe()
    if number:
        os.dup2(reading, number)
        os.close(reading)
        reading = number
    channel = stage.channel(
        stage.asyncore.file_dispatcher,
        reading,
        readable=lambda channel: channel.wants,
        handle_read=lambda channel: channel.recv(9),
        handle_write=lambda channel: None,
        handle_close=lambda channel: channel.close(),
        wants=False,
    )
    for fd in (reading, writing):
        os.close(fd)
    return channel


@pytest.fixture(params=["epoll", "poll"])
def with_unasked(
    request: pytest.FixtureRequest, own: Stage, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A stage whose poller tells of hang-ups unasked."""
    pollers = inside(own)["_pollers"]
    kinds = tuple([kind for kind in pollers.available() if kind.name == request.param])
    if not kinds:
        pytest.skip(f"the system has no {request.param}")
    monkeypatch.setattr(pollers, "available", lambda: kinds)
    return own


@posix_only
@pytest.mark.parametrize("map_kind", ["channel_map", "dict"])
def test_a_hang_up_that_nobody_waits_for_does_not_make_the_loop_spin(
    with_unasked: Stage, map_kind: str
) -> None:
    own = with_unasked
    if map_kind == "dict":
        watch_a_dict(own)
    channel = deaf(own)
    own.loop(2)
    poller = watch_of(own).poller
    assert (poller.wait(0), channel.events) == ([], [])
    other = reader(own)
    other.peer.sendall(b"x")
    own.loop(3)
    assert (other.got, poller.wait(0), channel.events) == ([b"x"], [], [])
    channel.wants = True
    own.loop(2)
    assert channel.events == ["read", "close"]
    assert not poller.quiet


@posix_only
def test_poll2_tells_of_a_hang_up_that_was_quiet(with_unasked: Stage) -> None:
    channel = deaf(with_unasked)
    with_unasked.loop(2)
    with_unasked.loop(use_poll=True, timeout=PATIENCE)
    assert channel.events == ["close"]


@posix_only
@pytest.mark.parametrize("is_there", [False, True])
def test_a_quiet_channel_may_be_closed_behind_the_loops_back(
    with_unasked: Stage, is_there: bool
) -> None:
    own = with_unasked
    channel = deaf(own)
    own.loop(2)
    assert watch_of(own).poller.quiet
    if not is_there:
        os.close(channel.socket.fd)
        channel.socket.fd = -1
    own.loop(3)
    assert channel.events == ([] if is_there else ["close"])


@posix_only
def test_who_cannot_be_made_quiet_gets_a_new_set(
    with_unasked: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = with_unasked
    reader(own)
    own.loop()
    poller = type(watch_of(own).poller)
    quieten = poller.quieten
    channel = deaf(own)
    monkeypatch.setattr(poller, "quieten", fail_with(failure(errno.ENOENT)))
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        own.loop()  # for a handler's it is, to is_ours(): the stand-in is in a module of the tests
    monkeypatch.setattr(poller, "quieten", as_the_system(quieten_not))
    own.loop()
    assert watch_of(own).needs_new_set
    monkeypatch.setattr(poller, "quieten", quieten)
    own.loop(3)
    assert (watch_of(own).poller.wait(0), channel.events) == ([], [])


def quieten_not(poller: Any, fd: int, flags: int) -> None:
    raise OSError(2, "gone")


@posix_only
def test_the_number_of_a_quiet_channel_may_become_another_file(with_unasked: Stage) -> None:
    own = with_unasked
    channel = deaf(own)
    own.loop(2)
    mine, _ = own.pair()
    os.dup2(mine.fileno(), channel._fileno)
    own.until(lambda: "write" in channel.events, passes=5)
    assert not watch_of(own).poller.quiet


@posix_only
def test_a_pass_of_a_hook_with_poll2_makes_nobody_quiet(with_unasked: Stage) -> None:
    def handle_read(channel: Any) -> None:
        channel.recv(9)
        own.asyncore.poll2(0, own.map)

    own = with_unasked
    channel = deaf(own)
    type(channel).handle_close = lambda channel: channel.events.append("told")
    other = own.dispatcher(handle_read=handle_read)
    other.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    told = channel.events.count("told")
    for _ in range(3):
        own.asyncore.poll2(0, own.map)
    assert channel.events.count("told") == told + 3


@posix_only
def test_who_wants_input_or_has_left_is_not_made_quiet(with_unasked: Stage) -> None:
    channel = reader(with_unasked)
    with_unasked.loop()
    watch = watch_of(with_unasked)
    watch._quieten({channel._fileno: (), channel.peer.fileno(): ()})
    assert not watch.poller.quiet
    channel.peer.sendall(b"x")
    with_unasked.loop()
    assert channel.got == [b"x"]


@needs_poll
@posix_only
def test_one_pass_with_a_large_descriptor_waits_as_select_does(own: Stage) -> None:
    number = 1100
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft <= number + 1:
        pytest.skip(f"the limit of descriptors does not allow {number}")
    own.map = {}
    channel = deaf(own, number)
    asked, _ = own.asyncore._ask(own.map, 0)
    assert own.asyncore._select_by_poll(asked, 0) == ([], [], [])
    other = reader(own)
    other.peer.sendall(b"x")
    own.loop(timeout=PATIENCE)
    assert (other.got, channel.events) == ([b"x"], [])
