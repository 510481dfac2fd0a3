"""The one place that picks between the compiled scanner and its Python twin.

``FASTCHAT_IMPLEMENTATION`` decides, at the first import:

* ``auto``, or not set: the compiled scanner where it is installed, else the Python one;
* ``cython``: the compiled scanner, and an ImportError where it is not installed;
* ``python``: the Python one.

Only an absent extension is passed over.  One that is there and does not load is an installation
that somebody should hear about: its ImportError is raised.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

VARIABLE = "FASTCHAT_IMPLEMENTATION"
CHOICES = ("auto", "cython", "python")

_COMPILED = "fastchat._scanner"
# What the one compiled module holds, its twin has in several.
_PYTHON = ("fastchat._scanner_py", "fastchat._channel_py", "fastchat._events_py")


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
    # Elsewhere than on CPython the extension would be slower than the Python it replaces.
    compiled = choice == "cython" or (choice == "auto" and sys.implementation.name == "cpython")
    if compiled:
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
