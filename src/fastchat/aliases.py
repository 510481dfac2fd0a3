"""The old names: ``import asyncore`` and ``import asynchat`` find fastchat's modules.

The rules: ``sys.modules`` changes completely or not at all, only fastchat's own entries are taken
back, and a program that imports the old names gets each ``push()`` sent as CPython 3.11 sent it,
unless it asks for held output.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from fastchat import asynchat, asyncore
from fastchat._settings import COALESCE

_MODULES: dict[str, ModuleType] = {"asyncore": asyncore, "asynchat": asynchat}

# What install() put aside, by name; None while nothing is installed.
_replaced: dict[str, ModuleType] | None = None

# What async_chat.ac_out_coalesce was before.
_coalesced = True


def install(*, replace: bool = False, coalesce: bool = False) -> None:
    """Make ``import asyncore`` and ``import asynchat`` give fastchat's modules.

    Modules that were imported under these names before stay what they are in whoever holds them,
    so this refuses when there are any; *replace* (a bool) puts them aside until ``uninstall()``.
    From here on each ``push()`` makes a ``send()`` of its own, in all channels whose class does not
    set ``ac_out_coalesce`` itself; *coalesce* (a bool) leaves held output on.  Does nothing more
    where fastchat is installed already.

    Raises RuntimeError, and changes nothing, where other modules have the names; TypeError where an
    argument is no bool.
    """
    global _replaced, _coalesced
    for name, value in (("replace", replace), ("coalesce", coalesce)):
        if not isinstance(value, bool):
            raise TypeError(f"install({name}=...) takes True or False, not {value!r}")
    others = {
        name: sys.modules[name]
        for name, module in _MODULES.items()
        if sys.modules.get(name, module) is not module
    }
    if others and not replace:
        names = " and ".join(
            f"{name} ({getattr(module, '__file__', None) or 'built in'})"
            for name, module in others.items()
        )
        raise RuntimeError(
            f"other modules were imported before fastchat.install(): {names}; "
            "call it earlier; install(replace=True) replaces them, but not in who has them already"
        )
    if _replaced is None:
        _coalesced = asynchat.async_chat.ac_out_coalesce
    if COALESCE is None and (coalesce or _replaced is None):
        asynchat.async_chat.ac_out_coalesce = coalesce
    _replaced = others | (_replaced or {})
    sys.modules.update(_MODULES)
    _remove_finders()
    sys.meta_path.insert(0, _old_names)
    atexit.register(_remove_finders)  # they would keep the channels for longer than print() lasts
    if sys.version_info >= (3, 12):
        sys.meta_path.append(_smtpd)


def uninstall() -> None:
    """Take fastchat's modules out of ``sys.modules`` again, and put back what was there.

    A name that somebody else has taken in the meantime stays theirs.  One call undoes any number of
    calls of ``install()``.  Raises RuntimeError where nothing is installed.
    """
    global _replaced
    if _replaced is None:
        raise RuntimeError("fastchat is not installed: fastchat.install() was not called")
    for name, module in _MODULES.items():
        if sys.modules.get(name) is module:
            if name in _replaced:
                sys.modules[name] = _replaced[name]
            else:
                del sys.modules[name]
    _replaced = None
    _remove_finders()
    if COALESCE is None:
        asynchat.async_chat.ac_out_coalesce = _coalesced


def _remove_finders() -> None:
    atexit.unregister(_remove_finders)
    for finder in (_old_names, _smtpd):
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


class _OldNames:
    """Finds fastchat's modules under the old names, and loads nothing: they are there already.

    It is asked first.  A program that throws the modules out of ``sys.modules`` and imports them
    again would otherwise get those of the standard library, or none.
    """

    # An import sets __spec__, by which importlib.reload() knows a module.
    _specs = {name: module.__spec__ for name, module in _MODULES.items()}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _MODULES:
            return None
        return ModuleSpec(name, self, origin=_MODULES[name].__file__)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _MODULES[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.rpartition(".")[2]
        module.__spec__ = self._specs[name]


class _Smtpd:
    """Says where smtpd is to be had; it stood on asyncore and left Python with it.

    It is asked last, when nothing else has the module.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "smtpd":
            raise ModuleNotFoundError(
                "No module named 'smtpd': it left the standard library in Python 3.12 and is not "
                "part of fastchat; the package standard-smtpd has it (pip install "
                "standard-smtpd), and it runs on fastchat's asyncore and asynchat",
                name=name,
            )
        return None


_old_names = _OldNames()
_smtpd = _Smtpd()
