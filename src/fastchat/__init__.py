"""asyncore and asynchat for today's Python, with a compiled hot path.

``fastchat.asyncore`` and ``fastchat.asynchat`` are drop-in replacements of the modules that left
the standard library in Python 3.12.  ``install()`` makes them importable under the old names;
``python -m fastchat run PROGRAM.py`` runs a program that way without touching it.

``LineBuffer`` cuts lines out of bytes for any program; ``join_lines()`` is the way back.

``implementation`` says whether compiled modules are in use: ``"cython"`` or ``"python"``;
``python -m fastchat --version`` says why they are not.

Every name: https://github.com/fastchat/fastchat/blob/main/docs/reference.md
"""

from fastchat import asynchat, asyncore
from fastchat._backend import implementation
from fastchat._core.lines import LineBuffer, LineTooLong, join_lines
from fastchat.aliases import install, uninstall

__version__ = "0.1.0"

__all__ = [
    "LineBuffer",
    "LineTooLong",
    "__version__",
    "asynchat",
    "asyncore",
    "implementation",
    "install",
    "join_lines",
    "uninstall",
]
