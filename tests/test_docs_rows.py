"""Rows of docs/compat.md that have no better place for their tests: what is said and shown."""

from __future__ import annotations

import errno
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.channels import Stage
from tests.support.implementations import GUARDING, Implementation


def chat_of(implementation: Implementation, **attributes: Any) -> Any:
    """A channel without a socket, with attributes of its own."""
    chat = implementation.asynchat.async_chat(None, {})
    vars(chat).update(attributes)
    return chat


def receive(implementation: Implementation, terminator: Any, data: Any, **attributes: Any) -> None:
    chat = chat_of(implementation, recv=lambda size: data, **attributes)
    chat.set_terminator(terminator)
    chat.handle_read()


# What is done, and the arguments of the exception, first those of the standard library.
TEXTS: dict[str, tuple[Callable[[Implementation], None], tuple[Any, ...], tuple[Any, ...]]] = {
    "push": (
        lambda implementation: chat_of(implementation).push("x"),
        ("data argument must be byte-ish (%r)", str),
        (
            "data argument must be byte-ish (<class 'str'>): "
            "push() takes bytes, bytearray or memoryview",
        ),
    ),
    "negative terminator": (
        lambda implementation: chat_of(implementation).set_terminator(-1),
        ("the number of received bytes must be positive",),
        ("the number of received bytes must be positive, not -1",),
    ),
    "list as terminator": (
        lambda implementation: receive(implementation, [1], b"x"),
        ("argument should be integer or bytes-like object, not 'list'",),
        ("a terminator must be bytes, a tuple of bytes, a number of bytes, or None; [1] is list",),
    ),
    "float as terminator": (
        lambda implementation: receive(implementation, 1.5, b"x"),
        ("object of type 'float' has no len()",),
        ("a terminator must be bytes, a tuple of bytes, a number of bytes, or None; 1.5 is float",),
    ),
    "str received": (
        lambda implementation: receive(implementation, b"x", "x", use_encoding=True),
        ("encoding without a string argument",),
        ("can't concat str to bytes",),
    ),
}

# Other interpreters have their own.
WORDS_OF_CPYTHON = {
    "argument should be integer or bytes-like object, not 'list'",
    "encoding without a string argument",
    "can't concat str to bytes",
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts(implementation: Implementation, case: str) -> None:
    act, before, now = TEXTS[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        act(implementation)
    expected = before if implementation.is_stdlib else now
    if sys.implementation.name == "cpython" or expected[0] not in WORDS_OF_CPYTHON:
        assert caught.value.args == expected


def test_import_warning(implementation: Implementation) -> None:
    program = f"import {implementation.asynchat.__name__}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True)
    assert (b"DeprecationWarning" in done.stderr) is implementation.is_stdlib
    assert (done.returncode != 0) is implementation.is_stdlib


def test_properties(implementation: Implementation) -> None:
    asyncore, asynchat = implementation.asyncore, implementation.asynchat
    for owner, name in [
        (chat_of(implementation), "ac_in_buffer"),
        (asyncore.dispatcher_with_send(None, {}), "out_buffer"),
        (asynchat.simple_producer(b"x"), "data"),
    ]:
        setattr(owner, name, b"assigned")
        assert getattr(owner, name) == b"assigned"
        assert (name in vars(owner)) is implementation.is_stdlib
        if implementation.is_stdlib or name == "ac_in_buffer":
            delattr(owner, name)
            assert not hasattr(owner, name)
        else:
            with pytest.raises(AttributeError):
                delattr(owner, name)


def test_module_names(implementation: Implementation) -> None:
    prefix = "" if implementation.is_stdlib else "fastchat."
    for module, name in [
        (implementation.asyncore, "dispatcher"),
        (implementation.asynchat, "async_chat"),
    ]:
        short = module.__name__.rpartition(".")[2]
        assert module.__name__ == prefix + short
        assert repr(getattr(module, name)()).startswith(f"<{prefix}{short}.{name} at 0x")


@pytest.mark.skipif(os.name != "posix", reason="there is no file_wrapper")
def test_wrapper_of_nothing(
    implementation: Implementation, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EBADF))):
        implementation.asyncore.file_wrapper(-1)
    gc.collect()
    assert len(complaints) == (1 if implementation.is_stdlib else 0)


def test_entry_of_the_dict(stage: Stage) -> None:
    sends: list[bytes] = []

    def found(chat: Any) -> None:
        def send(data: bytes) -> int:
            sends.append(data)
            return len(data)

        if lines.pop(0) == b"in the dict":
            vars(chat)["send"] = send
        elif not lines:
            chat.send = send
        chat.push(b"reply\n")

    lines = [b"in the dict", b"second", b"next", b"assigned"]
    chat = stage.chat(b"\n", found_terminator=found)
    is_late = stage.implementation.name in GUARDING
    stage.feed(chat, b"1\n2\n")
    assert (sends == []) is is_late
    stage.feed(chat, b"3\n")
    assert len(sends) == (1 if is_late else 3)
    del vars(chat)["send"]
    sends.clear()
    stage.feed(chat, b"4\n")
    assert sends
