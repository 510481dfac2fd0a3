"""``python -m fastchat lines``: what it counts, and how it ends.

What it should count is told by ``bytes.splitlines()``, and by the oracle of LineBuffer.
"""

from __future__ import annotations

import errno
import io
import os
import random
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import NoReturn

import pytest

from fastchat import LineBuffer, _lines_command, cli
from fastchat._lines_command import Counted, Counter
from tests.support.naive_lines import UNLIMITED, NaiveBuffer
from tests.support.programs import SEARCH_PATH, open_terminal

needs_unix = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")

BIG = 16 * 2**20
COMMAND = [sys.executable, "-m", "fastchat", "lines"]
ENVIRONMENT = os.environ | {"PYTHONPATH": SEARCH_PATH}


def lines(*words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The rows that the command prints, by their names; it must succeed and complain of nothing."""
    cli.main(["lines", *words])
    printed = capsys.readouterr()
    assert printed.err == ""
    return dict(re.split(" {2,}", row, maxsplit=1) for row in printed.out.splitlines())


def counted(pieces: Sequence[bytes], delimiters: Sequence[bytes] = (), most: int = BIG) -> Counted:
    """What is found where each read gives one of *pieces*."""
    counter = Counter(delimiters, most)
    for piece in pieces:
        counter.add(counter.buffer.feed(piece), len(piece))
    counter.end()
    return counter.counted


def expected(data: bytes, delimiters: Sequence[bytes], most: int) -> Counted:
    """The same of all *data*, by the oracles."""
    ends = dict.fromkeys([*(delimiters or (b"\n", b"\r\n", b"\r")), b""], 0)
    if delimiters:
        buffer = NaiveBuffer(tuple(delimiters), UNLIMITED, "raise", keepends=True)
        whole = buffer.feed(data) + [rest for rest in [buffer.feed_eof()] if rest]
    else:
        whole = data.splitlines(keepends=True)
    sizes = []
    for line in whole:
        end = max((each for each in ends if line.endswith(each)), key=len)
        ends[end] += 1
        sizes.append(len(line) - len(end))
    longest = max(sizes, default=0)
    at = sizes.index(longest) + 1 if longest else 0
    too_long = sum(size > most for size in sizes)
    return Counted(len(data), len(whole), longest, at, too_long, ends)


@pytest.mark.parametrize("delimiters", [(), (b"\n",), (b"\r\n",), (b"a\n", b"\n"), (b"\r", b"\n")])
def test_the_counts_are_those_of_the_oracle(delimiters: Sequence[bytes]) -> None:
    seed = random.randrange(2**32)
    chosen = random.Random(seed)
    for _ in range(3000):
        data = bytes(chosen.choices(b"\r\na\0", k=chosen.randrange(12)))
        at = sorted(chosen.choices(range(len(data) + 1), k=chosen.randrange(4)))
        pieces = [data[a:b] for a, b in zip([0, *at], [*at, None], strict=True)]
        most = chosen.randrange(1, 5)
        assert counted(pieces, delimiters, most) == expected(data, delimiters, most), (
            f"seed {seed}: {pieces}, at most {most}"
        )


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"one\r\nthree\nfour\r\rtwenty one bytes long\n" * 100 + b"\xff\0")
    rows = lines("--max-line", "20", str(path), capsys=capsys)
    assert re.fullmatch(r"[\d,]+ MB/s, [\d,]+ lines/s", rows.pop("rate"))
    assert rows == {
        "lines": "501",
        "bytes": "3,902",
        "longest": "21 bytes, line 5",
        "LF": "200",
        "CRLF": "100",
        "CR": "200",
        "no end": "1",
        "too long": "100, of more than 20 bytes",
    }


def test_nothing_has_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"")
    rows = lines(str(path), capsys=capsys)
    assert (rows["lines"], rows["bytes"], rows["longest"]) == ("0", "0", "0 bytes")


@pytest.mark.parametrize(
    ("word", "delimiter", "name"),
    [
        (r"\r\n", b"\r\n", r"'\r\n'"),
        (r"\0", b"\0", r"'\x00'"),
        (r"\t", b"\t", r"'\t'"),
        (r"\\n", b"\\n", r"'\\n'"),
        (r"\xFF\x0a", b"\xff\n", r"'\xff\n'"),
        ("é", "é".encode(), r"'\xc3\xa9'"),
        ("'", b"'", '"\'"'),
        ("--", b"--", "'--'"),
        ("bytes", b"bytes", "'bytes'"),  # which is a row, too
        (" ", b" ", "' '"),
    ],
)
def test_a_delimiter(
    word: str, delimiter: bytes, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"some" + delimiter + b"thing\r" + delimiter + b"more")
    rows = lines(f"--delimiter={word}", str(path), capsys=capsys)
    assert (rows["lines"], rows[name], rows["no end"]) == ("3", "2", "1")
    assert "CR" not in rows


def test_several_delimiters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"one;two\r\nthree\n;")
    words = ["--delimiter", ";", "--delimiter", r"\r\n", "--delimiter", r"\n", str(path)]
    rows = lines(*words, capsys=capsys)
    assert [rows[name] for name in ("lines", "';'", r"'\r\n'", r"'\n'", "no end")] == list("42110")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--delimiter"], "option --delimiter requires argument"),
        (["--delimiter="], "--delimiter is empty; it must have at least one byte"),
        (["--delimiter=a", "--delimiter=a"], "b'a'"),
        ([r"--delimiter=\q"], r"'\\q' has an escape other than \r, \n,"),
        (["--delimiter=\\"], "has an escape other than"),
        ([r"--delimiter=\x4"], "has an escape other than"),
        (["--max-line=0"], "max_line must be at least 1, but is 0"),
        (["--max-line", "-1"], "--max-line must be a number of bytes, not '-1'"),
        (["--max-line=1k"], "--max-line must be a number of bytes, not '1k'"),
        (["--most"], "option --most not recognized"),
        (["-x"], "option -x not recognized"),
        (["one", "two"], "it takes one file, and 'two' is another one"),
        (["missing"], "lines: cannot read 'missing': No such file or directory"),
    ],
    ids=str,
)
def test_a_wrong_command_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(["lines", *words])
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("fastchat: lines: ")
    assert message in line


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "fastchat: interrupted; this is what was counted before\n"),
        (
            OSError(errno.EIO, "Input/output error"),
            1,
            "fastchat: cannot read 'input': Input/output error; this is what was counted before\n",
        ),
    ],
)
def test_what_ends_it_early_leaves_the_counts(
    failure: BaseException,
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read(counter: Counter, file: FileIO) -> bool:
        if counter.counted.size:
            raise failure
        counter.add([b"one\n", b"tw"], 6)
        return True

    monkeypatch.chdir(tmp_path)
    Path("input").touch()
    monkeypatch.setattr(Counter, "read", read)
    with pytest.raises(SystemExit) as caught:
        cli.main(["lines", "input"])
    assert caught.value.code == status
    printed = capsys.readouterr()
    assert printed.err == said
    assert re.search(r"^lines +1\nbytes +6\n", printed.out)


def test_an_interrupt_leaves_the_counts_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(bytes):
        def endswith(self, *_: object) -> NoReturn:
            raise KeyboardInterrupt

    counter = Counter((), BIG)
    counter.add([b"one\n"], 4)
    before = counter.counted
    with pytest.raises(KeyboardInterrupt):
        counter.add([b"two\r", b"three\n", Interrupting(b"four\n")], 15)
    assert counter.counted == before
    assert before.ends == {b"\n": 1, b"\r\n": 0, b"\r": 0, b"": 0}


@needs_unix
def test_an_input_that_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = os.pipe()
    os.set_blocking(near, False)
    wait: Callable[..., object] = select.select

    def waits(*descriptors: list[FileIO]) -> object:
        os.write(far, b"one\n")
        os.close(far)
        return wait(*descriptors)

    monkeypatch.setattr(select, "select", waits)
    counter = Counter((), BIG)
    with FileIO(near) as file:
        while counter.read(file):
            pass
    assert counter.counted.lines == 1


def test_the_standard_input_is_binary() -> None:
    data = bytes(range(256)) * 3
    for words in ([], ["-"]):
        done = subprocess.run(
            [*COMMAND, *words], input=data, env=ENVIRONMENT, capture_output=True, check=True
        )
        assert done.stderr == b""
        assert re.search(rb"^lines +7\nbytes +768\n", done.stdout)


@needs_unix
def test_there_is_no_standard_input() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND], env=ENVIRONMENT, capture_output=True
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"fastchat: lines: there is no standard input (")


@needs_unix
def test_nobody_reads_the_output() -> None:
    near, far = os.pipe()
    os.close(near)
    with open(far, "wb") as output:
        done = subprocess.run(
            COMMAND, stdin=subprocess.DEVNULL, env=ENVIRONMENT, stdout=output, stderr=-1
        )
    assert (done.returncode, done.stderr) == (1, b"")


@needs_unix
def test_there_is_no_standard_output() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND],
        stdin=subprocess.DEVNULL,
        env=ENVIRONMENT,
        stderr=-1,
    )
    assert (done.returncode, done.stderr) == (1, b"fastchat: lines: there is no standard output\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="it is of Linux")
def test_the_output_is_full() -> None:
    with open("/dev/full", "wb") as output:
        done = subprocess.run(
            COMMAND, stdin=subprocess.DEVNULL, env=ENVIRONMENT, stdout=output, stderr=-1
        )
    assert done.returncode == 1
    assert done.stderr == b"fastchat: lines: cannot write the counts: No space left on device\n"


@needs_unix
def test_there_is_no_standard_error() -> None:
    """What is wrong does not go to standard output instead."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "--most"], env=ENVIRONMENT, stdout=-1
    )
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_interrupt_before_the_file_is_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A FIFO that nobody writes to is not opened before somebody does."""

    def interrupted(path: str) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(_lines_command, "FileIO", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main(["lines", "fifo"])
    assert caught.value.code == 130
    printed = capsys.readouterr()
    assert printed.err == "fastchat: interrupted; this is what was counted before\n"
    assert printed.out.startswith("lines     0\n")


def test_a_dumb_terminal_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert not _lines_command.Progress().is_shown
    monkeypatch.setenv("TERM", "xterm")
    assert _lines_command.Progress().is_shown


@needs_unix
def test_an_interrupt_on_a_terminal() -> None:
    """It shows how far it is, and after Ctrl-C what it has."""
    terminal, own = open_terminal()
    # What a shell starts in the background ignores it, and so would the child.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(terminal, "rb", buffering=0) as screen:
        with open(own, "wb") as errors:
            process = subprocess.Popen(
                COMMAND,
                env=ENVIRONMENT | {"TERM": "xterm"},
                stdin=-1,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        signal.signal(signal.SIGINT, before)
        assert process.stdin
        process.stdin.write(b"one\ntwo\nthr")
        process.stdin.flush()
        shown = b""
        while b"2 lines, 0 MB, " not in shown:
            shown += screen.read(1000)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        while not shown.endswith(b" before\r\n"):
            shown += screen.read(1000)
    assert process.returncode == 130
    assert re.search(rb"^lines +2\nbytes +11\n", printed)
    assert re.fullmatch(rb"\r +\rfastchat: interrupted; this .*\r\n", shown.partition(b"/s")[2])


def test_progress_is_shown_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    progress = _lines_command.Progress()
    for seconds in (0.0, 0.1, 0.3):
        progress.show(Counted(10**6, 7), seconds)
    progress.clear()
    first, second, *cleared = capsys.readouterr().err.split("\r")[1:]
    assert first == "7 lines, 1 MB, 1,000,000,000 MB/s"
    assert second == "7 lines, 1 MB, 3 MB/s".ljust(len(first))
    assert cleared == [" " * len(first), ""]


def test_a_terminal_that_is_gone_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, _: str) -> NoReturn:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setenv("TERM", "xterm")
    progress = _lines_command.Progress()
    progress.show(Counted(10**6, 7), 0.0)
    progress.clear()
    assert not progress.is_shown


def test_it_holds_no_more_than_a_line(tmp_path: Path) -> None:
    """A line of many megabytes costs the buffer what it may have, and is counted in full."""
    path = tmp_path / "input"
    with path.open("wb") as file:
        file.truncate(32 * 2**20)
    counter, most = Counter((), 1000), 0
    with FileIO(path) as file:
        while counter.read(file):
            most = max(most, len(counter.buffer))
    assert most <= 1000
    assert (counter.counted.longest, counter.counted.too_long) == (32 * 2**20, 1)
    assert type(counter.buffer) is LineBuffer
