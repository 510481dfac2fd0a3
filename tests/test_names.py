"""The names: every module attribute, signature, class attribute, base and text is CPython 3.11's.

A module is described in lines, one for each name.  ``RECORDED`` has the lines of 3.11, so that the
comparison also runs where the standard library has no such modules any more; on 3.11 the record is
itself compared with them.  What differs is in ``ABSENT``, ``CHANGED`` and ``ADDED``, under the word
that docs/compat.md must have in backticks.  Additional names that begin with an underscore are
nobody's business.

``TEXTS`` does the same for what is raised and printed: the same snippet runs on every
implementation, the standard library's included.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import inspect
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.support.building import ROOT
from tests.support.implementations import Implementation

needs_stdlib = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="the standard library has no such modules any more"
)

RECORDED = {
    "asyncore": """
        EAGAIN = errno.EAGAIN
        EALREADY = errno.EALREADY
        EBADF = errno.EBADF
        ECONNABORTED = errno.ECONNABORTED
        ECONNRESET = errno.ECONNRESET
        EINPROGRESS = errno.EINPROGRESS
        EINVAL = errno.EINVAL
        EISCONN = errno.EISCONN
        ENOTCONN = errno.ENOTCONN
        EPIPE = errno.EPIPE
        ESHUTDOWN = errno.ESHUTDOWN
        EWOULDBLOCK = errno.EWOULDBLOCK
        _DISCONNECTED = {EBADF, ECONNABORTED, ECONNRESET, ENOTCONN, EPIPE, ESHUTDOWN}
        _exception(obj)
        _reraised_exceptions = (ExitNow, KeyboardInterrupt, SystemExit)
        _strerror(err)
        class ExitNow(Exception, BaseException, object)
        class dispatcher(object)
        class dispatcher_with_send(dispatcher, object)
        class file_dispatcher(dispatcher, object)
        class file_wrapper(object)
        close_all(map=None, ignore_all=False)
        compact_traceback()
        dispatcher.__init__(self, sock=None, map=None)
        dispatcher.__repr__(self)
        dispatcher.accept(self)
        dispatcher.accepting = False
        dispatcher.add_channel(self, map=None)
        dispatcher.addr = None
        dispatcher.bind(self, addr)
        dispatcher.close(self)
        dispatcher.closing = False
        dispatcher.connect(self, address)
        dispatcher.connected = False
        dispatcher.connecting = False
        dispatcher.create_socket(self, family=AF_INET, type=SOCK_STREAM)
        dispatcher.debug = False
        dispatcher.del_channel(self, map=None)
        dispatcher.handle_accept(self)
        dispatcher.handle_accepted(self, sock, addr)
        dispatcher.handle_close(self)
        dispatcher.handle_connect(self)
        dispatcher.handle_connect_event(self)
        dispatcher.handle_error(self)
        dispatcher.handle_expt(self)
        dispatcher.handle_expt_event(self)
        dispatcher.handle_read(self)
        dispatcher.handle_read_event(self)
        dispatcher.handle_write(self)
        dispatcher.handle_write_event(self)
        dispatcher.ignore_log_types = frozenset({'warning'})
        dispatcher.listen(self, num)
        dispatcher.log(self, message)
        dispatcher.log_info(self, message, type='info')
        dispatcher.readable(self)
        dispatcher.recv(self, buffer_size)
        dispatcher.send(self, data)
        dispatcher.set_reuse_addr(self)
        dispatcher.set_socket(self, sock, map=None)
        dispatcher.writable(self)
        dispatcher_with_send.__init__(self, sock=None, map=None)
        dispatcher_with_send.handle_write(self)
        dispatcher_with_send.initiate_send(self)
        dispatcher_with_send.send(self, data)
        dispatcher_with_send.writable(self)
        errorcode = errno.errorcode
        file_dispatcher.__init__(self, fd, map=None)
        file_dispatcher.set_file(self, fd)
        file_wrapper.__del__(self)
        file_wrapper.__init__(self, fd)
        file_wrapper.close(self)
        file_wrapper.fileno(self)
        file_wrapper.getsockopt(self, level, optname, buflen=None)
        file_wrapper.read = recv(self, *args)
        file_wrapper.recv(self, *args)
        file_wrapper.send(self, *args)
        file_wrapper.write = send(self, *args)
        loop(timeout=30.0, use_poll=False, map=None, count=None)
        os = module
        poll(timeout=0.0, map=None)
        poll2(timeout=0.0, map=None)
        poll3 = poll2(timeout=0.0, map=None)
        read(obj)
        readwrite(obj, flags)
        select = module
        socket = module
        socket_map = {}
        sys = module
        time = module
        warnings = module
        write(obj)
    """,
    "asynchat": """
        async_chat._collect_incoming_data(self, data)
        async_chat._get_data(self)
        async_chat.__init__(self, sock=None, map=None)
        async_chat.ac_in_buffer_size = 65536
        async_chat.ac_out_buffer_size = 65536
        async_chat.close_when_done(self)
        async_chat.collect_incoming_data(self, data)
        async_chat.discard_buffers(self)
        async_chat.encoding = 'latin-1'
        async_chat.found_terminator(self)
        async_chat.get_terminator(self)
        async_chat.handle_close(self)
        async_chat.handle_read(self)
        async_chat.handle_write(self)
        async_chat.initiate_send(self)
        async_chat.push(self, data)
        async_chat.push_with_producer(self, producer)
        async_chat.readable(self)
        async_chat.set_terminator(self, term)
        async_chat.use_encoding = 0
        async_chat.writable(self)
        asyncore = module
        class async_chat(dispatcher, object)
        class simple_producer(object)
        deque = collections.deque
        find_prefix_at_end(haystack, needle)
        simple_producer.__init__(self, data, buffer_size=512)
        simple_producer.more(self)
    """,
}

# Names of 3.11 that fastchat does not have.  They are not in the record: their values have the
# interpreter's version in them.
ABSENT = {"asyncore": ["_DEPRECATION_MSG"], "asynchat": ["_DEPRECATION_MSG", "_deprecated"]}

# By the word that docs/compat.md has: the line of 3.11, and what it is here.
CHANGED = {
    "asyncore": {},
    "asynchat": {
        "conn": (
            "async_chat.__init__(self, sock=None, map=None)",
            "async_chat.__init__(self, sock=None, map=None, *, conn=None)",
        )
    },
}

# By the word that docs/compat.md has: the lines that are here and not in 3.11.
ADDED = {
    "asyncore": {
        "channel_map": ["class channel_map(dict, object)"],
        "copy": ["dispatcher.__getstate__(self)", "dispatcher.__setstate__(self, state)"],
        "out_buffer": ["dispatcher_with_send.out_buffer = property"],
    },
    "asynchat": {
        "ac_in_buffer": ["async_chat.ac_in_buffer = property"],
        "ac_out_coalesce": ["async_chat.ac_out_coalesce = True"],
        "data": ["simple_producer.data = property"],
        "fifo": [
            "class fifo(deque, object)",
            "fifo.__init__(self, list=None)",
            "fifo.first(self)",
            "fifo.is_empty(self)",
            "fifo.list = property",
            "fifo.pop(self)",
            "fifo.push(self, data)",
        ],
        "matched_terminator": ["async_chat.matched_terminator = None"],
        "producer_fifo": ["async_chat.producer_fifo = property"],
        "refill_buffer": ["async_chat.refill_buffer(self)"],
        "socket": ["async_chat.socket = property"],
    },
}

MODULES = sorted(RECORDED)


def describe(module: ModuleType) -> Iterator[str]:
    """One line for each name of *module*, and for each of a class that it defines."""
    for name, value in vars(module).items():
        if name.startswith("__"):
            continue
        yield line(name, value)
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for member, content in vars(value).items():
                # Of the others each interpreter has its own.
                if not member.startswith("__") or inspect.isfunction(content):
                    if type(content).__name__ == "Refill":
                        content = getattr(value, member)  # what a program sees
                    yield line(f"{name}.{member}", content)


def line(name: str, value: Any) -> str:
    last = name.rpartition(".")[2]
    if inspect.ismodule(value):
        return f"{name} = module"
    if isinstance(value, property):
        return f"{name} = property"
    if inspect.isclass(value):
        if value.__module__ == "collections":
            return f"{name} = collections.{value.__name__}"
        return f"class {name}({', '.join(base.__name__ for base in value.__mro__[1:])})"
    if callable(value):
        # "<AddressFamily.AF_INET: 2>" has another number on other systems.
        signature = re.sub(r"<\w+\.(\w+): \d+>", r"\1", str(inspect.signature(value)))
        return f"{name}{'' if value.__name__ == last else f' = {value.__name__}'}{signature}"
    if value == getattr(errno, last, ""):
        return f"{name} = errno.{last}"
    if last == "_DISCONNECTED":
        return f"{name} = {{{', '.join(sorted(errno.errorcode[number] for number in value))}}}"
    if last == "_reraised_exceptions":
        return f"{name} = ({', '.join(kind.__name__ for kind in value)})"
    return f"{name} = {value!r}"


def recorded(module: str) -> set[str]:
    lines = {line.strip() for line in RECORDED[module].strip().splitlines()}
    if os.name == "posix":
        return lines
    return {line for line in lines if "file_wrapper" not in line and "file_dispatcher" not in line}


def name_of(line: str) -> str:
    """The name that *line* describes, with the class it is in."""
    return re.split(r" = |\(", line.removeprefix("class "))[0]


def is_private(line: str) -> bool:
    """Whether the name, or the class it is in, begins with an underscore."""
    return any(re.fullmatch(r"_(?!_).*", part) for part in name_of(line).split("."))


# ---------------------------------------------------------------------------------------------
# Names.
# ---------------------------------------------------------------------------------------------


@needs_stdlib
@pytest.mark.parametrize("module", MODULES)
def test_the_record_is_true(module: str) -> None:
    described = set(describe(importlib.import_module(module)))
    beyond = {name_of(line) for line in described - recorded(module)}
    assert beyond == set(ABSENT[module])
    assert recorded(module) <= described


@pytest.mark.parametrize("module", MODULES)
def test_names_signatures_values_and_bases(ours: Implementation, module: str) -> None:
    described = set(describe(getattr(ours, module)))
    expected = recorded(module)
    for old, new in CHANGED[module].values():
        expected = expected - {old} | {new}
    missing = expected - described
    added = {line for line in described - expected if not is_private(line)}
    assert not missing
    assert added == {line for lines in ADDED[module].values() for line in lines}


@pytest.mark.parametrize("module", MODULES)
def test_what_is_deprecated_there_is_not_here(ours: Implementation, module: str) -> None:
    assert not set(ABSENT[module]) & set(vars(getattr(ours, module)))


@needs_stdlib
@pytest.mark.parametrize("module", MODULES)
def test_signatures_equal_those_of_the_standard_library(ours: Implementation, module: str) -> None:
    # As objects: defaults that print alike need not be the same.
    theirs = dict(callables(importlib.import_module(module)))
    here = dict(callables(getattr(ours, module)))
    changed = {name_of(old) for old, _ in CHANGED[module].values()}
    for name, function in theirs.items():
        if name not in {*ABSENT[module], *changed}:
            assert inspect.signature(here[name]) == inspect.signature(function), name


def callables(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for member, content in vars(value).items():
                if inspect.isfunction(content):
                    yield f"{name}.{member}", content
        elif callable(value) and not inspect.isclass(value) and not name.startswith("__"):
            yield name, value


def words() -> set[str]:
    """All that docs/compat.md must name."""
    absent = {name for names in ABSENT.values() for name in names}
    others = {word for table in (CHANGED, ADDED) for module in table.values() for word in module}
    return absent | others


@pytest.mark.parametrize("word", sorted(words()))
def test_the_documentation_names_the_difference(word: str) -> None:
    text = (ROOT / "docs" / "compat.md").read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+)`", text)
    assert any(re.search(rf"\b{word}\b", span) for span in code)


def test_instances_have_the_attributes(implementation: Implementation) -> None:
    asyncore, asynchat = implementation.asyncore, implementation.asynchat
    bare = {"_map": asyncore.socket_map, "_fileno": None, "socket": None}
    chat = {"ac_in_buffer": b"", "incoming": [], "producer_fifo": asynchat.deque()}
    for instance, attributes in [
        (asyncore.dispatcher(), bare),
        (asyncore.dispatcher_with_send(), {**bare, "out_buffer": b""}),
        (asynchat.async_chat(), {**bare, **chat}),
        (asynchat.simple_producer(b"x"), {"data": b"x", "buffer_size": 512}),
    ]:
        assert {name: getattr(instance, name) for name in attributes} == attributes


def test_a_reload_keeps_the_open_channels(ours: Implementation) -> None:
    # As importlib.reload() does it, on a module of its own.
    spec = importlib.util.spec_from_file_location("reloaded", ours.asyncore.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    channels = module.socket_map
    channels[1] = object()
    spec.loader.exec_module(module)
    assert module.socket_map is channels
    assert len(channels) == 1


# ---------------------------------------------------------------------------------------------
# Texts.
# ---------------------------------------------------------------------------------------------


def fail(channel: Any) -> None:
    """Hand an exception to a channel's ``handle_error``."""
    try:
        raise LookupError("the text")
    except LookupError:
        channel.handle_error()


def talkative(asyncore: Any) -> Any:
    """A dispatcher that prints warnings as well."""
    channel = asyncore.dispatcher()
    channel.ignore_log_types = frozenset()
    return channel


def listening(asyncore: Any) -> Any:
    channel = asyncore.dispatcher()
    channel.accepting, channel.addr = True, ("host", 80)
    return channel


def connected(asyncore: Any, addr: Any) -> Any:
    channel = asyncore.dispatcher()
    channel.connected, channel.addr = True, addr
    return channel


def debugging(asyncore: Any) -> Any:
    channel = asyncore.dispatcher_with_send()
    channel.debug = True
    channel.initiate_send = lambda: None
    return channel


def raised_from(prefix: str) -> str:
    return rf"{re.escape(prefix)}.*"


AT = r" at 0x[0-9a-f]+>"
DISPATCHER = r"<(fastchat\.)?asyncore\.dispatcher"
FRAME = r"\[[^|]+\|fail\|\d+\]"

# A snippet, and a pattern of what it gives: its value, or the exception it raises, or its output.
TEXTS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "no traceback": (
        lambda asyncore, _: asyncore.compact_traceback(),
        "AssertionError: traceback does not exist",
    ),
    "collect": (
        lambda _, asynchat: asynchat.async_chat().collect_incoming_data(b"x"),
        "NotImplementedError: must be implemented in subclass",
    ),
    "found": (
        lambda _, asynchat: asynchat.async_chat().found_terminator(),
        "NotImplementedError: must be implemented in subclass",
    ),
    "no terminator": (
        lambda _, asynchat: asynchat.async_chat().get_terminator(),
        "AttributeError: 'async_chat' object has no attribute 'terminator'",
    ),
    "negative terminator": (
        lambda _, asynchat: asynchat.async_chat().set_terminator(-1),
        raised_from("ValueError: the number of received bytes must be positive"),
    ),
    "push of text": (
        lambda _, asynchat: asynchat.async_chat().push("text"),
        raised_from("TypeError: data argument must be byte-ish ("),
    ),
    "push of nothing": (
        lambda _, asynchat: asynchat.async_chat().push(None),
        raised_from("TypeError: data argument must be byte-ish ("),
    ),
    "prefix of another kind": (
        lambda _, asynchat: asynchat.find_prefix_at_end(b"text", "xt"),
        "TypeError: endswith first arg must be bytes or a tuple of bytes, not str",
    ),
    "prefix of nothing": (lambda _, asynchat: asynchat.find_prefix_at_end(b"x", b""), "-1"),
    "prefix": (lambda _, asynchat: asynchat.find_prefix_at_end(b"line\r", b"\r\n"), "1"),
    "producer of nothing": (
        lambda _, asynchat: asynchat.simple_producer(None).more(),
        r"TypeError: object of type 'NoneType' has no len\(\)",
    ),
    "exit": (lambda asyncore, _: asyncore.ExitNow("why"), r"ExitNow\('why'\)"),
    "error 1": (lambda asyncore, _: asyncore._strerror(1), re.escape(repr(os.strerror(1)))),
    "error beyond": (lambda asyncore, _: asyncore._strerror(1 << 70), f"'Unknown error {1 << 70}'"),
    "socket of another kind": (
        lambda asyncore, _: asyncore.dispatcher("x"),
        "AttributeError: 'str' object has no attribute 'setblocking'",
    ),
    "no socket": (
        lambda asyncore, _: asyncore.dispatcher().recv(1),
        "AttributeError: 'NoneType' object has no attribute 'recv'",
    ),
    "repr": (lambda asyncore, _: asyncore.dispatcher(), DISPATCHER + AT),
    "repr of a listener": (
        lambda asyncore, _: listening(asyncore),
        f"{DISPATCHER} listening host:80{AT}",
    ),
    "repr of a connection": (
        lambda asyncore, _: connected(asyncore, ("::1", 80)),
        f"{DISPATCHER} connected ::1:80{AT}",
    ),
    "repr of a connection of four": (
        lambda asyncore, _: connected(asyncore, ("::1", 80, 0, 0)),
        rf"{DISPATCHER} connected \('::1', 80, 0, 0\){AT}",
    ),
    "repr of a connection without a name": (
        lambda asyncore, _: connected(asyncore, ""),
        f"{DISPATCHER} connected ''{AT}",
    ),
    "log": (lambda asyncore, _: asyncore.dispatcher().log(1), "stderr: log: 1\n"),
    "log_info": (
        lambda asyncore, _: asyncore.dispatcher().log_info(("a", "b")),
        r"stdout: info: \('a', 'b'\)\n",
    ),
    "log_info of an error": (
        lambda asyncore, _: asyncore.dispatcher().log_info("text", "error"),
        "stdout: error: text\n",
    ),
    "log_info of a warning": (
        lambda asyncore, _: asyncore.dispatcher().log_info("text", type="warning"),
        "None",
    ),
    "handle_error": (
        lambda asyncore, _: fail(asyncore.dispatcher()),
        f"stdout: error: uncaptured python exception, closing channel {DISPATCHER}{AT}"
        rf" \(<class 'LookupError'>:the text {FRAME}\)\n",
    ),
    "handle_expt": (
        lambda asyncore, _: talkative(asyncore).handle_expt(),
        "stdout: warning: unhandled incoming priority event\n",
    ),
    "handle_read": (
        lambda asyncore, _: talkative(asyncore).handle_read(),
        "stdout: warning: unhandled read event\n",
    ),
    "handle_write": (
        lambda asyncore, _: talkative(asyncore).handle_write(),
        "stdout: warning: unhandled write event\n",
    ),
    "handle_connect": (
        lambda asyncore, _: talkative(asyncore).handle_connect(),
        "stdout: warning: unhandled connect event\n",
    ),
    "handle_accepted": (
        lambda asyncore, _: talkative(asyncore).handle_accepted(socket.socket(), None),
        "stdout: warning: unhandled accepted event\n",
    ),
    "handle_close": (
        lambda asyncore, _: talkative(asyncore).handle_close(),
        "stdout: warning: unhandled close event\n",
    ),
    "sending": (
        lambda asyncore, _: debugging(asyncore).send(b"x"),
        "stdout: info: sending b'x'\n",
    ),
}

if os.name == "posix":
    TEXTS["option of a file"] = (
        lambda asyncore, _: with_file(asyncore, lambda file: file.getsockopt(0, 0)),
        r"NotImplementedError: Only asyncore specific behaviour implemented\.",
    )
    TEXTS["warning of a file"] = (
        lambda asyncore, _: with_file(asyncore, lambda file: file.__del__()),
        r"ResourceWarning: unclosed file <(fastchat\.)?asyncore\.file_wrapper object at .*>",
    )


def with_file(asyncore: Any, use: Callable[[Any], Any]) -> Any:
    """What *use* gives for a file_wrapper, which is closed."""
    reader, writer = os.pipe()
    file = asyncore.file_wrapper(reader)
    try:
        return use(file)
    finally:
        file.close()
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("snippet", TEXTS)
def test_what_is_raised_and_printed(
    implementation: Implementation, snippet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function, pattern = TEXTS[snippet]
    try:
        outcome = repr(function(implementation.asyncore, implementation.asynchat))
    except Exception as exception:
        # The first argument: where there are two, the text of both is a tuple's.
        outcome = f"{type(exception).__name__}: {exception.args[0]}"
    printed = capsys.readouterr()
    for name, text in (("stdout", printed.out), ("stderr", printed.err)):
        if text:
            assert outcome == "None"
            outcome = f"{name}: {text}"
    assert re.fullmatch(pattern, outcome), outcome
