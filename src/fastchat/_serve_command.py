"""The commands ``python -m fastchat serve`` and ``echo``: a server whose limits are options.

Rules this file keeps:

* Each limit of ``LineChannel`` and of ``Server`` has an option, whose default is theirs.
* Whatever is wrong is said in one line, with exit status 2, and nothing listens then.
* Standard output gets the one line that says what listens where; a terminal gets a line that
  changes, besides.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import logging
import re
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NoReturn

import fastchat
from fastchat import LineChannel, Server, call_every, limit_logs, serve
from fastchat._core.line_limits import LIMITS
from fastchat._lines_command import _unescaped
from fastchat._status_line import EVERY, StatusLine
from fastchat.cli import refuse, tell

_ABOUT = {
    "serve": """\
Serves MODULE:CHANNEL, a class derived from fastchat.LineChannel in a module that can be imported
from here. SIGTERM and SIGINT stop the server in order: each line that was received in full is
answered, and the exit status is 0. The second signal stops it at once, and the exit status is 128
more than its number.

  python -m fastchat serve game:Player --bind 127.0.0.1:8888
  python -m fastchat serve mail:Receiver --bind :25 --idle-timeout 60 --max-per-address 20
  python -m fastchat serve app:Worker --bind unix:/run/app.sock --unix-mode 660
""",
    "echo": """\
Answers each line with itself: to try a client, a network, or the limits. Lines end in LF here.

  python -m fastchat echo --bind 127.0.0.1:8888
""",
}
_EPILOG = """\
A SIZE is a number of bytes; K, M or G behind it are 1024, 1024**2 or 1024**3 of them. "none"
switches a limit off. Where to listen:

  127.0.0.1:8888    [::1]:8888    localhost:8888
  :8888             all addresses of the machine, IPv4 and IPv6; port 0 is any that is free
  unix:/path        a Unix socket; one that a dead server left there is replaced
  systemd           the sockets that systemd hands over (LISTEN_FDS)

What each limit does: https://github.com/fastchat/fastchat/blob/main/docs/server.md#limits
"""
# How many records of one kind are logged in a minute.
_MOST_RECORDS = 10
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
# What the options of the limits of a channel say, behind the unit.
_CHANNEL = {
    "max_line": ("SIZE", "of a line; who sends a longer one is closed"),
    "lines_per_pass": ("N", "lines of a connection before others have their turn"),
    "max_body": ("SIZE", "of what is received as one piece, not as lines"),
    "high_water": ("SIZE", "of waiting output above which no line is taken"),
    "low_water": ("SIZE", "of waiting output with which lines are taken again"),
    "max_output": ("SIZE", "of waiting output above which the connection is aborted"),
    "idle_timeout": ("SECONDS", "without input or output"),
    "line_timeout": ("SECONDS", "for a whole line, and for 64 KiB of a body"),
    "write_timeout": ("SECONDS", "in which the peer must take some of the output"),
    "linger_timeout": ("SECONDS", "in which input is dropped after the end"),
}


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        refuse(message, self.prog.split()[-1])

    def print_help(self, file: Any = None) -> None:
        tell(self.format_help(), self.prog.split()[-1])


def main(command: str, words: Sequence[str]) -> None:
    """Run *command*, "serve" or "echo", as *words* say.

    Raises SystemExit: 2 where they are wrong or an address cannot be had, else what ``serve()``
    returns.
    """
    given = vars(_parser(command).parse_args(words))
    bind, level = given.pop("bind"), given.pop("log_level")
    metrics, most_records = given.pop("metrics", None), given.pop("max_log_records", _MOST_RECORDS)
    channel = Echo if command == "echo" else _find(given.pop("channel"))
    started: list[Server] = []
    url = ""

    def say(server: Server) -> None:
        started.append(server)
        if metrics is not None:
            _metrics().export(server)
        version = f"fastchat {fastchat.__version__} ({fastchat.implementation})"
        where = ", ".join(server.addresses)
        rest = f", metrics at {url}" if url else ""
        tell(f"listening on {where}: {channel.__name__}, by {version}{rest}\n", command)
        line.show(server)
        call_every(EVERY, line.show, server)

    with StatusLine() as line, ExitStack() as stack:
        logging.basicConfig(level=level.upper(), format="%(asctime)s %(name)s: %(message)s")
        try:
            limit_logs(most_records)
            # Before the server: while that listens, nothing is missing.
            if metrics is not None:
                url = stack.enter_context(_metrics().endpoint(metrics))
            status = serve(_limited(channel, given), *bind, on_start=say, **given)
        except (TypeError, ValueError, OSError, ImportError) as failure:
            if not started:
                refuse(str(getattr(failure, "strerror", None) or failure), command)
            raise
    raise SystemExit(status)


def _metrics() -> Any:
    """``fastchat.prometheus``, which needs a package that may not be there."""
    return importlib.import_module("fastchat.prometheus")


class Echo(LineChannel):
    """Answers each line with itself."""

    delimiter = b"\n"

    def lines_received(self, lines: list[bytes]) -> list[bytes]:
        return lines


def _limited(channel: type[LineChannel], given: dict[str, Any]) -> type[LineChannel]:
    """*channel* with those of its limits that were *given*, which are taken out there."""
    limits = {name: given.pop(name) for name in LIMITS if name in given}
    if not limits:
        return channel
    if "delimiter" in limits:
        limits["delimiter"] = tuple(limits["delimiter"])
    members = limits | {"__module__": channel.__module__, "__qualname__": channel.__qualname__}
    try:
        return type(channel.__name__, (channel,), members)
    except (TypeError, ValueError):  # of a limit, as a rule
        raise
    except BaseException as failure:  # of its __init_subclass__()
        refuse(f"{channel.__name__} takes no limits: {_in_one_line(failure)}", "serve")


def _find(text: str) -> type[LineChannel]:
    """The class that *text*, MODULE:CHANNEL, names."""
    if re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", text) is None:
        refuse(f"MODULE:CHANNEL is wanted, such as game:Player, not {text!r}", "serve")
    module, _, name = text.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except BaseException as failure:  # also sys.exit()
        refuse(f"cannot import {module!r}: {_in_one_line(failure)}", "serve")
    try:
        found = functools.reduce(getattr, name.split("."), found)
        is_channel = isinstance(found, type) and issubclass(found, LineChannel)
    except AttributeError:
        refuse(f"the module {module!r} has no {name!r}", "serve")
    except BaseException as failure:  # of a __getattr__() or a property
        refuse(f"cannot look for {name!r} in {module!r}: {_in_one_line(failure)}", "serve")
    if not is_channel or found is LineChannel:
        refuse(f"{text!r} is no class derived from fastchat.LineChannel", "serve")
    channel: type[LineChannel] = found
    return channel


def _in_one_line(failure: BaseException) -> str:
    """What *failure* says, and where it was raised, if that was in a program."""
    try:
        text = str(failure)
    except Exception:  # its class is the program's
        text = ""
    said = " ".join(f"{type(failure).__name__}: {text}".split())
    frames = traceback.extract_tb(failure.__traceback__)[1:]
    frames = [each for each in frames if "importlib" not in each.filename]
    return f"{said} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else said


# The options.


def _parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"python -m fastchat {command}",
        usage=f"%(prog)s{' MODULE:CHANNEL' * (command == 'serve')} --bind ADDRESS [OPTIONS]",
        description=_ABOUT[command],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is left to the defaults
        allow_abbrev=False,
    )
    if command == "serve":
        parser.add_argument("channel", metavar="MODULE:CHANNEL", help="the class to serve")
    add = parser.add_argument
    add(
        *("--bind", "-b"),
        action="append",
        required=True,
        metavar="ADDRESS",
        help="where to listen; may be given several times",
    )
    server = parser.add_argument_group("the server")
    _add(server, "max_connections", "N", "connections (default auto: descriptors - 64, <= 10000)")
    _add(server, "max_per_address", "N", "connections from one address (default none)")
    _add(server, "max_memory", "SIZE", "of input and output that waits in all (default 256M)")
    _add(server, "backlog", "N", "connections that wait to be taken (default 1024)")
    _add(server, "grace", "SECONDS", "that a stop takes at most (default 8)")
    server.add_argument(
        "--unix-mode", type=_mode, metavar="MODE", help="of socket files, octal (default by umask)"
    )
    server.add_argument(
        "--refusal",
        type=_bytes,
        metavar="BYTES",
        help=r"sent to who is kept out, such as '421\r\n'",
    )
    server.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        default="warning",
        type=str.lower,
        metavar="LEVEL",
        help="debug, info, warning (default) or error",
    )
    _add(server, "max_log_records", "N", f"of one kind a minute (default {_MOST_RECORDS})")
    server.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        help="where Prometheus finds metrics; needs prometheus_client",
    )
    channel = parser.add_argument_group("each connection")
    channel.add_argument(
        "--delimiter",
        action="append",
        type=_bytes,
        metavar="BYTES",
        help=r"what ends a line: may have \r, \n, \t, \0, \\ and \xHH in it, and be given again",
    )
    for name, (unit, text) in _CHANNEL.items():
        default = _shown(getattr(LineChannel, name), unit)
        _add(channel, name, unit, f"{text} (default {default})")
    return parser


def _add(group: Any, name: str, unit: str, text: str) -> None:
    read: Callable[[str], Any] = {"N": _number, "SIZE": _size, "SECONDS": _seconds}[unit]
    group.add_argument(
        f"--{name.replace('_', '-')}", type=read, metavar=unit, help=text.replace("%", "%%")
    )


def _shown(value: Any, unit: str) -> str:
    if unit != "SIZE":
        return f"{value:g}"
    letter = "M" if value % _UNITS["M"] == 0 else "K"
    return f"{value // _UNITS[letter]}{letter}"


def _number(text: str) -> Any:
    if text in ("none", "auto"):
        return None if text == "none" else text
    if re.fullmatch("[0-9]{1,18}", text) is None:
        raise argparse.ArgumentTypeError(f"a number or none is wanted, not {text!r}")
    return int(text)


def _size(text: str) -> int | None:
    if text == "none":
        return None
    found = re.fullmatch("([0-9]{1,15})([KMG]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"a size such as 65536, 64K or none, not {text!r}")
    return int(found[1]) * _UNITS[found[2]]


def _seconds(text: str) -> float | None:
    if text == "none":
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) is None:
        raise argparse.ArgumentTypeError(f"a number of seconds or none, not {text!r}")
    return float(text)


def _mode(text: str) -> int:
    if re.fullmatch("0?[0-7]{3}", text) is None:
        raise argparse.ArgumentTypeError(f"three octal digits such as 660, not {text!r}")
    return int(text, 8)


def _bytes(text: str) -> bytes:
    if not text:
        raise argparse.ArgumentTypeError("it must have at least one byte")
    try:
        return _unescaped(text)
    except ValueError as failure:
        reason = str(failure).replace("--delimiter ", "")
        raise argparse.ArgumentTypeError(reason) from None
