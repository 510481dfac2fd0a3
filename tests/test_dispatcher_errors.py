"""One dispatcher that fails: what closes it, and what it prints.

Every test runs on the standard library too, where the interpreter has it; what fastchat does
differently on purpose is in test_differences_*.py.

Rules this file keeps: what is printed is compared to the letter, because programs read their logs
with patterns.
"""

# The bases are known at run time only.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

import errno
import re
from typing import Any

import pytest

from tests.support.channels import PATIENCE, FakeSocket, Stage, fail_with

# Errors.


def test_an_exception_is_printed_in_one_line_and_closes_the_channel(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = stage.dispatcher(handle_read=fail_with(ValueError("the text")))
    channel.__class__.__repr__ = lambda channel: "<THE CHANNEL>"
    channel.peer.sendall(b"x")
    stage.loop(timeout=PATIENCE)
    printed = capsys.readouterr().out
    assert re.fullmatch(
        r"error: uncaptured python exception, closing channel <THE CHANNEL> "
        r"\(<class 'ValueError'>:the text( \[[^|\]]+\|\w+\|\d+\])+\)\n",
        printed,
    )
    assert channel.events == ["read", ValueError, "close"]
    assert stage.map == {}


def test_the_line_names_every_frame_the_innermost_last(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    def handle_read(channel: Any) -> None:
        int("x")

    channel = stage.dispatcher(handle_read=handle_read)
    stage.asyncore.read(channel)
    frames = re.findall(r"\[([^|]+)\|(\w+)\|\d+\]", capsys.readouterr().out)
    assert [name for _, name in frames][:2] == ["read", "handle_read_event"]
    assert frames[-1] == (__file__, "handle_read")


def test_a_repr_that_fails_does_not_hide_the_exception(
    stage: Stage, dispatcher: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(dispatcher):
        def __repr__(self) -> str:
            raise RuntimeError

    channel = Broken(None, stage.map)
    try:
        raise ValueError("the text")
    except ValueError:
        channel.handle_error()
    wanted = f"closing channel <__repr__(self) failed for object at {id(channel):0x}> (<class 'V"
    assert wanted in capsys.readouterr().out


def test_handle_error_closes_through_handle_close(stage: Stage) -> None:
    channel = stage.dispatcher(handle_close=lambda channel: None)
    try:
        raise ValueError
    except ValueError:
        channel.handle_error()
    assert channel.events == [ValueError, "close"]
    assert stage.map


def test_handle_error_may_let_the_channel_live(stage: Stage) -> None:
    def handle_read(channel: Any) -> None:
        channel.recv(10)
        raise ValueError

    channel = stage.dispatcher(handle_read=handle_read, handle_error=lambda channel: None)
    for _ in range(2):
        channel.peer.sendall(b"x")
        stage.loop(timeout=PATIENCE)
    assert channel.events == ["read", ValueError] * 2


def test_compact_traceback_describes_the_exception_being_handled(stage: Stage) -> None:
    def inner() -> None:
        raise KeyError("key")

    try:
        inner()
    except KeyError as problem:
        caught = problem
        (file, function, line), kind, value, text = stage.asyncore.compact_traceback()
    assert (file, function, kind, value) == (__file__, "inner", KeyError, caught)
    outer = "test_compact_traceback_describes_the_exception_being_handled"
    pattern = rf"\[{re.escape(file)}\|{outer}\|\d+\] \[{re.escape(file)}\|inner\|{line}\]"
    assert re.fullmatch(pattern, text)


def test_compact_traceback_needs_an_exception(stage: Stage) -> None:
    with pytest.raises(AssertionError, match="traceback does not exist"):
        stage.asyncore.compact_traceback()


def test_handle_error_uses_the_compact_traceback_of_the_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = (("file", "function", "1"), "KIND", "VALUE", "WHERE")
    monkeypatch.setattr(stage.asyncore, "compact_traceback", lambda: answer)
    stage.dispatcher().handle_error()
    assert "(KIND:VALUE WHERE)" in capsys.readouterr().out


def test_an_error_pending_on_the_socket_is_a_close(stage: Stage) -> None:
    channel = stage.bare(handle_expt=lambda channel: None)
    channel.socket = FakeSocket(getsockopt=[errno.ECONNRESET])
    channel.handle_expt_event()
    assert channel.events == ["close"]


def test_urgent_data_without_an_error_is_for_handle_expt(stage: Stage) -> None:
    channel = stage.dispatcher(handle_expt=lambda channel: None)
    channel.handle_expt_event()
    assert channel.events == ["expt"]


# What it prints.


def test_log_writes_to_standard_error(
    stage: Stage, dispatcher: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    dispatcher(None, stage.map).log("text")
    assert tuple(capsys.readouterr()) == ("", "log: text\n")


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("text",), "info: text\n"),
        (("text", "error"), "error: text\n"),
        (("text", "warning"), ""),
    ],
)
def test_log_info_writes_to_standard_output_but_no_warnings(
    stage: Stage,
    dispatcher: Any,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    printed: str,
) -> None:
    dispatcher(None, stage.map).log_info(*arguments)
    assert tuple(capsys.readouterr()) == (printed, "")


def test_a_class_chooses_what_it_does_not_print(
    stage: Stage, dispatcher: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Quiet(dispatcher):
        ignore_log_types = ("info",)

    Quiet(None, stage.map).log_info("text")
    Quiet(None, stage.map).log_info("text", "warning")
    assert capsys.readouterr().out == "warning: text\n"


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ("handle_read", "unhandled read event"),
        ("handle_write", "unhandled write event"),
        ("handle_connect", "unhandled connect event"),
        ("handle_expt", "unhandled incoming priority event"),
        ("handle_close", "unhandled close event"),
    ],
)
def test_a_hook_that_is_not_overridden_warns(
    stage: Stage, dispatcher: Any, hook: str, text: str
) -> None:
    channel = dispatcher(None, stage.map)
    logged: list[Any] = []
    channel.log_info = lambda *arguments: logged.append(arguments)
    getattr(channel, hook)()
    assert logged == [(text, "warning")]


def test_a_client_that_nobody_wants_is_warned_of(stage: Stage, dispatcher: Any) -> None:
    channel = dispatcher(None, stage.map)
    logged: list[Any] = []
    channel.log_info = lambda *arguments: logged.append(arguments)
    sock = FakeSocket()
    channel.handle_accepted(sock, ("192.0.2.1", 7))
    assert (logged, sock.closed) == ([("unhandled accepted event", "warning")], True)


def test_handle_close_closes_if_it_is_not_overridden(stage: Stage) -> None:
    channel = stage.dispatcher()
    channel.handle_close()
    assert stage.map == {}


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({}, ""),
        ({"connected": True}, " connected"),
        ({"addr": ("192.0.2.1", 7)}, " 192.0.2.1:7"),
        ({"addr": ("192.0.2.1", 7), "connected": True}, " connected 192.0.2.1:7"),
        ({"addr": ("192.0.2.1", 7), "accepting": True}, " listening 192.0.2.1:7"),
        ({"accepting": True}, ""),
        ({"accepting": True, "connected": True}, " connected"),
        ({"addr": ("::1", 7, 0, 0)}, " ('::1', 7, 0, 0)"),
        ({"addr": "/run/x"}, " '/run/x'"),
        ({"addr": ""}, " ''"),
    ],
)
def test_the_repr_tells_the_state_and_the_address(
    stage: Stage, dispatcher: Any, state: dict[str, Any], text: str
) -> None:
    class Named(dispatcher):
        pass

    channel = Named(None, stage.map)
    channel.__dict__.update(state)
    name = f"{Named.__module__}.{Named.__qualname__}"
    assert repr(channel) == f"<{name}{text} at {id(channel):#x}>"
