"""What a program replaces is called from then on, however and whenever it replaces it.

The compiled path knows by the version of a class that a look-up on it would find nothing new, and
looks only at what the channel has of its own (``_core/facts.py``).  These tests replace all that it
calls or relies on, in every way that Python has, after a channel has served lines with what was
there before.  They hold for the standard library too.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Stage, fail_with, inside
from tests.support.implementations import GUARDING, load

# What is called for each line, and what for each event.
FOR_A_LINE = ["get_terminator", "collect_incoming_data", "found_terminator", "push", "send"]
FOR_AN_EVENT = ["readable", "handle_read_event", "handle_read", "recv", "initiate_send"]
HOOKS = FOR_A_LINE + FOR_AN_EVENT


def echo_class(stage: Stage, *mixins: type, **members: Any) -> Any:
    """A class of channels as programs have it; ``did`` is a list of what was called."""
    base: Any = stage.asynchat.async_chat

    class Echo(*mixins, base):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            self.parts: list[bytes] = []
            self.did: list[Any] = []
            super().__init__(*args)
            self.set_terminator(b"\n")

        def collect_incoming_data(self, data: bytes) -> None:
            self.parts.append(data)

        def found_terminator(self) -> None:
            line = b"".join(self.parts)
            self.parts.clear()
            self.push(line + b"\n")

        def handle_error(self) -> None:
            self.did.append(sys.exc_info()[1])

    for name, member in members.items():
        setattr(Echo, name, member)
    return Echo


def echo_channel(stage: Stage, kind: Any = None) -> Any:
    """A channel, with its ``peer``, that has served a few lines."""
    mine, peer = stage.pair()
    channel = stage._keep_channel((kind or echo_class(stage))(mine, stage.map))
    channel.peer = peer
    for _ in range(3):
        ask(stage, channel, b"before\n")
    return channel


def ask(stage: Stage, channel: Any, lines: bytes, replies: bytes | None = None) -> None:
    """Let the peer of *channel* send *lines*; it must get *replies*, by default the same."""
    replies = lines if replies is None else replies
    channel.peer.sendall(lines)
    channel.peer.setblocking(False)
    got = b""
    for _ in range(100):
        stage.loop(use_poll=True, timeout=0.05 if len(got) < len(replies) else 0)
        try:
            got += channel.peer.recv(65536)
        except BlockingIOError:
            if len(got) >= len(replies):
                break
    assert got == replies


def calling(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """A method that writes down *name*, and then does what *original* does."""

    def method(self: Any, *args: Any) -> Any:
        self.did.append(name)
        return original(self, *args)

    return method


def noting(
    noted: list[Any], original: Callable[..., Any], what: Callable[[Any], Any]
) -> Callable[..., Any]:
    """A method that writes down *what* its argument says, and then does what *original* does."""

    def method(self: Any, argument: Any) -> Any:
        noted.append(what(argument))
        return original(self, argument)

    return method


def on_the_channel(channel: Any, name: str) -> Callable[[], None]:
    method = calling(name, getattr(type(channel), name))
    setattr(channel, name, lambda *args: method(channel, *args))
    return lambda: delattr(channel, name)


def in_its_dict(channel: Any, name: str) -> Callable[[], None]:
    method = calling(name, getattr(type(channel), name))
    vars(channel)[name] = lambda *args: method(channel, *args)
    return lambda: vars(channel).pop(name)


def on_its_class(channel: Any, name: str) -> Callable[[], None]:
    kind = type(channel)
    own = vars(kind).get(name)
    setattr(kind, name, calling(name, getattr(kind, name)))
    return lambda: delattr(kind, name) if own is None else setattr(kind, name, own)


def on_a_base(channel: Any, name: str) -> Callable[[], None]:
    mixin = type(channel).__mro__[1]
    original = getattr(super(mixin, type(channel)), name)
    if name in vars(type(channel)):  # what hides it is in the way
        original = vars(type(channel))[name]
        delattr(type(channel), name)
        setattr(mixin, name, calling(name, original))
        return lambda: setattr(mixin, name, original)
    setattr(mixin, name, calling(name, original))
    return lambda: delattr(mixin, name)


def by_another_class(channel: Any, name: str) -> Callable[[], None]:
    kind = type(channel)
    channel.__class__ = type("Other", (kind,), {name: calling(name, getattr(kind, name))})
    return lambda: setattr(channel, "__class__", kind)


def by_another_base(channel: Any, name: str) -> Callable[[], None]:
    kind = type(channel)
    bases = kind.__bases__
    own = vars(kind).get(name)
    mixin = type("Other", (), {name: calling(name, getattr(kind, name))})
    if own is not None:
        delattr(kind, name)
    kind.__bases__ = (mixin, *bases)

    def undo() -> None:
        kind.__bases__ = bases
        if own is not None:
            setattr(kind, name, own)

    return undo


def by_a_property(channel: Any, name: str) -> Callable[[], None]:
    kind = type(channel)
    own = vars(kind).get(name)
    method = calling(name, getattr(kind, name))
    setattr(kind, name, property(method.__get__))
    return lambda: delattr(kind, name) if own is None else setattr(kind, name, own)


def by_getattribute(channel: Any, name: str) -> Callable[[], None]:
    kind: Any = type(channel)
    method = calling(name, getattr(kind, name))

    def look_up(self: Any, wanted: str) -> Any:
        return method.__get__(self) if wanted == name else object.__getattribute__(self, wanted)

    kind.__getattribute__ = look_up
    return lambda: delattr(kind, "__getattribute__")


WAYS = [
    on_the_channel,
    in_its_dict,
    on_its_class,
    on_a_base,
    by_another_class,
    by_another_base,
    by_a_property,
    by_getattribute,
]
every_way = pytest.mark.parametrize("replace", WAYS, ids=lambda way: way.__name__)


def mixed_channel(stage: Stage) -> Any:
    return echo_channel(stage, echo_class(stage, type("Mixin", (), {})))


@every_way
@pytest.mark.parametrize("name", HOOKS)
def test_what_is_replaced_between_two_lines_is_called(
    stage: Stage, name: str, replace: Callable[..., Callable[[], None]]
) -> None:
    channel = mixed_channel(stage)
    undo = replace(channel, name)
    ask(stage, channel, b"replaced\n")
    assert name in channel.did
    undo()
    channel.did.clear()
    ask(stage, channel, b"as it was\n")
    assert channel.did == []


@every_way
@pytest.mark.parametrize("name", FOR_A_LINE)
@pytest.mark.parametrize("within", ["collect_incoming_data", "found_terminator"])
def test_what_is_replaced_within_a_hook_is_called_for_the_next_line(
    stage: Stage, name: str, replace: Callable[..., Callable[[], None]], within: str
) -> None:
    channel = mixed_channel(stage)
    hook = getattr(type(channel), within)
    undone: list[Callable[[], None]] = []

    def replacing(self: Any, *args: Any) -> None:
        if not undone:
            undone.append(replace(self, name))
        hook(self, *args)

    # On the channel, where what is replaced does not hide it.
    setattr(channel, within, lambda *args: replacing(channel, *args))
    if name == within:
        delattr(channel, within)
        undone.append(replace(channel, name))
    ask(stage, channel, b"one\ntwo\nthree\n")
    if replace is in_its_dict and stage.implementation.name == "cython":
        ask(stage, channel, b"four\nfive\n")  # see docs/compat.md, "Names and looks"
    assert name in channel.did
    assert undone


@every_way
@pytest.mark.parametrize("name", HOOKS)
def test_what_one_channel_has_of_its_own_is_called_on_none_of_the_others(
    stage: Stage, name: str, replace: Callable[..., Callable[[], None]]
) -> None:
    kind = echo_class(stage, type("Mixin", (), {}))
    channels = [echo_channel(stage, kind) for _ in range(3)]
    replace(channels[1], name)
    for channel in channels:
        ask(stage, channel, b"to all\n")
    assert name in channels[1].did
    if replace in (on_the_channel, in_its_dict, by_another_class):
        assert channels[0].did == channels[2].did == []


@pytest.mark.parametrize("on_class", [False, True])
def test_sizes_that_are_assigned_hold_from_then_on(stage: Stage, on_class: bool) -> None:
    channel = echo_channel(stage)
    sizes: list[int] = []
    owner = type(channel) if on_class else channel
    kind = type(channel)
    owner.ac_in_buffer_size = 4
    owner.ac_out_buffer_size = 2
    ask(stage, channel, b"12345678\n")
    kind.recv = noting(sizes, kind.recv, lambda size: size)
    kind.send = noting(sizes, kind.send, lambda data: -len(data))
    ask(stage, channel, b"123\n")
    assert sizes == [4, -2, -2]
    del owner.ac_in_buffer_size, owner.ac_out_buffer_size
    del sizes[:]
    ask(stage, channel, b"123\n")
    assert sizes == [65536, -4]


def test_a_terminator_that_is_assigned_holds_from_then_on(stage: Stage) -> None:
    channel = echo_channel(stage)
    channel.terminator = b";"
    ask(stage, channel, b"one;two;", b"one\ntwo\n")
    type(channel).terminator = property(lambda self: b"!")  # hides the other
    ask(stage, channel, b"one!two!", b"one\ntwo\n")
    del type(channel).terminator
    ask(stage, channel, b"one;two;", b"one\ntwo\n")
    del channel.terminator
    type(channel).terminator = b":"
    ask(stage, channel, b"one:two:", b"one\ntwo\n")


def test_a_channel_that_says_it_is_not_connected_sends_nothing(stage: Stage) -> None:
    channel = echo_channel(stage)
    channel.connected = False
    channel.push(b"later\n")
    channel.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        channel.peer.recv(10)
    channel.connected = 1  # true as well
    ask(stage, channel, b"now\n", b"later\nnow\n")


@pytest.mark.parametrize("value", [True, 1, "yes"])
def test_a_channel_that_says_it_accepts_is_told_to(stage: Stage, value: Any) -> None:
    channel = echo_channel(stage)
    type(channel).handle_accept = lambda self: (self.did.append("accept"), self.recv(100))
    type(channel).writable = lambda self: False
    channel.accepting = value
    channel.peer.sendall(b"somebody\n")
    stage.loop(use_poll=True, timeout=1)
    assert channel.did == ["accept"]
    channel.accepting = type(value)()
    ask(stage, channel, b"nobody\n")


def with_slots(stage: Stage) -> Any:
    class Slotted(echo_class(stage)):  # type: ignore[misc]
        __slots__ = ("another",)

    return Slotted


def with_getattr(stage: Stage) -> Any:
    def find(self: Any, name: str) -> Any:
        raise AttributeError(name)

    return echo_class(stage, __getattr__=find)


def with_many_attributes(stage: Stage) -> Any:
    kind = echo_class(stage)
    init = kind.__init__

    def more(self: Any, *args: Any) -> None:
        init(self, *args)
        for number in range(60):
            setattr(self, f"attribute_{number}", number)

    kind.__init__ = more
    return kind


def with_its_dict_asked_for(stage: Stage) -> Any:
    kind = echo_class(stage)
    init = kind.__init__

    def look(self: Any, *args: Any) -> None:
        init(self, *args)
        self.kept = vars(self)

    kind.__init__ = look
    return kind


def with_hooks_that_are_no_functions(stage: Stage) -> Any:
    class Hook:
        def __init__(self, then: Any) -> None:
            self.then = then

        def __get__(self, channel: Any, kind: Any) -> Any:
            return self.then if channel is None else self.then.__get__(channel)

    kind = echo_class(stage)
    kind.found_terminator = Hook(kind.found_terminator)
    kind.collect_incoming_data = Hook(kind.collect_incoming_data)
    return kind


def with_a_counter_on_the_class(stage: Stage) -> Any:
    kind = echo_class(stage, lines=0)
    found = kind.found_terminator

    def count(self: Any) -> None:
        type(self).lines += 1
        found(self)

    kind.found_terminator = count
    return kind


@pytest.mark.parametrize(
    "make",
    [
        with_slots,
        with_getattr,
        with_many_attributes,
        with_its_dict_asked_for,
        with_hooks_that_are_no_functions,
        with_a_counter_on_the_class,
    ],
    ids=lambda make: make.__name__,
)
def test_channels_of_an_unusual_class_are_served(stage: Stage, make: Callable[..., Any]) -> None:
    channel = echo_channel(stage, make(stage))
    ask(stage, channel, b"one\ntwo\n")
    for name in HOOKS:
        channel.did.clear()
        on_the_channel(channel, name)
        ask(stage, channel, b"three\n")
        assert name in channel.did


def test_a_class_that_changes_all_the_time_is_served(stage: Stage) -> None:
    channel = echo_channel(stage, with_a_counter_on_the_class(stage))
    for _ in range(30):
        ask(stage, channel, b"line\n" * 50)
    assert type(channel).lines == 1503
    on_its_class(channel, "collect_incoming_data")
    ask(stage, channel, b"line\n")
    assert channel.did == ["collect_incoming_data"]


def test_a_hook_may_delete_itself(stage: Stage) -> None:
    kind = echo_class(stage, type("Mixin", (), {"collect_incoming_data": None}))
    original = kind.collect_incoming_data

    def once(self: Any, data: bytes) -> None:
        del kind.collect_incoming_data
        original(self, data)
        kind.collect_incoming_data = original

    channel = echo_channel(stage, kind)
    kind.collect_incoming_data = once
    del once
    ask(stage, channel, b"one\ntwo\n")


@pytest.mark.compiled
def test_a_class_that_changes_all_the_time_is_left_alone() -> None:
    with Stage(load("cython")) as stage:
        channel = echo_channel(stage)
        for number in range(1001):
            type(channel).number = number
            stage.implementation.core["incoming"].drive(channel)
        facts = inside(stage, "facts")
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(facts, "has_properties", fail_with(AssertionError("looked at again")))
            type(channel).number = -1
            stage.implementation.core["incoming"].drive(channel)
        ask(stage, channel, b"one\ntwo\n")
        on_the_channel(channel, "send")
        ask(stage, channel, b"three\n")
        assert channel.did == ["send"]


@pytest.mark.parametrize("name", ["push", "initiate_send", "send"])
def test_what_is_not_there_is_not_looked_past(stage: Stage, name: str) -> None:
    # None hides a method as well as a function does.
    channel = echo_channel(stage)
    vars(channel)[name] = None
    ask(stage, channel, b"line\n", b"")
    assert [type(problem) for problem in channel.did] == [TypeError]
    del channel.did[:]
    vars(channel).pop(name)
    channel.push(b"")
    ask(stage, channel, b"line\n", b"line\nline\n" if name != "push" else b"line\n")


# Compiled, some of the stock methods are guards, which hear of an assignment on an object.


@pytest.mark.parametrize("name", ["send", "initiate_send", "get_terminator"])
def test_what_is_put_into_the_dict_is_what_a_look_up_finds(stage: Stage, name: str) -> None:
    def own(*args: Any) -> None:
        pass

    channel = echo_channel(stage)
    vars(channel)[name] = own
    assert getattr(channel, name) is own
    del vars(channel)[name]
    assert getattr(channel, name).__self__ is channel
    with pytest.raises(AttributeError, match=name):
        delattr(channel, name)
    setattr(channel, name, own)
    assert vars(channel)[name] is getattr(channel, name) is own
    delattr(channel, name)
    assert getattr(channel, name).__self__ is channel
    assert getattr(super(type(channel), channel), name).__self__ is channel


@pytest.mark.parametrize("name", ["send", "initiate_send", "get_terminator"])
def test_who_borrows_a_stock_method_may_assign_to_it(stage: Stage, name: str) -> None:
    method = vars(stage.asynchat.async_chat).get(name) or vars(stage.asyncore.dispatcher)[name]
    borrows: Any = type("Borrows", (), {name: method})
    thing = borrows()
    assert getattr(thing, name).__self__ is thing
    setattr(thing, name, 1)
    assert getattr(thing, name) == 1
    without_dict: Any = type("WithoutDict", (), {name: method, "__slots__": ()})
    with pytest.raises(AttributeError, match=name):
        setattr(without_dict(), name, 1)
    lost: Any = type("Lost", (borrows,), {name: None})
    assert getattr(super(lost, lost()), name).__func__ is method


def an_alias_in_the_body(kind: Any, name: str) -> Any:
    return type("Chat", (kind,), {"alias": getattr(kind, name)})


def an_alias_later(kind: Any, name: str) -> Any:
    made: Any = type("Chat", (kind,), {name: lambda *args: "own"})
    made.alias = getattr(kind, name)
    return made


def an_alias_of_a_borrower(kind: Any, name: str) -> Any:
    made: Any = type("Borrows", (), {"_map": None, "__init__": lambda thing, **args: None})
    made.alias = getattr(kind, name)
    return made


@pytest.mark.parametrize("name", ["send", "initiate_send", "get_terminator"])
@pytest.mark.parametrize(
    "made",
    [an_alias_in_the_body, an_alias_later, an_alias_of_a_borrower],
    ids=lambda way: way.__name__,
)
def test_a_stock_method_under_another_name_is_assigned_to_under_that(
    stage: Stage, made: Any, name: str
) -> None:
    kind = made(stage.asynchat.async_chat, name)
    first, second = kind(map={}), kind(map={})
    first.alias = 1
    assert first.alias == 1
    assert "alias" in vars(first)
    assert name not in vars(first)
    assert second.alias.__self__ is second
    del first.alias
    assert first.alias.__self__ is first


@pytest.mark.parametrize("name", ["send", "initiate_send", "get_terminator"])
def test_a_second_name_that_a_class_was_given_later(stage: Stage, name: str) -> None:
    kind: Any = type("Chat", (stage.asynchat.async_chat,), {})
    kind.alias = getattr(kind, name)
    first, second = kind(map={}), kind(map={})
    first.alias = 1
    is_guarded = stage.implementation.name in GUARDING
    assert vars(first).get(name if is_guarded else "alias") == 1
    second.alias = 2
    assert vars(second)["alias"] == 2


@pytest.mark.parametrize("name", ["send", "initiate_send", "get_terminator"])
@pytest.mark.parametrize("value", [[], 7, None, (1, 2)])
def test_a_metaclass_may_have_any_answer(stage: Stage, name: str, value: Any) -> None:
    class Meta(type):
        def __getattribute__(cls, wanted: str) -> Any:
            if wanted in ("__mro__", "__dict__"):
                return value
            return super().__getattribute__(wanted)

    chat = Meta("Chat", (stage.asynchat.async_chat,), {})(map={})
    setattr(chat, name, "own")
    assert getattr(chat, name) == "own"


@pytest.mark.parametrize("name", ["send", "initiate_send", "get_terminator"])
def test_the_name_of_a_function_may_change(stage: Stage, name: str) -> None:
    method = getattr(stage.asynchat.async_chat, name)
    before, method.__name__ = method.__name__, "other"
    try:
        chat = stage.asynchat.async_chat(map={})
        setattr(chat, name, 1)
        assert vars(chat)[name] == 1
    finally:
        method.__name__ = before


@pytest.mark.parametrize("name", ["send", "initiate_send", "get_terminator"])
@pytest.mark.parametrize("look", ["__getattr__", "__getattribute__"])
def test_an_entry_of_the_dict_counts_where_a_class_looks_for_itself(
    stage: Stage, name: str, look: str
) -> None:
    def find(chat: Any, wanted: str) -> Any:
        if look == "__getattr__":
            raise AttributeError(wanted)
        return object.__getattribute__(chat, wanted)

    chat = type("Chat", (stage.asynchat.async_chat,), {look: find})(map={})
    vars(chat)[name] = "own"
    assert getattr(chat, name) == "own"


@pytest.mark.parametrize(
    ("name", "other"),
    [("initiate_send", "handle_write"), ("handle_read", "handle_read_event")],
)
def test_stock_methods_that_call_each_other_without_end(
    stage: Stage, name: str, other: str
) -> None:
    base = stage.asynchat.async_chat
    chat = type("Chat", (base,), {name: getattr(base, other), "connected": True})(map={})
    with pytest.raises(RecursionError):
        getattr(chat, other)()


@pytest.mark.parametrize("name", ["send", "initiate_send", "get_terminator"])
def test_guards_look_like_functions(stage: Stage, name: str) -> None:
    method = getattr(stage.asynchat.async_chat, name)
    assert not inspect.isdatadescriptor(method)
    assert not hasattr(method, "__set__")
    assert not hasattr(method, "__delete__")
    assert inspect.isfunction(method)


def test_an_assignment_in_a_hook_counts_for_all_channels_of_the_pass(stage: Stage) -> None:
    channels = [echo_channel(stage) for _ in range(2)]
    sends: list[bytes] = []

    def send(data: bytes) -> int:
        sends.append(data)
        return len(data)

    def found(self: Any) -> None:
        other = channels[1 - channels.index(self)]
        for channel in (self, other):
            channel.send = send
        self.push(b"x")

    for channel in channels:
        type(channel).found_terminator = found
        channel.peer.sendall(b"1\n2\n")
    for _ in range(5):
        stage.loop(use_poll=True)
    assert b"".join(sends) == b"xxxx"
