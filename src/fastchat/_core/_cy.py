"""Stands for the module ``cython`` where a module of the core runs as it is.

That of an installed Cython would do; but what a program has installed should change nothing here.
"""

from __future__ import annotations

compiled = False
