"""Places at which a signal handler in the middle of a pass did harm once.

Each has a scene so small that all its points are taken.
"""

from __future__ import annotations

import dis
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from fastchat import _output
from tests.support.channels import Stage, has_nothing, watch_a_dict, watch_of
from tests.support.interruption import Interruption, at_each_point, where_there_are_points

pytestmark = where_there_are_points


def lines_of(stage: Stage, **members: Any) -> Any:
    """A chat that answers lines, of a class of its own that each line changes."""

    def answer(chat: Any) -> None:
        type(chat).total += 1
        chat.push(b"<" + chat.events[-2] + b">")

    return stage.chat(found_terminator=answer, total=0, **members)


def is_served(stage: Stage, chat: Any, line: bytes = b"probe") -> bool:
    """Whether *chat* answers *line*."""
    chat.peer.sendall(line + b"\n")
    stage.loop(3)
    return not has_nothing(chat.peer) and bool(chat.peer.recv(100).endswith(b"<" + line + b">"))


def begin(stage: Stage, chat: Any) -> Any:
    """Make a channel of *chat*, which is none yet, and return its peer; nothing keeps it."""
    mine, peer = stage.pair()
    chat.__init__(mine, stage.map)
    chat.set_terminator(b"\n")
    return peer


def check_heirs(stage: Stage, at_work: list[Any], waiting: list[Any]) -> None:
    """Let others take the addresses of the channel *at_work* and its state, and see what they send.

    *waiting* are objects of its class that are no channels yet.
    """
    kind: Any = type(waiting[0])
    address = id(at_work[0])
    at_work.pop().close()
    heirs: list[Any] = []
    while len(heirs) < 100 and (not heirs or id(heirs[-1]) != address):
        heirs.append(kind.__new__(kind))
    chats = [*waiting, heirs[-1]]
    peers = [begin(stage, chat) for chat in chats]
    for number, chat in enumerate(chats):
        chat.push(b"<%d>" % number)
    stage.loop(2)
    for number, peer in enumerate(peers):
        assert not has_nothing(peer)
        assert peer.recv(100) == b"<%d>" % number
        peer.close()
    stage.asyncore.close_all(stage.map)


def test_no_peer_gets_what_was_sent_to_another(own: Stage) -> None:
    # What is remembered of the channel at work must not be there for the one at its address.
    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        first = lines_of(own)
        kind: Any = type(first)
        first.close()
        first.peer.close()
        at_work = [kind.__new__(kind)]
        peer = begin(own, at_work[0])
        own.loop()
        peer.sendall(b"line\n")
        kind.total += 1  # so that the class is looked at once more
        waiting = [kind.__new__(kind) for _ in range(5)]

        def check() -> None:
            check_heirs(own, at_work, waiting)
            peer.close()

        return own.loop, check

    at_each_point(own.implementation, scene)


def test_a_class_that_raises_where_it_is_compared_leaves_nothing_behind(own: Stage) -> None:
    raises: list[int] = []

    class Meta(type):
        __hash__ = type.__hash__

        def __eq__(cls, other: object) -> bool:
            if raises:
                raises.clear()
                raise Interruption
            return cls is other

    base = own.asynchat.async_chat
    members = {"collect_incoming_data": lambda *args: None, "found_terminator": lambda *args: None}
    kind: Any = Meta("Chat", (base,), members)
    other: Any = type("Other", (base,), members)
    at_work, others = [kind.__new__(kind)], [other.__new__(other)]
    peers = [begin(own, chat) for chat in at_work + others]
    for peer in peers:
        peer.sendall(b"line\n")
        own.loop(2)
    kind.anything = 1
    peers[0].sendall(b"line\n")
    waiting = [kind.__new__(kind) for _ in range(10)]
    raises.append(1)
    try:
        own.loop()
    except Interruption:
        pass  # nothing has to compare it at all
    raises.clear()
    own.map.pop(others[0]._fileno)
    check_heirs(own, at_work, waiting)
    others[0].close()


@pytest.mark.parametrize("is_dict", [False, True], ids=["kept", "dict"])
def test_who_joins_is_served_if_it_is_in_the_map(own: Stage, is_dict: bool) -> None:
    if is_dict:
        watch_a_dict(own)

    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        lines_of(own)
        own.loop()
        last = lines_of(own)
        own.map.pop(last._fileno)
        own.loop()

        def check() -> None:
            own.loop()
            for chat in own.map.values():
                assert is_served(own, chat)
            own.asyncore.close_all(own.map)

        return last.add_channel, check

    at_each_point(own.implementation, scene)


def test_who_is_asked_on_every_pass_is_served_though_its_entry_was_interrupted(own: Stage) -> None:
    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        chat = lines_of(own, writable=lambda chat: own.asynchat.async_chat.writable(chat))

        def check() -> None:
            assert is_served(own, chat)
            own.asyncore.close_all(own.map)

        return own.loop, check

    at_each_point(own.implementation, scene)


@pytest.mark.parametrize("is_dict", [False, True], ids=["kept", "dict"])
def test_who_leaves_is_waited_for_no_more(own: Stage, is_dict: bool) -> None:
    if is_dict:
        watch_a_dict(own)

    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        chats = [lines_of(own), lines_of(own, writable=lambda chat: False)]
        lines_of(own)  # who stays
        own.loop(2)

        def act() -> None:
            for chat in chats:
                chat.del_channel()

        def check() -> None:
            own.loop(2)
            watch = watch_of(own)
            there = list(own.map)
            assert sorted(watch.entries) == sorted(there)
            assert set(watch.untracked) <= set(there)
            own.asyncore.close_all(own.map)

        return act, check

    at_each_point(own.implementation, scene)


def test_a_new_set_has_all_channels(own: Stage) -> None:
    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        chats = [lines_of(own), lines_of(own)]
        own.loop()
        watch = watch_of(own)
        kind = type(watch.poller)
        watch.needs_new_set = True

        def check() -> None:
            assert all(is_served(own, chat) for chat in chats)
            assert type(watch.poller) is kind
            own.asyncore.close_all(own.map)
            for chat in chats:
                chat.peer.close()  # there are many points, and select() takes no high numbers

        return own.loop, check

    at_each_point(own.implementation, scene)


def test_a_handler_may_close_what_is_being_closed(own: Stage) -> None:
    chats: list[Any] = []

    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        chats[:] = [lines_of(own), lines_of(own)]
        own.loop()

        def check() -> None:
            assert chats[0] not in own.map.values()
            own.loop()
            own.asyncore.close_all(own.map)

        return chats[0].close, check

    at_each_point(own.implementation, scene, lambda: own.asyncore.close_all(own.map))


def test_who_is_over_leaves_the_map_though_its_close_was_interrupted(own: Stage) -> None:
    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        chat = lines_of(own, handle_close=own.asyncore.dispatcher.handle_close)
        chat.log_info = lambda *words: None
        own.loop()
        chat.peer.close()

        def check() -> None:
            own.loop(3)
            assert not own.map
            assert not chat.connected

        return own.loop, check

    at_each_point(own.implementation, scene)


def test_a_handler_may_close_all_while_changes_are_looked_for(own: Stage) -> None:
    watch_a_dict(own)

    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        for _ in range(3):
            lines_of(own)
        own.loop()
        own.map.pop(next(iter(own.map)))
        return own.loop, own.map.clear

    at_each_point(own.implementation, scene, lambda: own.asyncore.close_all(own.map))


def uncovered_jumps(code: CodeType) -> Iterator[str]:
    """The jumps of loops in *code* that are inside a ``try``, but not in what it covers."""
    entries = getattr(dis.Bytecode(code), "exception_entries", ())
    instructions = list(dis.get_instructions(code))

    def handlers_at(offset: int) -> set[int]:
        found: set[int] = set()
        for entry in entries:
            if entry.start <= offset < entry.end:
                found |= handlers_at(entry.target) if puts_back(entry.target) else {entry.target}
        return found

    def puts_back(handler: int) -> bool:
        """Whether it only gives a function its variables back, which a comprehension has used."""
        names = [
            instruction.opname for instruction in instructions if instruction.offset >= handler
        ]
        names = names[: names.index("RERAISE")] if "RERAISE" in names else names
        return all(name.startswith(("SWAP", "POP_TOP", "STORE_FAST")) for name in names)

    for before, instruction in itertools.pairwise(instructions):
        # Not JUMP_BACKWARD_NO_INTERRUPT, which looks for no signal, nor what 3.12 has in its place
        # where an exception was thrown into what is awaited, and has ended it.
        if instruction.opname == "JUMP_BACKWARD" and before.opname != "CLEANUP_THROW":
            at = instruction.offset
            if handlers_at(instruction.argval) - handlers_at(at):
                yield f"{code.co_filename}:{code.co_qualname}, offset {at}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from uncovered_jumps(constant)


def test_a_handler_s_exception_is_caught_where_a_loop_jumps_back() -> None:
    # CPython 3.12 and later leave the jump out where the body of a loop, or a comprehension, ends
    # in a condition, and where "while" has one: then nothing is run that stands behind except and
    # finally, and what except has caught stays the exception that is handled.
    found: list[str] = []
    for path in Path(_output.__file__).parent.glob("*.py"):
        found += uncovered_jumps(compile(path.read_text(encoding="utf-8"), path, "exec"))
    assert found == []


@pytest.mark.parametrize("size", [3, 5, 100])
def test_output_stays_in_order(own: Stage, size: int) -> None:
    def scene() -> tuple[Callable[[], Any], Callable[[], None]]:
        output = output_of(own)(b"ab")
        output.append(b"cd")
        output.append(b"ef")

        def act() -> None:
            output.head(1)
            output.drop(1)
            output.head(size)
            output.drop(min(size, 5))

        def check() -> None:
            left = output.joined()
            assert b"abcdef".endswith(left)
            assert len(output) == len(left)

        return act, check

    at_each_point(own.implementation, scene)


def output_of(stage: Stage) -> Any:
    """The class of what a dispatcher_with_send queues."""
    return stage.asyncore._Output
