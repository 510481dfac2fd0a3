"""What the new layer logs: escaped, shortened, and limited, so that no peer writes the log.

Rules this file keeps:

* No control character, line end or surrogate of a message or of an exception's text reaches a
  handler as it is: each is escaped as in a literal of Python.  The frames of a traceback are the
  program's own, and stand on lines of their own, each of which is escaped, too.
* What is escaped is what a handler formats, whenever it does: a record keeps no argument that may
  look different by then.
* A class whose text, notes or causes raise costs the log that text, and nobody the record.
* Of one kind, ``most`` records pass in a period.  A kind is a logger, a message before its
  arguments are put in, and where the exception came from.  The next record says that more are left
  out, and a later one how many those were.
* At most ``_KINDS`` kinds are told apart.  What is above that counts as one.
* The limiter is a filter of the loggers: a program sees it in ``Logger.filters``, and a level that
  is switched off costs nothing here.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

from fastchat._core.quantities import YEAR, seconds, whole

_Key: TypeAlias = tuple[Any, ...]

# How many kinds of records are told apart, how many exceptions of a chain or a group are shown, and
# how many characters of a message or an exception's text.
_KINDS = 100
_CHAIN = 8
_SIZE = 1000
# The attribute of a record that says how many others were left out, and passes it.
_LEFT_OUT = "left_out"
# The arguments that look the same whenever they are formatted, alone and in a tuple: an address.
_CONSTANT = frozenset({str, int, float, bytes, type(None)})
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"


class _Window:
    """The records of one kind in the period that has begun then."""

    __slots__ = ("begun", "left_out", "shown")

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.shown = self.left_out = 0


class Limiter(logging.Filter):
    """Lets *most* records of a kind pass in *period* seconds; None for *most* is no limit."""

    def __init__(
        self,
        most: int | None = 10,
        period: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.most = most
        self.period = period
        # How many records were left out so far, by the name of the logger.
        self.left_out: dict[str, int] = {}
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked process must, where a thread that is gone may have the lock."""
        self._windows: dict[_Key, _Window] = {}
        self._lock = threading.RLock()  # a signal handler may log, too

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether *record* passes; it is escaped then."""
        if hasattr(record, _LEFT_OUT):
            return True
        key = _kind_of(record)
        with self._lock:
            now = self._clock()
            over = self._take_over(now)
            passes, is_first = self._passes(key, now)
        for each, window in over:
            _tell(each, "%d more were left out in %g s, such as: %s", window, self.period)
        if is_first:
            text = "more of these are left out for up to %g s: %s"
            _log(key, text, self.period, escaped(key[2]), extra={_LEFT_OUT: 0})
        if passes:
            _escape(record)
        return passes

    def tell(self) -> None:
        """Log how many were left out, and begin anew."""
        with self._lock:
            windows, self._windows = self._windows, {}
        over = [pair for pair in windows.items() if pair[1].left_out]
        now = self._clock()
        for each, window in over:
            _tell(each, "%d more were left out in %g s, such as: %s", window, now - window.begun)

    def _take_over(self, now: float) -> list[tuple[_Key, _Window]]:
        """Take the windows out that are over, and return those that have left records out."""
        windows = list(self._windows.items())  # of which a signal handler may take some
        over = [pair for pair in windows if not 0 <= now - pair[1].begun < self.period]
        for key, _ in over:
            self._windows.pop(key, None)
        return [pair for pair in over if pair[1].left_out]

    def _passes(self, key: _Key, now: float) -> tuple[bool, bool]:
        """Whether a record passes, and whether it is the first that does not."""
        most = self.most  # once, for limit_logs() of another thread may change it
        if most is None:
            return True, False
        if key not in self._windows and len(self._windows) >= _KINDS:
            key = (key[0], key[1], "records of many kinds")
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now)
        if window.shown < most:
            window.shown += 1
            return True, False
        window.left_out += 1
        self.left_out[key[0]] = self.left_out.get(key[0], 0) + 1
        return False, window.left_out == 1


def logger_of(subject: str) -> logging.Logger:
    """The logger ``fastchat.SUBJECT``, whose records are escaped and limited."""
    logger = logging.getLogger(f"fastchat.{subject}")
    logger.addFilter(limiter)
    return logger


def limit_logs(max_log_records: int | None = 10, period: float = 60.0) -> None:
    """Log at most *max_log_records* of a kind in *period* seconds; None switches the limit off.

    It counts for the loggers "fastchat.channel", "fastchat.server", "fastchat.loop" and
    "fastchat.aio", from now on.  Raises TypeError and ValueError, which name what is wrong.
    """
    if max_log_records is not None:
        whole("max_log_records", max_log_records, 1, or_none=True)
    seconds("period", period, 0, YEAR, is_above=True)
    limiter.tell()
    limiter.most, limiter.period = max_log_records, period


# Texts.


def escaped(text: str) -> str:
    """*text* on one line, of printable characters, shortened."""
    size = len(text)
    text = _printable(text[:_SIZE])
    return text if size <= _SIZE else f"{text}... ({size} characters)"


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else _literal(each) for each in text])


def _literal(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def shown(failure: BaseException) -> str:
    """The traceback of *failure*, as Python shows it, but that no text of it has a second line."""
    return "\n".join(_lines_of(failure, set()))


def _lines_of(failure: BaseException, seen: set[int]) -> list[str]:
    """The lines for *failure*, after those for what led to it."""
    chain: list[tuple[BaseException, str]] = []
    each: BaseException | None = failure
    link = ""
    while each is not None and id(each) not in seen and len(chain) < _CHAIN:
        seen.add(id(each))
        chain.append((each, link))
        is_cause = each.__cause__ is not None
        link = _CAUSE if is_cause else _CONTEXT
        each = each.__cause__ if is_cause or each.__suppress_context__ else each.__context__
    lines: list[str] = []
    for each, link in reversed(chain):
        lines += _frames_of(each.__traceback__)
        lines += _text_of(each, seen)
        if link:
            lines += ["", link, ""]
    return lines


def _frames_of(place: TracebackType | None) -> list[str]:
    """The lines for the frames of *place*, without code where none can be read; or none."""
    if place is None:
        return []
    try:
        text = "".join(traceback.format_tb(place))
    except (OSError, ImportError):
        # From 3.13 on it imports what reads code: where no descriptor is left, that fails.
        frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(place)]
        text = "".join(
            f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
            for code, line in frames
        )
    lines = text.removesuffix("\n").split("\n")
    return ["Traceback (most recent call last):", *map(_printable, lines)]


def _text_of(failure: BaseException, seen: set[int]) -> list[str]:
    """What *failure* says, its notes, and the exceptions in it, where it is a group."""
    name = _name_of(type(failure))
    try:
        said = str(failure)
    except Exception as worse:
        said = f"<its text cannot be had: {type(worse).__name__}>"
    lines = [f"{name}: {escaped(said)}" if said else name]
    notes = getattr(failure, "__notes__", ())
    if isinstance(notes, (list, tuple)):
        lines += [escaped(str(each)) for each in notes[:_CHAIN] if isinstance(each, str)]
    if isinstance(failure, BaseExceptionGroup):
        for number, each in enumerate(failure.exceptions[:_CHAIN], 1):
            if len(seen) < _CHAIN * _CHAIN:  # of groups in groups
                lines.append(f"  {number} of {len(failure.exceptions)}:")
                lines += [f"    {line}" for line in _lines_of(each, seen)]
    return lines


def _name_of(kind: type) -> str:
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return escaped(f"{module}{kind.__qualname__}")


# Records.


def _kind_of(record: logging.LogRecord) -> _Key:
    """Logger, level, message, and the exception's class and place; nothing that keeps it alive."""
    key = (record.name, record.levelno, str(record.msg))
    kind, failure, place = record.exc_info or (None, None, None)
    if kind is None or failure is None:
        return key
    return (*key, kind.__qualname__, *_place_of(place))


def _place_of(place: TracebackType | None) -> tuple[Any, ...]:
    """The line of code that has raised, and the last one before it in the file of the program.

    That is the file of the first frame that is not of fastchat, as a rule with the hook.  Without
    it all that one function of a library refuses, whoever calls it, would be one kind; with the
    frames between them a peer could make kinds without end, where a hook calls itself.
    """
    own: tuple[Any, ...] = ()
    last: tuple[Any, ...] = ()
    file = None
    while place is not None:
        frame = place.tb_frame
        last = frame.f_code.co_filename, place.tb_lineno
        if file is None and not str(frame.f_globals.get("__name__")).startswith("fastchat."):
            file = last[0]
        if last[0] == file:
            own = last
        place = place.tb_next
    return own + last


def _escape(record: logging.LogRecord) -> None:
    """Escape *record*; where nothing is to be escaped, now or later, it keeps its arguments."""
    try:
        text = record.getMessage()
    except Exception as failure:  # the __repr__ of a channel is the program's
        text = f"{record.msg} (of which the arguments cannot be shown: {type(failure).__name__})"
        record.args = ()
    safe = escaped(text)
    if safe != text or not record.args or not _is_constant(record.args):
        record.msg, record.args = safe, ()
    if record.exc_info and record.exc_info[1] is not None:
        # What a Formatter takes, and others leave alone: they find the exception itself.
        record.exc_text = _shown_anyhow(record.exc_info[1], record.exc_info[2])


def _is_constant(args: Any) -> bool:
    """Whether *args*, of a record, look the same when a handler formats them later."""
    return type(args) is tuple and all(
        type(part) in _CONSTANT
        for each in args
        for part in (each if type(each) is tuple else (each,))
    )


def _shown_anyhow(failure: BaseException, place: TracebackType | None) -> str:
    """``shown(failure)``, and its frames, from *place* on, where its class does not bear that."""
    try:
        return shown(failure)
    except Exception as worse:  # a property of the program's
        name, problem = type(failure).__qualname__, type(worse).__qualname__
        return "\n".join([*_frames_of(place), escaped(f"{name}: <cannot be shown: {problem}>")])


def _tell(key: _Key, text: str, window: _Window, seconds: float) -> None:
    _log(key, text, window.left_out, seconds, escaped(key[2]), extra={_LEFT_OUT: window.left_out})


def _log(key: _Key, text: str, *args: Any, extra: dict[str, Any]) -> None:
    """Log as ``Logger.log`` does, also from inside a filter.

    CPython 3.13.5 hears nothing that is logged while a record is handled (3.13.0, 3.14.10 and
    3.15.2 do): there ``Logger.log``, ``isEnabledFor`` and ``handle`` do nothing until that is done.
    So none of these is called, also where a subclass of Logger has its own.
    """
    logger, level = logging.getLogger(key[0]), key[1]
    if level < logger.getEffectiveLevel() or level <= logger.manager.disable or logger.disabled:
        return
    line = _log.__code__.co_firstlineno
    record = logger.makeRecord(logger.name, level, __file__, line, text, args, None, "_log", extra)
    passed: Any = logger.filter(record)  # another record, where a filter returns one
    if passed:
        logger.callHandlers(passed if isinstance(passed, logging.LogRecord) else record)


limiter = Limiter()
atexit.register(limiter.tell)
if hasattr(os, "register_at_fork"):  # pragma: no branch (Windows has no fork)
    os.register_at_fork(after_in_child=limiter.forget)
