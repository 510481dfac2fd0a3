"""``python -m fastchat serve`` and ``echo``: each option with each kind of bad value, and the rest.

Whatever is wrong with the command line, what it names, or standard output is one line on standard
error and exit status 2; nothing listens then, and no signal is handled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastchat.asyncore
from fastchat import _serve_command, cli
from fastchat._stop_signals import STOPPING
from tests.support.channels import PATIENCE, posix_only
from tests.support.programs import SEARCH_PATH
from tests.support.servers import LOCAL

# What no option takes that is a number, a size or a time; a sign, a point and an exponent neither.
NO_NUMBERS = [
    *("", " ", "x", "-1", "+1", "-0", "nan", "inf", "-inf", "infinity", "1e400", "1e3", "0x10"),
    *("1_0", " 1", "1\n", "1\n2", "\u0661", "\0", "None", "True", "1" * 19, "9" * 5000, "9" * 400),
]
READERS: dict[Any, list[str]] = {
    _serve_command._number: [*NO_NUMBERS, "1.5", "1K", "0"],
    _serve_command._size: [*NO_NUMBERS, "1.5", "1.5K", "1k", "1T", "auto", "K"],
    _serve_command._seconds: [*NO_NUMBERS, "1K", "auto", "1.", ".5", "1.5.5", "1" * 10],
    _serve_command._mode: [*NO_NUMBERS, "8", "999", "7777", "none", "rw-rw----"],
    _serve_command._bytes: ["", "\\", "\\q", "\\x", "\\x1", "\\xg0"],
}
# What is no value of these, besides, though it is of the right form.
BESIDES = {
    "--backlog": ["none", "auto", "2147483648", "9" * 18],
    "--max-connections": [],
    "--max-per-address": ["auto"],
    "--grace": ["none", "31536001", "999999999"],
    "--max-line": ["0", "0K"],
    "--lines-per-pass": ["auto"],
    "--idle-timeout": ["0", "0.0"],
    "--line-timeout": ["0"],
    "--write-timeout": ["0"],
    "--metrics": [
        *("", " ", "x", "9126", ":9126", "host:", "host:-1", "host:65536", "host:1\n", "::1:1"),
        *("[::1]", "[x]:1", "unix:/x", "x" * 5000, "a\0b:1", "192.0.2.1:0", "nobody.invalid:0"),
    ],
    "--log-level": ["", "loud", "10", "warning\n"],
    "--bind": [
        *("", " ", "x", "8888", "-1", "host:-1", "host:65536", "host:1\n", "a\nb:1", "::1:1"),
        *("[::1]", "[x]:1", "unix:", "unix:\0", "tcp://h:1", "x" * 5000, "a\0b:1", "systemd"),
        *("192.0.2.1:0", "nobody.invalid:0", "unix:" + "x" * 500, "unix:/dev/null", "unix:/a/b"),
    ],
}
OPTIONS = [
    (each.option_strings[0], value)
    for each in _serve_command._parser("echo")._actions
    if each.dest != "help"
    for value in READERS.get(each.type, []) + BESIDES.get(each.option_strings[0], [])
]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """What is refused leaves no channel in the map, and the signals as they were."""
    before = [signal.getsignal(number) for number in STOPPING]
    yield
    assert not fastchat.asyncore.socket_map
    assert [signal.getsignal(number) for number in STOPPING] == before


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line that is said about the command line *words*."""
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("fastchat: ")
    assert printed.err.endswith(" --help says how)\n")
    assert len(printed.err.splitlines()) == 1
    return printed.err


def test_each_option_has_values_that_it_does_not_take() -> None:
    named = {
        name for each in _serve_command._parser("echo")._actions for name in each.option_strings
    }
    assert named - {"-h", "--help", "-b"} == {name for name, _ in OPTIONS}


@pytest.mark.parametrize("way", ["apart", "together"])
@pytest.mark.parametrize(
    ("option", "value"), OPTIONS, ids=[f"{name}-{value[:20]!a}" for name, value in OPTIONS]
)
def test_a_bad_value_is_one_line(
    capsys: pytest.CaptureFixture[str], option: str, value: str, way: str
) -> None:
    given = [option, value] if way == "apart" else [f"{option}={value}"]
    said = refused(capsys, "echo", "--bind", LOCAL, *given)
    name = option.removeprefix("--")
    assert name in said or name.replace("-", "_") in said or "cannot listen on" in said


@pytest.mark.parametrize("option", sorted({name for name, _ in OPTIONS}))
def test_an_option_without_a_value(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert option in refused(capsys, "echo", "--bind", LOCAL, option)


@pytest.mark.parametrize("word", ["x\ny", "--x\ny", "-x", "\n", "--help=\n"])
def test_a_word_that_means_nothing(capsys: pytest.CaptureFixture[str], word: str) -> None:
    refused(capsys, "echo", "--bind", LOCAL, word)


@pytest.mark.parametrize(
    "words", [["x\ny"], ["run", "-x\ny"], ["run", "-m", "x\ny"], ["lines", "-\n"]]
)
def test_other_commands_say_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(fastchat, "install", lambda **options: None)
    refused(capsys, *words)


# What the command line names.

MODULES = {
    "leaves": "import sys\nsys.exit(3)",
    "leaves_well": "import sys\nsys.exit()",
    "says_much": "raise SystemExit('one\\ntwo')",
    "fails": "raise ValueError('one\\n\\ntwo')",
    "interrupts": "raise KeyboardInterrupt",
    "generates": "raise GeneratorExit",
    "has_its_own": "class Own(BaseException):\n pass\nraise Own('x')",
    "mute": "class Mute(Exception):\n def __str__(self): return 1 / 0\nraise Mute",
    "groups": "raise ExceptionGroup('several', [ValueError(1), KeyError(2)])",
    "recurses": "def f(): f()\nf()",
    "does_not_compile": "def f(:\n",
    "has_nul": "x = '\0'",
    "is_no_text": "# coding: ascii\nx = '\u00e9'",
    "needs": "import there_is_no_such_module",
}
FOUND = """
import fastchat

class Player(fastchat.LineChannel):
    pass

class Choosy(fastchat.LineChannel):
    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        raise RuntimeError("one\\ntwo")

class Leaving(fastchat.LineChannel):
    def __init_subclass__(cls, **options):
        raise SystemExit(3)

class Wanting(fastchat.LineChannel):
    def __init_subclass__(cls, *, colour):
        pass

class Pretender:
    __class__ = type

class Raising:
    @property
    def __class__(self):
        raise RuntimeError("of a property")

class Outer:
    @property
    def inner(self):
        raise SystemExit(3)

def __getattr__(name):
    if name == "Quits":
        raise SystemExit(3)
    if name == "Fails":
        raise LookupError("one\\ntwo")
    raise AttributeError(name)

pretender, raising, outer = Pretender(), Raising(), Outer()
some, none, made = 1, None, fastchat.asyncore.dispatcher
LineChannel = fastchat.LineChannel
instance = Player(None, {})
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with modules in it, on the path."""
    for name, source in MODULES.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    (tmp_path / "found.py").write_text(FOUND)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in (*MODULES, "found"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_raises(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    said = refused(capsys, "serve", f"{name}:Player", "--bind", LOCAL)
    assert said.startswith(f"fastchat: serve: cannot import {name!r}: ")


@pytest.mark.parametrize(
    "name",
    [
        *("some", "none", "made", "instance", "pretender", "raising", "outer", "outer.inner"),
        *("Missing", "Player.Missing", "Quits", "Fails", "LineChannel", "__name__", "Raising"),
    ],
)
def test_an_attribute_that_is_no_channel(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    refused(capsys, "serve", f"found:{name}", "--bind", LOCAL)


@pytest.mark.parametrize(
    "text",
    ["", ":", "found", "found:", ":Player", "found:Player:x", "a\nb:c", "..:x", "found..x:y"],
)
def test_what_names_no_module(here: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    refused(capsys, "serve", text, "--bind", LOCAL)


@pytest.mark.parametrize("name", ["Choosy", "Leaving", "Wanting"])
def test_a_class_that_takes_no_limits(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    refused(capsys, "serve", f"found:{name}", "--bind", LOCAL, "--max-line", "9")


# Standard output.


def outcome(words: list[str], **options: Any) -> tuple[int, str]:
    """The exit status of ``python -m fastchat`` with *words*, and what it has said."""
    done = subprocess.run(
        [sys.executable, "-m", "fastchat", *words],
        env=os.environ | {"PYTHONPATH": SEARCH_PATH},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE * 5,
        **options,
    )
    return done.returncode, done.stderr


TELLING = [
    *(["--help"], ["--version"], ["serve", "--help"], ["echo", "-h"]),
    ["echo", "--bind", LOCAL],
]
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@needs_full
@pytest.mark.parametrize("words", TELLING, ids=" ".join)
def test_a_full_standard_output_is_one_line(words: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        status, said = outcome(words, stdout=full)
    assert status == 2
    assert "cannot write to the standard output: No space left on device" in said
    assert said.count("\n") == 1


@posix_only
@pytest.mark.parametrize("words", TELLING, ids=" ".join)
def test_a_standard_output_that_nobody_reads_is_one_line(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        status, said = outcome(words, stdout=writer)
    finally:
        os.close(writer)
    assert status == 2
    assert "cannot write to the standard output: Broken pipe" in said
    assert said.count("\n") == 1


@needs_full
def test_where_standard_error_is_full_too_the_status_tells() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fastchat", "echo", "--bind", "nowhere"],
            env=os.environ | {"PYTHONPATH": SEARCH_PATH},
            stdout=full,
            stderr=full,
            timeout=PATIENCE * 5,
        )
    assert done.returncode == 2


def test_without_standard_output_nothing_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    cli.main(["--version"])


def test_characters_that_standard_output_does_not_have() -> None:
    program = "from fastchat import cli; print(cli.write('\\u00e9\\udcff\\n'))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": SEARCH_PATH, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 5,
    )
    assert done.stdout == "\\xe9\\udcff\nNone\n"
    assert done.stderr == ""
