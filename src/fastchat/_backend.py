"""The one place that picks between what is compiled and the same in Python.

``FASTCHAT_IMPLEMENTATION`` decides, at the first import:

* ``auto``, or not set: the compiled modules where they are installed and can do their work, else
  the Python ones;
* ``cython``: the compiled modules, and an ImportError where they are not installed; in
  subinterpreters the Python ones;
* ``python``: the Python ones.

Compiled modules can do their work on CPython (elsewhere they would be slower than the Python they
replace) and in the main interpreter (their types are those of one interpreter).  They leave the GIL
off where it is, but ``auto`` does not mean them there: up to CPython 3.13 a thread that locks what
it has locked waits for microseconds (gh-114203), and they were tested on no later one.  ``auto``
asks before it loads anything: the extension belongs to the interpreter of a process that loads it
first.

Only an absent extension is passed over.  One that is there and does not load is an installation
that somebody should hear about: its ImportError is raised.
"""

from __future__ import annotations

import _thread
import importlib
import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Any

VARIABLE = "FASTCHAT_IMPLEMENTATION"
CHOICES = ("auto", "cython", "python")

_SCANNER = "fastchat._scanner"
_PYTHON = "fastchat._scanner_py"
_METHODS = {"cython": "fastchat._methods_c", "python": "fastchat._methods_py"}
# What else is compiled, into the shared object of the scanner, those that others need first.  What
# is in ``_core`` is compiled as it stands.
_COMPILED = (
    "fastchat._method",
    "fastchat._sysio",
    "fastchat._core.facts",
    "fastchat._core.state",
    "fastchat._core.outgoing",
    "fastchat._core.incoming",
    "fastchat._core.family",
    "fastchat._core.agenda",
    "fastchat._core.lines",
    "fastchat._core.line_state",
    "fastchat._core.asking",
    "fastchat._core.watch",
    "fastchat._core.maps",
    "fastchat._core.passes",
    "fastchat._core.gate",
)

# What the compiled modules work with: a process has each of these once, as it has them.
_COMPANIONS = (
    *_COMPILED,
    "fastchat._core",
    "fastchat._core._cy",
    "fastchat._core.failures",
    "fastchat._core.full_passes",
    "fastchat._core.generic",
    "fastchat._core.line_rules",
    "fastchat._core.line_stops",
    "fastchat._core.pollers",
    "fastchat._core.quantities",
    "fastchat._core.shown",
    "fastchat._core.sockets",
    "fastchat._core.system",
    "fastchat._core.touch",
    "fastchat._core.waker",
    "fastchat._endings",
    "fastchat._hangups",
    "fastchat._methods_c",
    "fastchat._output",
    "fastchat._scanner_py",
    "fastchat._settings",
)

# Each can say which interpreter runs, where ``_thread`` cannot: to import one takes a hundredth of
# what fastchat takes.  The public one, of 3.14, comes last: it is made of the first one, and takes
# 8 ms where that takes 0.4.
_INTERPRETERS = ("_interpreters", "_xxsubinterpreters", "concurrent.interpreters")


def _is_main_interpreter() -> bool:
    """Whether the main interpreter runs this; True where there is nobody to ask."""
    says_so = getattr(_thread, "_is_main_interpreter", None)
    if says_so is not None:
        return bool(says_so())
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


_NO_GIL = f"there is no GIL, where only {VARIABLE}=cython loads the compiled modules"


def _obstacle(choice: str) -> str:
    """Why *choice* is not the compiled modules, installed or not; ``""`` where it is."""
    if choice == "python":
        return f"{VARIABLE} asks for it"
    if choice == "auto" and sys.implementation.name != "cpython":
        return "the compiled modules are for CPython"
    if choice == "auto" and not _has_gil():
        return _NO_GIL
    # Nobody can insist on it here: the variable is one for the whole process.
    return "" if _is_main_interpreter() else "this is a subinterpreter"


def choose(choice: str) -> tuple[ModuleType, str, str]:
    """The scanner that *choice* (one of ``CHOICES``) means, and the name of the implementation.

    The third is why it is not the compiled one, or ``""``.  The modules of the core are then
    imported as they are or compiled, whichever goes with the scanner.

    Raises ImportError where *choice* is none of them, where ``cython`` is asked for and not
    installed, and where what is compiled is installed and does not load.
    """
    if choice not in CHOICES:
        raise ImportError(
            f"{VARIABLE} is {choice!r}; it may be {', '.join(CHOICES[:-1])} or {CHOICES[-1]}"
        )
    obstacle = _obstacle(choice)
    if not obstacle:
        try:
            scanner = importlib.import_module(_SCANNER)
        except ModuleNotFoundError as failure:
            if failure.name != _SCANNER:
                raise
            if choice == "cython":
                raise ImportError(
                    f"{VARIABLE} is 'cython', but no compiled modules are installed: {_remedy()}"
                ) from failure
            obstacle = f"no compiled modules are installed: {_remedy()}"
        else:
            _load_compiled(scanner)
            return scanner, "cython", ""
    return importlib.import_module(_PYTHON), "python", obstacle


def _remedy() -> str:
    """What gives an installation the compiled modules that it lacks."""
    if sys.implementation.name != "cpython":
        return "they are for CPython"
    # Without these two options pip installs again what it has.
    how = "FASTCHAT_BUILD_EXTENSION=yes pip install --no-cache-dir --force-reinstall"
    return f"install a wheel that has them, or build with a C compiler and {how}"


class _Library:
    """Finds the compiled modules in the one shared object that holds them, that of the scanner."""

    def __init__(self, path: str) -> None:
        self._path = path

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of the module *name*; None where it is not compiled."""
        if name not in _COMPILED:
            return None
        spec = ModuleSpec(name, ExtensionFileLoader(name, self._path), origin=self._path)
        spec.has_location = True  # the module gets a __file__
        return spec


def _remember(companions: dict[str, ModuleType]) -> None:
    companions.update({name: sys.modules[name] for name in _COMPANIONS if name in sys.modules})


def _load_compiled(scanner: ModuleType) -> None:
    """Import the modules that go with the compiled *scanner*.

    Raises ImportError where one of them was imported as Python before.
    """
    companions: dict[str, ModuleType] = scanner.COMPANIONS
    sys.modules.update(companions)  # of an import that a program has thrown away
    for name in _COMPILED:
        if name in sys.modules and sys.modules[name].__file__ != scanner.__file__:
            raise ImportError(f"{name} was imported as Python before, in this process")
    library = _Library(str(scanner.__file__))
    # Before all others, which would find the Python source.
    sys.meta_path.insert(0, library)
    try:
        for name in (*_COMPILED, _METHODS["cython"]):
            importlib.import_module(name)
            _remember(companions)  # at once, for the next import may be interrupted
    finally:
        sys.meta_path.remove(library)


implementation: str
scanner, implementation, _why = choose(os.environ.get(VARIABLE) or "auto")
# What `python -m fastchat --version` shows.
described = f"{implementation}: {_why}" if _why else implementation
methods: Any = importlib.import_module(_METHODS[implementation])
