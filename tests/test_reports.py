"""What the new layer logs: on one line, whatever a peer sends, and no more than the disk bears."""

from __future__ import annotations

import io
import json
import linecache
import logging
import logging.handlers
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastchat
from fastchat import _reports
from fastchat._reports import Limiter, escaped, shown
from tests.support.channels import Stage, fail_with
from tests.support.servers import client_of, program, received, server_of

SUBJECTS = ("channel", "server", "loop", "aio")


class Log:
    """A logger with a limiter, the time by which that goes, and what was written."""

    def __init__(self, name: str, most: int | None = 3) -> None:
        self.now = 1000.0
        self.limiter = Limiter(most, 60.0, lambda: self.now)
        self.lines: list[str] = []
        self.records: list[logging.LogRecord] = []
        self.logger = logging.getLogger(name)
        self.logger.propagate = False
        self.logger.addFilter(self.limiter)
        handler = logging.Handler()
        handler.emit = self._emit  # type: ignore[method-assign]
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self._format = handler.format
        self.logger.addHandler(handler)

    def _emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self._format(record))

    def close(self) -> None:
        self.logger.filters.clear()
        self.logger.handlers.clear()


def guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be heard that is logged while a record is handled.

    So it is in CPython 3.13.5, and neither in 3.13.0 nor in 3.14.10.
    """
    handle, is_enabled = logging.Logger.handle, logging.Logger.isEnabledFor
    handled = threading.local()

    def guarded_handle(self: logging.Logger, record: logging.LogRecord) -> None:
        if not vars(handled):
            handled.record = record
            try:
                handle(self, record)
            finally:
                del handled.record

    def guarded_is_enabled(self: logging.Logger, level: int) -> bool:
        return not vars(handled) and is_enabled(self, level)

    monkeypatch.setattr(logging.Logger, "handle", guarded_handle)
    monkeypatch.setattr(logging.Logger, "isEnabledFor", guarded_is_enabled)


@pytest.fixture(params=["", "guarded"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    if request.param:
        guard(monkeypatch)
    log = Log(f"tests.{request.node.name}")
    yield log
    log.close()


# One line.

CODES = [*range(32), *range(127, 161), 0x2028, 0x2029, 0xD800, 0xFEFF]
UNPRINTABLE = [chr(code) for code in CODES]


@pytest.mark.parametrize("character", UNPRINTABLE, ids=ascii)
def test_each_character_that_is_not_printable_is_escaped(character: str) -> None:
    text = escaped(f"a{character}b")
    assert text.isprintable()
    assert text.encode("ascii").decode("unicode_escape") == f"a{character}b"


def test_what_is_printable_stays() -> None:
    assert escaped("Grüße, 世界: 'C:\\new' %s") == "Grüße, 世界: 'C:\\new' %s"


def test_a_long_text_is_cut() -> None:
    assert escaped("\n" * 70_000) == "\\n" * 1000 + "... (70000 characters)"
    assert escaped("x" * 1000) == "x" * 1000


def test_messages_are_on_one_line(log: Log) -> None:
    class Nick:
        def __repr__(self) -> str:
            return "x\r\nERROR forged\x1b[2J"

    log.logger.error("%r has %d%%", Nick(), 7)
    log.logger.error("100% of\nthis")
    log.logger.error("all of %s", "this")
    assert log.lines == [
        "ERROR x\\r\\nERROR forged\\x1b[2J has 7%",
        "ERROR 100% of\\nthis",
        "ERROR all of this",
    ]
    assert log.records[2].args == ("this",)  # where there is nothing to escape


def test_what_was_escaped_is_what_is_written_later(log: Log) -> None:
    class Peer:
        nick = "ann"

        def __repr__(self) -> str:
            return self.nick

    stream, peer = io.StringIO(), Peer()
    memory = logging.handlers.MemoryHandler(10, target=logging.StreamHandler(stream))
    log.logger.addHandler(memory)
    log.logger.warning("%r is slow", peer)
    log.logger.warning("%r is slow", ("127.0.0.1", peer))
    log.logger.warning("%(peer)r is slow", {"peer": peer})
    log.logger.warning("%r has %d", ("127.0.0.1", 80), 7)
    peer.nick = "x\n2026 ERROR forged"
    memory.close()
    assert stream.getvalue().splitlines() == [
        "ann is slow",
        "('127.0.0.1', ann) is slow",
        "ann is slow",
        "('127.0.0.1', 80) has 7",
    ]
    assert log.records[3].args == (("127.0.0.1", 80), 7)


def test_what_cannot_be_shown_is_said(log: Log) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    log.logger.error("%r has failed", Broken())
    said = "ERROR %r has failed (of which the arguments cannot be shown: ZeroDivisionError)"
    assert log.lines == [said]


# Tracebacks.


def raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as failure:
        return failure
    raise AssertionError


def fail(*arguments: Any) -> None:
    raise ValueError(*arguments)


def with_cause() -> None:
    try:
        fail("first")
    except ValueError as failure:
        raise KeyError("second") from failure


def with_context() -> None:
    try:
        with_cause()
    except KeyError:
        fail("third")


def without_context() -> None:
    try:
        fail("first")
    except ValueError:
        raise OSError(2, "second", "third") from None


def without_text() -> None:
    raise KeyboardInterrupt


def deep(left: int = 300) -> None:
    return deep(left - 1) if left else fail("deep")


@pytest.mark.parametrize(
    "function",
    [with_cause, with_context, without_context, without_text, deep, lambda: fail(1, 2), fail],
)
def test_a_traceback_without_a_peer_in_it_is_that_of_python(function: Callable[[], object]) -> None:
    failure = raised(function)
    assert shown(failure) + "\n" == "".join(traceback.format_exception(failure))


def test_a_traceback_where_no_code_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = raised(fail)
    whole = shown(failure).splitlines()
    monkeypatch.setattr(traceback, "format_tb", fail_with(OSError("no descriptor is left")))
    bare = shown(failure).splitlines()
    assert bare == [line for line in whole if not line.startswith("    ")]
    assert [line.rpartition(" ")[2] for line in bare[1:-1]] == ["raised", "fail"]


def test_a_class_has_its_module() -> None:
    class Own(Exception):
        pass

    assert shown(Own()) == f"{__name__}.test_a_class_has_its_module.<locals>.Own"
    assert shown(Own("a\nb")).endswith(".Own: a\\nb")


@pytest.mark.parametrize("module", ["builtins", "m\n"])
def test_the_name_of_a_class_is_on_one_line(module: str) -> None:
    kind = type("x\nERROR forged", (Exception,), {"__module__": module})
    assert shown(kind("a")).isprintable()


def test_a_line_of_code_is_one_line_without_control_characters() -> None:
    code = "raise ValueError('\x0c\x1b\x1c')  # \x85forged\u2028forged"
    linecache.cache["generated.py"] = (len(code), None, [code], "generated.py")
    failure = raised(lambda: exec(compile(code, "generated.py", "exec")))
    text = shown(failure)
    del linecache.cache["generated.py"]
    lines = [line.strip() for line in text.split("\n") if "forged" in line]
    if sys.version_info < (3, 13):  # later ones take it for several lines, and show the first
        assert lines == [code.encode("unicode_escape").decode()]
    assert text.replace("\n", "").isprintable()


def without(base: type[Exception], name: str) -> type[Exception]:
    """A class of exceptions of which the attribute *name* raises."""
    return type(f"No{name}", (base,), {name: property(lambda self: 1 // 0)})


@pytest.mark.parametrize(
    "failure",
    [
        without(Exception, "__notes__")(),
        without(Exception, "__cause__")(),
        without(ExceptionGroup, "exceptions")("two", [OSError()]),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_class_that_does_not_bear_to_be_shown(log: Log, failure: Exception) -> None:
    def fail() -> None:
        raise failure

    log.logger.error("failed", exc_info=raised(fail))
    first, second, *frames, last = log.lines[0].splitlines()
    assert (first, second) == ("ERROR failed", "Traceback (most recent call last):")
    assert frames[-1].strip().strip("^") in ("raise failure", "")
    assert last == f"{type(failure).__name__}: <cannot be shown: ZeroDivisionError>"


def test_notes_and_text_are_on_one_line_each() -> None:
    failure = ValueError("bad\nTraceback")
    failure.add_note("one\ntwo\x00")
    assert shown(failure) == "ValueError: bad\\nTraceback\none\\ntwo\\x00"
    failure.__notes__ = 5  # type: ignore[assignment]  # as anybody may
    assert shown(failure) == "ValueError: bad\\nTraceback"


def test_groups() -> None:
    inner = BaseExceptionGroup("inner\n", [ValueError("a\n"), raised(with_cause)])
    text = shown(BaseExceptionGroup("outer", [inner, OSError("b\r")]))
    assert text.startswith(
        "ExceptionGroup: outer (2 sub-exceptions)\n  1 of 2:\n    ExceptionGroup: inner\\n (2 sub"
    )
    assert "\n      1 of 2:\n        ValueError: a\\n\n      2 of 2:\n" in text
    assert text.endswith("\n  2 of 2:\n    OSError: b\\r")


def test_a_chain_and_a_group_end() -> None:
    failure = ValueError("0")
    for number in range(1, 5000):
        later = ValueError(str(number))
        later.__context__ = failure
        failure = later
    assert len(shown(failure)) < 2000
    group: Any = ValueError("0")
    for _ in range(50):
        group = ExceptionGroup("x", [group] * 50)
    assert len(shown(group)) < 100_000

    def tree(depth: int) -> Any:
        return (
            ExceptionGroup("x", [tree(depth - 1) for _ in range(9)]) if depth else OSError("leaf")
        )

    assert shown(tree(4)).count("leaf") < 64
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    assert shown(one).count("ValueError") == 2


def test_text_that_cannot_be_had() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    assert shown(Broken()).endswith("Broken: <its text cannot be had: ZeroDivisionError>")


def test_a_record_has_the_exception_and_its_escaped_text(log: Log) -> None:
    failure = raised(lambda: fail("bad\nERROR forged"))
    log.logger.error("failed", exc_info=failure)
    assert log.records[0].exc_info is not None
    assert log.records[0].exc_info[1] is failure
    first, second, *_, last = log.lines[0].splitlines()
    assert (first, second) == ("ERROR failed", "Traceback (most recent call last):")
    assert last == "ValueError: bad\\nERROR forged"
    log.logger.error("nothing", exc_info=True)  # where there is none
    assert log.lines[1] == "ERROR nothing\nNoneType: None"


# The limit.


def test_more_of_a_kind_are_left_out_and_counted(log: Log) -> None:
    for number in range(10):
        log.logger.warning("peer %d", number)
    shown = ["WARNING peer 0", "WARNING peer 1", "WARNING peer 2"]
    notice = "WARNING more of these are left out for up to 60 s: peer %d"
    assert log.lines == [*shown, notice]
    assert log.limiter.left_out == {log.logger.name: 7}
    log.now += 59.9
    log.logger.warning("peer %d", 10)
    assert len(log.lines) == 4
    log.now += 0.2
    log.logger.warning("another kind")
    assert log.lines[4:] == [
        "WARNING 8 more were left out in 60 s, such as: peer %d",
        "WARNING another kind",
    ]
    assert log.records[4].left_out == 8  # type: ignore[attr-defined]
    log.logger.warning("peer %d", 11)
    assert log.lines[6:] == ["WARNING peer 11"]
    assert log.limiter.left_out == {log.logger.name: 8}


def test_each_kind_and_each_place_of_an_exception_has_its_own(log: Log) -> None:
    for number in range(9):
        for where in (fail, with_cause, with_context):
            log.logger.error("a hook has raised", exc_info=raised(where))
        log.logger.error("other %d", number)
        log.logger.info("other %d", number)  # which this logger does not take
        log.logger.warning("other %d", number)
    whole = [each for each in log.lines if "Traceback" in each]
    # with_context() and fail() raise at the same place.
    assert len(whole) == 6
    assert len([each for each in log.lines if each.split()[1] == "other"]) == 6
    assert len([each for each in log.lines if "left out" in each]) == 4


def test_each_line_of_the_program_has_its_own_though_a_library_raises(
    own: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a peer that floods the log with one mistake would hide another one."""

    def line_received(channel: Any, line: bytes) -> None:
        if line == b"other":
            json.loads("other")
        parse(line.decode(), 5)

    def parse(text: str, left: int) -> None:
        if left > 1 and left > len(text):
            parse(text, left - 1)
        json.loads(text)

    base = own.implementation.channel.LineChannel
    server = server_of(own, type("Careless", (base,), {"line_received": line_received}))
    for line in [b"bad", b"b", b"ad", b"bads"] * 5 + [b"other"]:
        client = client_of(own, server)
        client.sendall(line + b"\r\n")
        received(own, client)
        client.close()
    assert caplog.text.count("in loads") == 11
    assert 'json.loads("other")' in caplog.text


@pytest.mark.parametrize("how", ["disabled", "level", "all"])
def test_a_notice_is_not_heard_where_the_logger_is_off(log: Log, how: str) -> None:
    for _ in range(5):
        log.logger.warning("peer")
    if how == "disabled":
        log.logger.disabled = True
    elif how == "level":
        log.logger.setLevel(logging.ERROR)
    else:
        logging.disable(logging.WARNING)
    try:
        log.limiter.tell()
        assert len(log.lines) == 4
        assert not log.limiter._windows
    finally:
        logging.disable(logging.NOTSET)
        log.logger.setLevel(logging.NOTSET)
        log.logger.disabled = False


def test_filters_of_the_program_get_the_notice_too(log: Log) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        return "left out" not in record.getMessage()

    log.logger.addFilter(refuse)
    for _ in range(5):
        log.logger.warning("peer")
    assert log.lines == ["WARNING peer"] * 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no filter returns a record before 3.12")
def test_a_filter_of_the_program_may_return_another_notice(log: Log) -> None:
    def replace(record: logging.LogRecord) -> logging.LogRecord:
        return logging.makeLogRecord({**vars(record), "msg": "another", "args": ()})

    either: Any = replace  # as is known to who checks types by 3.12
    log.logger.addFilter(either)
    for _ in range(5):
        log.logger.warning("peer")
    assert log.lines == ["WARNING another"] * 4


def test_a_logger_of_the_program_may_say_in_other_words_that_a_notice_passes(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = log.logger.filter
    monkeypatch.setattr(log.logger, "filter", lambda record: 1 if own(record) else 0)
    for _ in range(5):
        log.logger.warning("peer")
    assert len(log.lines) == 4
    assert "left out" in log.lines[-1]


def test_no_limit(log: Log) -> None:
    log.limiter.most = None
    for number in range(100):
        log.logger.warning("peer\n%d", number)
    assert log.lines[99] == "WARNING peer\\n99"
    assert len(log.lines) == 100


def test_the_limit_may_go_while_a_record_is_counted(log: Log) -> None:
    class Changing(Limiter):
        looks = 0

        def __getattribute__(self, name: str) -> Any:
            if name != "most":
                return super().__getattribute__(name)
            self.looks += 1  # as limit_logs(None) of another thread between two looks
            return 1 if self.looks % 2 else None

    log.logger.filters[:] = [Changing(1)]
    for _ in range(2):
        log.logger.warning("peer")
    assert log.lines.count("WARNING peer") == 2


def test_memory_is_bounded(log: Log) -> None:
    for number in range(1000):
        for _ in range(5):
            log.logger.warning(f"kind {number}")
    assert len(log.limiter._windows) == 101
    assert len(log.lines) == 101 * 4
    log.now += 61
    log.logger.warning("one")
    assert len(log.limiter._windows) == 1
    assert "WARNING 4497 more were left out in 60 s, such as: records of many kinds" in log.lines


def test_nothing_of_an_exception_is_kept_alive(log: Log) -> None:
    class Own(Exception):
        pass

    for _ in range(5):
        log.logger.error("failed", exc_info=Own())
    keys = list(log.limiter._windows)
    assert {type(each) for key in keys for each in key} == {str, int}


def test_what_was_left_out_is_told_when_asked(log: Log) -> None:
    for _ in range(5):
        log.logger.warning("peer")
    log.now += 7
    log.limiter.tell()
    assert log.lines[4:] == ["WARNING 2 more were left out in 7 s, such as: peer"]
    log.limiter.tell()
    assert len(log.lines) == 5


def test_threads_leave_no_record_uncounted(log: Log) -> None:
    class Counts(dict[str, int]):
        def get(self, *arguments: Any) -> Any:
            value = super().get(*arguments)
            time.sleep(0)  # lets another thread run, between the look and what follows
            return value

    def work() -> None:
        for _ in range(500):
            log.logger.warning("peer")

    log.limiter.left_out = Counts()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert log.lines.count("WARNING peer") == 3
    assert log.limiter.left_out == {log.logger.name: 8 * 500 - 3}


def test_random_times_against_a_count() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    log = Log(f"tests.random.{seed}")
    made = 0
    for _ in range(2000):
        log.now += chance.choice([0, 0, 0, 1, 30, 61])
        log.logger.warning("kind %d", chance.randrange(3))
        made += 1
    log.limiter.tell()
    log.close()
    left_out = sum([getattr(each, "left_out", 0) for each in log.records])
    shown = [each for each in log.records if not hasattr(each, "left_out")]
    assert len(shown) + left_out == made
    assert log.limiter.left_out == {log.logger.name: left_out}


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((0,), ValueError, "max_log_records must be at least 1, or None for no limit, not 0"),
        (("10",), TypeError, "max_log_records must be an int or None, not '10'"),
        ((True,), TypeError, "max_log_records must be an int or None, not True"),
        ((10, 0), ValueError, "period must be more than 0 and at most 31536000 s, not 0"),
        (
            (10, float("nan")),
            ValueError,
            "period must be more than 0 and at most 31536000 s, not nan",
        ),
        ((10, None), TypeError, "period must be a number of seconds, not None"),
        ((10, 31536001), ValueError, "period must be more than 0 and at most 31536000 s"),
        ((-(10**5000),), ValueError, "max_log_records must be .*, not an int of 16610 bits"),
        (("x" * 9000,), TypeError, r"max_log_records must be .{,100}\.\.\.$"),
        ((10, True), TypeError, "period must be a number of seconds, not True"),
    ],
)
def test_wrong_limits(arguments: tuple[Any, ...], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        fastchat.limit_logs(*arguments)
    assert (_reports.limiter.most, _reports.limiter.period) == (10, 60.0)


# In the layer.


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_logger_has_the_limiter(ours: Any, subject: str) -> None:
    code = f"""
        import logging, socket, fastchat.aio
        from fastchat import LineChannel, asyncore, call_later, serve
        here, there = socket.socketpair()
        asyncore.dispatcher(here)
        call_later(0, int, "x")
        logging.getLogger("fastchat.loop").disabled = True
        asyncore.loop(timeout=0, count=2)
        logger = logging.getLogger("fastchat.{subject}")
        logger.disabled = False
        for number in range(15):
            logger.error("forged\\n")
        fastchat.limit_logs(None)
        for number in range(15):
            logger.error("forged\\n")
    """
    with program(code, ours.name) as started:
        assert started.status() == 0
        errors = started.errors().splitlines()
    assert errors[:10] == ["forged\\n"] * 10
    assert errors[10:12] == [
        "more of these are left out for up to 60 s: forged\\n",
        errors[11],
    ]
    assert errors[11].startswith("5 more were left out in ")
    assert errors[12:] == ["forged\\n"] * 15


def test_hostile_peers_do_not_fill_the_log(
    own: Stage, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def line_received(channel: Any, line: bytes) -> None:
        raise ValueError(f"no such command: {line.decode()}")

    base = own.implementation.channel.LineChannel
    kind = type("Careless", (base,), {"line_received": line_received, "max_line": 100})
    server = server_of(own, kind)
    attacks = [b"\x1b[2J\n2026 root: forged\r\n", b"x" * 3000 + b"\n\x00", b"\n2026 forged" * 50]
    for number in range(300):
        client = client_of(own, server)
        client.sendall(attacks[number % 3])
        received(own, client)
        client.close()
    assert len(caplog.records) <= 2 * 11
    assert len(caplog.text) < 60_000
    text = caplog.text
    assert text.replace("\n", "").isprintable()
    assert not [line for line in text.splitlines() if line.startswith("2026")]
    assert text.count("in line_received") == 10
    (counts,) = server.stats().channels
    assert (counts.hook_errors, counts.lines_too_long) == (100, 200)


def test_what_was_left_out_is_told_at_the_end(ours: Any) -> None:
    code = """
        import logging
        from fastchat import channel
        for _ in range(15):
            channel.logger.error("failed")
    """
    with program(code, ours.name) as started:
        assert started.status() == 0
        assert "5 more were left out in " in started.errors().splitlines()[-1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()")
def test_a_forked_process_tells_of_its_own(ours: Any) -> None:
    code = """
        import os, sys
        from fastchat import channel, _reports
        for _ in range(15):
            channel.logger.error("failed")
        _reports.limiter._lock.acquire()  # as another thread may have it
        sys.stderr.flush()
        if not os.fork():
            channel.logger.error("of the child")
            sys.exit()
        os.wait()
        _reports.limiter._lock.release()
    """
    with program(code, ours.name) as started:
        assert started.status() == 0
        errors = started.errors()
    assert errors.count("of the child") == 1
    assert errors.count("more were left out") == 1
