"""``python -m fastchat serve`` and ``echo``: their options, what they say, and how they end."""

from __future__ import annotations

import argparse
import logging
import os
import re
import select
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastchat
from fastchat import LineChannel, _reports, _serve_command, cli
from fastchat._core.line_limits import LIMITS
from tests.support.channels import PATIENCE, posix_only
from tests.support.documents import read
from tests.support.examples import installed, run
from tests.support.needed import needed
from tests.support.programs import open_terminal
from tests.support.servers import Program, connected, running

pytestmark = pytest.mark.usefixtures("interruptible")

GAME = """
import fastchat


class Player(fastchat.LineChannel):
    max_line = 10

    def line_received(self, line):
        return b"%s %d" % (line.upper(), self.max_line)


class Games:
    Player = Player


class Nobody:
    pass


some = 1
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with modules in it, which is the current one and on the path."""
    (tmp_path / "game.py").write_text(GAME)
    (tmp_path / "broken.py").write_text("import fastchat\n\nx = 1 / 0\n")
    (tmp_path / "wrong.py").write_text("x = = 1\n")
    (tmp_path / "nested.py").write_text("import broken\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    level, handlers = logging.root.level, logging.root.handlers[:]
    yield tmp_path
    fastchat.limit_logs()
    logging.root.setLevel(level)
    logging.root.handlers[:] = handlers
    for name in ("game", "broken", "wrong", "nested"):
        sys.modules.pop(name, None)


REFUSED = [
    ("serve", "the following arguments are required: MODULE:CHANNEL, --bind/-b"),
    ("echo", "the following arguments are required: --bind/-b"),
    ("echo game:Player --bind :0", "unrecognized arguments: game:Player"),
    ("echo --bind :0 --speed 9", "unrecognized arguments: --speed 9"),
    ("echo --bind :0 --max-l 9", "unrecognized arguments: --max-l 9"),
    ("serve game --bind :0", "MODULE:CHANNEL is wanted, such as game:Player, not 'game'"),
    ("serve game: --bind :0", "MODULE:CHANNEL is wanted"),
    ("serve :Player --bind :0", "MODULE:CHANNEL is wanted"),
    ("serve game.py:Player --bind :0", "cannot import 'game.py': ModuleNotFoundError: No module"),
    ("serve missing:X --bind :0", "cannot import 'missing': ModuleNotFoundError: No module named"),
    ("serve broken:X --bind :0", "cannot import 'broken': ZeroDivisionError: division by zero ("),
    ("serve nested:X --bind :0", "broken.py, line 3)"),
    ("serve wrong:X --bind :0", "cannot import 'wrong': SyntaxError: invalid syntax (wrong.py"),
    ("serve game:Missing --bind :0", "the module 'game' has no 'Missing'"),
    ("serve game:Nobody --bind :0", "'game:Nobody' is no class derived from fastchat.LineChannel"),
    ("serve game:some --bind :0", "'game:some' is no class derived from fastchat.LineChannel"),
    ("echo --bind nowhere", "cannot listen on 'nowhere': it must be host:port"),
    ("echo --bind 192.0.2.1:0", "cannot listen on 192.0.2.1:0: "),
    ("echo --bind unix:", "cannot listen on 'unix:': unix: is followed by a path"),
    ("echo --bind systemd", "cannot listen on systemd: LISTEN_FDS"),
    ("echo --bind :0 --max-line -1", "argument --max-line: a size such as 65536, 64K or none"),
    ("echo --bind :0 --max-line 0", "max_line must be at least 1"),
    ("echo --bind :0 --max-line 1k", "a size such as 65536, 64K or none, not '1k'"),
    ("echo --bind :0 --max-connections 0", "max_connections must be at least 1, or None for"),
    ("echo --bind :0 --max-connections x", "a number or none is wanted, not 'x'"),
    ("echo --bind :0 --max-per-address auto", "max_per_address must be an int or None, not 'auto'"),
    ("echo --bind :0 --backlog none", "backlog must be an int, not None"),
    ("echo --bind :0 --grace -1", "argument --grace: a number of seconds or none, not '-1'"),
    ("echo --bind :0 --grace none", "grace must be a number of seconds, not None"),
    ("echo --bind :0 --idle-timeout 1e3", "a number of seconds or none, not '1e3'"),
    ("echo --bind :0 --unix-mode 999", "three octal digits such as 660, not '999'"),
    (
        "echo --bind :0 --max-log-records 0",
        "max_log_records must be at least 1, or None for no limit, not 0",
    ),
    ("echo --bind :0 --max-log-records auto", "max_log_records must be an int or None, not 'auto'"),
    ("echo --bind :0 --log-level loud", "argument --log-level: invalid choice: 'loud'"),
    (r"echo --bind :0 --delimiter \q", r"argument --delimiter: '\\q' has an escape other than"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED)
def test_what_is_wrong_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    words = line.split(" ")
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.startswith(f"fastchat: {words[0]}: ")
    assert printed.err.endswith(f" (python -m fastchat {words[0]} --help says how)\n")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--bind :0 --metrics", "argument --metrics: expected one argument"),
        ("--bind :0 --metrics ", "cannot listen on ''"),
        ("--bind :0 --metrics 9100", "cannot listen on '9100': it must be host:port"),
        ("--bind :0 --metrics :9100", "cannot show metrics on ':9100': it must be host:port"),
        ("--bind :0 --metrics unix:/x", "cannot show metrics on 'unix:/x': it must be host:port"),
        ("--bind :0 --metrics 192.0.2.1:0", "cannot show metrics on 192.0.2.1:0: "),
        ("--bind 192.0.2.1:0 --metrics 127.0.0.1:0", "cannot listen on 192.0.2.1:0: "),
        ("--bind :0 --metrics 127.0.0.1:0 --max-line 0", "max_line must be at least 1"),
    ],
)
def test_metrics_that_cannot_be_shown_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    needed("prometheus_client", "PROMETHEUS")
    threads = threading.active_count()
    test_what_is_wrong_is_one_line(here, capsys, f"echo {words}", said)
    assert threading.active_count() == threads


def test_metrics_without_prometheus_client(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "fastchat.prometheus", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    words = "echo --bind :0 --metrics 127.0.0.1:0"
    test_what_is_wrong_is_one_line(here, capsys, words, "pip install 'fast-asynchat[prometheus]'")


def test_an_empty_delimiter_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["echo", "--bind", ":0", "--delimiter", ""])
    assert "argument --delimiter: it must have at least one byte" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "echo"])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help(
    command: str, word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        cli.main([command, word])
    assert caught.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"usage: python -m fastchat {command}")
    for name in LIMITS:
        assert f"--{name.replace('_', '-')}" in printed.out
    assert max(len(each) for each in printed.out.splitlines()) <= 100


def test_the_defaults_in_the_help_are_true() -> None:
    text = _serve_command._parser("echo").format_help()
    for name, (unit, _) in _serve_command._CHANNEL.items():
        found = re.search(rf"--{name.replace('_', '-')} .*?\(default\s+(\w+)\)", text, re.DOTALL)
        assert found is not None
        read = {"N": _serve_command._number, "SIZE": _serve_command._size}
        value = read.get(unit, _serve_command._seconds)(found[1])
        assert value == getattr(LineChannel, name)


def ending_at_once(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[Any], None] = lambda server: None
) -> list[Any]:
    """Let each server stop when it has started; returns what ``serve`` is called with."""
    calls: list[Any] = []
    original = fastchat.serve

    def serve(channel: Any, *bind: Any, on_start: Any, **limits: Any) -> int:
        def start(server: Any) -> None:
            on_start(server)
            then(server)
            server.stop()

        calls.append((channel, bind, limits))
        return original(channel, *bind, on_start=start, **limits)

    monkeypatch.setattr(_serve_command, "serve", serve)
    return calls


def test_all_options_reach_the_server(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = ending_at_once(monkeypatch)
    words = (
        "serve game:Games.Player -b 127.0.0.1:0 --bind 127.0.0.1:0 --max-connections 7"
        " --max-per-address 3 --max-memory 1G --backlog 9 --grace 2.5 --unix-mode 0600"
        r" --refusal full\r\n --log-level ERROR --delimiter \n --delimiter \x00 --max-line 2K"
        " --lines-per-pass none --max-body 3M --high-water 4K --low-water 17 --max-output none"
        " --max-log-records 7"
        " --idle-timeout 5 --line-timeout none --write-timeout 0.5 --linger-timeout 0"
    )
    with pytest.raises(SystemExit) as caught:
        cli.main(words.split())
    assert caught.value.code == 0
    ((channel, bind, limits),) = calls
    assert channel.__name__ == "Player"
    assert channel.__module__ == "game"
    assert bind == ("127.0.0.1:0", "127.0.0.1:0")
    assert limits == {
        "max_connections": 7,
        "max_per_address": 3,
        "max_memory": 2**30,
        "backlog": 9,
        "grace": 2.5,
        "unix_mode": 0o600,
        "refusal": b"full\r\n",
    }
    assert {name: getattr(channel, name) for name in LIMITS} == {
        "delimiter": (b"\n", b"\0"),
        "max_line": 2048,
        "lines_per_pass": None,
        "max_body": 3 * 2**20,
        "high_water": 4096,
        "low_water": 17,
        "max_output": None,
        "idle_timeout": 5,
        "line_timeout": None,
        "write_timeout": 0.5,
        "linger_timeout": 0,
    }
    assert _reports.limiter.most == 7
    printed = capsys.readouterr()
    assert re.fullmatch(
        rf"listening on 127.0.0.1:\d+, 127.0.0.1:\d+: Player, by fastchat "
        rf"{fastchat.__version__} \({fastchat.implementation}\)\n",
        printed.out,
    )
    assert printed.err == ""


def test_what_is_not_given_is_the_default_of_the_class(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = ending_at_once(monkeypatch)
    with pytest.raises(SystemExit):
        cli.main(["serve", "game:Player", "--bind", "127.0.0.1:0", "--max-connections", "auto"])
    ((channel, _, limits),) = calls
    assert channel is sys.modules["game"].Player
    assert limits == {"max_connections": "auto"}


@pytest.mark.parametrize("kind", [ValueError, OSError])
def test_an_error_of_the_program_is_not_one_of_the_command_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def then(server: Any) -> None:
        raise kind("of the program")

    ending_at_once(monkeypatch, then)
    with pytest.raises(kind, match="of the program"):
        cli.main(["echo", "--bind", "127.0.0.1:0"])


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("64K", 65536), ("3M", 3 * 2**20), ("2G", 2**31), ("none", None)]
)
def test_sizes(text: str, value: int | None) -> None:
    assert _serve_command._size(text) == value


@pytest.mark.parametrize("text", ["", "K", "1.5M", "-1", "1 K", "0x10", "\u0661", "1" * 16])
def test_no_sizes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        _serve_command._size(text)


# As a program.


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "fastchat", *words]


def address_of(server: Program) -> str:
    found = re.match(r"listening on ([^,\s]+): ", server.line())
    assert found is not None
    return found[1]


def asked(address: str, request: bytes) -> bytes:
    with connected(address) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        found = b""
        while data := client.recv(100):
            found += data
        return found


@posix_only
def test_echo_answers_until_a_signal(ours: Any, tmp_path: Path) -> None:
    words = command("echo", "--bind", "127.0.0.1:0")
    with running(words, ours.name, cwd=tmp_path) as server:
        address = address_of(server)
        assert asked(address, b"one\ntwo\r\nthree") == b"one\ntwo\r\n"
        server.signal(signal.SIGINT)
        assert server.status() == 0
        assert server.errors() == ""


@posix_only
def test_serve_answers_with_the_limits_that_are_given(ours: Any, here: Path, place: Path) -> None:
    path = place / "socket"
    words = ["--bind", f"unix:{path}", "--unix-mode", "600", "--delimiter", ";", "--max-line", "5"]
    with running(command("serve", "game:Player", *words), ours.name, cwd=here) as server:
        address = address_of(server)
        assert address == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert asked(address, b"one;two;") == b"ONE 5;TWO 5;"
        assert asked(address, b"too long;") == b""
        server.signal()
        assert server.status() == 0
        assert "sent a line of 8 bytes or more" in server.errors()
        assert not path.exists()


@posix_only
def test_metrics_are_there_as_long_as_the_server(ours: Any, here: Path) -> None:
    needed("prometheus_client", "PROMETHEUS")
    curl = installed("curl")
    words = ["--bind", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
    with running(command("serve", "game:Player", *words), ours.name, cwd=here) as server:
        line = server.line()
        found = re.fullmatch(r"listening on (\S+): Player, by .*, metrics at (\S+)", line)
        assert found is not None
        assert asked(found[1], b"one\r\ntwo\r\n") == b"ONE 10\r\nTWO 10\r\n"
        labels = 'channel="game.Player",server="127.0.0.1:0"'
        text = run(curl, "-sS", "--fail", found[2]).decode()
        assert f"fastchat_lines_total{{{labels}}} 2.0\n" in text
        if sys.platform == "linux":
            assert "\nprocess_open_fds " in text
        server.signal()
        assert server.status() == 0
        assert server.errors() == ""


@posix_only
def test_a_flood_of_bad_lines_is_a_few_in_the_log(ours: Any, here: Path) -> None:
    words = ["--bind", "127.0.0.1:0", "--max-log-records", "3"]
    with running(command("serve", "game:Player", *words), ours.name, cwd=here) as server:
        address = address_of(server)
        for _ in range(20):
            assert asked(address, b"\x1b[2J" + b"x" * 50) == b""
        server.signal()
        assert server.status() == 0
        errors = server.errors().splitlines()
    assert len(errors) == 5
    assert [line.count(r"\x1b[2Jxxx") for line in errors] == [1, 1, 1, 0, 0]
    assert "17 more were left out in " in errors[4]


@posix_only
@pytest.mark.parametrize("has_rich", [True, False])
def test_a_terminal_gets_a_line_that_changes(here: Path, has_rich: bool) -> None:
    if not has_rich:
        (here / "rich.py").write_text("raise ImportError\n")
    ours, theirs = open_terminal()
    words = command("echo", "--bind", "127.0.0.1:0")
    try:
        with running(words, "python", cwd=here, stderr=theirs) as server:
            address = address_of(server)
            shown = b""
            if has_rich:
                with connected(address):
                    while b"1 open" not in shown:
                        ready, _, _ = select.select([ours], [], [], PATIENCE)
                        assert ready, shown
                        shown += os.read(ours, 1000)
            server.signal()
            assert server.status() == 0
            os.write(theirs, b".")
            while not shown.endswith(b"."):
                shown += os.read(ours, 1000)
    finally:
        os.close(ours)
        os.close(theirs)
    if has_rich:
        assert b"running for 0 s: 0 open, 0 accepted, 0 refused" in shown
    else:
        assert shown == b"."


@posix_only
def test_a_port_in_use(ours: Any, here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        words = command("echo", "--bind", f"127.0.0.1:{other.getsockname()[1]}")
        with running(words, ours.name, cwd=here) as server:
            assert server.status() == 2
            assert re.fullmatch(
                rf"fastchat: echo: cannot listen on 127.0.0.1:\d+: {os.strerror(98)} .*\n"
                if sys.platform == "linux"
                else ".*\n",
                server.errors(),
            )


def test_the_manuals_have_all_limits() -> None:
    options = _serve_command._parser("echo").format_help()
    manuals = read("docs/server.md") + read("docs/channel.md")
    found = re.findall(r"--([a-z-]+) (?:N|SIZE|SECONDS)\b", options)
    assert len(found) > 14
    for name in found:
        assert f"`{name.replace('-', '_')}`" in manuals, name
