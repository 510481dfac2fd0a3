"""The one place that picks between the compiled scanner and its Python twin.

``FASTCHAT_IMPLEMENTATION`` decides, at the first import:

* ``auto``, or not set: the compiled scanner where it is installed and can do its work, else the
  Python one;
* ``cython``: the compiled scanner, and an ImportError where it is not installed; in subinterpreters
  the Python one;
* ``python``: the Python one.

The compiled scanner can do its work on CPython (elsewhere it would be slower than the Python it
replaces), in the main interpreter (its types are those of one interpreter), and with the GIL (a
free-threaded Python that loads it turns the GIL on).  ``auto`` asks before it loads anything: the
extension belongs to the interpreter of a process that loads it first.

Only an absent extension is passed over.  One that is there and does not load is an installation
that somebody should hear about: its ImportError is raised.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

VARIABLE = "FASTCHAT_IMPLEMENTATION"
CHOICES = ("auto", "cython", "python")

_COMPILED = "fastchat._scanner"
# What the one compiled module holds, its twin has in several.
_PYTHON = ("fastchat._scanner_py", "fastchat._channel_py", "fastchat._events_py")


# Each can say which interpreter runs.  The public one, of 3.14, comes last: it is made of the first
# one, and its import takes 8 ms where that of the first takes 0.4.
_INTERPRETERS = ("_interpreters", "_xxsubinterpreters", "concurrent.interpreters")


def _is_main_interpreter() -> bool:
    """Whether the main interpreter runs this; True where there is nobody to ask."""
    for name in _INTERPRETERS:
        try:
            interpreters: Any = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() == interpreters.get_main())
    return True


def _has_gil() -> bool:
    """Whether one thread at a time runs Python code."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def _is_place_for_compiled() -> bool:
    return sys.implementation.name == "cpython" and _has_gil()


def choose(choice: str) -> tuple[list[ModuleType], str]:
    """The modules that *choice* (one of ``CHOICES``) means, and its name.

    They are those of the scanner, of the channels' methods, and of the loop's events.

    Raises ImportError where *choice* is none of them, where ``cython`` is asked for and not
    installed, and where the compiled scanner is installed and does not load.
    """
    if choice not in CHOICES:
        raise ImportError(
            f"{VARIABLE} is {choice!r}; it may be {', '.join(CHOICES[:-1])} or {CHOICES[-1]}"
        )
    # Of a subinterpreter nobody can insist on it: the variable is one for the whole process.
    is_asked = choice == "cython" or (choice == "auto" and _is_place_for_compiled())
    if is_asked and _is_main_interpreter():
        try:
            module = importlib.import_module(_COMPILED)
        except ModuleNotFoundError as failure:
            if failure.name != _COMPILED:
                raise
            if choice == "cython":
                raise ImportError(
                    f"{VARIABLE} is 'cython', but the compiled scanner is not installed: "
                    "install a wheel that has it, or build with FASTCHAT_BUILD_EXTENSION=yes "
                    "and a C compiler"
                ) from failure
        else:
            sys.modules.update(module.COMPANIONS)
            methods = importlib.import_module("fastchat._channel_c")
            module.COMPANIONS[methods.__name__] = methods
            return [module, methods, module], "cython"
    return [importlib.import_module(name) for name in _PYTHON], "python"


(scanner, methods, events), implementation = choose(os.environ.get(VARIABLE) or "auto")
