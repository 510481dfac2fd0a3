"""What a program, a tool or a person sees of a method is what they see of a function of Python.

The compiled methods are objects of the extension's own (``_method.pyx``).  ``LOOKS`` has the ways
in which programs and tools look at a method.  Each is tried with each method that is compiled; what
it gives has to be the same compiled, in Python, and in the standard library's modules or the copy
of them that stands in for those.  What must differ, as the file of the source, is not compared.
"""

from __future__ import annotations

import copy
import dis
import doctest
import functools
import gc
import inspect
import io
import pickle
import pydoc
import re
import sys
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from fastchat import _backend
from tests.support.channels import Stage
from tests.support.implementations import FASTCHAT, Implementation, load

# By the name of a method: the class that has it, and how many arguments it takes beside self.
METHODS = {
    "handle_read_event": ("dispatcher", 0),
    "handle_write_event": ("dispatcher", 0),
    "recv": ("dispatcher", 1),
    "send": ("dispatcher", 1),
    "handle_read": ("async_chat", 0),
    "handle_write": ("async_chat", 0),
    "get_terminator": ("async_chat", 0),
    "readable": ("async_chat", 0),
    "writable": ("async_chat", 0),
    "push": ("async_chat", 1),
    "initiate_send": ("async_chat", 0),
}


class Shown:
    """One method of one implementation, as it stands on its class."""

    def __init__(self, implementation: Implementation, name: str) -> None:
        self.name = name
        self.count = METHODS[name][1]
        is_chats = METHODS[name][0] == "async_chat"
        self.module: Any = implementation.asynchat if is_chats else implementation.asyncore
        self.kind: Any = getattr(self.module, METHODS[name][0])
        self.method: Any = getattr(self.kind, name)
        self.implementation = implementation

    def channel(self) -> Any:
        """An object of the class, which has no socket."""
        return self.kind(None, {})

    def terminated(self) -> Any:
        """The like, of which get_terminator() knows something."""
        made = self.channel()
        made.terminator = b"end"
        return made


def without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-fA-F]+", "0x", text)


def error_of(function: Callable[..., Any], *args: Any, **names: Any) -> tuple[str, str]:
    """The class and the text of what a call raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 (the caller compares it)
        function(*args, **names)
    return type(raised.value).__name__, str(raised.value)


@contextmanager
def assigned(method: Any, name: str, value: Any) -> Iterator[None]:
    """*method* has *value* as its attribute *name* meanwhile."""
    before = getattr(method, name)
    setattr(method, name, value)
    try:
        yield
    finally:
        setattr(method, name, before)


# How programs and tools look.  Each takes a Shown, and returns something to compare.


def its_kind(shown: Shown) -> Any:
    method = shown.method
    return [
        isinstance(method, types.FunctionType),
        method.__class__ is types.FunctionType,
        callable(method),
        isinstance(method, types.BuiltinFunctionType),
        isinstance(method, types.MethodType),
    ]


def what_inspect_takes_it_for(shown: Shown) -> Any:
    questions = [question for question in vars(inspect) if re.match("is[a-z]+$", question)]
    assert "isfunction" in questions
    answers = {question: getattr(inspect, question)(shown.method) for question in questions}
    assert answers["isfunction"]
    assert answers["isroutine"]
    return answers


def its_names(shown: Shown) -> Any:
    method = shown.method
    assert method.__module__ == shown.module.__name__
    return [method.__name__, method.__qualname__, shown.kind.__name__]


def its_defaults(shown: Shown) -> Any:
    method = shown.method
    return [method.__defaults__, method.__kwdefaults__, method.__annotations__, method.__closure__]


def its_code(shown: Shown) -> Any:
    code = shown.method.__code__
    arguments = code.co_varnames[: code.co_argcount]
    return [code.co_name, arguments, code.co_kwonlyargcount, code.co_flags & inspect.CO_VARARGS]


def its_globals(shown: Shown) -> Any:
    return [isinstance(shown.method.__globals__, dict), "__builtins__" in shown.method.__globals__]


def its_attributes(shown: Shown) -> Any:
    return [dir(shown.method), vars(shown.method), shown.method.__dict__]


def what_a_function_has_not(shown: Shown) -> Any:
    names = ("__wrapped__", "__self__", "__func__", "__text_signature__", "__objclass__", "other")
    assert not any(hasattr(shown.method, name) for name in names)
    return error_of(getattr, shown.method, "other")


def its_attributes_past_its_class(shown: Shown) -> Any:
    method = shown.method
    assert object.__getattribute__(method, "__doc__") == method.__doc__
    names = ("__name__", "__qualname__", "__defaults__", "__dict__", "__class__")
    return [object.__getattribute__(method, name) for name in names]


def attributes_that_come_and_go(shown: Shown) -> Any:
    method = shown.method
    method.mark = "kept"
    seen = [method.mark, vars(method).copy(), "mark" in dir(method)]
    assert getattr(shown.channel(), shown.name).mark == "kept"
    del method.mark
    return [*seen, hasattr(method, "mark"), error_of(delattr, method, "mark")]


def attributes_of_a_function_that_are_assigned(shown: Shown) -> Any:
    method = shown.method
    seen = []
    for name, value in [
        ("__doc__", "Another text."),
        ("__name__", "another"),
        ("__qualname__", "Another.name"),
        ("__module__", "another"),
        ("__annotations__", {"return": int}),
    ]:
        with assigned(method, name, value):
            seen += [getattr(method, name), without_addresses(repr(method))]
    return [*seen, error_of(setattr, method, "__name__", 1), method.__name__]


def defaults_that_are_assigned(shown: Shown) -> Any:
    method = shown.method
    with assigned(method, "__defaults__", (None,)):
        seen = str(inspect.signature(method))
    return [seen, str(inspect.signature(method))]


def how_it_prints(shown: Shown) -> Any:
    method = shown.method
    # PyPy fills the address up with zeros.
    assert re.search(rf" at 0x0*{id(method):x}>", repr(method).lower())
    return without_addresses(f"{method} {method!r}")


def how_it_prints_when_bound(shown: Shown) -> Any:
    text = re.sub(r"<\S+ at 0x\w+>", "<the channel>", repr(getattr(shown.channel(), shown.name)))
    return text.replace("fastchat.", "")


def whether_it_is_itself(shown: Shown) -> Any:
    method = shown.method
    assert (
        method is shown.kind.__dict__[shown.name] is inspect.getattr_static(shown.kind, shown.name)
    )
    assert hash(method) == object.__hash__(method)
    assert {method: 1}[method] == 1
    return [method == method, method != method, method == 1, error_of(lambda: method < method)[0]]


def its_signature(shown: Shown) -> Any:
    signature = inspect.signature(shown.method)
    assert inspect.signature(shown.method, follow_wrapped=False) == signature
    assert inspect.Signature.from_callable(shown.method) == signature
    bound = inspect.signature(getattr(shown.channel(), shown.name))
    return [signature, bound, inspect.getfullargspec(shown.method)]


def a_signature_that_is_assigned(shown: Shown) -> Any:
    with mock.patch.object(shown.method, "__signature__", inspect.Signature(), create=True):
        seen = str(inspect.signature(shown.method))
    return [seen, hasattr(shown.method, "__signature__")]


def its_arguments_bound(shown: Shown) -> Any:
    args = ["the channel", "data"][: shown.count + 1]
    return [inspect.signature(shown.method).bind(*args).arguments]


def its_source(shown: Shown) -> Any:
    # Each implementation has a text of its own; the line that begins it is the same but for types.
    first = re.sub(
        r"(:|->) ?\w+(?=[,)])| -> \w+", "", inspect.getsource(shown.method).splitlines()[0].strip()
    )
    file, lines = inspect.getsourcefile(shown.method), inspect.getsourcelines(shown.method)
    assert file == shown.method.__code__.co_filename
    assert lines[1] == shown.method.__code__.co_firstlineno
    return first


def its_module(shown: Shown) -> Any:
    return inspect.getmodule(shown.method) is sys.modules.get(shown.module.__name__)


def its_text(shown: Shown) -> Any:
    # The standard library's have none.
    if shown.method.__doc__:
        assert inspect.getdoc(shown.method) == inspect.cleandoc(shown.method.__doc__)
    return isinstance(shown.method.__doc__, (str, type(None)))


def what_help_prints(shown: Shown) -> Any:
    text = pydoc.plain(pydoc.render_doc(shown.method))
    first, _, rest = text.replace("fastchat.", "").partition("\n\n")
    if shown.method.__doc__:
        assert inspect.cleandoc(shown.method.__doc__).splitlines()[0] in rest
    return [first, rest.splitlines()[0]]


def what_help_prints_of_the_class(shown: Shown) -> Any:
    text = pydoc.plain(pydoc.render_doc(shown.kind))
    return [line for line in text.splitlines() if re.match(rf" \|  {shown.name}\(", line)]


def what_pydoc_sorts_it_under(shown: Shown) -> Any:
    attributes = {name: kind for name, kind, _, _ in pydoc.classify_class_attrs(shown.kind)}
    return attributes[shown.name]


def the_members_of_the_class(shown: Shown) -> Any:
    members = dict(inspect.getmembers(shown.kind, inspect.isfunction))
    assert members[shown.name] is shown.method
    static = dict(inspect.getmembers_static(shown.kind, inspect.isfunction))
    assert static[shown.name] is shown.method
    bound = dict(inspect.getmembers(shown.channel(), inspect.ismethod))
    return [bound[shown.name].__func__ is shown.method]


def what_it_wraps(shown: Shown) -> Any:
    return inspect.unwrap(shown.method) is shown.method


def what_it_looks_like_when_wrapped(shown: Shown) -> Any:
    @functools.wraps(shown.method)
    def wrapper(*args: Any) -> Any:
        return shown.method(*args)

    assert inspect.unwrap(wrapper) is shown.method
    return [wrapper.__name__, wrapper.__qualname__, str(inspect.signature(wrapper)), dir(wrapper)]


def its_types(shown: Shown) -> Any:
    return typing.get_type_hints(shown.method)


def what_doctest_finds(shown: Shown) -> Any:
    found = doctest.DocTestFinder(exclude_empty=False).find(shown.method, "it")
    return [(test.name, test.examples) for test in found]


def what_dis_prints(shown: Shown) -> Any:
    out = io.StringIO()
    dis.dis(shown.method, file=out)
    return bool(out.getvalue()) and bool(list(dis.get_instructions(shown.method)))


def what_binds_it(shown: Shown) -> Any:
    channel = shown.terminated()
    method, kind = shown.method, shown.kind
    below: Any = type("Below", (kind,), {shown.name: None})
    for bound in (
        method.__get__(channel),
        method.__get__(channel, kind),
        getattr(channel, shown.name),
        getattr(super(below, below(None, {})), shown.name),
        types.MethodType(method, channel),
    ):
        assert type(bound) is types.MethodType
        assert bound.__func__ is method
        assert bound.__name__ == shown.name
    assert method.__get__(channel) == getattr(channel, shown.name)
    assert method.__get__(None, kind) is method
    return error_of(method.__get__, None)


def who_refers_to_it(shown: Shown) -> Any:
    reference = weakref.ref(shown.method)
    assert weakref.WeakKeyDictionary({shown.method: 1})[shown.method] == 1
    channel = shown.channel()
    assert weakref.WeakMethod(getattr(channel, shown.name))() == getattr(channel, shown.name)
    # PyPy has no gc.is_tracked(); without a GIL it is false for functions that are as old as this.
    is_tracked: Any = getattr(gc, "is_tracked", None) if _backend._has_gil() else None
    return [reference() is shown.method, is_tracked is None or is_tracked(shown.method)]


def its_copies(shown: Shown) -> Any:
    method = shown.method
    assert copy.copy(method) is copy.deepcopy(method) is method
    assert copy.deepcopy([method])[0] is method
    channel = shown.channel()
    return copy.copy(getattr(channel, shown.name)).__func__ is method


def what_pickle_makes_of_it(shown: Shown) -> Any:
    # The modules as they are found by name; the tests have several of each.
    names = {"fastchat": sys.modules["fastchat"]}
    names |= {module.__name__: module for module in (shown.module, shown.implementation.asyncore)}
    with mock.patch.dict(sys.modules, names):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            for dumps in (pickle.dumps, pickle._dumps):  # type: ignore[attr-defined]
                assert pickle.loads(dumps(shown.method, protocol)) is shown.method
    return True


def calls_that_are_refused(shown: Shown) -> Any:
    method, channel = shown.method, shown.terminated()
    too_many = [b"x"] * (shown.count + 1)
    bound = getattr(channel, shown.name)
    return [
        error_of(method),
        error_of(bound, *too_many),
        error_of(method, channel, *too_many),
        error_of(lambda: list(map(bound, *([item] for item in too_many)))),  # called from C
        error_of(bound, other=1),
        error_of(method, channel, *too_many[1:], other=1),
        error_of(method, channel, *too_many[1:], self=1),
        *([error_of(bound)] if shown.count else []),
    ]


def calls_by_every_road(shown: Shown) -> Any:
    """What calls return, or raise, that reach the method in every way that Python has."""
    method, kind, name = shown.method, shown.kind, shown.name
    args = [16] if name == "recv" else [b"x"] * shown.count
    names = inspect.signature(method).parameters
    given = dict(zip(list(names)[1:], args, strict=True))

    class Sub(kind):  # type: ignore[misc, valid-type]
        def up(self) -> Any:
            return getattr(super(), name)(*args)

        partial = functools.partialmethod(method, *args)

    class Borrower:
        pass

    setattr(Borrower, name, method)
    roads: list[Callable[[Any], Any]] = [
        lambda channel: getattr(channel, name)(*args),
        lambda channel: method(channel, *args),
        lambda channel: method(channel, **given),
        lambda channel: method(self=channel, **given),
        lambda channel: method.__call__(channel, *args),
        lambda channel: method.__get__(channel)(*args),
        lambda channel: functools.partial(method, channel)(*args),
        lambda channel: functools.partial(method, channel, **given)(),
        lambda channel: Sub.up(channel),
        lambda channel: channel.partial(),
        lambda channel: next(map(method, [channel], *([arg] for arg in args))),
        lambda channel: types.MethodType(method, channel)(*args),
        lambda channel: method(*[channel, *args]),
        lambda channel: copy.copy(method)(channel, *args),
    ]
    if not args:
        roads.append(lambda channel: property(method).__get__(channel))
    seen = []
    with Stage(shown.implementation) as stage:
        for road in roads:
            mine, peer = stage.pair()
            channel: Any = Sub(mine, {})
            channel.terminator = b"end"
            channel.collect_incoming_data = lambda data: None
            peer.sendall(b"in")
            seen.append((road(channel), channel.connected))
        assert isinstance(Borrower().__class__.__dict__[name], types.FunctionType)
        assert getattr(Borrower(), name).__func__ is method
    assert seen == seen[:1] * len(seen)
    return seen


def a_mock_of_the_class(shown: Shown) -> Any:
    made: Any = mock.create_autospec(shown.kind)
    channel = made(None, {})
    args = [b"x"] * shown.count
    getattr(channel, shown.name)(*args)
    getattr(channel, shown.name).assert_called_once_with(*args)
    return error_of(getattr(channel, shown.name), *args, 1, 2)


def a_mock_of_the_method(shown: Shown) -> Any:
    made: Any = mock.create_autospec(shown.method)
    args = [b"x"] * shown.count
    made("the channel", *args)
    assert inspect.isfunction(made)
    calls = vars(made)["mock"].mock_calls
    return [str(inspect.signature(made)), made.__name__, error_of(made), calls]


def a_patch_of_the_method(shown: Shown) -> Any:
    channel = shown.channel()
    args = [b"x"] * shown.count
    with mock.patch.object(shown.kind, shown.name, autospec=True) as patched:
        getattr(channel, shown.name)(*args)
        patched.assert_called_once_with(channel, *args)
        refused = error_of(getattr(channel, shown.name), 1, 2, 3)
    assert shown.kind.__dict__[shown.name] is shown.method
    with mock.patch.object(channel, shown.name, autospec=True) as patched:
        getattr(channel, shown.name)(*args)
        patched.assert_called_once_with(*args)
    return [refused, shown.name in vars(channel)]


def a_mock_that_wraps_it(shown: Shown) -> Any:
    channel = shown.channel()
    with mock.patch.object(shown.kind, shown.name, autospec=True, side_effect=shown.method) as made:
        try:
            getattr(channel, shown.name)(*[b"x"] * shown.count)
        except Exception as problem:
            return [type(problem).__name__, made.call_count]
        return made.call_count


LOOKS: list[Callable[[Shown], Any]] = [
    its_kind,
    what_inspect_takes_it_for,
    its_names,
    its_defaults,
    its_code,
    its_globals,
    its_attributes,
    what_a_function_has_not,
    its_attributes_past_its_class,
    attributes_that_come_and_go,
    attributes_of_a_function_that_are_assigned,
    defaults_that_are_assigned,
    how_it_prints,
    how_it_prints_when_bound,
    whether_it_is_itself,
    its_signature,
    a_signature_that_is_assigned,
    its_arguments_bound,
    its_source,
    its_module,
    its_text,
    what_help_prints,
    what_help_prints_of_the_class,
    what_pydoc_sorts_it_under,
    the_members_of_the_class,
    what_it_wraps,
    what_it_looks_like_when_wrapped,
    its_types,
    what_doctest_finds,
    what_dis_prints,
    what_binds_it,
    who_refers_to_it,
    its_copies,
    what_pickle_makes_of_it,
    calls_that_are_refused,
    calls_by_every_road,
    a_mock_of_the_class,
    a_mock_of_the_method,
    a_patch_of_the_method,
    a_mock_that_wraps_it,
]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.__name__)
@pytest.mark.parametrize("implementation", FASTCHAT)
def test_a_method_is_seen_as_a_function(
    implementation: str, look: Callable[[Shown], Any], name: str
) -> None:
    seen = look(Shown(load(implementation), name))
    assert seen == look(Shown(load("python"), name))
    assert seen == look(Shown(load("model"), name))
