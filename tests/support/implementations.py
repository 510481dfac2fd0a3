"""The implementations that the tests compare: compiled, Python, and the standard library.

Each is loaded once and apart from the others, so that one process can hold all of them.  A test
of behaviour runs on every one; where the standard library fails it, the test is wrong, or
docs/compat.md lists the difference.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any
from unittest import mock

FASTCHAT = ("cython", "python")
# What FASTCHAT_IMPLEMENTATION=auto means where the extension is installed.
AUTOMATIC = (
    "cython"
    if sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
    else "python"
)
# Of which implementations some methods know when a program assigns to them (see _method.pyx).
GUARDING = () if sysconfig.get_config_var("Py_GIL_DISABLED") else ("cython",)
STDLIB = ("stdlib",) if sys.version_info < (3, 12) else ()


@dataclass(frozen=True)
class Implementation:
    """One pair of modules, and the scanner under them (the standard library has none)."""

    name: str
    asyncore: Any
    asynchat: Any
    scanner: Any
    # Modules of fastchat's core by name, for tests of what a program cannot reach.
    core: Mapping[str, ModuleType]
    aio: Any = None
    # fastchat.channel, fastchat.timers, fastchat.server and fastchat.attachment.
    channel: Any = None
    timers: Any = None
    server: Any = None
    attachment: Any = None

    @property
    def is_stdlib(self) -> bool:
        return self.name == "stdlib"


@cache
def load(name: str) -> Implementation:
    """The implementation *name*, one of ``FASTCHAT`` or ``STDLIB``, or "model".

    The model is the standard library's where there is one, else pyasynchat, which is what Python
    3.9 had.  Raises ImportError where the compiled modules are asked for and not there: in a lane
    that is meant to have it, that is a failure.
    """
    if name in ("stdlib", "model"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asynchat = importlib.import_module("asynchat")
            return Implementation("stdlib", importlib.import_module("asyncore"), asynchat, None, {})
    setting = os.environ.get("FASTCHAT_IMPLEMENTATION")
    os.environ["FASTCHAT_IMPLEMENTATION"] = name
    try:
        return _load(name)
    finally:
        if setting is None:
            del os.environ["FASTCHAT_IMPLEMENTATION"]
        else:
            os.environ["FASTCHAT_IMPLEMENTATION"] = setting


def _load(name: str) -> Implementation:
    with without_fastchat():
        asynchat = importlib.import_module("fastchat.asynchat")
        channel = importlib.import_module("fastchat.channel")
        timers = importlib.import_module("fastchat.timers")
        server = importlib.import_module("fastchat.server")
        attachment = importlib.import_module("fastchat.attachment")
        prefix = "fastchat._core."
        core = {n.removeprefix(prefix): m for n, m in sys.modules.items() if n.startswith(prefix)}
        aio = importlib.import_module("fastchat.aio")
        modules = (asynchat.asyncore, asynchat, asynchat._scanner)
        own = (channel, timers, server, attachment)
        return Implementation(name, *modules, core, aio, *own)


@contextmanager
def without_fastchat() -> Iterator[None]:
    """As if nothing of fastchat had been imported; what is meanwhile is taken out again."""
    aside = _take_out()
    try:
        yield
    finally:
        _take_out()
        sys.modules.update(aside)


def _take_out() -> dict[str, ModuleType]:
    """Remove fastchat's modules from ``sys.modules``, and return them."""
    names = [name for name in sys.modules if name.partition(".")[0] == "fastchat"]
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def passing_for_the_systems(implementation: Implementation, send: Any) -> Iterator[None]:
    """Let *implementation* take *send*, a method of a class of sockets, for the system's own."""
    if implementation.is_stdlib:
        yield
        return
    with mock.patch.dict(vars(implementation.core["sockets"]), raw_send=send):
        yield
