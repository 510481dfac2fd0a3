"""asyncore and asynchat for today's Python, with a compiled hot path.

``fastchat.asyncore`` and ``fastchat.asynchat`` are drop-in replacements of the modules that left
the standard library in Python 3.12.  ``install()`` makes them importable under the old names;
``python -m fastchat run PROGRAM.py`` runs a program that way without touching it.

``implementation`` says whether compiled modules are in use: ``"cython"`` or ``"python"``;
``python -m fastchat --version`` says why they are not.

Every name: https://github.com/fastchat/fastchat/blob/main/docs/reference.md
"""

from fastchat import asynchat, asyncore
from fastchat._backend import implementation
from fastchat.aliases import install, uninstall

__version__ = "0.1.0"

__all__ = ["__version__", "asynchat", "asyncore", "implementation", "install", "uninstall"]
