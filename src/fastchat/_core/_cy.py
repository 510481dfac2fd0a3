"""Stands for the module ``cython`` where a module of the core runs as it is.

That of an installed Cython would do; but what a program has installed should change nothing here.
"""

from __future__ import annotations

from typing import Any

compiled = False

# What stands for it where modules are compiled is in facts.pxd.
get_item: Any = dict.get


class critical_section:
    """Locks an object, where modules are compiled for a CPython without a GIL; here nothing."""

    def __init__(self, locked: object) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *failure: object) -> None: ...
