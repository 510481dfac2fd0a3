"""The map whose registrations are kept: it is a dict that tells what changes in it.

What the standard library does as well runs on it too.
"""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Stage, both_pollers, watch_of
from tests.support.watched import reader

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
    kind = own.asyncore.channel_map
    assert kind.__module__ == "fastchat._core.maps"
    for name in ("fastchat", "fastchat._core"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, kind.__module__, own.implementation.core["maps"])
    original = kind({7: "x"}, named=1)
    made = duplicate(original)
    assert type(made) is kind
    assert made == original == {7: "x", "named": 1}
    made[8] = "y"
    assert 8 not in original
    assert type(original.copy()) is type(original | {}) is dict


def test_a_copy_does_not_disturb_the_registrations(unchecked: Stage) -> None:
    channel = reader(unchecked)
    unchecked.loop()
    copied = copy.copy(unchecked.map)
    copied.clear()
    channel.peer.sendall(b"x")
    unchecked.loop()
    assert channel.got == [b"x"]
