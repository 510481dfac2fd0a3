r"""The command ``python -m fastchat lines``: how many lines some input has, and of what kind.

Rules this file keeps:

* The lines are those of ``bytes.splitlines()``: LF, CRLF and CR end one.  With ``--delimiter``
  they are those of a LineBuffer.
* Memory is bounded by ``--max-line``, whatever the input: a longer line is counted in pieces.
* What is counted is replaced as a whole after each read, so an interrupt shows no half of one.
* Standard output gets the counts and nothing else; progress goes to a terminal, or nowhere.
"""

from __future__ import annotations

import getopt
import os
import re
import select
import sys
import time
from collections.abc import Sequence
from io import FileIO
from typing import NamedTuple

from fastchat import LineBuffer
from fastchat.cli import complain, refuse, write

UNIVERSAL = {b"\n": "LF", b"\r\n": "CRLF", b"\r": "CR"}
ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
PROGRESS_EVERY = 0.2  # seconds


class Counted(NamedTuple):
    """What was found so far; sizes are bytes, and those of lines are without their delimiters."""

    size: int = 0
    lines: int = 0
    longest: int = 0
    longest_at: int = 0  # the number of that line, from 1
    too_long: int = 0
    ends: dict[bytes, int] = {}  # how many lines each delimiter ended, b"" for none


class Counter:
    """Counts the lines of a file: at *delimiters*, or as ``bytes.splitlines()`` without any.

    A line of more than *max_line* bytes is counted as too long, besides.  Raises ValueError as
    LineBuffer does.
    """

    def __init__(self, delimiters: Sequence[bytes], max_line: int) -> None:
        self.is_universal = not delimiters
        self.names = UNIVERSAL if self.is_universal else {d: _shown(d) for d in delimiters}
        # CRLF is put together by add(): a buffer that knows CR lets it end a line.
        at = (b"\n", b"\r") if self.is_universal else tuple(delimiters)
        self.buffer = LineBuffer(at, max_line=max_line, keepends=True, overflow="split")
        self.by_length = sorted(at, key=len, reverse=True)
        self.counted = Counted(ends=dict.fromkeys([*self.names, b""], 0))
        self._begun = 0  # bytes of a line whose delimiter is still to come
        self._is_behind_cr = False

    def read(self, file: FileIO) -> bool:
        """Read once and count; False at the end of the file.  Raises OSError as the file does."""
        size = file.readinto(self.buffer.get_buffer())
        if size is None:  # there is nothing yet, and the file is one that does not block
            select.select([file], [], [])
            return True
        if size:
            self.add(self.buffer.buffer_updated(size), size)
            return True
        self.end()
        return False

    def add(self, pieces: Sequence[bytes], size: int) -> None:
        """Count *pieces*, lines with their delimiters or parts of lines, of *size* bytes read."""
        read, lines, longest, longest_at, too_long, ends = self.counted
        ends = ends.copy()
        begun, is_behind_cr = self._begun, self._is_behind_cr
        max_line, is_universal, by_length = self.buffer.max_line, self.is_universal, self.by_length
        for piece in pieces:
            for delimiter in by_length:
                if piece.endswith(delimiter):
                    break
            else:
                begun += len(piece)
                continue
            if is_behind_cr and piece == b"\n" and not begun:
                ends[b"\r"] -= 1
                ends[b"\r\n"] += 1
                is_behind_cr = False
                continue
            lines += 1
            ends[delimiter] += 1
            length = begun + len(piece) - len(delimiter)
            begun = 0
            is_behind_cr = is_universal and delimiter == b"\r"
            if length > longest:
                longest, longest_at = length, lines
            if length > max_line:
                too_long += 1
        self._begun, self._is_behind_cr = begun, is_behind_cr
        self.counted = Counted(read + size, lines, longest, longest_at, too_long, ends)

    def end(self) -> None:
        """The input has ended: count the line that has no delimiter, if there is one."""
        length = self._begun + len(self.buffer.feed_eof() or b"")
        if length:
            size, lines, longest, longest_at, too_long, ends = self.counted
            lines += 1
            if length > longest:
                longest, longest_at = length, lines
            too_long += length > self.buffer.max_line
            ends = ends | {b"": 1}
            self.counted = Counted(size, lines, longest, longest_at, too_long, ends)

    def report(self, seconds: float) -> str:
        """The counts as lines of text; *seconds* is how long they took."""
        counted = self.counted
        where = f" bytes, line {counted.longest_at:,}" if counted.longest else " bytes"
        rows = [
            ("lines", f"{counted.lines:,}"),
            ("bytes", f"{counted.size:,}"),
            ("longest", f"{counted.longest:,}{where}"),
            *((name, f"{counted.ends[end]:,}") for end, name in self.names.items()),
            ("no end", f"{counted.ends[b'']:,}"),
            ("too long", f"{counted.too_long:,}, of more than {self.buffer.max_line:,} bytes"),
            ("rate", f"{_rate(counted, seconds)}, {counted.lines / seconds:,.0f} lines/s"),
        ]
        width = max(len(name) for name, _ in rows)
        return "".join(f"{name:{width}}  {value}\n" for name, value in rows)


class Progress:
    """How far it is, on standard error, where that is a terminal that can go back in a line."""

    def __init__(self) -> None:
        is_dumb = os.environ.get("TERM") == "dumb"
        self.is_shown = sys.stderr is not None and sys.stderr.isatty() and not is_dumb
        self._next = 0.0
        self._width = 0

    def show(self, counted: Counted, seconds: float) -> None:
        """Write a line over the last one, five times a second at most."""
        if self.is_shown and seconds >= self._next:
            self._next = seconds + PROGRESS_EVERY
            rate = _rate(counted, seconds)
            self._write(f"{counted.lines:,} lines, {counted.size / 1e6:,.0f} MB, {rate}")

    def clear(self) -> None:
        """Leave nothing of it behind."""
        if self._width:
            self._write("", end="\r")

    def _write(self, text: str, end: str = "") -> None:
        # Known before it is written: an interrupt between the two leaves something to be cleared.
        self._width = max(self._width, len(text))
        try:
            print(f"\r{text:{self._width}}", end=end, file=sys.stderr, flush=True)
        except OSError:  # the terminal is gone, which is no failure to read the input
            self.is_shown = False


def main(words: Sequence[str]) -> None:
    """Count the lines of the file, or the standard input, that *words* name, and print them.

    Raises SystemExit: 1 where the input cannot be read to its end or the output not be written, 2
    where *words* are wrong or there is no such file, 130 after an interrupt.
    """
    counter, path = _understood(words)
    status, progress, begin = 0, Progress(), time.perf_counter()
    try:
        with _opened(path) as file:
            begin = time.perf_counter()  # anew, for a FIFO that nobody wrote to yet
            # Where "while" has a condition, CPython 3.12 and later leave the jump back to it out of
            # what "try" covers.
            while True:
                if not counter.read(file):
                    break
                progress.show(counter.counted, time.perf_counter() - begin)
    except KeyboardInterrupt:
        status, why = 130, "interrupted"
    except OSError as failure:
        status, why = 1, f"cannot read {_named(path)}: {failure.strerror}"
    seconds = time.perf_counter() - begin
    progress.clear()
    if status:
        complain(f"{why}; this is what was counted before")
    status = _print(counter.report(seconds or 1e-9)) or status
    if status:
        raise SystemExit(status)


def _print(report: str) -> int:
    """Print *report*; the exit status is 1 where that fails."""
    if sys.stdout is None:
        complain("lines: there is no standard output")
        return 1
    failure = write(report)
    # Of a broken pipe, `| head` wants no word.
    if not (failure is None or isinstance(failure, BrokenPipeError)):
        complain(f"lines: cannot write the counts: {failure.strerror}")
    return 0 if failure is None else 1


def _understood(words: Sequence[str]) -> tuple[Counter, str]:
    """What *words* ask for: a counter, and the name of a file."""
    delimiters, max_line = [], str(16 * 2**20)
    try:
        options, files = getopt.gnu_getopt(list(words), "", ["delimiter=", "max-line="])
        for name, value in options:
            if name == "--delimiter":
                delimiters.append(_unescaped(value))
            else:
                max_line = value
        if not re.fullmatch("[0-9]{1,18}", max_line):
            raise ValueError(f"--max-line must be a number of bytes, not {max_line!r}")
        if files[1:]:
            raise ValueError(f"it takes one file, and {files[1]!r} is another one")
        return Counter(delimiters, int(max_line)), (files or ["-"])[0]
    except (getopt.GetoptError, ValueError) as failure:
        refuse(f"lines: {failure}")


def _opened(path: str) -> FileIO:
    """The file, to be read without a buffer of its own."""
    if path == "-" and sys.stdin is None:
        refuse("lines: there is no standard input")
    try:
        return FileIO(0, closefd=False) if path == "-" else FileIO(path)
    except OSError as failure:
        refuse(f"lines: cannot read {_named(path)}: {failure.strerror}")


def _named(path: str) -> str:
    return "the standard input" if path == "-" else repr(path)


def _unescaped(text: str) -> bytes:
    r"""The bytes that *text* means, with ``\r``, ``\n``, ``\t``, ``\0``, ``\\`` and ``\x00``.

    Raises ValueError where a backslash begins none of these, or there is nothing.
    """

    if not text:
        raise ValueError("--delimiter is empty; it must have at least one byte")

    def meant(found: re.Match[bytes]) -> bytes:
        if found[1].startswith(b"x") and len(found[1]) == 3:
            return bytes([int(found[1][1:], 16)])
        if found[1] in ESCAPES:
            return ESCAPES[found[1]]
        raise ValueError(
            rf"--delimiter {text!r} has an escape other than \r, \n, \t, \0, \\ and \x00 to \xff"
        )

    return re.sub(rb"\\(x[0-9A-Fa-f]{2}|.?)", meant, os.fsencode(text), flags=re.DOTALL)


def _shown(delimiter: bytes) -> str:
    """*delimiter* as the report names it: quoted, so that it is not taken for a row of its own."""
    return repr(delimiter)[1:]


def _rate(counted: Counted, seconds: float) -> str:
    return f"{counted.size / (seconds or 1e-9) / 1e6:,.0f} MB/s"
