"""The old names: ``import asyncore`` and ``import asynchat`` find fastchat's modules.

The rule: ``sys.modules`` changes completely or not at all, and only fastchat's own entries are
taken back.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from fastchat import asynchat, asyncore

_MODULES: dict[str, ModuleType] = {"asyncore": asyncore, "asynchat": asynchat}

# What install() put aside, by name; None while nothing is installed.
_replaced: dict[str, ModuleType] | None = None


def install(*, replace: bool = False) -> None:
    """Make ``import asyncore`` and ``import asynchat`` give fastchat's modules.

    Modules that were imported under these names before stay what they are in whoever holds them,
    so this refuses when there are any; *replace* (a bool) puts them aside until ``uninstall()``.

    Raises RuntimeError, and changes nothing, where other modules have the names or where
    fastchat is installed already.
    """
    global _replaced
    if _replaced is not None:
        raise RuntimeError(
            "fastchat.install() has been called already; call fastchat.uninstall() before it "
            "is called again"
        )
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
            "call it earlier, or install(replace=True) to replace them"
        )
    _replaced = others
    sys.modules.update(_MODULES)
    if sys.version_info >= (3, 12):
        sys.meta_path.append(_finder)


def uninstall() -> None:
    """Take fastchat's modules out of ``sys.modules`` again, and put back what was there.

    A name that somebody else has taken in the meantime stays theirs.  Raises RuntimeError where
    nothing is installed.
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
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


class _SmtpdFinder:
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


_finder = _SmtpdFinder()
