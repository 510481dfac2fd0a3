"""Pollers: which of the four kinds there are, and the flags that all of them have in common."""

from __future__ import annotations

import errno
import select
import socket
from typing import Any

import pytest

from fastchat._core import poller as _poller
from fastchat._core import pollers as _pollers
from tests.support.channels import as_the_system, fresh

# Which kinds there are.


def test_the_best_kind_is_first() -> None:
    kinds = [kind.name for kind in _pollers.available()]
    assert kinds == [
        name for name in ("epoll", "kqueue", "poll", "select") if hasattr(select, name)
    ]
    assert "select" in kinds


def test_kinds_that_the_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "epoll", object, raising=False)
    monkeypatch.setattr(select, "kqueue", object, raising=False)
    monkeypatch.setattr(select, "poll", getattr(select, "poll", len), raising=False)
    assert _pollers.available() == _pollers.KINDS
    monkeypatch.delattr(select, "epoll")
    assert _pollers.available() == (_pollers.Kqueue, _pollers.Poll, _pollers.Select)
    monkeypatch.delattr(select, "kqueue")
    assert _pollers.available() == (_pollers.Poll, _pollers.Select)
    monkeypatch.delattr(select, "poll")
    assert _pollers.available() == (_pollers.Select,)


@pytest.mark.parametrize("name", ["select", "poll"])
def test_no_kind_where_a_function_was_replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, name, lambda *args: ([], [], []), raising=False)
    assert _pollers.available() == ()


def test_which_kinds_keep_their_registrations_in_the_kernel() -> None:
    assert [kind.name for kind in _pollers.KINDS if kind.is_kernel_set] == ["epoll", "kqueue"]


def test_each_kind_has_what_all_have_in_common() -> None:
    members = {*vars(_poller.Poller)} | {*_poller.Poller.__annotations__}
    common = {name for name in members if not name.startswith("_")}
    assert {"register", "modify", "unregister", "wait", "close", "name", "muted"} < common
    for kind in _pollers.KINDS:
        assert not common - {*dir(kind)}


# The flags.

FLAGS = {"READ": 1, "URGENT": 2, "WRITE": 4, "ERROR": 8, "HANG_UP": 16, "INVALID": 32}

NAMES = {
    "READ": "POLLIN",
    "URGENT": "POLLPRI",
    "WRITE": "POLLOUT",
    "ERROR": "POLLERR",
    "HANG_UP": "POLLHUP",
    "INVALID": "POLLNVAL",
}


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_are_those_of_poll(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, NAMES[flag], 0x4000, raising=False)
    assert getattr(fresh(_pollers), flag) == 0x4000


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_without_poll(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, NAMES[flag], raising=False)
    assert getattr(fresh(_pollers), flag) == FLAGS[flag]


def test_what_select_says_of_no_descriptor_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = _pollers.Select()
    mine, peer = socket.socketpair()
    with mine, peer:
        poller.register(mine.fileno(), _pollers.READ)
        own_select = select.select

        @as_the_system
        def refuse_to_wait(*args: Any) -> Any:
            if args[3] == 0:
                return own_select(*args)
            raise OSError(errno.EBADF, "of something else")

        monkeypatch.setattr(select, "select", refuse_to_wait)
        with pytest.raises(OSError, match="of something else"):
            poller.wait(1000)
